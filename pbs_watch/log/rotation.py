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


_SHORTEST_DATE = 6
"""Digits of a date in a name (261122); a number that counts rotations has fewer."""


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
    """A file that may hold an older part of a log: its path, and when it was written last."""

    path: str
    modified: int


def is_sibling(log: str, name: str) -> bool:
    """Whether the file ``name`` may be a rotated part of the log called ``log`` beside it.

    ``mail.log.1``, ``mail.log.2.gz``, ``mail.log-20261122``, ``mail.log-20261122.xz`` are.
    """
    return bool(re.fullmatch(re.escape(log) + r"[.-][0-9][0-9.-]*(\.(gz|xz|zst))?", name))


def oldest_first(siblings: Iterable[Sibling]) -> list[Sibling]:
    """In the order in which they were written; compressing keeps the time of the last write.

    The clock of a file system may have ticks of some milliseconds: within one, the names tell.
    """
    return sorted(
        siblings, key=lambda sibling: (sibling.modified, _age(sibling.path), sibling.path)
    )


def _age(path: str) -> int:
    """When it was rotated, in some unit: ``.2`` before ``.1``, dates as they go."""
    number = re.search(r"[.-](\d+)(?:\.\D+)?\Z", path)
    if number is None:
        return 0
    return int(number[1]) if len(number[1]) >= _SHORTEST_DATE else -int(number[1])
