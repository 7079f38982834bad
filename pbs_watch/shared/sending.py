"""The thread that tells the engine, and learns from it what other hosts ordered.

Logins go out at once by :mod:`pbs_watch.shared.express`; the outbox, written with them, is for what
could not be sent, and for a crash.  A few times a second this thread takes a turn:

1. let commands know that grants are shared, should the disk have been full when that began;
2. ask the engine which data it has.  Where these are others than the last time (a failover, a
   restart, a restored backup), offer it all orders and logins there are, since it may lack some;
3. send the orders in the outbox, and take over those of the others, where there are new ones:
   until then no lookup here can be told "not found";
4. send the logins in the outbox, and offer them all, each for a while;
5. renew what open sessions hold, each at half its window; remove what expired.

A turn that fails is taken again a little later, from its beginning.  All of it may be done twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count, islice
from time import monotonic, time

from pbs_watch.errors import PbsWatchError
from pbs_watch.grants import outbox, rows
from pbs_watch.grants.orders import Bar
from pbs_watch.grants.records import Record, unpack
from pbs_watch.grants.store import Map
from pbs_watch.shared import learn
from pbs_watch.shared.engine import TOGETHER, Engine, Mark, Shared, login_of
from pbs_watch.shared.express import Express
from pbs_watch.shared.offer import Offer
from pbs_watch.shared.renewals import Renewals
from pbs_watch.shared.switch import switch

TURN_EVERY = 0.5
"""Seconds between two turns: an order reaches the other hosts in twice that."""

_PORTIONS = 20
"""Round trips of a turn in which logins are sent: a second's work at most."""

_EXPIRE_EVERY = 60.0
"""Seconds between two removals of what expired, where the server does not do it."""


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
        self._renewals = Renewals(grants, window, TURN_EVERY)
        self._host = host
        self._wake = wake
        self._express = express
        self._hurry = threading.Event()
        self._over = self._leaves = False
        self._offer: Offer | None = None
        self._learner = learn.Learner(grants)
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
                self._attempt(self._turn)
                self._hurry.wait(TURN_EVERY)
                self._hurry.clear()
            # What was committed last: the end is not waited for longer than it takes.
            self._attempt(self._deliver_all)
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
        offered, offering = self._look()
        mark = self._engine.mark()
        again = not mark.is_same(offered)
        begins = again and (self._offer is None or not self._offer.goes_on(mark, offering))
        if begins:
            self._begin_offer(mark)
        # Where the engine keeps another order in spite of ours, its version does not tell.
        ordered = bool(self._some(outbox.ORDER, b""))
        self._deliver(outbox.FORGET)
        self._deliver(outbox.ORDER)
        if begins or ordered or mark.version != self.delivery.version:
            self._learn(self._engine.mark().version)
        more = self._deliver(outbox.LOGIN, _PORTIONS)
        if again:
            more = self._go_on_offering() or more
        self._renew()
        if monotonic() - self._expired > _EXPIRE_EVERY:
            self._expired = monotonic()
            self._engine.expire(time())
        self._told(since=time())
        if more:
            self._hurry.set()

    def _look(self) -> tuple[bytes | None, bytes | None]:
        """To whom all was offered, and the walk that goes on; commands know that we share."""
        with self.reading, self._map.reading() as tables:
            shares = outbox.shares_as(tables, self._host)
            found = tables.get(b"meta", rows.OFFERED), tables.get(b"meta", rows.OFFERING)
            self._told(waiting=tables.count(b"outbox"))
        if shares:
            return found
        with self.reading:
            switch(self._map, self._host, unless=lambda: self._over)
        return None, None

    def _learn(self, version: int) -> None:
        """Take over the orders; ``version`` was read before them, so that none is missed."""
        records = self._engine.records()
        with self.reading:
            learned = self._learner.learn(records, time())
        if learned.skipped:
            # They are not known yet: ours goes first, and then what the engine makes of both.
            version = min(version - 1, self.delivery.version)
            self._hurry.set()
        self._told(version=version, learned=self.delivery.learned + learned.taken)
        self._wake()

    # Offering all there is

    def _begin_offer(self, mark: Mark) -> None:
        self._express.forget_all()
        with self.reading:
            self._offer = None
            offer = Offer(self._map, mark, TOGETHER)
            records = learn.own_records(self._map, self._host, time())
        # With what bars cover: another table may have it still.
        self._put_records(records)
        self._told(offered=self.delivery.offered + 1)
        self._offer = offer

    def _go_on_offering(self) -> bool:
        """Go on for a while, orders of others come in between; whether there is more."""
        # What goes wrong meanwhile begins it anew: nobody knows how far it came.
        offer, self._offer = self._offer, None
        for _ in range(_PORTIONS):
            with self.reading:
                some = offer.some() if offer is not None else []
            if not some:
                return False
            self._put(some)
            if self._hurry.is_set():
                break
        self._offer = offer
        return True

    # The outbox

    def _deliver_all(self) -> None:
        """Send the outbox, orders first: they take away."""
        for kind in (outbox.FORGET, outbox.ORDER, outbox.LOGIN):
            self._deliver(kind)

    def _deliver(self, kind: bytes, most: int | None = None) -> bool:
        """Send what is of one kind; of ``most`` round trips, fewer in a hurry: is there more?"""
        after = b""
        for number in count():
            found = self._some(kind, after)
            if not found:
                break
            if most is not None and number and (number >= most or self._hurry.is_set()):
                return True
            self._deliver_some(kind, found)
            after = found[-1][0]
        return False

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
            self._told(waiting=tables.count(b"outbox"))
        for key, _ in found:
            self._express.forget(key[1:])

    def _logins(self, keys: Iterable[bytes]) -> list[Shared]:
        """The logins as they are now: one that was revoked meanwhile is not sent."""
        now = time()
        with self.reading, self._map.reading() as tables:
            known = tables.some(b"logins", sorted(keys))
            live = [(key, row) for key, row in known if rows.unpack_time(row) > now]
        return [login_of(key, rows.unpack_grant(row)) for key, row in live]

    def _put_records(self, records: list[Record]) -> None:
        self._engine.put_records(records, time())
        for record in records:
            if record.act == "bar" and isinstance(record.order(), Bar):
                self._engine.remove(record)
        self._told(sent=self.delivery.sent + len(records))

    def _renew(self) -> None:
        if not self._renewals.is_due():
            return
        with self.reading:
            now, due = self._renewals.due()
        for start in range(0, len(due), TOGETHER):
            self._put(due[start : start + TOGETHER])
        self._renewals.done(now)
