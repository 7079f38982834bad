"""Whether the engine is worth asking: a circuit breaker.  Pure.

Closed, questions go through.  After :data:`FAILURES` in a row it opens, and questions are answered
at once without asking.  It closes with the first success, which whoever watches the engine reports
in any case: no client has to wait for finding out.
"""

from __future__ import annotations

FAILURES = 3
"""Late or failed answers in a row after which the engine counts as unreachable."""


class Breaker:
    """``open``: the engine is not to be asked.  ``opened``: how often that came about."""

    __slots__ = ("_failures", "open", "opened")

    def __init__(self) -> None:
        self._failures = 0
        self.open = False
        self.opened = 0

    def failed(self) -> bool:
        """The engine did not answer in time, or not well; whether that opens the breaker."""
        self._failures += 1
        if self.open or self._failures < FAILURES:
            return False
        self.open = True
        self.opened += 1
        return True

    def succeeded(self) -> bool:
        """The engine answered; whether that closes the breaker."""
        self._failures = 0
        was, self.open = self.open, False
        return was
