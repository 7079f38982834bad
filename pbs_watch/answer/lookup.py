"""One lookup: what is known of an address, committed or not.

Anything that is not an IP literal is absent without looking: a hit or an error on the host name,
which Postfix asks first, would end its search (facts/postfix.md).
"""

from __future__ import annotations

from collections.abc import Callable

from pbs_watch.answer.verdict import Verdict
from pbs_watch.errors import MapError
from pbs_watch.grants.address import literal
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.store import Map


class Lookup:
    """Answers from the pending changes and the map.

    ``clock`` gives epoch seconds.  ``trouble`` is called with an error of the map.
    """

    def __init__(
        self,
        grants: Map,
        pending: Pending,
        clock: Callable[[], float],
        trouble: Callable[[MapError], None],
    ) -> None:
        self._map = grants
        self._pending = pending
        self._clock = clock
        self._trouble = trouble

    def ask(self, key: bytes) -> Verdict | None:
        """The verdict as far as it is known; ``None``: absent unless the log has gained a login."""
        address = literal(key)
        if address is None:
            return Verdict.ABSENT
        now = self._clock()
        if self._pending.allows(address, now):
            return Verdict.FOUND
        try:
            allowed = self._map.allows(address, now, self._pending.sessions)
        except MapError as error:
            self._trouble(error)
            return Verdict.UNKNOWN
        return Verdict.FOUND if allowed else None

    def decide(self, key: bytes) -> Verdict:
        """The verdict when the log has been drained."""
        verdict = self.ask(key)
        return Verdict.ABSENT if verdict is None else verdict
