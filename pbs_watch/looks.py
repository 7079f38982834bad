"""When the logs are looked at: polled, woken early by events, and pipes as soon as they have some.

Polling is the truth (design.md, Following): quick while the logs grow, once a second when they have
not for a while, and then the system's events are asked to end the wait.  Where grants are shared it
is quick all the time (:data:`POLL_SHARED`).
"""

from __future__ import annotations

import logging
from time import monotonic

from pbs_watch.answer.server import Server
from pbs_watch.log.wake import Waker
from pbs_watch.reading import Reading

log = logging.getLogger("pbs_watch")

POLL_BUSY = 0.05
POLL_IDLE = 1.0
"""Seconds between two looks at the logs, while they grow and when they have not for a while."""

POLL_SHARED = 0.01
"""Seconds between two looks where other hosts are to know of a login at once: an event that wakes
us may be half a second late, and nobody asks us for it."""

POLL_HURRIED = 0.002
"""Seconds between two looks while somebody waits for what the logs are about to gain."""

IDLE_AFTER = 1.0
"""Seconds without growth after which watching costs less than polling fast."""


class Looks:
    """Looks at the logs of ``reading`` when it is time; ``server`` wakes the loop and has pipes."""

    def __init__(self, reading: Reading, server: Server) -> None:
        self._reading = reading
        self._server = server
        self.hurried = False
        """Whether somebody waits for what the logs are about to gain."""
        self.shared = False
        """Whether other hosts wait for it, who do not ask."""
        self._watched: set[int] = set()
        self._grown = self._looked = monotonic()
        self._waker = self._new_waker()

    def _new_waker(self) -> Waker:
        return Waker(self._reading.files, self._log_changed, log.info)

    @property
    def next(self) -> float:
        """When to look again, in monotonic seconds."""
        return self._looked + self._pause(monotonic())

    def due(self, now: float) -> bool:
        """Whether it is time to look."""
        return now - self._looked >= self._pause(now)

    def _pause(self, now: float) -> float:
        if self.hurried:
            return POLL_HURRIED
        if self.shared:
            return POLL_SHARED
        return POLL_IDLE if now - self._grown > IDLE_AFTER else POLL_BUSY

    def look(self, now: float) -> None:
        """See what the logs have gained; ``now`` in monotonic seconds."""
        self._looked = now
        if self._reading.look(now):
            self._grown = now
            self._waker.disarm()
        elif now - self._grown > IDLE_AFTER:
            self._waker.arm()
        if self._reading.has_pipes or self._watched:
            self._watch_pipes()

    def soon(self) -> None:
        """A pipe or a log has something to read."""
        self._looked = 0.0

    def _log_changed(self) -> None:
        """Told by another thread; a look that goes on already sees what has changed."""
        self.soon()
        self._server.wake()

    def _watch_pipes(self) -> None:
        """Keep to the descriptors of the pipes, which change when journalctl is started again."""
        wanted = self._reading.descriptors
        if wanted != self._watched:
            for descriptor in self._watched - wanted:
                self._server.unwatch(descriptor)
            for descriptor in wanted - self._watched:
                self._server.watch(descriptor, self.soon)
            self._watched = wanted

    def let_go(self) -> None:
        """Watch nothing: the logs are about to change."""
        for descriptor in self._watched:
            self._server.unwatch(descriptor)
        self._watched = set()

    def begin_anew(self) -> None:
        """Watch the logs that there are now."""
        self._waker.close()
        self._waker = self._new_waker()
        self.soon()

    def close(self) -> None:
        """End the watch for events."""
        self._waker.close()
