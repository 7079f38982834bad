"""How far a source has been read.

A position is (device, inode, offset, anchor): inode, size and first line each fail alone
(facts/following-logs.md).  The anchor holds the bytes just before the offset; it is read again
together with the new bytes, so that a file which was truncated and grew past the offset, or
another file under the same inode, is noticed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

ANCHOR_BYTES = 128
"""Bytes of the anchor: longer than a stamp, host, tag and port together, so that two logs do not
share it by chance."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file, at a line boundary unless ``skipping`` (inside a line that is too long).

    ``anchor``: up to :data:`ANCHOR_BYTES` bytes that stand before ``offset``, all of them where
    fewer do.  ``modified``: when the file had been written last when it was read last, in
    nanoseconds since the epoch; ``generation``: of the inode, which may be used again.  Both 0
    where that is not known (maps of schema 1, file systems that do not tell).
    """

    device: int
    inode: int
    offset: int
    anchor: bytes
    skipping: bool = False
    modified: int = 0
    generation: int = 0

    def same_file(self, other: Position) -> bool:
        """Whether both are places in one file, as far as can be told without reading."""
        generations = {self.generation, other.generation} - {0}
        same_inode = (self.device, self.inode) == (other.device, other.inode)
        return same_inode and len(generations) < 2

    def moved(
        self, by: int, tail: bytes, *, skipping: bool = False, modified: int | None = None
    ) -> Position:
        """The position ``by`` bytes further, where ``tail`` ends with the bytes before it.

        ``modified``: as above, where it is another one now.
        """
        # Not by replace(), which takes four times as long: a miss may wait for it.
        return Position(
            self.device,
            self.inode,
            self.offset + by,
            tail[-ANCHOR_BYTES:],
            skipping,
            self.modified if modified is None else modified,
            self.generation,
        )

    def restarted(self) -> Position:
        """The beginning of the same file."""
        return replace(self, offset=0, anchor=b"", skipping=False)


@dataclass(frozen=True, slots=True)
class SourceState:
    """What has to survive a restart of one source.

    ``positions``: of the files it is read from, the oldest first: a renamed file may still be
    written to.  ``cuts``: what :meth:`pbs_watch.log.cuts.Cuts.dump` gave.  ``cursor``: of the
    journal, which has no positions.
    """

    positions: tuple[Position, ...]
    cuts: dict[str, object]
    cursor: str = ""
