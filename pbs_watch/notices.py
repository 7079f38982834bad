"""Warnings that a client or a log could cause in any number: each kind is said once a minute."""

from __future__ import annotations

import logging
from time import monotonic, time

from pbs_watch.errors import MapError

log = logging.getLogger("pbs_watch")

WARN_EVERY = 60.0
"""Seconds in which a kind of warning is said once."""

MOST = 20
"""Lines that are said in that time of what comes and goes."""

MOST_KEYS = 1000
"""Of which it is remembered when they were said."""


def dropped() -> int:
    """How many lines of the log nobody read in time, so that they were dropped."""
    return sum(getattr(handler, "dropped", 0) for handler in log.handlers)


class Seldom:
    """Says of each key once a minute that something happened, and how often since that was said.

    Of at most :data:`MOST_KEYS` keys: then all are forgotten.
    """

    def __init__(self) -> None:
        self._said: dict[bytes, tuple[float, int]] = {}

    def due(self, key: bytes) -> int:
        """It happened once more; how often since that was said, 0: it is not to be said now."""
        now = monotonic()
        if len(self._said) >= MOST_KEYS and key not in self._said:
            self._said = {}
        said, held = self._said.get(key, (-WARN_EVERY, 0))
        if now - said < WARN_EVERY:
            self._said[key] = (said, held + 1)
            return 0
        self._said[key] = (now, 0)
        return held + 1


class Notices:
    """Says warnings, and how many of a kind were held back since.

    ``total``: how many there were, said or not; ``last``: the text of the latest.
    """

    def __init__(self) -> None:
        self._said: dict[str, float] = {}
        self._held: dict[str, int] = {}
        self._spells: dict[str, tuple[float, int, int]] = {}
        self.total = 0
        self.last = ""
        self._last_at = 0.0

    def forget(self, before: float) -> None:
        """Show the latest warning no more where it is older than a time: it may name people."""
        if self._last_at < before:
            self.last = ""

    def note(self, text: str) -> None:
        """Remember a warning that is said elsewhere."""
        self.total += 1
        self.last = text
        self._last_at = time()

    def warn(self, kind: str, text: str, *, level: int = logging.WARNING) -> None:
        """Say ``text``, unless one of its kind was said within the last minute."""
        held = self._held_back(kind, text, 1)
        if held is not None:
            more = f" (and {held - 1:,} more like it before)" if held > 1 else ""
            log.log(level, "%s%s", text, more)

    def told(self, kind: str, text: str, *, level: int = logging.WARNING) -> None:
        """Say ``text``, unless :data:`MOST` of its kind were said within the last minute.

        For what comes and goes: where each line but the first were held back, the last one said
        would soon be wrong.
        """
        now = monotonic()
        since, said, held = self._spells.get(kind, (now, 0, 0))
        if now - since >= WARN_EVERY:
            since, said = now, 0
        if said >= MOST:
            self._spells[kind] = since, said, held + 1
            return
        self._spells[kind] = since, said + 1, 0
        log.log(level, "%s%s", text, f" (and {held:,} more lines before)" if held else "")

    def map_trouble(self, error: MapError) -> None:
        """The map cannot be read, however many lookups meet it."""
        self.warn("map", str(error), level=logging.ERROR)

    def count(self, kind: str, times: int, text: str) -> None:
        """Say how many of something there were since that was said last: a number and ``text``."""
        held = self._held_back(kind, f"{self._held.get(kind, 0) + times:,} {text}", times)
        if held is not None:
            log.warning("%s", self.last)

    def _held_back(self, kind: str, text: str, times: int) -> int | None:
        """How many there are to be told of, if it is time to tell."""
        self.note(text)
        held = self._held[kind] = self._held.get(kind, 0) + times
        now = monotonic()
        if now - self._said.get(kind, -WARN_EVERY) < WARN_EVERY:
            return None
        self._said[kind] = now
        del self._held[kind]
        return held
