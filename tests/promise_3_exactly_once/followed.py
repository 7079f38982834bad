"""A log being written, rotated and followed, without a daemon and without waiting."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from pbs_watch.log.follow import Source
from pbs_watch.log.position import Position

LIMIT = 256 << 10


def no_date(_data: bytes) -> float | None:
    return None


class Followed:
    """A :class:`Source`, and all the lines it gave."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.gaps = 0
        self.notices: list[str] = []
        self.lines: list[bytes] = []
        """Lines without their newlines; ``GAP`` where the source reported one."""
        self.now = 0.0
        self.source = self._open()

    def _open(self) -> Source:
        return Source(str(self.path), self._gap, self.notices.append)

    def _gap(self) -> None:
        self.gaps += 1

    def start(
        self,
        positions: tuple[Position, ...] = (),
        since: float = 0.0,
        date_of: Callable[[bytes], float | None] = no_date,
    ) -> Followed:
        self.source.start(positions, since, date_of)
        return self

    def restart(self) -> None:
        """Stop, and start again where the committed positions say."""
        positions = self.source.positions
        self.source.close()
        self.reopen(positions)

    def reopen(self, positions: tuple[Position, ...]) -> None:
        """Start a new source at ``positions``."""
        self.source = self._open()
        self.start(positions)

    def look(self) -> int:
        self.now += 1
        return self.source.look(self.now)

    def drain(self, limit: int = LIMIT) -> list[bytes]:
        """Look and read until nothing more is waiting; returns the new lines."""
        known = len(self.lines)
        while self.look():
            restarts = self.source.restarts
            blocks, size = self.source.read(limit)
            for block in blocks:
                text = block.data[block.start : block.end]
                assert text.endswith(b"\n")
                self.lines += text[:-1].split(b"\n")
            if not size and self.source.restarts == restarts:
                break
        return self.lines[known:]


class Writer:
    """A syslog daemon: keeps its file open until it is told to open it again."""

    ticks = 0

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("ab", buffering=0)
        self.tick()

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self.tick()

    def tick(self) -> None:
        """Time passes between writes: the clock of the file system alone is too coarse for it."""
        Writer.ticks += 1
        time = (1_795_000_000 * 1000 + Writer.ticks) * 1_000_000
        os.utime(self.file.fileno(), ns=(time, time))

    def reopen(self) -> None:
        self.file.close()
        self.file = self.path.open("ab", buffering=0)
        self.tick()

    def rename(self) -> None:
        """What logrotate does before it creates the new file: .1 becomes .2 and so on."""
        self.shift()
        self.path.rename(numbered(self.path, 1))

    def shift(self) -> None:
        """Makes room for a new .1; compressed files keep their endings."""
        older = [one for one in self.path.parent.iterdir() if one != self.path]
        for one in sorted(older, key=rotations, reverse=True):
            ending = one.name.partition(f"{self.path.name}.{rotations(one)}")[2]
            next_one = numbered(self.path, rotations(one) + 1)
            one.rename(next_one.with_name(next_one.name + ending))

    def rotate(self) -> None:
        self.rename()
        self.reopen()

    def copytruncate(self) -> None:
        self.shift()
        shutil.copy2(self.path, numbered(self.path, 1))
        os.truncate(self.path, 0)
        self.tick()


def numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def lines(first: int, last: int) -> list[bytes]:
    """Lines that can be told apart, of different lengths."""
    return [b"line %06d %s" % (number, b"x" * (number * 7 % 90)) for number in range(first, last)]


def text(*numbers: int) -> bytes:
    return b"".join(line + b"\n" for line in lines(*numbers))


def rotations(path: Path) -> int:
    """How often a file named ``mail.log.3`` or ``mail.log.3.gz`` was rotated."""
    return int(path.name.split(".")[2])
