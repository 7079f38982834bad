"""The thread that writes the map, so that nothing else ever waits for a disk.

One batch is committed at a time.  Results are collected by the owner, who is woken for each.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress

from pbs_watch.errors import MapError
from pbs_watch.grants.changes import Changes
from pbs_watch.grants.copy import keep_copy
from pbs_watch.grants.owner import unless_carried_out
from pbs_watch.grants.store import SWEEP_ROWS, Map
from pbs_watch.grants.strike import finish_all, unfinished
from pbs_watch.grants.sweep import Over

_LONGEST = 10.0
"""Seconds that the end of the daemon waits for the disk: what is not written is read again."""


class Writer:
    """Commits batches and sweeps, in a thread of its own.

    ``wake`` is called from that thread whenever a result can be collected.
    """

    def __init__(self, grants: Map, wake: Callable[[], None]) -> None:
        self._map = grants
        self._wake = wake
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[MapError | None] = queue.SimpleQueue()
        self._copy_old = False
        self._owed: list[Callable[[], None]] = []
        """What is still to be done, the first first."""
        self.tidying = False
        """Whether a tidying waits or goes on."""
        self._over: queue.SimpleQueue[list[Over]] = queue.SimpleQueue()
        self.stuck = False
        """Whether a commit has been waited for in vain: the thread may still be using the map."""
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._thread.start()

    def commit(self, changes: Changes) -> None:
        """Commit ``changes``, which nobody touches any more; :meth:`result` tells how it went."""
        self._jobs.put(lambda: self._commit(changes))

    def tidy(self, now: float) -> None:
        """Remove what expired before ``now`` (epoch seconds) and dead readers' slots.

        What an order made void is removed as well, where the command was cut short.

        Nothing happens while the last tidying waits or goes on.  An error is left to the next
        commit to report: expiry is checked on every read anyway.
        """
        if not self.tidying:
            self.tidying = True
            self._jobs.put(lambda: self._tidy(now))

    def call(self, job: Callable[[], None]) -> None:
        """Do something else to the map; where that fails, again with each commit and tidying.

        An error is left to the next commit to report.
        """
        self._jobs.put(lambda: self._owe(job))

    def result(self) -> tuple[bool, MapError | None]:
        """Whether a commit has ended since the last call, and its error if it failed."""
        try:
            return True, self._results.get_nowait()
        except queue.Empty:
            return False, None

    def over(self) -> list[Over]:
        """Grants that were found over since the last call."""
        found: list[Over] = []
        while not self._over.empty():
            found += self._over.get_nowait()
        return found

    def wait(self) -> MapError | None:
        """Wait for the commit that was asked for, and return its error if it failed."""
        try:
            return self._results.get(timeout=_LONGEST)
        except queue.Empty:
            self.stuck = True
            return MapError(
                f"{self._map.path}: neither the disk nor another process that writes the map has "
                f"let us write for {_LONGEST:.0f} s"
            )

    def close(self) -> None:
        """Finish what was asked for and end the thread, unless the disk does not answer."""
        self._jobs.put(None)
        self._thread.join(0 if self.stuck else _LONGEST)
        self.stuck = self._thread.is_alive()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _owe(self, job: Callable[[], None]) -> None:
        self._owed.append(job)
        self._pay()

    def _pay(self) -> None:
        with suppress(MapError):
            while self._owed:
                self._owed[0]()
                del self._owed[0]

    def _commit(self, changes: Changes) -> None:
        error: MapError | None = None
        try:
            over = self._map.commit(changes)
            if over:
                self._over.put(over)
        except MapError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001 - or this thread ends, and nobody learns of it
            error = MapError(f"{self._map.path}: {failure!r} while writing; trying again")
        self._results.put(error)
        self._wake()
        self._pay()

    def _finish_orders(self, now: float) -> None:
        with unless_carried_out(self._map.path) as free:
            if free:
                finish_all(self._map, now)
                self._copy_old = True

    def _tidy(self, now: float) -> None:
        more = False
        self._pay()
        try:
            self._map.free_stale_readers()
            if unfinished(self._map):
                self._finish_orders(now)
            swept = self._map.sweep(now)
            more = swept.looked >= SWEEP_ROWS
            if swept.orders or self._copy_old:
                # What has ended is to be in no copy either: it may name people.
                self._copy_old = True
                keep_copy(self._map)
                self._copy_old = False
            if swept.over:
                self._over.put(swept.over)
                self._wake()
        except Exception:  # noqa: BLE001 - as in a commit
            more = False
        if more:
            # Behind whatever is waiting: a commit goes between two transactions of a sweep.
            self._jobs.put(lambda: self._tidy(now))
        else:
            self.tidying = False
