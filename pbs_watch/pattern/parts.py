"""What a line of a format that joins two lines says: a part, to be completed by another.

Pure.  Which lines belong together is the business of :mod:`pbs_watch.grants.joins`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pbs_watch.grants.address import literal
from pbs_watch.grants.events import Part
from pbs_watch.pattern.combine import Reading
from pbs_watch.pattern.format import Kind

_NOTHING = Part(
    kind=Kind.FAIL.value,
    time=None,
    ahead=0.0,
    address=b"",
    user=b"",
    port=b"",
    seconds=None,
    key=b"",
    service=b"",
    format="",
    host=b"",
    flag=False,
    held=False,
    within=0.0,
    kept=False,
    suspect=False,
    offset=0,
)


def part_of(
    found: re.Match[bytes],
    reading: Reading,
    writer: tuple[bytes, bytes, bytes],
    stamp: tuple[float | None, float],
    offset: int,
    *,
    suspect: bool = False,
) -> Part:
    """What the rule of ``reading`` found in a message.

    ``writer``: host, tag and pid.  ``stamp``: the time, ``None`` where it cannot be read, and how
    far it may lie in the future.
    """
    join = reading.join
    if join is None:
        raise ValueError("the rule's format joins no lines")
    host, tag, pid = writer
    user, written, port, seconds, session = found.group(*reading.fields)
    kind = reading.rule.kind
    address = literal(written) if written else b""
    if address is None:
        kind, address = Kind.FAIL, b""
    return Part(
        kind=kind.value,
        time=stamp[0],
        ahead=stamp[1],
        address=address,
        user=user or b"",
        port=port or b"",
        seconds=int(seconds) if seconds else None,
        key=session if join.by == "session" else pid,
        service=tag,
        format=reading.format,
        host=host,
        flag=reading.flag,
        held=reading.held,
        within=join.seconds,
        kept=reading.kept,
        suspect=suspect,
        offset=offset,
    )


def is_true(part: Part) -> bool:
    """Whether a part says what its rule does: its address, if it has one, is an address."""
    return part.kind != Kind.FAIL.value


def cancelled(
    readings: Iterable[Reading], writer: tuple[bytes, bytes, bytes], offset: int
) -> list[Part]:
    """What a message of ``writer`` does that was cut: whatever it said, it may have cancelled."""
    host, tag, pid = writer
    formats = {one.format for one in readings if one.join is not None and one.join.by == "pid"}
    return [
        _NOTHING._replace(format=name, host=host, service=tag, key=pid, offset=offset)
        for name in sorted(formats)
    ]


def gap(offset: int) -> Part:
    """Lines may have been lost here."""
    return _NOTHING._replace(kind="gap", offset=offset)
