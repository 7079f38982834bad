"""Removing from the map what an order made void, some hundreds of addresses in a transaction.

An order counts from the moment it is written; what it makes void is removed afterwards, by whoever
gave it.  Until that is done a row in ``meta`` says so, and the daemon does it where the command
was cut short.  Doing it twice does no harm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TypeVar

from pbs_watch.grants import rows
from pbs_watch.grants.address import NETWORK_BITS, widened
from pbs_watch.grants.changes import Grant, SessionKey
from pbs_watch.grants.orders import Allow, Bar, Orders
from pbs_watch.grants.store import Map
from pbs_watch.grants.sweep import held
from pbs_watch.grants.tables import Row, Tables

_BATCH = 500
"""Addresses worked out anew in one transaction: each touches half a dozen rows, mostly."""

_UNFINISHED = b"striking "
"""What stands in ``meta`` before the key of an order whose void rows are being removed; the value
is the order, without which nobody could tell what to remove."""

_STEP = 1.0
"""Seconds that a clock may be off: what is dated later than that was written before the clock was
set back."""

_Item = TypeVar("_Item")


_NAMED = 100
"""Addresses that go on to relay which are named; all are counted."""

_USERS = 3
"""Users who are named of one of them."""


@dataclass(frozen=True, slots=True)
class GoesOn:
    """An address that lost something to an order and may relay all the same.

    ``users``: some of the others who logged in there; ``allow``: the operator's order.
    """

    address: bytes
    users: tuple[bytes, ...]
    allow: Allow | None


@dataclass(slots=True)
class Struck:
    """What an order made void: allows, logins, sessions, and how many addresses may relay no more.

    ``kept``: how many of the others that lost something go on to relay, and ``going_on`` the first
    of them.  ``until``: the time of the bar that stands (epoch seconds).
    """

    allows: int = 0
    logins: int = 0
    sessions: int = 0
    addresses: int = 0
    kept: int = 0
    going_on: list[GoesOn] = field(default_factory=list)
    until: float = 0.0


def begin(tables: Tables, order: Bar) -> None:
    """Write down that what ``order`` makes void is to be removed, with the order itself."""
    tables.put(b"meta", _UNFINISHED + rows.order_key(order), rows.pack_order(order))


def finish(grants: Map, order: Bar, now: float) -> Struck:
    """Remove what ``order`` makes void, and write down that it is done."""
    struck = strike(grants, [order], now)
    _done(grants, [order])
    return struck


def finish_all(grants: Map, now: float) -> None:
    """Remove all that is void and still there, whoever gave the orders."""
    orders = unfinished(grants)
    if orders:
        strike(grants, orders, now)
        _done(grants, orders)


def _done(grants: Map, orders: Sequence[Bar]) -> None:
    for some in batches(orders):
        with grants.changing() as tables:
            for order in some:
                key = _UNFINISHED + rows.order_key(order)
                # Another one of the same subject may have been given meanwhile.
                if tables.get(b"meta", key) == rows.pack_order(order):
                    tables.delete(b"meta", key)


def unfinished(grants: Map) -> list[Bar]:
    """The orders whose void rows are not all removed: nobody is at it where none is given now."""
    with grants.reading() as tables:
        found = [
            rows.unpack_order(key.removeprefix(_UNFINISHED), value)
            for key, value in tables.rows(b"meta", _UNFINISHED)
        ]
    return [order for order in found if isinstance(order, Bar)]


def strike(grants: Map, orders: Sequence[Bar], now: float, *, remember: bool = True) -> Struck:
    """Remove the logins and sessions that ``orders`` make void, and work the grants out anew."""
    judge = _Judge(orders, now, grants.obey())
    void: defaultdict[bytes, _Void] = defaultdict(_Void)
    with grants.reading() as tables:
        for address, user in _void_logins(tables, judge):
            void[address].users.append(user)
        for key in _void_sessions(tables, judge):
            void[rows.parse_session_key(key)[0]].sessions.append(key)
        for address in _void_grants(tables, judge):
            void[address].whole = True
    retention = grants.retention if remember else 0.0
    struck = Struck()
    for some in batches(list(void.items()), _BATCH):
        with grants.changing() as tables:
            for address, rest in some:
                _strike_address(tables, address, rest, judge, struck, remembered=retention)
    return struck


def batches(items: Sequence[_Item], size: int = _BATCH) -> Iterator[Sequence[_Item]]:
    """The items, so many at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


# What is void


@dataclass(slots=True)
class _Void:
    """What is to be removed of one address: the users of logins, the keys of sessions.

    ``whole``: its grant is to be worked out anew though no login of it may be left.
    """

    users: list[bytes] = field(default_factory=list)
    sessions: list[bytes] = field(default_factory=list)
    whole: bool = False


class _Judge:
    """Says what some orders make void, at one moment."""

    def __init__(self, orders: Sequence[Bar], now: float, all_orders: Orders) -> None:
        self.now = now
        self.allowed = all_orders.allowed
        self.only = orders[0] if len(orders) == 1 else None
        """The order, where there is one alone: it says where to look."""
        # To the microsecond, as the map keeps them.
        exact = [replace(one, until=rows.micros(one.until) / 1e6) for one in orders]
        self._orders = Orders(bars=exact)
        self._latest = rows.pack_time(now + _STEP)

    def void(self, address: bytes, user: bytes, began: bytes) -> bool:
        """Whether what ``user`` began at ``address``, at a packed time, is void.

        What is dated later than now was written before the clock was set back.
        """
        when = rows.unpack_time(began) if began <= self._latest else 0.0
        return self._orders.bar(address, user, when) is not None

    def around(self, tables: Tables, table: bytes, end: bytes) -> Iterator[Row]:
        """The rows among which the void ones are; ``end``: what follows the address in keys."""
        order = self.only
        starts: Iterable[bytes] = [b""]
        if order is not None and order.subject == "network" and b"/" not in order.name:
            # An IPv6 address may be granted with its network.
            starts = sorted({order.name + end, widened(order.name, NETWORK_BITS) + end})
        for start in starts:
            yield from tables.rows(table, start)


