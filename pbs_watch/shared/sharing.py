"""What the daemon's loop has to do with the other hosts: it asks, and is told; it never waits.

Where the map and the log know nothing of an address, the question goes to the asking thread, and
the loop goes on.  What comes back becomes a login here, as if it had been read in a log, but for
the outbox: it lasts until it expires, obeys the orders and the policy of this host, and answers the
next lookup without asking.  A question without an answer in time is answered as ``shared_trouble``
says; so is each one while the engine counts as unreachable, at once, and for a moment after that
what it does not know: it may not have been told yet.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from time import monotonic, time
from typing import Literal

from pbs_watch.answer.server import Question, Server
from pbs_watch.answer.verdict import Verdict
from pbs_watch.errors import MapError
from pbs_watch.grants import outbox
from pbs_watch.grants.address import IPV6_BITS, literal
from pbs_watch.grants.changes import grant
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.policy import Policy
from pbs_watch.grants.rows import LONGEST_NAME
from pbs_watch.grants.store import Map
from pbs_watch.notices import Notices
from pbs_watch.shared.asking import Answered, Asker
from pbs_watch.shared.breaker import Breaker
from pbs_watch.shared.engine import USERS_KEPT, Found, Shared
from pbs_watch.shared.express import Express
from pbs_watch.shared.sending import Delivery, Sender

log = logging.getLogger("pbs_watch")

IN_FLIGHT = 2000
"""Questions that may wait for the engine at once: more are answered as if it were unreachable."""

SETTLING = 3.0
"""Seconds after a failure for which "not found" of the engine is not believed: other hosts met the
same, and may still have to tell it what they granted meanwhile."""

_PERMANENT_FOR = 60.0
"""Seconds that a permanent row of the old layout counts here before it is asked for again."""


@dataclass(frozen=True, slots=True)
class Counts:
    """For metrics and ``status``: counts since the start, and the present.

    ``asked``: questions for the engine; ``found``: addresses that it knew; ``late``: questions
    without an answer in time; ``refused``: not asked, since it was unreachable or too many waited.
    ``opened``: how often it was found unreachable.  ``sent``: logins and orders told; ``learned``:
    orders of others; ``offered``: how often all was told anew.

    ``round_trip``: seconds of the last one.  ``in_flight``: questions that wait; ``waiting``: rows
    of the outbox.  ``reachable``: whether the engine counts as such; ``error``: why not, or why it
    could not be told; empty: nothing is wrong.
    """

    engine: str = ""
    asked: int = 0
    found: int = 0
    late: int = 0
    refused: int = 0
    opened: int = 0
    sent: int = 0
    learned: int = 0
    offered: int = 0
    round_trip: float = 0.0
    in_flight: int = 0
    waiting: int = 0
    reachable: bool = True
    error: str = ""


@dataclass(frozen=True, slots=True)
class Threads:
    """Who does the waiting: each has a connection of its own, so that none waits for another."""

    asker: Asker
    sender: Sender
    express: Express


class Sharing:
    """The loop's side of sharing grants.

    ``policy`` gives the present one.  ``ask``, ``decide`` and ``cannot_say`` are the lookup's.
    ``deadline``: seconds that an answer may take from when it is asked for; ``linger``: seconds
    before that.  ``trouble``: what is said of an address while the engine cannot be asked.
    ``committing``: called when something is to be committed soon.
    """

    def __init__(
        self,
        grants: Map,
        pending: Pending,
        server: Server,
        threads: Threads,
        *,
        name: str,
        policy: Callable[[], Policy],
        decide: Callable[[bytes], Verdict],
        ask: Callable[[bytes], Verdict | None],
        cannot_say: Callable[[bytes], Verdict],
        deadline: float,
        linger: float,
        trouble: Literal["trouble", "no"],
        committing: Callable[[], None],
        notices: Notices,
    ) -> None:
        self._map = grants
        self._pending = pending
        self._server = server
        self._asker = threads.asker
        self._sender = threads.sender
        self._express = threads.express
        self._policy = policy
        self._ask = ask
        self._decide = decide
        self._unreachable = cannot_say if trouble == "trouble" else decide
        self._deadline = deadline
        self._linger = linger
        self._committing = committing
        self._notices = notices
        self._breaker = Breaker()
        self._number = 0
        self._asked: dict[int, Question] = {}
        self._due: deque[tuple[float, int]] = deque()
        self._held: list[Answered] = []
        self._counts = Counts(engine=name)
        self._hurried = -1
        self._sure_at = 0.0
        self._round_trip = 0.0
        self._told = ""

    def begin(self) -> None:
        """Start asking and telling."""
        self._asker.begin()
        self._sender.begin()
        self._express.begin()

    @property
    def reading(self) -> Lock:
        """Held while another thread uses the map: it must not be opened again meanwhile."""
        return self._sender.reading

    @property
    def counts(self) -> Counts:
        """How it goes."""
        delivery: Delivery = self._sender.delivery
        return replace(
            self._counts,
            opened=self._breaker.opened,
            round_trip=self._round_trip,
            sent=delivery.sent + self._express.count,
            learned=delivery.learned,
            offered=delivery.offered,
            in_flight=len(self._asked),
            waiting=delivery.waiting,
            reachable=not self._breaker.open and not delivery.error,
            error=delivery.error or (self._told if self._breaker.open else ""),
        )

    @property
    def due(self) -> float | None:
        """When :meth:`turn` has something to do by itself (monotonic seconds)."""
        return self._due[0][0] if self._due else None

    # Questions

    def ask(self, questions: Sequence[Question]) -> None:
        """Answer what is known here, now that the logs are drained, and ask for the rest."""
        at = monotonic() + self._linger
        refused = []
        for question in questions:
            verdict = self._ask(question.key)
            if verdict is not None:
                self._server.settle([question], lambda _key, verdict=verdict: verdict)  # type: ignore[misc]
            elif self._breaker.open or len(self._asked) >= IN_FLIGHT:
                refused.append(question)
            else:
                # Each for itself: a login may have come since the same address was asked for.
                self._number += 1
                self._asked[self._number] = question
                self._due.append((at + self._deadline, self._number))
                self._asker.ask(at, self._number, literal(question.key) or question.key)
                self._count(asked=1)
        if refused:
            self._count(refused=len(refused))
            self._server.settle(refused, self._unreachable)

    def turn(self) -> None:
        """Send news, take in what has come, and answer what has waited for too long."""
        if news := self._pending.making.news:
            self._pending.making.news = {}
            self._express.send(news)
        held, self._held = self._held, []
        while (answered := self._asker.result()) is not None:
            held.append(answered)
        for answered in held:
            self._take(answered)
        self._give_up(monotonic())
        self._report()

    def _take(self, answered: Answered) -> None:
        if answered.found is None:
            self._told = answered.error
            self._failed()
            self._settle(answered.numbers, self._unreachable)
            return
        if answered.found.version > self._sender.delivery.version and answered.numbers:
            # Another host has given an order: what was found may be void by it.
            if answered.found.version > self._hurried:
                self._hurried = answered.found.version
                self._sender.hurry()
            if any(number in self._asked for number in answered.numbers):
                self._held.append(answered)
            return
        if self._breaker.succeeded():
            log.warning("the engine of the shared grants can be asked again")
        if answered.numbers:
            self._round_trip = answered.took
            self._keep(answered.found)
            sure = monotonic() >= self._sure_at
            self._settle(answered.numbers, self._decide if sure else self._unreachable)

    def _settle(self, numbers: Sequence[int], decide: Callable[[bytes], Verdict]) -> None:
        questions = [self._asked.pop(number) for number in numbers if number in self._asked]
        self._server.settle(questions, decide)

    def _failed(self) -> None:
        self._sure_at = monotonic() + SETTLING
        if self._breaker.failed():
            self._notices.warn("shared", f"{self._told}; what only other hosts know is unknown now")

    def _give_up(self, now: float) -> None:
        """Answer what has waited for too long; a late answer is still kept when it comes."""
        late = []
        while self._due and (self._due[0][0] <= now or self._due[0][1] not in self._asked):
            _, number = self._due.popleft()
            if number in self._asked:
                late.append(number)
        if late:
            self._count(late=len(late))
            self._told = self._told or f"{self._counts.engine}: answers too late"
            self._failed()
            self._settle(late, self._unreachable)

    # What was found

    def _keep(self, found: Found) -> None:
        """Make logins of it: they last until they expire, and are not told back."""
        now, policy = time(), self._policy()
        kept: set[bytes] = set()
        try:
            orders = self._map.obey()
        except MapError:
            return  # lookups report it
        if orders is not self._pending.orders:
            self._pending.obey(orders)
        for address, logins in found.logins.items():
            for login in logins[:USERS_KEPT]:
                expires = now + _PERMANENT_FOR if login.expires is None else login.expires
                void = orders.bar(address, login.user, login.login) is not None
                if void and login.expires is not None:
                    continue
                if expires > now and _sound(login) and _granted(policy, address, login.user):
                    self._pending.making.login(
                        address, grant(expires, min(login.login, now), login.user, login.service)
                    )
                    kept.add(address)
        if kept:
            self._committing()
        self._count(found=len(kept))

    def _count(self, **more: int) -> None:
        self._counts = replace(
            self._counts, **{name: getattr(self._counts, name) + n for name, n in more.items()}
        )

    def _report(self) -> None:
        """Say what the sending thread met, once a minute at most."""
        error = self._sender.delivery.error
        if error and error != self._told:
            self._told = error
            self._notices.warn("shared", error)

    def close(self) -> bool:
        """End the threads; whether they use the map no more."""
        self._asker.close()
        self._express.close()
        return self._sender.close()


def _sound(login: Shared) -> bool:
    """Whether the map can hold it: others than we may write into the engine."""
    return (
        b"\0" not in login.user + login.service
        and len(login.user) <= LONGEST_NAME
        and len(login.service) <= LONGEST_NAME
    )


def _granted(policy: Policy, address: bytes, user: bytes) -> bool:
    """Whether this host's own policy lets it be: what it never grants, nobody grants on it."""
    narrow = policy.prefix == IPV6_BITS and b"/" not in address
    if policy.never and (policy.never.holds if narrow else policy.never.overlaps)(address):
        return False
    if policy.only and not (policy.only.holds if narrow else policy.only.contains)(address):
        return False
    return not (policy.ignored and policy.ignores(user))


def switched(grants: Map, host: str) -> None:
    """Write into the map whether grants are shared, and as whom; raises :class:`MapError`."""
    with grants.changing() as tables:
        if host or outbox.on(tables):
            outbox.switch(tables, host)
