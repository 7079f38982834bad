"""Takes over the orders of other hosts into the map, and offers those of the map to the engine.

An order from elsewhere becomes one here: a row that counts from the next lookup, an act for the
audit trail, and what it makes void is removed.  An order that is still to be told to the others is
not replaced: it is told first, and what the engine makes of both comes back.  Whoever learns is
told of that: until then he does not know all orders of the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pbs_watch.grants import hand, outbox, rows
from pbs_watch.grants.acts import Act, written
from pbs_watch.grants.copy import keep_copy
from pbs_watch.grants.environment import CHANGED_ROWS
from pbs_watch.grants.orders import Bar
from pbs_watch.grants.owner import carrying_out
from pbs_watch.grants.records import Record, pack, record_of, said, unpack
from pbs_watch.grants.store import Map
from pbs_watch.grants.strike import batches, begin, finish
from pbs_watch.grants.tables import Tables
from pbs_watch.shared.engine import Shared, login_of

_ORDERS = 500
"""Orders taken over in one transaction: each touches half a dozen rows."""


class Learned(NamedTuple):
    """``taken``: how many records changed something.  ``skipped``: whether others may still."""

    taken: int
    skipped: bool


class Learner:
    """Takes over records into ``grants``."""

    def __init__(self, grants: Map) -> None:
        self._map = grants
        self._copy_old = False

    def learn(self, records: Sequence[Record], now: float) -> Learned:
        """Take over what is new of all records there are.  Raises :class:`MapError`."""
        grants = self._map
        with grants.reading() as tables:
            new = [one for one in records if _is_new(tables, one, now)]
        taken, skipped = 0, False
        if new:
            self._copy_old = True
            bars: list[Bar] = []
            with carrying_out(grants.path):
                for some in batches(sorted(new, key=lambda one: one.since), _ORDERS):
                    with grants.changing() as tables:
                        for record in some:
                            if _is_ours(tables, record):
                                skipped = True
                            elif _is_new(tables, record, now):
                                bars += _take(tables, record, hand.due(grants, now))
                                taken += 1
                for bar in bars:
                    finish(grants, bar, now)
        if self._copy_old:
            keep_copy(grants)
            self._copy_old = False
        return Learned(taken, skipped)


def _is_new(tables: Tables, record: Record, now: float) -> bool:
    return not record.over(now) and tables.get(b"shared", record.key) != pack(record)


def _is_ours(tables: Tables, record: Record) -> bool:
    """Whether an order of ours about the same is still to be told."""
    return tables.get(b"outbox", outbox.ORDER + record.key) is not None


def _take(tables: Tables, record: Record, due: float) -> list[Bar]:
    """Make a record an order of this map; the bar whose void logins are to be removed."""
    tables.put(b"shared", record.key, pack(record))
    order = record.order()
    if order is None:
        if not tables.delete(b"orders", record.key):
            return []  # it was never here
    else:
        tables.put_due(b"orders", [(record.key, rows.pack_order(order))])
    what, subject = said(record)
    written(tables, Act(record.since, what, subject, record.by, None, record.note), due)
    if not isinstance(order, Bar):
        return []
    begin(tables, order)
    return [order]


# What this map knows


def own_records(grants: Map, by: str, now: float) -> list[Record]:
    """All records, those made now of orders that were given before grants were shared included."""
    with grants.changing() as tables:
        known = {key for key, _ in tables.rows(b"shared")}
        for key, value in tables.all(b"orders"):
            if key not in known:
                tables.put(b"shared", key, pack(record_of(rows.unpack_order(key, value), by)))
        found = [unpack(key, value) for key, value in tables.all(b"shared")]
        for record in found:
            if record.over(now):
                tables.delete(b"shared", record.key)
    return [record for record in found if not record.over(now)]


def logins(grants: Map, now: float, most: int) -> Iterator[list[Shared]]:
    """All logins that have not expired, so many at a time; nothing is held in between."""
    after = b""
    while True:
        found: list[Shared] = []
        looked = 0
        with grants.reading() as tables:
            for key, value in tables.rows(b"logins", after=after):
                looked += 1
                after = key
                if rows.unpack_time(value) > now:
                    found.append(login_of(key, rows.unpack_grant(value)))
                if len(found) >= most or looked >= CHANGED_ROWS:
                    break
        if found:
            yield found
        if not looked:
            return
