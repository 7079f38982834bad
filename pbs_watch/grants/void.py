"""Which rows of the map some orders make void.

Tables in, keys out.  :mod:`pbs_watch.grants.strike` removes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from pbs_watch.grants import rows
from pbs_watch.grants.address import NETWORK_BITS, widened
from pbs_watch.grants.orders import Bar, Orders
from pbs_watch.grants.tables import Row, Tables

STRIKING = b"striking "
"""What stands in ``meta`` before the key of an order whose void rows are being removed; the value
is the order, without which nobody could tell what to remove."""

_STEP = 1.0
"""Seconds that a clock may be off: what is dated later than that was written before the clock was
set back."""


def striking(tables: Tables) -> list[Bar]:
    """The orders whose void rows are not all removed."""
    found = (
        rows.unpack_order(key.removeprefix(STRIKING), value)
        for key, value in tables.rows(b"meta", STRIKING)
    )
    return [order for order in found if isinstance(order, Bar)]


@dataclass(slots=True)
class Void:
    """What is to be removed of one address: the users of logins, the keys of sessions.

    ``whole``: its grant is to be worked out anew though no login of it may be left.
    """

    users: list[bytes] = field(default_factory=list)
    sessions: list[bytes] = field(default_factory=list)
    whole: bool = False


class Voiding:
    """Says what some orders make void, at one moment."""

    def __init__(self, orders: Sequence[Bar], now: float, all_orders: Orders) -> None:
        self.now = now
        self.allowed = all_orders.allowed
        self.only = orders[0] if len(orders) == 1 else None
        """The order, where there is one alone: it says where to look."""
        # To the microsecond, as the map keeps them.
        exact = [replace(one, until=rows.micros(one.until) / 1e6) for one in orders]
        self._orders = Orders(bars=exact)
        self.latest = rows.pack_time(now + _STEP)
        """What is dated later than this was written before the clock was set back."""

    def void(self, address: bytes, user: bytes, began: bytes) -> bool:
        """Whether what ``user`` began at ``address``, at a packed time, is void."""
        when = rows.unpack_time(began) if began <= self.latest else 0.0
        return self._orders.bar(address, user, when) is not None

    def around(self, tables: Tables, table: bytes, end: bytes) -> Iterator[Row]:
        """The rows among which the void ones are; ``end``: what follows the address in keys."""
        for start in self.starts(end):
            yield from tables.rows(table, start)

    def starts(self, end: bytes) -> list[bytes]:
        """How the keys begin among which the void ones are."""
        order = self.only
        if order is None or order.subject != "network":
            return [b""]
        address, _, length = order.name.partition(b"/")
        if not length:
            # An IPv6 address may be granted with its network.
            return sorted({address + end, widened(address, NETWORK_BITS) + end})
        if b":" in address:
            return [b""]
        # The octets that all addresses of the network share.
        octets = address.split(b".")[: int(length) // 8]
        return [b"".join(octet + b"." for octet in octets)]


def void_logins(tables: Tables, voiding: Voiding) -> Iterator[tuple[bytes, bytes]]:
    """Address and user of the logins that are void."""
    order = voiding.only
    if order is not None and order.subject == "user":
        for key, _ in tables.rows(b"users", order.name + b"\0"):
            user, address = rows.parse_user_key(key)
            if user == order.name:
                yield address, user
        return
    for key, value in voiding.around(tables, b"logins", b"\0"):
        address, user = rows.parse_login_key(key)
        if voiding.void(address, user, value[8:16]):
            yield address, user


def void_sessions(tables: Tables, voiding: Voiding) -> Iterator[bytes]:
    """The keys of the sessions that are void; few are open beside the logins."""
    for key, value in voiding.around(tables, b"sessions", b"\0"):
        address, session = rows.parse_session_key(key)
        if voiding.void(address, session.user, value[8:16]):
            yield key


def void_grants(tables: Tables, voiding: Voiding) -> Iterator[bytes]:
    """The addresses of grants that are void, whether or not a login of them is left."""
    order = voiding.only
    name = order.name if order is not None and order.subject == "user" else b""
    for address, value in voiding.around(tables, b"grants", b""):
        # Of most of a million grants the end of the row tells enough.
        if value.endswith(name) and voiding.void(
            address, rows.unpack_grant(value).user, value[8:16]
        ):
            yield address
