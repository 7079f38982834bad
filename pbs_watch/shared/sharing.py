"""What the daemon's loop has to do with the other hosts: it asks, and is told; it never waits.

Where the map and the log know nothing of an address, the question goes to the asking thread, and
the loop goes on.  What comes back becomes a login here (:mod:`pbs_watch.shared.keep`), and answers
the next lookup without asking.  A question without an answer in time is answered as
``shared_trouble`` says; so is each one while the engine counts as unreachable, at once, and for a
moment after that what it does not know: it may not have been told yet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from threading import Lock
from time import monotonic, time
from typing import Literal

from pbs_watch.answer.server import Question, Server
from pbs_watch.answer.verdict import Verdict
from pbs_watch.drain import PATIENCE
from pbs_watch.errors import MapError
from pbs_watch.grants.address import literal
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.policy import Policy
from pbs_watch.grants.store import Map
from pbs_watch.notices import Notices
from pbs_watch.shared.asking import Answered, Asker
from pbs_watch.shared.breaker import Breaker
from pbs_watch.shared.counts import Counts
from pbs_watch.shared.engine import Found
from pbs_watch.shared.express import Express
from pbs_watch.shared.keep import keep
from pbs_watch.shared.sending import Sender
from pbs_watch.trail import Trail

log = logging.getLogger("pbs_watch")

IN_FLIGHT = 2000
"""Questions that may wait for the engine at once: more are answered as if it were unreachable."""

SETTLING = 3.0
"""Seconds after a failure for which "not found" of the engine is not believed: other hosts met the
same, and may still have to tell it what they granted meanwhile."""

LONGEST_END = 1.0
"""Seconds that the end waits for the threads, together: a round trip lasts no longer."""


@dataclass(frozen=True, slots=True)
class Threads:
    """Who does the waiting: each has a connection of its own, so that none waits for another."""

    asker: Asker
    sender: Sender
    express: Express


@dataclass(frozen=True, slots=True)
class Manner:
    """How questions are treated.

    ``linger``: seconds from a question's arrival until the engine is asked; ``deadline``: seconds
    that its answer may take then.  ``trouble``: what is said of an address while the engine cannot
    be asked.
    """

    linger: float
    deadline: float
    trouble: Literal["trouble", "no"]


class Sharing:
    """The loop's side of sharing grants.

    ``name``: the engine's, for people.  ``policy`` gives the present one.  ``ask``, ``decide`` and
    ``cannot_say`` are the lookup's.  ``committing``: called when something is to be committed soon.
    """

    def __init__(
        self,
        grants: Map,
        pending: Pending,
        server: Server,
        threads: Threads,
        *,
        name: str,
        manner: Manner,
        policy: Callable[[], Policy],
        decide: Callable[[bytes], Verdict],
        ask: Callable[[bytes], Verdict | None],
        cannot_say: Callable[[bytes], Verdict],
        committing: Callable[[], None],
        notices: Notices,
        trail: Trail,
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
        self._unreachable = cannot_say if manner.trouble == "trouble" else decide
        self._manner = manner
        self._committing = committing
        self._notices = notices
        self._trail = trail
        self._breaker = Breaker()
        self._number = 0
        self._asked: dict[int, Question] = {}
        self._due: list[tuple[float, int]] = []
        """When each has waited for too long, and its number: a heap."""
        self._held: list[Answered] = []
        self._counts = Counts(engine=name)
        self._hurried = -1
        self._sure_at = 0.0
        self._trouble = ""
        """Why the last questions had no answer; empty: they had one."""
        self._reported = ""
        """What the sending thread met, as far as it was told."""
        self._asked_to_end = False

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
        delivery = self._sender.delivery
        return replace(
            self._counts,
            opened=self._breaker.opened,
            sent=delivery.sent + self._express.count,
            learned=delivery.learned,
            offered=delivery.offered,
            telling=round(self._express.slowest.of(monotonic()), 6),
            in_flight=len(self._asked),
            waiting=delivery.waiting,
            reachable=not self._breaker.open and not delivery.error,
            error=delivery.error or (self._trouble if self._breaker.open else ""),
        )

    @property
    def due(self) -> float | None:
        """When :meth:`turn` has something to do by itself (monotonic seconds)."""
        return self._due[0][0] if self._due else None

    # Questions

    def ask(self, questions: Sequence[Question]) -> None:
        """Answer what is known here, now that the logs are drained, and ask for the rest."""
        refused = []
        for question in questions:
            verdict = self._ask(question.key)
            if verdict is not None:
                self._server.settle([question], lambda _key, verdict=verdict: verdict)  # type: ignore[misc]
            elif self._breaker.open or len(self._asked) >= IN_FLIGHT:
                refused.append(question)
            else:
                self._put(question)
        if refused:
            self._count(refused=len(refused))
            self._server.settle(refused, self._unreachable)

    def _put(self, question: Question) -> None:
        """Have it asked for.  Each for itself: a login may have come since another one was."""
        # What it has waited already, for its login in our own log, counts.
        manner, latest = self._manner, question.arrived + PATIENCE
        at = min(question.arrived + manner.linger, latest - manner.deadline)
        at = max(at, monotonic())
        self._number += 1
        self._asked[self._number] = question
        heappush(self._due, (min(at + manner.deadline, latest), self._number))
        self._asker.ask(at, self._number, literal(question.key) or question.key)
        self._count(asked=1)

    def turn(self) -> None:
        """Send news, take in what has come, and answer what has waited for too long."""
        if news := self._pending.making.news:
            self._pending.making.news = {}
            self._express.send(news)
        if self._held or self._asker.has_results:
            held, self._held = self._held, []
            while (answered := self._asker.result()) is not None:
                if answered.found is not None:
                    self._succeeded()
                held.append(answered)
            for answered in held:
                self._take(answered)
        if self._due:
            self._give_up(monotonic())
        self._report()

    def _take(self, answered: Answered) -> None:
        if answered.found is None:
            self._trouble = answered.error
            self._failed()
            self._settle(answered.numbers, self._unreachable)
            return
        if not answered.numbers:
            return
        if answered.found.version > self._sender.delivery.version:
            # Another host has given an order: what was found may be void by it.
            if answered.found.version != self._hurried:
                self._hurried = answered.found.version
                self._sender.hurry()
            if any(number in self._asked for number in answered.numbers):
                self._held.append(answered)
            return
        # Versions begin anew with an engine that comes back empty.
        self._hurried = -1
        self._counts = replace(self._counts, round_trip=answered.took)
        try:
            self._keep(answered.found)
        except Exception as error:  # noqa: BLE001 - others wrote what was found: no end of ours
            text = f"{self._counts.engine}: holds what is not ours ({error!r})"
            self._notices.warn("shared", text)
            self._settle(answered.numbers, self._unreachable)
            return
        sure = monotonic() >= self._sure_at
        self._settle(answered.numbers, self._decide if sure else self._unreachable)

    def _settle(self, numbers: Sequence[int], decide: Callable[[bytes], Verdict]) -> None:
        questions = [self._asked.pop(number) for number in numbers if number in self._asked]
        self._server.settle(questions, decide)

    def _succeeded(self) -> None:
        """The engine has given an answer, whatever becomes of it."""
        self._trouble = ""
        if self._breaker.succeeded():
            log.warning("the engine of the shared grants can be asked again")

    def _failed(self) -> None:
        self._sure_at = monotonic() + SETTLING
        if self._breaker.failed():
            self._asker.watch()
            said = f"{self._trouble}; what only other hosts know is unknown now"
            self._notices.warn("shared", said)

    def _give_up(self, now: float) -> None:
        """Answer what has waited for too long; a late answer is still kept when it comes."""
        late = []
        while self._due and (self._due[0][0] <= now or self._due[0][1] not in self._asked):
            _, number = heappop(self._due)
            if number in self._asked:
                late.append(number)
        if not late:
            return
        self._count(late=len(late))
        # An answer that waits for an order to be learned says that the engine is there.
        held = {number for answered in self._held for number in answered.numbers}
        if not held.issuperset(late):
            self._trouble = self._trouble or f"{self._counts.engine}: answers too late"
            self._failed()
        self._settle(late, self._unreachable)

    def _keep(self, found: Found) -> None:
        """Make logins of it."""
        try:
            orders = self._map.obey()
        except MapError:
            return  # lookups report it
        if orders is not self._pending.orders:
            self._pending.obey(orders)
        now = time()
        if kept := keep(found, orders, self._policy(), now, self._pending.making):
            self._committing()
            self._count(found=len({one.address for one in kept}))
            self._trail.found(self._counts.engine, kept, now)

    def _count(self, **more: int) -> None:
        self._counts = replace(
            self._counts, **{name: getattr(self._counts, name) + n for name, n in more.items()}
        )

    def _report(self) -> None:
        """Say what the sending thread met, once a minute at most."""
        error = self._sender.delivery.error
        if error != self._reported:
            self._reported = error
            if error:
                self._notices.warn("shared", error)
        if self._express.slowest.latest > self._manner.linger > 0.0:
            took, self._express.slowest.latest = self._express.slowest.latest, 0.0
            self._notices.warn(
                "shared-slow",
                f"{self._counts.engine} had a login only {took:.2f} s after it was read: other "
                "hosts may have said no meanwhile; raise shared_linger on all of them",
            )

    # The end

    def let_go(self) -> list[Question]:
        """Have the threads end, without waiting for them; the questions that still wait.

        What is in the outbox stays there: it is to be told elsewhere.
        """
        self._end(replaced=True)
        left = list(self._asked.values())
        self._asked = {}
        return left

    def _end(self, *, replaced: bool) -> None:
        self._asked_to_end = True
        self._asker.end()
        self._express.end()
        self._sender.end(replaced=replaced)

    def close(self) -> bool:
        """End the threads, waiting for them for a moment; whether they use the map no more."""
        if not self._asked_to_end:
            self._end(replaced=False)
        until = monotonic() + LONGEST_END
        for thread in (self._asker, self._express, self._sender):
            thread.join(max(until - monotonic(), 0.0))
        return not self.alive

    @property
    def alive(self) -> bool:
        """Whether a thread may still use the map."""
        return self._sender.alive
