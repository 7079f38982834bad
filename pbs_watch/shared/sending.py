"""The thread that tells the engine, and learns from it what other hosts ordered.

Logins go out at once by :mod:`pbs_watch.shared.express`; the outbox, written with them, is for what
could not be sent, and for a crash.  A few times a second this thread takes a turn:

1. ask the engine which data it has.  Where these are others than the last time (a failover, a
   restart, a restored backup), offer it all orders and logins there are, since it may lack some;
2. send what is in the outbox, orders first;
3. take over the orders of the others, where there are new ones;
4. renew what open sessions hold, each at half its window; remove what expired.

A turn that fails is taken again a little later, from its beginning.  All of it may be done twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from time import monotonic, time

from pbs_watch.errors import PbsWatchError
from pbs_watch.grants import outbox, rows
from pbs_watch.grants.orders import Bar
from pbs_watch.grants.records import Record, unpack
from pbs_watch.grants.store import Map
from pbs_watch.shared import learn
from pbs_watch.shared.engine import Engine, Mark, Shared
from pbs_watch.shared.express import Express

TURN_EVERY = 0.5
"""Seconds between two turns: an order reaches the other hosts in twice that."""

TOGETHER = 500
"""Logins sent in one round trip, and rows of the outbox looked at in one transaction."""

_OFFERED = 20
"""Round trips of a turn in which all is offered anew: a second's work at most."""

_EXPIRE_EVERY = 60.0
"""Seconds between two removals of what expired, where the server does not do it."""

_RENEWALS = 20
"""How often in a window the sessions are looked at."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far the engine has been told; counts are since the start.

    ``version``: of the orders known here, -1 before any was learned.  ``waiting``: rows of the
    outbox, as of the last turn.  ``error``: why the last turn failed, or empty.  ``since``: epoch
    seconds of the last turn that did not; ``None``: none yet.
    """

    version: int = -1
    waiting: int = 0
    sent: int = 0
    learned: int = 0
    offered: int = 0
    error: str = ""
    since: float | None = None


