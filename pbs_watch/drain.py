"""Rounds of draining the log before misses are answered (promise 1).

A miss waits until the log has been read up to the size it had when the miss arrived.  Misses that
arrive together share one round; those that arrive during a round wait for the next one, since the
log may have gained a login meanwhile.

When we cannot know in time, the answer is "cannot say", never "no": the backlog is longer than a
second's reading, a log cannot be read, or a question has waited for too long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp

from pbs_watch.answer.server import Question

PATIENCE = 0.9
"""Seconds a question may wait: an answer comes within a second (promise 4)."""

_FADING = 20.0
"""Seconds in which what came counts for a third."""

_SLOWEST = 5e6
"""Bytes per second that reading is believed to manage before any was measured."""


@dataclass(slots=True)
class Round:
    """Questions, and how many bytes are left to read of each source before they are answered."""

    questions: list[Question]
    left: dict[str, int] = field(default_factory=dict)

    def read(self, source: str, size: int) -> None:
        """``size`` bytes of ``source`` were read; 0: there is nothing more."""
        if source in self.left:
            self.left[source] -= size or self.left[source]
            if self.left[source] <= 0:
                del self.left[source]

    def again(self, source: str, waiting: int) -> None:
        """``source`` is read anew from another place: ``waiting`` bytes are left."""
        self.left.pop(source, None)
        if waiting:
            self.left[source] = waiting

    @property
    def over(self) -> bool:
        """Whether all that was in the logs has been read."""
        return not self.left

    def seen(self, waiting: Mapping[str, int]) -> None:
        """A look told that so much waits now: no more than that can be left."""
        self.left = {
            source: min(left, waiting[source])
            for source, left in self.left.items()
            if waiting.get(source)
        }

    def overdue(self, now: float) -> list[Question]:
        """Take out the questions that have waited for too long; ``now`` is monotonic."""
        late = overdue(self.questions, now)
        if late:
            self.questions = [one for one in self.questions if one not in late]
        return late


def overdue(questions: Sequence[Question], now: float) -> list[Question]:
    """The questions that have waited for too long; ``now`` is monotonic."""
    return [question for question in questions if now - question.arrived > PATIENCE]


class Rate:
    """Bytes per second lately: of the last minute, the latest counting most.

    In the first minute: of the time since the first bytes, and of a second at least.
    """

    def __init__(self) -> None:
        self._sum = 0.0
        self._at: float | None = None
        self._began = 0.0

    def add(self, size: int, now: float) -> None:
        """``size`` bytes came at ``now`` (monotonic)."""
        if self._at is None:
            self._began = now
        self._sum = self._faded(now) + size
        self._at = now

    def now(self, now: float) -> float:
        """Bytes per second at ``now``."""
        watched = 1 - exp(-max(now - self._began, 1.0) / _FADING)
        return self._faded(now) / (_FADING * watched)

    def _faded(self, now: float) -> float:
        return self._sum * exp((self._at - now) / _FADING) if self._at is not None else 0.0


class Pace:
    """How fast the logs are read: bytes per second, measured while there is a backlog."""

    def __init__(self) -> None:
        self.speed = _SLOWEST

    def measured(self, size: int, seconds: float) -> None:
        """``size`` bytes took ``seconds``."""
        if size > 65536 and seconds > 0:
            self.speed += (size / seconds - self.speed) / 8

    def too_long(self, waiting: Sequence[int]) -> bool:
        """Whether reading that many bytes takes longer than a question may wait."""
        return sum(waiting) > self.speed * PATIENCE
