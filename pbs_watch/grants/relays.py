"""How many lookups of each user's addresses have permitted lately, and how many may.

Pure.  Postfix asks once for each recipient it would relay to, so that this bounds what a stolen
password, or a client gone mad, can send.  Nothing is written down: a restart begins anew.
"""

from __future__ import annotations

from collections import deque


class Relays:
    """At most ``most`` permitting lookups of a user in any ``period`` of so many seconds."""

    def __init__(self, most: int, period: float) -> None:
        self._most = most
        self._period = period
        self._permitted: dict[bytes, deque[float]] = {}

    def permit(self, user: bytes, now: float) -> bool:
        """Whether one more may permit; if so it is counted."""
        times = self._permitted.get(user)
        if times is None:
            times = self._permitted[user] = deque(maxlen=self._most)
        if self.reached(user, now):
            return False
        times.append(now)
        return True

    def reached(self, user: bytes, now: float) -> bool:
        """Whether no more may permit at ``now``."""
        times = self._permitted.get(user)
        # Of the last ``most`` the first: where that is over, so is the period.  A clock that was
        # set back does not keep anybody out for longer than that.
        if times is None or len(times) < self._most:
            return False
        return 0 <= now - times[0] < self._period

    def tidy(self, now: float) -> None:
        """Forget users without a lookup in the period."""
        over = [user for user, times in self._permitted.items() if now - times[-1] > self._period]
        for user in over:
            del self._permitted[user]

    def forget(self) -> None:
        """Forget everybody."""
        self._permitted.clear()
