"""What is done every few seconds: sweeping, forgetting, and telling what the operator did."""

from __future__ import annotations

from time import time

from pbs_watch.answer.lookup import Lookup
from pbs_watch.chain import Chain
from pbs_watch.commits import Commits
from pbs_watch.config import Config
from pbs_watch.errors import MapError
from pbs_watch.grants.acts import acts_after, last_told
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.store import Map
from pbs_watch.grants.writer import Writer
from pbs_watch.live import Live
from pbs_watch.notices import Notices
from pbs_watch.trail import Trail

TIDY_EVERY = 10.0
"""Seconds between two sweeps; stale readers are cleared with them."""


class Tidying:
    """Keeps the map small, the policy's view of this host fresh, and the audit trail complete."""

    def __init__(
        self,
        config: Config,
        grants: Map,
        pending: Pending,
        *,
        writer: Writer,
        commits: Commits,
        chain: Chain,
        lookup: Lookup,
        live: Live,
        trail: Trail,
        notices: Notices,
    ) -> None:
        self.config = config
        self._map = grants
        self._pending = pending
        self._writer = writer
        self._commits = commits
        self._chain = chain
        self._lookup = lookup
        self._live = live
        self._trail = trail
        self._notices = notices
        self._tidied = 0.0
        self._told = self._obeyed = 0

    def begin(self, now: float) -> None:
        """See what was told before the start; ``now``: monotonic seconds.  Raises MapError."""
        self._tidied = now
        with self._map.reading() as tables:
            self._told = last_told(tables)

    def turn(self, now: float) -> None:
        """Do what is due; ``now``: monotonic seconds."""
        if self._map.orders.version != self._obeyed:
            self._tell_acts()
        self._trail.over(self._writer.over())
        if now - self._tidied >= TIDY_EVERY:
            self._tidied = now
            self._tidy(time())

    def _tidy(self, now: float) -> None:
        self._writer.tidy(now)
        self._tell_acts()
        if (relays := self._lookup.rules.relays) is not None:
            relays.tidy(now)
        self._lookup.asked.forget_before(now - self.config.retention)
        self._live.forget(now - self.config.retention)
        if self.config.never:
            # The host's own addresses and its gateway may have changed.
            self.refresh_policy()

    def refresh_policy(self) -> None:
        """Look up again what ``own`` and ``gateway`` mean on this host."""
        try:
            self._chain.policy = self.config.policy()
        except (OSError, ValueError, IndexError) as error:
            # No descriptor left, mostly: the addresses of a moment ago are as good.
            self._notices.warn("policy", f"never: own and gateway cannot be looked up ({error})")

    def _tell_acts(self) -> None:
        """Add to the audit trail what the operator has done meanwhile."""
        self._obeyed = self._map.orders.version
        try:
            with self._map.reading() as tables:
                acts = acts_after(tables, self._told)
        except MapError as error:
            self._notices.map_trouble(error)
            return
        if acts:
            self._trail.acts(acts)
            self._told = self._pending.making.told = acts[-1].number
            if any(act.what == "forget" for act in acts):
                self._lookup.asked.forget()
                self._live.forget(time())
                if (relays := self._lookup.rules.relays) is not None:
                    relays.forget()
            self._commits.soon()
