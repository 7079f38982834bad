"""Reading one followed file: whole lines from a position on, noticing that it was truncated."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import sys
from dataclasses import replace

from pbs_watch.errors import SourceError
from pbs_watch.log.lines import LINE_LIMIT, Block, blocks_of
from pbs_watch.log.position import ANCHOR_BYTES, Position
from pbs_watch.log.rotation import Seen


class Truncated(Exception):  # noqa: N818 - a thing that happens to logs, not a mistake
    """What stands before the position is not what was read there."""


def see(path: str) -> Seen | None:
    """What is at ``path``; ``None`` where nothing is.

    Raises :class:`SourceError` for what can never be a log (a directory, a device), OSError for
    what cannot be observed now.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return seen_in(path, found)


def glance(path: str) -> tuple[int, int, int, int] | None:
    """Device, inode, size and time of change of what is at ``path``, ``None`` on any error.

    A quarter of the time of :func:`see`: each lookup that misses takes one.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def seen_in(path: str, found: os.stat_result) -> Seen:
    """What stat found at ``path``; raises :class:`SourceError` for what can never be a log."""
    if not stat.S_ISREG(found.st_mode):
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "not a regular file"
        raise SourceError(f"{path}: is {kind}; name the mail log, such as /var/log/mail.log")
    return Seen(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def opener(path: str, flags: int) -> int:
    """Opens a log: a FIFO in the place of one must not hold us up."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)


_GETVERSION = 0x80087601 if struct.calcsize("l") == 8 else 0x80047601
"""FS_IOC_GETVERSION of <linux/fs.h>: ext4, xfs and btrfs answer it."""


def _generation(descriptor: int) -> int:
    """Which use of its inode a file is; 0 where the file system does not tell."""
    try:
        told = fcntl.ioctl(descriptor, _GETVERSION, bytes(struct.calcsize("l")))
    except OSError:
        return 0
    return int.from_bytes(told[:4], sys.byteorder)


class LogFile:
    """An open file and how far it has been read.

    The descriptor stays open when the file is renamed or removed, so that it can be drained.
    """

    def __init__(self, path: str) -> None:
        """Open ``path`` at its beginning; raises OSError or :class:`SourceError`."""
        self._raw = open(path, "rb", buffering=0, opener=opener)  # noqa: SIM115 - close()
        self._fd = self._raw.fileno()
        try:
            found = seen_in(path, os.fstat(self._fd))
        except BaseException:
            self._raw.close()
            raise
        self.path = path
        self.position = Position(
            found.device,
            found.inode,
            0,
            b"",
            modified=found.modified,
            generation=_generation(self._fd),
        )
        self._read_up_to: tuple[int, int] | None = None

    def close(self) -> None:
        """Close the descriptor."""
        self._raw.close()

    def see(self) -> Seen:
        """What fstat says now."""
        return seen_in(self.path, os.fstat(self._fd))

    def holds(self, position: Position) -> bool:
        """Whether the bytes before ``position`` stand in this file where they should."""
        anchor = position.anchor
        start = position.offset - len(anchor)
        return start >= 0 and os.pread(self._fd, len(anchor), start) == anchor

    def go_to(self, position: Position) -> None:
        """Read on from the offset of ``position``."""
        own = self.position
        self.position = replace(
            position, device=own.device, inode=own.inode, generation=own.generation
        )
        self._read_up_to = None

    def go_to_end(self) -> None:
        """Go to where the file ends now, be it in the middle of a line."""
        size = self.see().size
        tail = os.pread(self._fd, min(ANCHOR_BYTES, size), max(size - ANCHOR_BYTES, 0))
        self.go_to(self.position.restarted().moved(size, tail))

    def begins_at(self, offset: int) -> None:
        """Go to the first line that begins at or after ``offset``."""
        if offset <= 0:
            return
        at = offset - 1
        # A line that is longer than the limit hides the next one; start in the middle of it then.
        data = os.pread(self._fd, LINE_LIMIT, at)
        newline = data.find(b"\n")
        skipping = newline < 0
        used = len(data) if skipping else newline + 1
        self.position = self.position.restarted().moved(at + used, data[:used], skipping=skipping)

    def first_bytes(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset`` on, without moving."""
        return os.pread(self._fd, size, offset)

    def behind(self, seen: Seen) -> int:
        """Bytes that have not been looked at yet; at least 1 where the file was written to."""
        if self._read_up_to == (seen.size, seen.modified):
            return 0
        return max(seen.size - self.position.offset, 1)

    def unfinished(self, seen: Seen) -> bool:
        """Whether the file ends in the middle of a line."""
        return seen.size > self.position.offset or self.position.skipping

    def read(self, seen: Seen, limit: int) -> list[Block]:
        """Whole lines from up to ``limit`` new bytes; empty while the last line is unfinished.

        ``seen``: what stat said before.  Raises :class:`Truncated` when the file is not the one
        that was read, and OSError.
        """
        position = self.position
        known = len(position.anchor)
        data = os.pread(self._fd, known + limit, position.offset - known)
        if not data.startswith(position.anchor):
            raise Truncated
        if len(data) < known + limit:
            # Nothing more to read until the file changes; what stat said is older than the read.
            self._read_up_to = (seen.size, seen.modified)
        blocks, self.position = blocks_of(data, known, position, seen.modified)
        return blocks
