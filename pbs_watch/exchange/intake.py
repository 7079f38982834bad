"""Puts a parcel into a map, beside the running daemon.

Logins, grants and sessions are joined to those that are there: nothing is shortened.  An order is
put where it reaches farther than the one of the same subject; where the very same network is
blocked it is not allowed, and where it is allowed it is not blocked.  A bar that is put makes void
what it would by hand, and what the map's own bars make void is left out.

Each transaction touches at most :data:`~pbs_watch.grants.environment.CHANGED_ROWS` rows.  Orders
count from the transaction that writes them on, and it says that what they make void is to be
removed: where the import is cut short, the daemon does it.  What was begun can be done again: the
same parcel twice is the same as once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pbs_watch.errors import MapError
from pbs_watch.exchange.parcel import Parcel
from pbs_watch.grants import hand, outbox, rows
from pbs_watch.grants.acts import Act, bump, last_number, written
from pbs_watch.grants.batch import REFUSALS_KEPT
from pbs_watch.grants.changes import Changes, Grant, Hold, Refusal
from pbs_watch.grants.environment import CHANGED_ROWS
from pbs_watch.grants.orders import Allow, Bar, Orders
from pbs_watch.grants.store import Map
from pbs_watch.grants.strike import batches, begin, finish_all
from pbs_watch.grants.tables import Tables

_LOGINS = CHANGED_ROWS // 4
"""Logins in one transaction: each is a row, one by user, one by expiry, and a grant."""

_DUE = CHANGED_ROWS // 2
"""Rows that end by themselves in one transaction: each is indexed by expiry."""


@dataclass(slots=True)
class Taken:
    """How many rows were put into the map, or joined to what was there."""

    orders: int = 0
    logins: int = 0
    sessions: int = 0
    others: int = 0
    void: int = 0
    opposed: int = 0

    def told(self) -> str:
        """How much of what was put there, in words."""
        counts = [
            (self.orders, "orders"),
            (self.logins, "logins"),
            (self.sessions, "open sessions"),
            (self.others, "remembered"),
        ]
        return ", ".join(f"{number:,} {what}" for number, what in counts if number) or "nothing"


def take(grants: Map, parcel: Parcel, act: Act) -> Taken:
    """Put ``parcel`` into the map; raises :class:`MapError`.

    ``act`` says who does it, when and out of which file.
    """
    try:
        return _take(grants, parcel, act)
    except MapError as error:
        raise MapError(f"{error}; not all is imported: import it again then") from None


def _take(grants: Map, parcel: Parcel, act: Act) -> Taken:
    taken = Taken()
    before = grants.obey()
    version = _put_orders(grants, parcel, act, before, taken)
    finish_all(grants, act.time, imported=True)
    # Orders that somebody gives meanwhile have a later version: a commit then obeys them.
    _put_logins(grants, parcel, before, taken, version)
    _put_sessions(grants, parcel, before, taken, version)
    if grants.retention:
        _put_past(grants, parcel, taken)
        _put_refusals(grants, parcel, taken)
    with grants.changing() as tables:
        outbox.tell_again(tables)
        written(tables, replace(act, note=taken.told()), hand.due(grants, act.time))
    return taken


# Orders


def _put_orders(grants: Map, parcel: Parcel, act: Act, before: Orders, taken: Taken) -> int:
    """Write the orders, and that what the bars make void is to be removed; the orders' version."""
    new: list[Allow | Bar] = []
    allowed = {allow.network for allow in before.allows if allow.holds(act.time)}
    ended = {bar.name: bar.until for bar in before.bars if bar.subject == "network"}
    for allow in parcel.allows:
        # What was revoked or blocked since it was allowed stays so.
        if allow.since <= ended.get(allow.network, 0.0):
            taken.opposed += 1
        else:
            new.append(allow)
    for bar in parcel.bars:
        if bar.subject == "network" and bar.until > act.time and bar.name in allowed:
            taken.opposed += 1
        else:
            new.append(bar)
    version = before.version
    # Where somebody else gives orders as well, ours stays the older version: each commit then
    # looks at all orders once more.
    for some in batches(new, _DUE):
        with grants.changing() as tables:
            farther = list(_farther(tables, some))
            tables.put_due(
                b"orders", [(rows.order_key(order), rows.pack_order(order)) for order in farther]
            )
            for order in farther:
                outbox.tell(tables, order, act.by)
            if tables.count(b"logins") or tables.count(b"sessions"):
                _begin_bars(tables, some)
            alone = last_number(tables) == version
            if farther:
                # By this the daemon learns of them, should we come no farther.
                number = bump(tables)
                version = number if alone else version
        taken.orders += len(farther)
    return version


def _begin_bars(tables: Tables, orders: Iterable[Allow | Bar]) -> None:
    """Let the bars be carried out, also those that a run which was cut short has written."""
    keys = sorted({rows.order_key(order) for order in orders if isinstance(order, Bar)})
    for key, value in tables.some(b"orders", keys):
        order = rows.unpack_order(key, value)
        if isinstance(order, Bar):
            begin(tables, order)


