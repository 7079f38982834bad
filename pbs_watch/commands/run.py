"""``run``: the daemon in the foreground."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from pbs_watch.commands.settings import formats_of, settings
from pbs_watch.service import Service
from pbs_watch.trail import trail
from pbs_watch.waiting import Waiting

_LINGER = 1.0
"""Seconds that the end of the daemon waits for that reader."""

_STANDARD_ERROR = 2


def run(arguments: argparse.Namespace) -> int:
    """Follow and answer until SIGTERM or SIGINT."""
    config = settings(arguments)
    formats = formats_of(config)
    if arguments.verbose and config.audit == "off":
        config = replace(config, audit="text")
    with _logging(logging.INFO if arguments.verbose else logging.WARNING) as handler:
        # Opening the map forks a process to probe it: before there are other threads.
        service = Service(config, formats)
        handler.begin()
        service.listen()
        service.start()
        service.run()
    return 0


class _NeverWaiting(logging.Handler):
    """Hands lines to a thread that writes them to standard error; nobody waits for its reader.

    The thread writes past Python's own buffer: that one's lock, held by a thread that waits for
    ever, would not let the process end.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines = Waiting(_told_of_dropped)
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
        if sys.stderr is None:
            return  # closed, its number may be another file's by now
        # A line of the audit trail is for programs to read.
        start = "" if record.name == trail.name else "pbs-watch: "
        line = f"{start}{record.getMessage()}\n"
        urgent = record.levelno >= logging.WARNING or hasattr(record, "act")
        self._lines.put(line.encode(errors="backslashreplace"), urgent=urgent)

    def end(self) -> None:
        """Let the thread write what waits, and wait for it a moment."""
        self.begin()
        self._lines.end()
        self._thread.join(_LINGER)

    def _write(self) -> None:
        while line := self._lines.get():
            with suppress(OSError):  # nobody reads any more
                while line:
                    line = line[os.write(_STANDARD_ERROR, line) :]


def _told_of_dropped(lines: int) -> bytes:
    return b"pbs-watch: %d lines of this log were dropped: nobody read them in time\n" % lines


@contextmanager
def _logging(level: int) -> Iterator[_NeverWaiting]:
    """Write the daemon's log to standard error, from a thread of its own."""
    logger = logging.getLogger("pbs_watch")
    handler = _NeverWaiting()
    logger.setLevel(level)
    trail.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        handler.end()
