"""Reads the JSON Lines that :mod:`pbs_watch.exchange.jsonl` writes.  Pure.

Whoever writes such lines by hand is told of the first bad one, by its number.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pbs_watch.exchange.jsonl import VERSION
from pbs_watch.exchange.parcel import LATEST, Parcel, bad_line, relaying_network
from pbs_watch.grants import rows
from pbs_watch.grants.address import NETWORK_BITS, literal, number, widened
from pbs_watch.grants.changes import Grant, Hold, Refusal, RefusalKey, SessionKey
from pbs_watch.grants.judge import ALL_REASONS
from pbs_watch.grants.orders import LONGEST_NOTE, Allow, Bar


def read(name: str, data: bytes, *, force: bool = False, fold: bool = False) -> Parcel:
    """What the lines of a file called ``name`` say; raises :class:`UsageError` for the first bad.

    ``force``: networks of any width may be allowed.  ``fold``: users are kept in lower case.
    """
    reader = _Reader(force=force, fold=fold)
    count = 0
    try:
        for count, line in enumerate(data.split(b"\n"), 1):
            if not line.strip():
                continue
            row = json.loads(line.decode())
            if count == 1:
                _check_version(row)
            else:
                reader.take(row)
    except KeyError as error:
        raise bad_line(name, count, f"{error.args[0]!r} is missing") from None
    except json.JSONDecodeError as error:
        raise bad_line(name, count, f"not JSON ({error.msg}, column {error.colno})") from None
    except (ValueError, TypeError, RecursionError) as error:
        what = "not UTF-8" if isinstance(error, UnicodeError) else str(error)
        raise bad_line(name, count, what) from None
    if not data.strip():
        raise bad_line(name, 1, 'empty; the first line of an export is {"pbs-watch": 1}')
    return reader.parcel


def _check_version(row: object) -> None:
    if not isinstance(row, dict) or set(row) != {"pbs-watch"}:
        raise ValueError('not an export of pbs-watch, which begins with {"pbs-watch": 1}')
    if row["pbs-watch"] != VERSION:
        raise ValueError(
            f"the export of another pbs-watch (version {row['pbs-watch']!r}, this one knows "
            f"{VERSION}); import it with the one that made it"
        )


class _Reader:
    """Makes a parcel out of rows; raises KeyError, TypeError or ValueError for a bad one."""

    def __init__(self, *, force: bool, fold: bool) -> None:
        self.parcel = Parcel()
        self._fold = fold
        self._force = force
        self._sources: dict[str, int] = {}
        self._kinds: dict[str, Callable[[Any], None]] = {
            "allow": self._allow,
            "bar": self._bar,
            "login": self._login,
            "grant": self._grant,
            "session": self._session,
            "past": self._past,
            "refusal": self._refusal,
        }

    def take(self, row: Any) -> None:
        """One row more."""
        if type(row) is not dict:
            raise ValueError("not a JSON object")
        kind = row["kind"]
        if not isinstance(kind, str) or kind not in self._kinds:
            raise ValueError(f"unknown kind {kind!r}; it is one of {', '.join(self._kinds)}")
        self._kinds[kind](row)

    def _allow(self, row: Any) -> None:
        text = _string(row, "network").encode("ascii", "backslashreplace")
        until = None if row["until"] is None else _seconds(row, "until")
        since, note = _seconds(row, "since"), _note(row)
        self.parcel.allows.append(
            Allow(relaying_network(text, force=self._force), since, until, note)
        )

    def _bar(self, row: Any) -> None:
        subject = row["subject"]
        since, until, note = _seconds(row, "since"), _seconds(row, "until"), _note(row)
        name = _string(row, "name")
        if subject == "network":
            raw = relaying_network(name.encode("ascii", "backslashreplace"), force=True)
            self.parcel.bars.append(Bar("network", raw, since, until, note))
        elif subject == "user":
            raw = self._user(row, "name")
            self.parcel.bars.append(Bar("user", raw, since, until, note))
        elif subject == "everybody":
            self.parcel.bars.append(Bar("everybody", b"", since, until, note))
        else:
            raise ValueError(f"subject {subject!r} is neither network nor user nor everybody")

    def _login(self, row: Any) -> None:
        self.parcel.login(_address(row), self._granted(row))

    def _grant(self, row: Any) -> None:
        self.parcel.grants[_address(row)] = self._granted(row)

    def _past(self, row: Any) -> None:
        self.parcel.past[_address(row), _seconds(row, "ended")] = self._granted(row)

    def _granted(self, row: Any) -> Grant:
        return Grant(
            _seconds(row, "expires"),
            _seconds(row, "login"),
            _seconds(row, "since"),
            self._user(row),
            _bytes(row, "service"),
            *self._place(row),
        )

    def _session(self, row: Any) -> None:
        key = SessionKey(_bytes(row, "service"), self._user(row), _bytes(row, "port"))
        if len(key.service) + len(key.user) + len(key.port) > rows.LONGEST_NAME:
            raise ValueError(f"service, user and port are longer than {rows.LONGEST_NAME} bytes")
        hold = Hold(_seconds(row, "until"), _seconds(row, "began"))
        self.parcel.sessions[_address(row), key] = hold

    def _refusal(self, row: Any) -> None:
        reason, times = _string(row, "reason"), row["times"]
        if reason not in ALL_REASONS:
            raise ValueError("reason is not a word of pbs-watch")
        if type(times) is not int or not 0 < times < 1 << 63:
            raise ValueError("times is not a number of times")
        key = RefusalKey(_address(row), reason, self._user(row))
        self.parcel.refusals[key] = Refusal(
            _seconds(row, "first"),
            _seconds(row, "last"),
            times,
            _bytes(row, "service"),
            *self._place(row),
        )

    def _user(self, row: Any, name: str = "user") -> bytes:
        raw = _bytes(row, name, nul=True)
        return raw.lower() if self._fold else raw

    def _place(self, row: Any) -> tuple[int, int, int]:
        place = row["place"]
        if place is None:
            return 0, 0, 0
        if type(place) is not list or len(place) != 3:
            raise ValueError("place is not a log, a file and an offset")
        source, file, offset = place
        if isinstance(source, str):
            source = self._source(source)
        for value in (source, file, offset):
            if type(value) is not int or not 0 <= value < 1 << 64:
                raise ValueError("place is not a log, a file and an offset")
        return source, file, offset

    def _source(self, name: str) -> int:
        found = self._sources.get(name)
        if found is None:
            found = self._sources[name] = rows.source_id(name)
            self.parcel.names[found] = name
        return found


def _seconds(row: Any, name: str) -> float:
    value = row[name]
    if type(value) not in {float, int} or not 0 <= value < LATEST:
        raise ValueError(f"{name} is not a time in seconds since 1970 (and before 2106)")
    return float(value)


def _string(row: Any, name: str) -> str:
    value = row[name]
    if type(value) is not str:
        raise ValueError(f"{name} is not a text")
    return value


def _note(row: Any) -> str:
    note = _string(row, "note")
    if len(note.encode("utf-8", "surrogateescape")) > LONGEST_NOTE:
        raise ValueError(f"note is longer than {LONGEST_NOTE} bytes")
    return note


def _bytes(row: Any, name: str, *, nul: bool = False) -> bytes:
    """A name; ``nul``: bytes of it may be 0, as the last part of a key it may hold any."""
    raw = rows.bytes_of(_string(row, name))
    if len(raw) > rows.LONGEST_NAME:
        raise ValueError(f"{name} is longer than {rows.LONGEST_NAME} bytes")
    if not nul and b"\0" in raw:
        raise ValueError(f"{name} holds a NUL")
    return raw


def _address(row: Any) -> bytes:
    text = _string(row, "address")
    raw = text.encode("ascii", "backslashreplace")
    found = literal(raw.removesuffix(b"/%d" % NETWORK_BITS))
    if found is not None and not raw.endswith(b"/%d" % NETWORK_BITS):
        return found
    # Only the network itself: no address in it, and none of IPv4.
    if found is not None and b":" in found and number(found)[1] % (1 << 128 - NETWORK_BITS) == 0:
        return widened(found, NETWORK_BITS)
    raise ValueError(f"address {text[:60]!r} is neither an address nor an IPv6 /{NETWORK_BITS}")