def _void_logins(tables: Tables, judge: _Judge) -> Iterator[tuple[bytes, bytes]]:
    """Address and user of the logins that are void."""
    order = judge.only
    if order is not None and order.subject == "user":
        for key, _ in tables.rows(b"users", order.name + b"\0"):
            user, address = rows.parse_user_key(key)
            if user == order.name:
                yield address, user
        return
    for key, value in judge.around(tables, b"logins", b"\0"):
        address, user = rows.parse_login_key(key)
        if judge.void(address, user, value[8:16]):
            yield address, user


def _void_sessions(tables: Tables, judge: _Judge) -> Iterator[bytes]:
    """The keys of the sessions that are void; few are open beside the logins."""
    for key, value in judge.around(tables, b"sessions", b"\0"):
        address, session = rows.parse_session_key(key)
        if judge.void(address, session.user, value[8:16]):
            yield key


def _void_grants(tables: Tables, judge: _Judge) -> Iterator[bytes]:
    """The addresses of grants that are void, whether or not a login of them is left."""
    order = judge.only
    name = order.name if order is not None and order.subject == "user" else b""
    for address, value in judge.around(tables, b"grants", b""):
        # Of most of a million grants the end of the row tells enough.
        if value.endswith(name) and judge.void(address, rows.unpack_grant(value).user, value[8:16]):
            yield address


# What is left


def _strike_address(
    tables: Tables,
    address: bytes,
    void: _Void,
    judge: _Judge,
    struck: Struck,
    *,
    remembered: float,
) -> None:
    """Remove what is void of one address; ``remembered``: for so many seconds."""
    now = judge.now
    old = tables.get(b"grants", address)
    may = old is not None and _holds(tables, address, old, now)
    logins = sum(_drop_login(tables, address, user, judge) for user in void.users)
    sessions = sum(tables.delete(b"sessions", key) for key in void.sessions)
    left = _left(tables, address)
    still = left is not None and (left.expires > now or held(tables, address, now))
    if left is not None:
        if old is not None and may and still:
            # There was no gap: others were logged in all the time.
            left = left._replace(since=min(left.since, rows.unpack_grant(old).since))
        tables.put(b"grants", address, rows.pack_grant(left))
    elif old is not None:
        tables.delete(b"grants", address)
        if remembered:
            ended = rows.pack_time(now) if may else old[:8]
            past = rows.pack_past(now + remembered, old)
            tables.put_due(b"past", [(address + b"\0" + ended, past)])
    struck.logins += logins
    struck.sessions += sessions
    allow = judge.allowed(address, now)
    if allow is None and not still and not _network_holds(tables, address, now):
        struck.addresses += may
    elif may or logins or sessions:
        struck.kept += 1
        if len(struck.going_on) < _NAMED:
            struck.going_on.append(GoesOn(address, _others(tables, address, now), allow))


def _holds(tables: Tables, address: bytes, grant: bytes, now: float) -> bool:
    return rows.counts(grant, now) or held(tables, address, now)


def _network_of(address: bytes) -> bytes | None:
    """The network with which an IPv6 address may be granted."""
    network = widened(address, NETWORK_BITS) if b"/" not in address else address
    return None if network == address else network


def _network_holds(tables: Tables, address: bytes, now: float) -> bool:
    network = _network_of(address)
    value = None if network is None else tables.get(b"grants", network)
    return network is not None and value is not None and _holds(tables, network, value, now)


def _others(tables: Tables, address: bytes, now: float) -> tuple[bytes, ...]:
    """Some of those by whose logins or sessions an address may relay, or its network."""
    found: dict[bytes, None] = {}
    for one in (address, _network_of(address)):
        for user in _users(tables, one + b"\0", now) if one is not None else ():
            found[user] = None
            if len(found) == _USERS:
                break
    return tuple(found)


def _users(tables: Tables, start: bytes, now: float) -> Iterator[bytes]:
    for key, value in tables.rows(b"logins", start):
        if rows.unpack_time(value) > now:
            yield rows.parse_login_key(key)[1]
    for key, value in tables.rows(b"sessions", start):
        if rows.unpack_time(value) > now:
            yield rows.parse_session_key(key)[1].user


def _drop_login(tables: Tables, address: bytes, user: bytes, judge: _Judge) -> bool:
    """Remove a login, unless it came again after the orders."""
    key = rows.login_key(address, user)
    value = tables.get(b"logins", key)
    if value is None or not judge.void(address, user, value[8:16]):
        return False
    tables.delete(b"users", rows.user_key(key))
    return tables.delete(b"logins", key)


def _left(tables: Tables, address: bytes) -> Grant | None:
    """The grant of an address by its logins, or at least by an open session."""
    found = [
        rows.unpack_grant(value)._replace(user=rows.parse_login_key(key)[1])
        for key, value in tables.rows(b"logins", address + b"\0")
    ]
    if found:
        return reduce(Grant.joined, found)
    for key, value in tables.rows(b"sessions", address + b"\0"):
        session: SessionKey = rows.parse_session_key(key)[1]
        hold = rows.unpack_hold(value)
        return Grant(hold.began, hold.began, hold.began, session.user, session.service)
    return None
