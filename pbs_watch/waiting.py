"""Lines that wait for whoever reads standard error: bounded, and never waited for.

What comes in any number, the audit trail of logins above all, is dropped when too much waits; what
the operator did and what he is warned about has room of its own.  How many lines were dropped is
said as soon as they are read again, and counted.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from threading import Lock

LINES = 10_000
"""Lines that wait; more are dropped."""

RESERVED = 1000
"""Lines beside those for acts and warnings, which no client can cause in any number."""


class Waiting:
    """A queue of lines between the loop, which puts them, and the thread that writes them.

    ``tell`` makes a line out of the number of those that were dropped.  ``dropped``: how many ever
    were.
    """

    def __init__(self, tell: Callable[[int], bytes]) -> None:
        self._tell = tell
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lock = Lock()
        self._untold = 0
        self.dropped = 0

    def put(self, line: bytes, *, urgent: bool) -> None:
        """Let a line wait, or drop it; never blocks."""
        if self._lines.qsize() < (LINES + RESERVED if urgent else LINES):
            self._lines.put(line)
            return
        with self._lock:
            self._untold += 1
            self.dropped += 1

    def end(self) -> None:
        """No more lines come: :meth:`get` gives ``None`` when it has given all."""
        self._lines.put(None)

    def get(self, *, wait: bool = True) -> bytes | None:
        """The next line, as soon as there is one; before it how many were dropped.

        ``wait``: for a line; otherwise raises ``queue.Empty`` where there is none.
        """
        line = self._lines.get(block=wait)
        with self._lock:
            # Not before there is room, or it would be said for each line.
            told = self._untold if line is None or self._lines.qsize() <= LINES // 2 else 0
            self._untold -= told
        if not told:
            return line
        if line is None:
            self._lines.put(None)
        return self._tell(told) + (line or b"")
