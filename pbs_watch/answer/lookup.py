"""One lookup: what is known of an address, committed or not, and what the policy makes of it.

Anything that is not an IP literal is absent without looking: a hit or an error on the host name,
which Postfix asks first, would end its search (facts/postfix.md).

Lookups that arrived together share one glance at the map and, where one of them finds nothing, one
look at the logs: between :meth:`Lookup.begin` and :meth:`Lookup.end`, which have to come after they
arrived.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pbs_watch.answer.asked import Asked
from pbs_watch.answer.verdict import Verdict
from pbs_watch.errors import MapError
from pbs_watch.grants.address import literal
from pbs_watch.grants.glance import Glance
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

    ``clock`` gives epoch seconds.  ``trouble`` is called with an error of the map.  ``drained``
    reads what the logs have gained if that is little; whether all they hold has been read now.
    """

    def __init__(
        self,
        grants: Map,
        pending: Pending,
        clock: Callable[[], float],
        trouble: Callable[[MapError], None],
        rules: Rules | None = None,
        *,
        drained: Callable[[], bool] = lambda: False,
    ) -> None:
        self._map = grants
        self._pending = pending
        self._clock = clock
        self._trouble = trouble
        self._drained = drained
        self._glance: Glance | None = None
        self._now = 0.0
        self._all_read: bool | None = False
        """``None``: nobody has looked since the lookups arrived."""
        self.asked = Asked()
        self.rules = rules or Rules()
        self.rule(self.rules)

    def rule(self, rules: Rules) -> None:
        """Go by other rules from now on."""
        self.rules = rules
        self._plain = rules.relays is None and not rules.shadow

    def begin(self) -> None:
        """Lookups have arrived: what is known now, and in the logs now, answers them all."""
        self._now = self._clock()
        self._all_read = None
        try:
            self._glance = self._map.glance(self._now, self._pending)
        except MapError as error:
            self._trouble(error)

    def end(self) -> None:
        """Those have been answered, or wait until the logs have been read."""
        self._all_read = False
        if self._glance is not None:
            self._glance.close()
            self._glance = None

    def ask(self, key: bytes) -> Verdict | None:
        """The verdict as far as it is known; ``None``: absent unless the log has gained a login."""
        try:
            if self._glance is not None and self._glance.grants(key):
                return self._answer(key, _FOUND)
        except MapError:
            pass  # told when the address is looked up
        address = literal(key)
        if address is None:
            self.asked.names += 1
            return _ABSENT
        verdict = self._known(address)
        if verdict is None:
            if self._all_read is None:
                verdict = self._drain(address)
            if not self._all_read:
                return None
            verdict = verdict or _ABSENT
        return self._answer(address, verdict)

    def _drain(self, address: bytes) -> Verdict | None:
        """Have the logs read, and look again: the first of those that arrived together does so."""
        self._all_read = self._drained()
        if not self._all_read:
            return None
        if self._glance is not None:
            self._glance.refresh()
        return self._known(address)

    def decide(self, key: bytes) -> Verdict:
        """The verdict when the log has been drained."""
        return self._known_or(key, _ABSENT)

    def cannot_say(self, key: bytes) -> Verdict:
        """The verdict when the log cannot be drained: what is known already is still said."""
        return self._known_or(key, _UNKNOWN)

    def missing(self, key: bytes) -> bytes | None:
        """The address that ``key`` is, if all that is known lets nobody relay from there.

        Counts nothing.
        """
        address = literal(key)
        known = address is None or self._known(address) is not None
        return None if known else address

    def _known_or(self, key: bytes, otherwise: Verdict) -> Verdict:
        address = literal(key)
        if address is None:
            self.asked.names += 1
            return _ABSENT
        return self._answer(address, self._known(address) or otherwise)

    def _known(self, address: bytes) -> Verdict | None:
        """What the map and what is pending say; ``None``: nothing."""
        try:
            if self._glance is not None:
                return _FOUND if self._glance.allows(address) else None
            # Outside of begin and end, or the map could not be read a moment ago.
            self._now = self._clock()
            return _FOUND if self._map.allows(address, self._now, self._pending) else None
        except MapError as error:
            self._trouble(error)
            return _FOUND if self._pending.allows(address, self._now) else _UNKNOWN

    def _answer(self, address: bytes, verdict: Verdict) -> Verdict:
        """Count the verdict, or what the rules make of it."""
        now = self._now
        if not self._plain:
            verdict = self._ruled(address, now, verdict)
        self.asked.note(address, now, verdict)
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
