"""Cutting a large file into parts that begin and end at lines, for several readers at once."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pbs_watch.log.archive import CHUNK
from pbs_watch.log.lines import LINE_LIMIT

SMALLEST = 8 << 20
"""Bytes of a part at least: a tenth of a second's work, which a process of its own is worth."""

_STEP = 64 << 10


def boundaries(descriptor: int, size: int, parts: int) -> list[int]:
    """Where up to so many parts of the first ``size`` bytes begin, and where the last one ends.

    Each but the first begins after a newline; the last ends there too, so that bytes after it are
    an unfinished line, unless that is too long: its beginning is a line then.
    """
    found = [0]
    step = max(-(-size // parts), SMALLEST)
    for offset in range(step, size, step):
        begins = _after_newline(descriptor, max(offset, found[-1]), size)
        if begins is not None and begins > found[-1]:
            found.append(begins)
    ends = _last_newline(descriptor, found[-1], size)
    if size - ends > LINE_LIMIT:
        ends = size
    if ends > found[-1]:
        found.append(ends)
    return found


def pieces(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    """The bytes from ``start`` to ``end`` in pieces; raises OSError."""
    while start < end:
        data = os.pread(descriptor, min(CHUNK, end - start), start)
        if not data:
            raise OSError("the file became shorter while it was read")
        start += len(data)
        yield data


def _after_newline(descriptor: int, offset: int, size: int) -> int | None:
    while offset < size:
        data = os.pread(descriptor, min(_STEP, size - offset), offset)
        newline = data.find(b"\n")
        if newline >= 0:
            return offset + newline + 1
        if not data:
            return None
        offset += len(data)
    return None


def _last_newline(descriptor: int, start: int, size: int) -> int:
    """Where the last line that begins at or after ``start`` and is whole ends; else ``start``."""
    end = size
    while end > start:
        begins = max(end - _STEP, start)
        newline = os.pread(descriptor, end - begins, begins).rfind(b"\n")
        if newline >= 0:
            return begins + newline + 1
        end = begins
    return start
