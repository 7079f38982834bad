"""Journal entries as the lines that a syslog file would hold.

Pure: what ``journalctl -o json`` prints of one entry comes in, a line goes out, so that patterns,
cuts and time are judged by the same chain wherever a message came from.

The stamp is the journal's own (``__REALTIME_TIMESTAMP``), which no client of it can choose.
Control bytes become ``#012`` and the like, as rsyslog writes them: a message is one line.

The journal strips white space from the end of a message, which hides the length of a cut one: a
client can end its user name like a whole line and fill up with spaces.  What was stripped stands in
``SYSLOG_RAW`` and is put back.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from pbs_watch.log.header import HOST, PID, TAG

_HOST = re.compile(HOST)
_TAG = re.compile(TAG)
_PID = re.compile(PID)
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry: its cursor, and its line with the newline, empty where it cannot be one."""

    cursor: str
    line: bytes


def read(printed: bytes) -> Entry:
    """Read what ``journalctl -o json --all`` printed of one entry.

    Raises ValueError, KeyError, TypeError, AttributeError, OverflowError or RecursionError where it
    is not that.
    """
    fields = json.loads(printed)
    cursor = fields["__CURSOR"]
    tag = _field(fields, "SYSLOG_IDENTIFIER") or _field(fields, "_COMM")
    if not _TAG.fullmatch(tag):
        return Entry(cursor, b"")
    host = _field(fields, "_HOSTNAME")
    pid = _field(fields, "SYSLOG_PID")
    message = _CONTROL.sub(_escaped, _field(fields, "MESSAGE") + _stripped(fields))
    line = b"%s %s %s%s: %s\n" % (
        _stamp(int(fields["__REALTIME_TIMESTAMP"])),
        host if _HOST.fullmatch(host) else b"(none)",
        tag,
        b"[%s]" % pid if _PID.fullmatch(pid) else b"",
        message,
    )
    return Entry(cursor, line)


def _stripped(fields: dict[str, object]) -> bytes:
    """The white space at the end of the message, as it was sent."""
    raw = _field(fields, "SYSLOG_RAW").rstrip(b"\n\0")
    return raw[len(raw.rstrip()) :]


def _field(fields: dict[str, object], name: str) -> bytes:
    """A field's bytes: text, or a list of bytes where it is not UTF-8; the first of several."""
    value = fields.get(name)
    if isinstance(value, list) and value and not isinstance(value[0], int):
        value = value[0]
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return bytes(value) if isinstance(value, list) else b""


def _stamp(micros: int) -> bytes:
    seconds, rest = divmod(micros, 1_000_000)
    return b"%s.%06d+00:00" % (
        datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode(),
        rest,
    )


def _escaped(control: re.Match[bytes]) -> bytes:
    return b"#%03o" % control[0][0]
