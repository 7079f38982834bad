"""Two lines of a log that make one login or one session end: an ``open`` and a ``login`` by the
pid of the process that wrote both, a login and an end by the name of their session.

Pure: what the scanner found of one log comes in, in the order of the log; whole events go out.

No line is ever joined with somebody else's (promise 2):

* What is kept is found by format, host, tag and key, and whatever comes next under that key takes
  it away: a later ``open`` (the pid is used again), a ``fail``, a login or an end (which leave
  nothing but what they say themselves).
* A line without a key (no pid) joins nothing.
* A line that is suspect, or whose address or stamp is none, and a cut one joins nothing and takes
  away what was kept: what it replaced or cancelled is not to be believed any more.
* Where lines may have been lost (a gap) all is forgotten: a ``fail`` or a second ``open`` may have
  been among them.
* Both lines must agree on the user and the address where both name them, and must lie at most
  ``within`` apart by their own stamps.

At most :data:`MOST` are kept of a log, the latest; who floods the log with connections costs
others their grants by joined lines, and no more.  What is kept goes into the map with the changes
that the same lines made (``source``: the id of the log there).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil
from typing import TYPE_CHECKING

from pbs_watch.grants.events import End, Event, Half, JoinKey, Login, Part

if TYPE_CHECKING:
    from pbs_watch.grants.changes import Changes

MOST = 1 << 16
"""Lines kept of one log: what a large site has in open sessions, in some 30 MB."""

_NO_PORT = b"#"
"""What stands before a key that tells sessions apart where the line tells no port: no port does."""


class Joins:
    """The first lines of one log that wait for their second one."""

    def __init__(self, source: int | None = None, most: int = MOST) -> None:
        self._source = source
        self._most = most
        self._kept: dict[JoinKey, Half] = {}
        self._gaps = 0

    def __len__(self) -> int:
        return len(self._kept)

    def load(self, kept: Mapping[JoinKey, Half]) -> None:
        """Take over what the map has of this log."""
        self._kept = dict(sorted(kept.items(), key=lambda one: one[1].time))

    def lost(self, gaps: int, into: Changes | None = None) -> bool:
        """Forget all if ``gaps``, the number of gaps of the log, has grown; whether it has."""
        if gaps == self._gaps:
            return False
        self._gaps = gaps
        self.clear(into)
        return True

    def clear(self, into: Changes | None = None) -> None:
        """Forget all."""
        for key in list(self._kept):
            self._drop(key, into)

    def take(
        self, found: Iterable[Event | Part], into: Changes | None = None, now: float = 0.0
    ) -> tuple[list[Event], list[Event]]:
        """The events among ``found`` with those that parts make; and those that were suspect.

        ``now``: epoch seconds; what is kept is kept in the map until ``within`` after it at least.
        """
        events: list[Event] = []
        suspects: list[Event] = []
        for one in found:
            if isinstance(one, Part):
                event = self._part(one, into, now)
                if event is not None:
                    (suspects if one.suspect else events).append(event)
            else:
                events.append(one)
        return events, suspects

    def _part(self, part: Part, into: Changes | None, now: float) -> Event | None:
        if part.kind == "gap":
            self.clear(into)
            return None
        key = JoinKey(part.format, part.host, part.service, part.key)
        half = self._drop(key, into) if part.key else None
        time = part.time
        if part.kind == "fail" or time is None:
            return None
        if part.suspect:
            # Told as what it says by itself: another line does not make it more.
            return _event(part, time, None)
        if part.kind == "open":
            opened = Half("open", time, part.address, part.user, part.port)
            self._keep(key, opened, part, into, now)
            return None
        if half is not None and not _fit(half, part, time):
            half = None
        event = _event(part, time, half)
        if type(event) is Login and part.kept:
            login = Half("login", time, event.address, event.user, event.port)
            self._keep(key, login, part, into, now)
        return event

    def _keep(self, key: JoinKey, half: Half, part: Part, into: Changes | None, now: float) -> None:
        if not part.key:
            return
        if len(self._kept) >= self._most:
            self._drop(next(iter(self._kept)), into)
        self._kept[key] = half
        if into is not None and self._source is not None:
            into.joins[self._source, key] = max(half.time, now) + part.within, half

    def _drop(self, key: JoinKey, into: Changes | None) -> Half | None:
        half = self._kept.pop(key, None)
        if half is not None and into is not None and self._source is not None:
            into.joins[self._source, key] = None
        return half


def _fit(half: Half, part: Part, time: float) -> bool:
    """Whether a line may be joined to the one that was kept under its key."""
    if part.kind == "login" and half.kind != "open":
        return False
    agree = all(
        not mine or not theirs or mine == theirs
        for mine, theirs in ((part.user, half.user), (part.address, half.address))
    )
    return agree and abs(time - half.time) <= part.within


def _event(part: Part, time: float, half: Half | None) -> Event | None:
    """What a line says with what it lacks from the other; ``None``: nothing."""
    address, user, port = part.address, part.user, part.port
    if half is not None:
        address, user, port = address or half.address, user or half.user, port or half.port
    if not address or not user:
        return None
    if not port and part.held:
        port = _NO_PORT + part.key
    by = (time, part.ahead, address, user, port, part.service, part.format, part.host)
    if part.kind == "login":
        return Login(*by, part.flag, part.offset)
    seconds = part.seconds
    if seconds is None and half is not None and half.kind == "login":
        seconds = max(ceil(time - half.time), 0)
    return End(*by, part.flag, part.held, seconds, part.offset)
