"""Takes over the orders of other hosts into the map, and offers those of the map to the engine.

An order from elsewhere becomes one here: a row that counts from the next lookup, an act for the
audit trail, and what it makes void is removed.  An order that is still to be told to the others is
not replaced: it is told first, and what the engine makes of both comes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
from pbs_watch.shared.engine import Shared

_ORDERS = 500
"""Orders taken over in one transaction: each touches half a dozen rows."""


def learn(grants: Map, records: Sequence[Record], now: float) -> int:
    """Take over records; how many changed something.  Raises :class:`MapError`."""
    with grants.reading() as tables:
        new = [one for one in records if _is_new(tables, one, now)]
    if not new:
        return 0
    bars: list[Bar] = []
    with carrying_out(grants.path):
        for some in batches(sorted(new, key=lambda one: one.since), _ORDERS):
            with grants.changing() as tables:
                for record in some:
                    if _is_new(tables, record, now):
                        bars += _take(tables, record, hand.due(grants, now))
        for bar in bars:
            finish(grants, bar, now)
    keep_copy(grants)
    return len(new)


def _is_new(tables: Tables, record: Record, now: float) -> bool:
    return (
        not record.over(now)
        and tables.get(b"outbox", outbox.ORDER + record.key) is None
        and tables.get(b"shared", record.key) != pack(record)
    )


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
                    found.append(shared(key, value))
                if len(found) >= most or looked >= CHANGED_ROWS:
                    break
        if found:
            yield found
        if not looked:
            return


def shared(key: bytes, value: bytes) -> Shared:
    """A login's row as the engine gets it."""
    address, user = rows.parse_login_key(key)
    grant = rows.unpack_grant(value)
    return Shared(address, user, grant.service, grant.login, grant.expires)