class Sender:
    """Tells ``engine``, which belongs to it.

    ``window``: seconds that a session's renewal grants.  ``host``: by which others know this one.
    ``wake`` is called when something was learned, or went wrong.  ``reading`` is held while the map
    is used: it must not be opened again meanwhile.
    """

    def __init__(
        self,
        grants: Map,
        engine: Engine,
        express: Express,
        *,
        window: float,
        host: str,
        wake: Callable[[], None],
    ) -> None:
        self.delivery = Delivery()
        self.reading = threading.Lock()
        self._map = grants
        self._engine = engine
        self._window = window
        self._host = host
        self._wake = wake
        self._express = express
        self._hurry = threading.Event()
        self._over = self._leaves = False
        self._walk: Iterator[list[Shared]] | None = None
        self._walked = ""
        self._renewed = 0.0
        self._expired = monotonic()
        self._thread = threading.Thread(target=self._work, name="shared-send", daemon=True)

    def begin(self) -> None:
        """Start working."""
        self._thread.start()

    def hurry(self) -> None:
        """Take a turn now."""
        self._hurry.set()

    def end(self, *, replaced: bool = False) -> None:
        """Send what there is, and end; ``replaced``: leave it in the outbox for another engine."""
        self._leaves = replaced
        self._over = True
        self._hurry.set()

    def join(self, patience: float) -> None:
        """Wait for the end of the thread, so many seconds at most."""
        if self._thread.ident is not None:
            self._thread.join(patience)

    @property
    def alive(self) -> bool:
        """Whether the thread may still use the map."""
        return self._thread.is_alive()

    def _work(self) -> None:
        try:
            while not self._over:
                self._hurry.clear()
                self._attempt(self._turn)
                self._hurry.wait(TURN_EVERY)
            # What was committed last: the end is not waited for longer than it takes.
            self._attempt(self._deliver)
        finally:
            self._engine.close()

    def _attempt(self, what: Callable[[], None]) -> None:
        """Do something; what goes wrong is told, and is not the end of the thread."""
        was = self.delivery.error
        try:
            what()
        except PbsWatchError as error:
            said = str(error)
        except Exception as error:  # noqa: BLE001 - or nobody is told, and nothing is sent any more
            said = f"sharing grants failed: {error!r}"
        else:
            if was:
                self._told(error="")
            return
        if not self._over:
            self._told(error=said)
        if said != was:
            self._wake()

    def _told(self, **changes: object) -> None:
        self.delivery = replace(self.delivery, **changes)  # type: ignore[arg-type]

    def _put(self, logins: list[Shared]) -> None:
        self._engine.put(logins)
        self._told(sent=self.delivery.sent + len(logins))

    # A turn

    def _turn(self) -> None:
        with self.reading, self._map.reading() as tables:
            offered = tables.get(b"meta", rows.OFFERED)
            self._told(waiting=tables.count(b"outbox"))
        mark = self._engine.mark()
        again = not mark.is_same(offered)
        begins = again and (self._walk is None or self._walked != mark.identity)
        if begins:
            with self.reading:
                records = learn.own_records(self._map, self._host, time())
            # With what bars cover: another table may have it still.
            self._put_records(records)
        self._deliver()
        if begins or mark.version != self.delivery.version:
            self._learn(self._engine.mark().version)
        if begins:
            self._walk, self._walked = learn.logins(self._map, time(), TOGETHER), mark.identity
            self._told(offered=self.delivery.offered + 1)
        if again:
            self._offer(mark)
        self._renew()
        if monotonic() - self._expired > _EXPIRE_EVERY:
            self._expired = monotonic()
            self._engine.expire(time())
        self._told(since=time())

    def _learn(self, version: int) -> None:
        """Take over the orders; ``version`` was read before them, so that none is missed."""
        records = self._engine.records()
        with self.reading:
            learned = learn.learn(self._map, records, time())
        self._told(version=version, learned=self.delivery.learned + learned)
        self._wake()

    def _offer(self, mark: Mark) -> None:
        """Go on with the walk over all logins, for a while: orders of others come in between."""
        # What goes wrong meanwhile begins it anew: nobody knows how far it came.
        walk, self._walk = self._walk, None
        for _ in range(_OFFERED):
            with self.reading:
                some = next(walk, None) if walk is not None else None
            if some is None:
                with self.reading, self._map.changing() as tables:
                    tables.put(b"meta", rows.OFFERED, mark.name())
                return
            self._put(some)
        self._walk = walk
        self._hurry.set()

    def _deliver(self) -> None:
        """Send the outbox, orders first: they take away."""
        for kind in (outbox.FORGET, outbox.ORDER, outbox.LOGIN):
            after = b""
            while found := self._some(kind, after):
                self._deliver_some(kind, found)
                after = found[-1][0]
        with self.reading, self._map.reading() as tables:
            self._told(waiting=tables.count(b"outbox"))

    def _some(self, kind: bytes, after: bytes) -> list[tuple[bytes, bytes]]:
        with self.reading, self._map.reading() as tables:
            return list(islice(tables.rows(b"outbox", kind, after), TOGETHER))

    def _deliver_some(self, kind: bytes, found: list[tuple[bytes, bytes]]) -> None:
        if kind == outbox.FORGET:
            for key, _ in found:
                self._engine.forget(key[1:])
        elif kind == outbox.ORDER:
            self._put_records([unpack(key[1:], value) for key, value in found])
        else:
            sent = self._express.has_sent
            unsent = [key[1:] for key, value in found if not sent(key[1:], value)]
            if unsent and (logins := self._logins(unsent)):
                self._put(logins)
        if self._leaves:
            return
        with self.reading, self._map.changing() as tables:
            outbox.delivered(tables, found)
        for key, _ in found:
            self._express.forget(key[1:])

    def _logins(self, keys: Iterable[bytes]) -> list[Shared]:
        """The logins as they are now: one that was revoked meanwhile is not sent."""
        now = time()
        with self.reading, self._map.reading() as tables:
            known = tables.some(b"logins", sorted(keys))
            return [learn.shared(key, row) for key, row in known if rows.unpack_time(row) > now]

    def _put_records(self, records: list[Record]) -> None:
        self._engine.put_records(records, time())
        for record in records:
            if record.act == "bar" and isinstance(record.order(), Bar):
                self._engine.remove(record)
        self._told(sent=self.delivery.sent + len(records))

    # Sessions

    def _renew(self) -> None:
        """What an open session holds here is granted elsewhere too, for a window from now."""
        now = time()
        if now - self._renewed < max(self._window / _RENEWALS, TURN_EVERY):
            return
        with self.reading:
            held = self._map.sessions(now)
        due = [
            Shared(address, key.user, key.service, hold.began, min(hold.until, now + self._window))
            for (address, key), hold in held.items()
            if _half(self._renewed - hold.began, self._window)
            < _half(now - hold.began, self._window)
        ]
        for start in range(0, len(due), TOGETHER):
            self._put(due[start : start + TOGETHER])
        self._renewed = now


def _half(age: float, window: float) -> int:
    """How many halves of a window have gone by since a session began."""
    return int(max(age, 0.0) // (window / 2))
