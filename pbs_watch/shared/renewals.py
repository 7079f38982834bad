"""What an open session holds here is granted elsewhere too, renewed at half its window."""

from __future__ import annotations

from time import time

from pbs_watch.grants.store import Map
from pbs_watch.shared.engine import Shared

_LOOKS = 20
"""How often in a window the sessions are looked at."""


class Renewals:
    """Of the sessions in ``grants``; ``window``: seconds that a renewal grants.

    ``every``: seconds between two looks, at least.
    """

    def __init__(self, grants: Map, window: float, every: float) -> None:
        self._map = grants
        self._window = window
        self._every = max(window / _LOOKS, every)
        self._done = 0.0

    def is_due(self) -> bool:
        """Whether the sessions are to be looked at now."""
        return time() - self._done >= self._every

    def due(self) -> tuple[float, list[Shared]]:
        """When that was, and what is to be told: :meth:`done` then.  Raises :class:`MapError`."""
        now = time()
        return now, [
            Shared(address, key.user, key.service, hold.began, min(hold.until, now + self._window))
            for (address, key), hold in self._map.sessions(now).items()
            if _half(self._done - hold.began, self._window) < _half(now - hold.began, self._window)
        ]

    def done(self, now: float) -> None:
        """All of it was told."""
        self._done = now


def _half(age: float, window: float) -> int:
    """How many halves of a window have gone by since a session began."""
    return int(max(age, 0.0) // (window / 2))
