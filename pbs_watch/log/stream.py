"""Sources that are read from a pipe: standard input and the journal.

Unlike a file a pipe has no size to read up to, so a lookup sees what has reached us (design.md,
promise 1).  What cannot be read now is read with the next look; nothing here waits.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable

from pbs_watch.errors import SourceError
from pbs_watch.log.lines import LINE_LIMIT, Block, take
from pbs_watch.log.places import Notice

_READ = 1 << 20
"""Bytes taken out of a pipe at once: the most that Linux lets a pipe hold."""


class Pipe:
    """Whole lines out of a descriptor that never blocks."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.ended = False
        self._data = b""
        self._skipping = False

    @property
    def waiting(self) -> int:
        """Bytes that can be taken as lines."""
        if len(self._data) > LINE_LIMIT:
            return len(self._data)
        return self._data.rfind(b"\n") + 1

    @property
    def unfinished(self) -> bool:
        """Whether the last line has no newline yet."""
        return bool(self._data) or self._skipping

    def fill(self) -> None:
        """Take what is in the pipe, unless what was taken before still waits."""
        if self.ended or len(self._data) > _READ:
            return
        try:
            data = os.read(self.descriptor, _READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # a terminal that was hung up, a directory: nothing more will come
        self.ended = not data
        self._data += data

    def lines(self) -> tuple[list[Block], int]:
        """The whole lines that are there, and how many bytes they took."""
        data = self._data
        taken = take(data, 0, skipping=self._skipping)
        blocks = [Block(data, taken.start, taken.end)] if taken.end > taken.start else []
        if taken.shortened:
            line = data[taken.end : taken.end + LINE_LIMIT] + b"\n"
            blocks.append(Block(line, 0, len(line)))
        self._data, self._skipping = data[taken.rest :], taken.skipping
        return blocks, taken.rest


class StandardInput:
    """Standard input as a source, for rsyslog's omprog and for pipes.

    It has no place to find again: what was written while the daemon was down went elsewhere.
    Raises :class:`SourceError` where there is none.
    """

    restarts = 0
    blind = False

    def __init__(self, gap: Callable[[], None], notice: Notice) -> None:
        if sys.stdin is None:
            raise SourceError("-: standard input is closed; connect it, or name a log file")
        self.name = "-"
        self._gap = gap
        self._notice = notice
        self._blocking = os.get_blocking(0)
        self._pipe = Pipe(0)
        # epoll refuses files; they are read by looking again and again.
        kind = os.fstat(0).st_mode
        self._watched = stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) or os.isatty(0)

    @property
    def descriptor(self) -> int | None:
        """What becomes readable when there is something to read."""
        return self._pipe.descriptor if self._watched and not self._pipe.ended else None

    def look(self, _now: float) -> int:
        """Bytes of whole lines that wait to be read."""
        ended = self._pipe.ended
        self._pipe.fill()
        if self._pipe.ended and not ended:
            self._notice("standard input ended; answering from what was read")
            if self._pipe.unfinished:
                self._gap()
        return self._pipe.waiting

    def read(self, _limit: int) -> tuple[list[Block], int]:
        """The lines that wait, and how many bytes they take."""
        return self._pipe.lines()

    def close(self) -> None:
        """Leave standard input as it was: it is not ours."""
        os.set_blocking(0, self._blocking)
