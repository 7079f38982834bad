"""Removing from the map what an order made void, some hundreds of addresses in a transaction.

An order counts from the moment it is written; what it makes void is removed afterwards, by whoever
gave it.  Until that is done a row in ``meta`` says so, and the daemon does it where the command
was cut short.  Doing it twice does no harm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TypeVar

from pbs_watch.grants import rows
from pbs_watch.grants.address import NETWORK_BITS, widened
from pbs_watch.grants.changes import Grant, SessionKey
from pbs_watch.grants.orders import Allow, Bar
from pbs_watch.grants.store import Map
from pbs_watch.grants.sweep import held
from pbs_watch.grants.tables import Tables
from pbs_watch.grants.void import (
    STRIKING,
    Void,
    Voiding,
    striking,
    void_grants,
    void_logins,
    void_sessions,
)

_BATCH = 500
"""Addresses worked out anew in one transaction: each touches half a dozen rows, mostly."""

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
    tables.put(b"meta", STRIKING + rows.order_key(order), rows.pack_order(order))


def finish(grants: Map, order: Bar, now: float) -> Struck:
    """Remove what ``order`` makes void, and write down that it is done."""
    struck = strike(grants, [order], now)
    _done(grants, [order])
    return struck


def finish_all(grants: Map, now: float, *, imported: bool = False) -> None:
    """Remove all that is void and still there, whoever gave the orders.

    ``imported``: what is dated later than now came so from elsewhere.
    """
    orders = unfinished(grants)
    if orders:
        strike(grants, orders, now, imported=imported)
        _done(grants, orders)


def _done(grants: Map, orders: Sequence[Bar]) -> None:
    for some in batches(orders):
        with grants.changing() as tables:
            for order in some:
                key = STRIKING + rows.order_key(order)
                # Another one of the same subject may have been given meanwhile.
                if tables.get(b"meta", key) == rows.pack_order(order):
                    tables.delete(b"meta", key)


def unfinished(grants: Map) -> list[Bar]:
    """The orders whose void rows are not all removed: nobody is at it where none is given now."""
    with grants.reading() as tables:
        return striking(tables)


def strike(
    grants: Map,
    orders: Sequence[Bar],
    now: float,
    *,
    remember: bool = True,
    imported: bool = False,
) -> Struck:
    """Remove the logins and sessions that ``orders`` make void, and work the grants out anew."""
    voiding = Voiding(orders, now, grants.read_orders())
    if imported:
        voiding.latest = rows.NEVER
    void: defaultdict[bytes, Void] = defaultdict(Void)
    with grants.reading() as tables:
        for address, user in void_logins(tables, voiding):
            void[address].users.append(user)
        for key in void_sessions(tables, voiding):
            void[rows.parse_session_key(key)[0]].sessions.append(key)
        for address in void_grants(tables, voiding):
            void[address].whole = True
    retention = grants.retention if remember else 0.0
    struck = Struck()
    for some in batches(list(void.items()), _BATCH):
        with grants.changing() as tables:
            for address, rest in some:
                _strike_address(tables, address, rest, voiding, struck, remembered=retention)
    return struck


def batches(items: Sequence[_Item], size: int = _BATCH) -> Iterator[Sequence[_Item]]:
    """The items, so many at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


# What is left


def _strike_address(
    tables: Tables,
    address: bytes,
    void: Void,
    voiding: Voiding,
    struck: Struck,
    *,
    remembered: float,
) -> None:
    """Remove what is void of one address; ``remembered``: for so many seconds."""
    now = voiding.now
    old = tables.get(b"grants", address)
    may = old is not None and _holds(tables, address, old, now)
    logins = sum(_drop_login(tables, address, user, voiding) for user in void.users)
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
    allow = voiding.allowed(address, now)
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


def _drop_login(tables: Tables, address: bytes, user: bytes, voiding: Voiding) -> bool:
    """Remove a login, unless it came again after the orders."""
    key = rows.login_key(address, user)
    value = tables.get(b"logins", key)
    if value is None or not voiding.void(address, user, value[8:16]):
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
