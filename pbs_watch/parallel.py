"""Work in several processes, whose results come back in order.

The processes are forked, so they share what is there already, the compiled patterns above all.  A
result waits in an unnamed temporary file until it is asked for: a pipe would hold little, and its
writer would have to wait.  A process that fails has no results, and its caller does the work.
"""

from __future__ import annotations

import mmap
import os
import pickle
import select
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

Put = Callable[[object], None]
"""Hands a result over."""

Work = Callable[[int, Put], None]
"""What a process does, with its number."""

_LOOK = 0.1
"""Seconds between two looks at how far the processes are."""


class Tally:
    """Numbers of some workers, of which each process sees the sum."""

    def __init__(self, workers: int) -> None:
        # Anonymous memory stays shared across a fork.
        self._counts = memoryview(mmap.mmap(-1, workers * 8 or 8)).cast("Q")

    def add(self, worker: int, amount: int) -> None:
        """Add to the number of a worker, who is alone in changing it."""
        self._counts[worker] += amount

    def reset(self, worker: int) -> None:
        """A worker begins anew."""
        self._counts[worker] = 0

    @property
    def total(self) -> int:
        """The sum of all."""
        return sum(self._counts)


@dataclass(frozen=True, slots=True)
class _Process:
    """A forked process: ``alive`` is readable when it has ended."""

    pid: int
    results: BinaryIO
    alive: int


@contextmanager
def working(
    numbers: Sequence[int], work: Work, tell: Callable[[], None]
) -> Iterator[Callable[[int], Iterator[object] | None]]:
    """Let a process do the work of each number; gives what waits for the results of one.

    That is ``None`` where the process failed.  ``tell`` is called now and then while it waits.
    Leaving ends the processes that are still there.
    """
    with ExitStack() as closing:
        processes = {number: _begun(number, work, closing) for number in numbers}
        yield lambda number: _results(processes.pop(number), tell)


def _begun(number: int, work: Work, closing: ExitStack) -> _Process:
    results: BinaryIO = closing.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - it is
    reading, writing = os.pipe()
    closing.callback(os.close, reading)
    parent = os.getpid()
    pid = os.fork()
    if not pid:
        os.close(reading)
        _work(number, work, results, parent)
    os.close(writing)
    process = _Process(pid, results, reading)
    closing.callback(_end, process)
    return process


def _work(number: int, work: Work, results: BinaryIO, parent: int) -> None:
    """In the forked process: work and leave, without any of the parent's cleaning up."""
    status = 1
    try:

        def put(result: object) -> None:
            if os.getppid() != parent:
                os._exit(1)  # nobody waits for it any more
            pickle.dump(result, results, pickle.HIGHEST_PROTOCOL)

        work(number, put)
        results.flush()
        status = 0
    finally:
        os._exit(status)


def _results(process: _Process, tell: Callable[[], None]) -> Iterator[object] | None:
    while not select.select([process.alive], [], [], _LOOK)[0]:
        tell()
    _, status = os.waitpid(process.pid, 0)
    return None if status else _loaded(process.results)


def _loaded(results: BinaryIO) -> Iterator[object]:
    results.seek(0)
    with suppress(EOFError):
        while True:
            yield pickle.load(results)  # noqa: S301 - our own child's, in a file without a name


def _end(process: _Process) -> None:
    """End a process that nobody has waited for."""
    with suppress(ChildProcessError):
        if os.waitpid(process.pid, os.WNOHANG) == (0, 0):
            os.kill(process.pid, signal.SIGKILL)
            os.waitpid(process.pid, 0)
