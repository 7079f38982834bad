"""One lookup: what is known of an address, committed or not, and what the policy makes of it.

Anything that is not an IP literal is absent without looking: a hit or an error on the host name,
which Postfix asks first, would end its search (facts/postfix.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pbs_watch.answer.asked import Asked
from pbs_watch.answer.verdict import Verdict
from pbs_watch.errors import MapError
from pbs_watch.grants.address import literal
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.relays import Relays
from pbs_watch.grants.store import Map

_ABSENT, _FOUND, _UNKNOWN = Verdict.ABSENT, Verdict.FOUND, Verdict.UNKNOWN


def _unheard(_address: bytes, _user: bytes) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What becomes of a lookup that finds a grant.

    ``relays`` counts the permitting ones of each user, where that is limited; beyond the limit the
    answer is ``limited``, and ``tell_limited`` is called with address and user.  ``shadow``: the
    answer is always "no", and ``tell_shadow`` gets the address and what it would have been.
    """

    relays: Relays | None = None
    limited: Verdict = Verdict.UNKNOWN
    tell_limited: Callable[[bytes, bytes], None] = _unheard
    shadow: bool = False
    tell_shadow: Callable[[bytes, Verdict], None] = lambda _address, _verdict: None


class Lookup:
    """Answers from the pending changes and the map, and counts the answers in ``asked``.

    ``clock`` gives epoch seconds.  ``trouble`` is called with an error of the map.
    """

    def __init__(
        self,
        grants: Map,
        pending: Pending,
        clock: Callable[[], float],
        trouble: Callable[[MapError], None],
        rules: Rules | None = None,
    ) -> None:
        self._map = grants
        self._pending = pending
        self._clock = clock
        self._trouble = trouble
        self.asked = Asked()
        self.rules = rules or Rules()
        self.rule(self.rules)

    def rule(self, rules: Rules) -> None:
        """Go by other rules from now on."""
        self.rules = rules
        self._plain = rules.relays is None and not rules.shadow

    def ask(self, key: bytes) -> Verdict | None:
        """The verdict as far as it is known; ``None``: absent unless the log has gained a login."""
        address = literal(key)
        if address is None:
            self.asked.names += 1
            return _ABSENT
        now = self._clock()
        verdict = self._known(address, now)
        return None if verdict is None else self._answer(address, now, verdict)

    def decide(self, key: bytes) -> Verdict:
        """The verdict when the log has been drained."""
        return self.ask(key) or self.absent(key)

    def absent(self, key: bytes) -> Verdict:
        """The verdict when nothing was found and the log has nothing new."""
        return self._answer(literal(key) or key, self._clock(), _ABSENT)

    def cannot_say(self, key: bytes) -> Verdict:
        """The verdict when the log cannot be drained: what is known already is still said."""
        return self.ask(key) or self._answer(literal(key) or key, self._clock(), _UNKNOWN)

    def missing(self, key: bytes) -> bytes | None:
        """The address that ``key`` is, if all that is known lets nobody relay from there.

        Counts nothing.
        """
        address = literal(key)
        known = address is None or self._known(address, self._clock()) is not None
        return None if known else address

    def _known(self, address: bytes, now: float) -> Verdict | None:
        try:
            return _FOUND if self._map.allows(address, now, self._pending) else None
        except MapError as error:
            self._trouble(error)
            return _FOUND if self._pending.allows(address, now) else _UNKNOWN

    def _answer(self, address: bytes, now: float, verdict: Verdict) -> Verdict:
        """Count the verdict, or what the rules make of it."""
        if not self._plain:
            verdict = self._ruled(address, now, verdict)
        asked = self.asked
        if verdict is _FOUND:
            asked.found += 1
        elif verdict is _ABSENT:
            asked.absent += 1
        else:
            asked.unknown += 1
        asked.note(address, now, verdict)
        return verdict

    def _ruled(self, address: bytes, now: float, verdict: Verdict) -> Verdict:
        rules = self.rules
        if verdict is _FOUND and rules.relays is not None:
            # What the operator allows is nobody's to count, nor what nobody is known to have got.
            allowed = self._map.orders.allowed(address, now) is not None
            user = None if allowed else self._user(address)
            if user and not rules.relays.permit(user, now):
                self.asked.limited += 1
                rules.tell_limited(address, user)
                verdict = rules.limited
        if rules.shadow:
            self.asked.shadowed += verdict is _FOUND
            rules.tell_shadow(address, verdict)
            return _ABSENT
        return verdict

    def limits(self, address: bytes) -> bool:
        """Whether a lookup of ``address`` would meet the relay limit now."""
        relays, now = self.rules.relays, self._clock()
        if relays is None or self._map.orders.allowed(address, now) is not None:
            return False
        user = self._user(address)
        return bool(user) and relays.reached(user or b"", now)

    def _user(self, address: bytes) -> bytes | None:
        """Who is charged: the user of the latest login from an address."""
        try:
            return self._map.latest_user(address, self._pending)
        except MapError:
            return None
