"""The kernel as second witness, wired: who is asked about logins, and which sessions are ended."""

from __future__ import annotations

from collections.abc import Callable
from time import time

from pbs_watch.commits import Commits
from pbs_watch.config import Config
from pbs_watch.errors import MapError
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.standing import Known
from pbs_watch.grants.store import Map
from pbs_watch.kernel import Kernel
from pbs_watch.notices import Notices
from pbs_watch.trail import Trail
from pbs_watch.witness import Holding, witness_of


class Sessions:
    """What the settings make of the kernel: nothing, ``hold``, ``alarm`` or ``require``.

    ``wake`` ends the loop's wait when there is something for :meth:`end`.  Raises ConfigError.
    """

    def __init__(
        self,
        config: Config,
        grants: Map,
        pending: Pending,
        *,
        wake: Callable[[], None],
        notices: Notices,
    ) -> None:
        self.wanted = (config.witness, config.witness_ports)
        """The settings it was made for."""
        self._map = grants
        self._pending = pending
        self._notices = notices
        self._witness = witness_of(config.witness, config.witness_ports, notices)
        self.standing = Known(grants, pending.changes, self._witness)
        """What is known when events are judged."""
        self._holding: Holding | None = None
        if config.witness != "off":
            kernel = Kernel(config.witness_ports)
            self._holding = Holding(kernel, lambda: grants.sessions(time()), wake, notices)

    def begin(self) -> None:
        """Start looking for sessions whose connection is gone."""
        if self._holding is not None:
            self._holding.begin()

    @property
    def waiting(self) -> bool:
        """Whether :meth:`end` has more to do."""
        return self._holding is not None and self._holding.waiting

    def refresh(self) -> None:
        """The kernel is to be asked anew for what is judged next."""
        if self._witness is not None:
            self._witness.refresh()

    def end(self, trail: Trail, commits: Commits) -> None:
        """End the sessions whose connection is gone, unless they began anew meanwhile."""
        for gone in self._holding.gone() if self._holding is not None else ():
            if gone.key in self._pending.sessions(gone.address):
                continue
            try:
                if self._map.session(gone.address, gone.key) != gone.hold:
                    continue
            except MapError as error:
                self._notices.map_trouble(error)
                continue
            self._pending.making.session(gone.address, gone.key, None)
            trail.gone(gone, time())
            commits.soon()

    def mend(self, commits: Commits, now: float) -> None:
        """Open a broken map again, while no thread of ours reads it."""
        if self._holding is None:
            commits.mend(now)
        elif self._holding.reading.acquire(blocking=False):
            try:
                commits.mend(now)
            finally:
                self._holding.reading.release()

    def close(self) -> None:
        """Ask no more."""
        if self._holding is not None:
            self._holding.close()
        if self._witness is not None:
            self._witness.close()
