"""What became of a followed file, decided from what stat says.

Pure: values in, a decision out.  "Cannot be observed" (EACCES, EIO) never comes here: it is not
"gone" (facts/following-logs.md, lesson 8), and the follower keeps what it has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from pbs_watch.log.position import Position


@dataclass(frozen=True, slots=True)
class Seen:
    """What stat says of a file; ``modified`` in nanoseconds."""

    device: int
    inode: int
    size: int
    modified: int

    def names(self, position: Position) -> bool:
        """Whether it is the file of ``position``, as far as device and inode tell."""
        return self.device == position.device and self.inode == position.inode


_SHORTEST_DATE = 4
"""Digits that a date in a name begins with (2026-11-22); a number that counts rotations has
fewer."""


class Fate(Enum):
    """What became of the file at a path."""

    SAME = "same"
    """The file is still there; it may have grown."""
    SHRUNK = "shrunk"
    """It is shorter than what was read: truncated."""
    REPLACED = "replaced"
    """Another file has its name."""
    ABSENT = "absent"
    """Nothing has its name, for a moment or longer."""


def fate(position: Position, seen: Seen | None) -> Fate:
    """What became of the file that was read up to ``position``."""
    if seen is None:
        return Fate.ABSENT
    if not seen.names(position):
        return Fate.REPLACED
    return Fate.SHRUNK if seen.size < position.offset else Fate.SAME


@dataclass(frozen=True, slots=True)
class Sibling:
    """A file that may hold an older part of a log: its path, and when it was written last (ns)."""

    path: str
    modified: int


_ROTATED = r"[.-]([0-9]{1,3}|[0-9]{4,}([.-][0-9]+)*)(\.(gz|xz|zst))?"
"""What rotating adds to a name: a count, or a date and perhaps a time or a count."""


def is_sibling(log: str, name: str) -> bool:
    """Whether the file ``name`` may be a rotated part of the log called ``log`` beside it.

    ``mail.log.1``, ``mail.log.2.gz``, ``mail.log-20261122``, ``mail.log-20261122.xz`` are.
    """
    return bool(re.fullmatch(re.escape(log) + _ROTATED, name))


def oldest_first(log: str, siblings: Iterable[Sibling]) -> list[Sibling]:
    """In the order in which they were rotated; ``log``: the name of the log they are of.

    Names tell it: a clock that was set back, and whatever copies files, make their times lie.
    Where some are counted and some dated, the times decide; compressing keeps that of the last
    write.
    """
    found = list(siblings)
    ages = {sibling: _age(log, sibling.path) for sibling in found}
    if len({age.dated for age in ages.values()}) > 1:
        return sorted(found, key=lambda one: (one.modified, ages[one].turn, one.path))
    return sorted(found, key=lambda one: (ages[one].turn, one.modified, one.path))


@dataclass(frozen=True, slots=True)
class _Age:
    """When a file was rotated as its name tells: ``turn`` grows with time."""

    dated: bool
    turn: tuple[int, ...]


def _age(log: str, path: str) -> _Age:
    """``.2`` before ``.1``; dates, which may have several parts, as they go."""
    added = path.rpartition("/")[2].removeprefix(log)
    found = re.findall(r"\d+", added) or ["0"]
    dated = len(found[0]) >= _SHORTEST_DATE
    return _Age(dated, tuple(int(number) if dated else -int(number) for number in found))
