"""Whole lines out of bytes that arrive in pieces.

Never emits part of a line: half a line that matches is a hole, a login seen late is a nuisance
(facts/following-logs.md, lesson 3).  What follows the last newline is left to the caller, who
reads it again or keeps it.

A line longer than :data:`LINE_LIMIT` is shortened: its first bytes are emitted as a line of their
own, which no rule can match (rules are bounded) but which counts as cut by its length; the rest is
skipped up to its newline.  ``skipping`` says that this rest has not ended yet.
"""

from __future__ import annotations

from dataclasses import dataclass

from pbs_watch.log.position import ANCHOR_BYTES, Position

LINE_LIMIT = 65536
"""Bytes of one line that are kept: eight times what rsyslog lets through (8192)."""


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines: ``data[start:end]``, which ends in a newline.

    ``file``: the number (inode) of the file they stand in, and ``base``: where ``data[0]`` stands
    there, in bytes of its content; both 0 where there is no file.
    """

    data: bytes
    start: int
    end: int
    file: int = 0
    base: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """What can be done with a buffer.

    ``start`` and ``end`` delimit the whole lines in it.  Everything before ``rest`` is done with;
    what follows is an unfinished line.  ``shortened`` says that the bytes from ``end`` to ``rest``
    are the beginning of a line that is too long, to be taken as a line after the others.
    """

    start: int
    end: int
    rest: int
    skipping: bool
    shortened: bool


def take(buffer: bytes, start: int, *, skipping: bool) -> Taken:
    """Find the whole lines in ``buffer`` from ``start`` on; ``skipping``: as the last call said."""
    if skipping:
        newline = buffer.find(b"\n", start)
        if newline < 0:
            size = len(buffer)
            return Taken(size, size, size, skipping=True, shortened=False)
        start = newline + 1
    end = max(buffer.rfind(b"\n", start) + 1, start)
    size = len(buffer)
    if size - end > LINE_LIMIT:
        return Taken(start, end, size, skipping=True, shortened=True)
    return Taken(start, end, end, skipping=False, shortened=False)


def blocks_of(
    data: bytes, known: int, position: Position, modified: int | None = None
) -> tuple[list[Block], Position]:
    """The whole lines of ``data`` that come after its first ``known`` bytes, and the place then.

    ``position``: the place after those ``known`` bytes.  ``modified``: as in it, but now.  NULs at
    the beginning of a line are skipped: left by a writer that kept its offset while the file was
    truncated.
    """
    start = known
    if data[start : start + 1] == b"\0" and not position.skipping:
        start = len(data) - len(data[start:].lstrip(b"\0"))
        if start == len(data):
            return [], position.moved(start - known, data, modified=modified)
    taken = take(data, start, skipping=position.skipping)
    file, base = position.inode, position.offset - known
    blocks = [Block(data, taken.start, taken.end, file, base)] if taken.end > taken.start else []
    if taken.shortened:
        line = data[taken.end : taken.end + LINE_LIMIT] + b"\n"
        blocks.append(Block(line, 0, len(line), file, base + taken.end))
    if taken.rest > known:
        tail = data[max(taken.rest - ANCHOR_BYTES, 0) : taken.rest]
        position = position.moved(
            taken.rest - known, tail, skipping=taken.skipping, modified=modified
        )
    return blocks, position
