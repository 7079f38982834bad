"""The daemon's log on standard error: nobody waits for whoever reads it.

Under systemd each line begins with its level as sd-daemon(3) has it, ``<3>`` for an error, which
journald takes off and files as PRIORITY.  Elsewhere lines begin with the program's name.  Warnings
and worse are said, and what the operator asked for (``-v``, ``audit``, SIGUSR1); what a client or a
log could cause in any number :mod:`pbs_watch.notices` holds back.
"""

from __future__ import annotations

import logging
import os
import queue
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pbs_watch import standard_error
from pbs_watch.escape import printable
from pbs_watch.trail import trail
from pbs_watch.waiting import Waiting

_LINGER = 1.0
"""Seconds that the end of the daemon waits for that reader."""

_LEVELS = (
    (logging.ERROR, standard_error.ERROR),
    (logging.WARNING, standard_error.WARNING),
    (logging.NOTSET, standard_error.INFO),
)
"""How the journal takes our levels."""


class NeverWaiting(logging.Handler):
    """Hands lines to a thread that writes them to standard error; nobody waits for its reader.

    The thread writes past Python's own buffer: that one's lock, held by a thread that waits for
    ever, would not let the process end.  ``journal``: write the levels for journald.
    """

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal
        self._lines = Waiting(self._told_of_dropped)
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)

    def begin(self) -> None:
        """Start writing; until then lines wait."""
        if self._thread.ident is None:
            self._thread.start()

    @property
    def dropped(self) -> int:
        """How many lines were dropped, since too many waited."""
        return self._lines.dropped

    def emit(self, record: logging.LogRecord) -> None:
        """Let a line wait; where too many do, it is dropped."""
        if sys.stderr is None:
            return  # closed, its number may be another file's by now
        # A line of the audit trail is for programs to read.
        start = "" if record.name == trail.name or self._journal else "pbs-watch: "
        line = f"{self._level(record.levelno)}{start}{printable(record.getMessage())}\n"
        urgent = record.levelno >= logging.WARNING or hasattr(record, "act")
        self._lines.put(line.encode(errors="backslashreplace"), urgent=urgent)

    def _level(self, of: int) -> str:
        if not self._journal:
            return ""
        return next(mark for level, mark in _LEVELS if of >= level)

    def _told_of_dropped(self, lines: int) -> bytes:
        start = self._level(logging.WARNING) or "pbs-watch: "
        text = f"{lines} lines of this log were dropped: nobody read them in time"
        return f"{start}{text}\n".encode()

    def write_waiting(self) -> None:
        """Write what waits while no thread does, as far as the reader takes it at once."""
        ready = select.poll()
        ready.register(standard_error.DESCRIPTOR, select.POLLOUT)
        with suppress(OSError, queue.Empty):
            while self._thread.ident is None and ready.poll(0):
                os.write(standard_error.DESCRIPTOR, self._lines.get(wait=False) or b"")

    def end(self) -> None:
        """Let the thread write what waits, and wait for it a moment."""
        self.begin()
        self._lines.end()
        self._thread.join(_LINGER)

    def _write(self) -> None:
        while line := self._lines.get():
            with suppress(OSError):  # nobody reads any more
                while line:
                    line = line[os.write(standard_error.DESCRIPTOR, line) :]


@contextmanager
def speaking(level: int) -> Iterator[NeverWaiting]:
    """Write the daemon's log to standard error, from a thread of its own, from ``level`` on."""
    logger = logging.getLogger("pbs_watch")
    handler = NeverWaiting(journal=standard_error.is_the_journal())
    logger.setLevel(level)
    trail.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        handler.end()
