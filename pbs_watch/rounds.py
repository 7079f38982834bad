"""Rounds of draining, carried out: questions are answered when the logs have been read.

What a round is and when a question has waited for too long is :mod:`pbs_watch.drain`'s to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

from pbs_watch.answer.lookup import Lookup
from pbs_watch.answer.server import Question, Server
from pbs_watch.drain import Round, overdue
from pbs_watch.looks import Looks
from pbs_watch.reading import Reading
from pbs_watch.waits import Waits

Settle = Callable[[Sequence[Question]], None]
"""Answers questions for which the logs have been read."""


class Rounds:
    """The round that goes on, if one does: ``current``; and the misses that wait after theirs.

    ``settle`` answers the questions for which the logs have been read.
    """

    def __init__(
        self,
        server: Server,
        reading: Reading,
        looks: Looks,
        lookup: Lookup,
        waits: Waits,
        *,
        settle: Settle,
    ) -> None:
        self._settle = settle
        self._server = server
        self._reading = reading
        self._looks = looks
        self._lookup = lookup
        self._waits = waits
        self.current: Round | None = None

    def begin(self, now: float) -> None:
        """Look at the logs for the questions that wait."""
        questions = self._server.take_waiting()
        self._looks.look(now)
        if self._reading.blind or self._reading.far_behind:
            self._server.settle(questions, self._lookup.cannot_say)
        elif self._reading.behind:
            self.current = Round(questions, self._reading.waiting)
        else:
            self._settle(self._keep(questions, now))

    def looked(self) -> None:
        """The logs were looked at meanwhile."""
        if self.current is not None:
            self.current.seen(self._reading.waiting)

    def end(self) -> None:
        """Answer the round's questions if all has been read, and those that waited too long."""
        current = self.current
        if current is None:
            return
        if current.over:
            self.current = None
            if self._reading.unsure:
                self._server.settle(current.questions, self._lookup.cannot_say)
            else:
                self._settle(self._keep(current.questions, monotonic()))
            return
        now = monotonic()
        late = [*current.overdue(now), *overdue(self._server.waiting, now)]
        self._server.settle(late, self._lookup.cannot_say)

    # Misses that wait for their login

    def _keep(self, questions: list[Question], now: float) -> list[Question]:
        at_once = self._waits.keep(questions, now)
        self._looks.hurried = self._waits.waiting
        return at_once

    def wait_no_more(self, now: float, *, grown: bool) -> None:
        """Answer the misses that have waited; ``grown``: more was read of the logs."""
        if self._waits.waiting:
            questions = self._waits.ready(now, grown=grown)
            if self._reading.unsure:
                self._server.settle(questions, self._lookup.cannot_say)
            else:
                self._settle(questions)
            self._looks.hurried = self._waits.waiting

    @property
    def waits(self) -> Waits:
        """The misses that wait."""
        return self._waits

    def change(self, waits: Waits) -> None:
        """Let misses wait by other settings from now on; those that wait are answered."""
        self._settle(self._waits.take())
        self._waits.close()
        self._waits = waits
        self._looks.hurried = False

    def close(self) -> None:
        """Ask the kernel no more."""
        self._waits.close()