def _farther(tables: Tables, orders: Sequence[Allow | Bar]) -> Iterator[Allow | Bar]:
    """Those that reach farther than what there is, and than each other."""
    last: dict[bytes, Allow | Bar] = {}
    keys = sorted({rows.order_key(order) for order in orders})
    known = {key: rows.unpack_order(key, value) for key, value in tables.some(b"orders", keys)}
    for order in orders:
        key = rows.order_key(order)
        old = last.get(key) or known.get(key)
        if old is None or _end(order) > _end(old):
            last[key] = order
    yield from last.values()


def _end(order: Allow | Bar) -> float:
    return float("inf") if order.until is None else order.until


# What was granted


def _put_logins(grants: Map, parcel: Parcel, bars: Orders, taken: Taken, version: int) -> None:
    changes = _fitting(parcel, bars, taken)
    by_address: dict[bytes, list[bytes]] = {}
    for key in sorted(changes.logins):
        by_address.setdefault(key[: key.index(b"\0")], []).append(key)
    some = Changes(orders=version, names=parcel.names)
    for address in sorted({*by_address, *changes.grants}):
        for key in by_address.get(address, ()):
            some.logins[key] = changes.logins[key]
        some.grants[address] = changes.grants[address]
        if len(some.logins) + len(some.grants) >= 2 * _LOGINS:
            grants.commit(some)
            some = Changes(orders=version)
    grants.commit(some)
    taken.logins += len(changes.logins)
    _index(grants, [(key, changes.grants[key]) for key in changes.grants if key not in by_address])


def _fitting(parcel: Parcel, bars: Orders, taken: Taken) -> Changes:
    """The logins that the map's own bars let be, and the grants by them."""
    fitting = Changes()
    spoilt = set()
    for key, login in parcel.logins.items():
        address = key[: key.index(b"\0")]
        if bars.bar(address, login.user, login.login) is not None:
            taken.void += 1
            spoilt.add(address)
        else:
            fitting.login(address, login)
    for address, grant in parcel.grants.items():
        if address in spoilt or bars.bar(address, grant.user, grant.login) is not None:
            taken.void += 1
        else:
            # As it was, and not what its logins make together.
            fitting.grants[address] = grant
    return fitting


def _index(grants: Map, found: list[tuple[bytes, Grant]]) -> None:
    """Let grants be looked at when they end that no login of theirs is left to end with."""
    mark = rows.KINDS[b"logins"]
    index = [
        (rows.pack_time(grant.expires) + mark + rows.login_key(address, grant.user), b"")
        for address, grant in found
    ]
    for some in batches(index, CHANGED_ROWS):
        with grants.changing() as tables:
            tables.put_all(b"expiry", some)


def _put_sessions(grants: Map, parcel: Parcel, bars: Orders, taken: Taken, version: int) -> None:
    found = []
    for (address, key), hold in parcel.sessions.items():
        if bars.bar(address, key.user, hold.began) is not None:
            taken.void += 1
        else:
            found.append((address, key, hold))
    for some in batches(found, _DUE):
        names = {rows.session_key(address, key): hold for address, key, hold in some}
        with grants.reading() as tables:
            known = {
                name: rows.unpack_hold(value)
                for name, value in tables.some(b"sessions", sorted(names))
            }
        changes = Changes(orders=version)
        for address, key, hold in some:
            old = known.get(rows.session_key(address, key), hold)
            longest = Hold(max(hold.until, old.until), max(hold.began, old.began))
            changes.session(address, key, longest)
        grants.commit(changes)
    taken.sessions += len(found)


# What is only remembered


def _put_past(grants: Map, parcel: Parcel, taken: Taken) -> None:
    found = [
        (
            address + b"\0" + rows.pack_time(ended),
            rows.pack_past(ended + grants.retention, rows.pack_grant(grant)),
        )
        for (address, ended), grant in parcel.past.items()
    ]
    for some in batches(sorted(found), _DUE):
        with grants.changing() as tables:
            known = {key for key, _ in tables.some(b"past", [key for key, _ in some])}
            tables.put_due(b"past", [row for row in some if row[0] not in known])
    taken.others += len(found)


def _put_refusals(grants: Map, parcel: Parcel, taken: Taken) -> None:
    found = sorted((rows.refusal_key(key), refusal) for key, refusal in parcel.refusals.items())
    for some in batches(found, _DUE):
        with grants.changing() as tables:
            known = dict(tables.some(b"refusals", [key for key, _ in some]))
            room = REFUSALS_KEPT - tables.count(b"refusals")
            put = []
            for key, refusal in some:
                if key in known:
                    joined = _joined(rows.unpack_refusal(known[key]), refusal)
                elif room > 0:
                    room -= 1
                    joined = refusal
                else:
                    continue
                due = joined.last + grants.retention
                put.append((key, rows.pack_refusal(due, joined)))
            tables.put_due(b"refusals", put)
            taken.others += len(put)


def _joined(old: Refusal, new: Refusal) -> Refusal:
    """Both as one, of which either may already hold the other."""
    later = old if old.last >= new.last else new
    return later._replace(first=min(old.first, new.first), times=max(old.times, new.times))
