"""What the operator does by hand, while the daemon runs: allow, bar, expire, forget.

An order is one row, which counts from the moment it is written (:mod:`pbs_watch.grants.orders`).
What it makes void is then removed from the map (:mod:`pbs_watch.grants.strike`).

All functions raise :class:`~pbs_watch.errors.MapError`; ``now`` is in epoch seconds and ``by`` the
operator's account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from pbs_watch.errors import MapError
from pbs_watch.grants import outbox, rows
from pbs_watch.grants.acts import Act, bump, unpack, written
from pbs_watch.grants.environment import CHANGED_ROWS
from pbs_watch.grants.orders import Allow, Bar
from pbs_watch.grants.store import Map
from pbs_watch.grants.strike import Struck, batches, begin, finish, strike
from pbs_watch.grants.tables import Tables

_FOLDED = "fold_users"
"""Who is said to have given an order whose user is called otherwise now."""

_TOLD_WITHIN = 3600.0
"""Seconds in which a daemon, also one that is being restarted, tells an act in its trail."""


@contextmanager
def _giving(grants: Map) -> Iterator[Tables]:
    """An order is written, and on the disk when this ends; or it is not given."""
    try:
        with grants.changing() as tables:
            yield tables
        grants.sync()
    except MapError as error:
        raise MapError(f"{error}; the order was not given: give it again then") from None


def allow(grants: Map, order: Allow, by: str) -> None:
    """Let a network relay; a block of the very same network ends."""
    with _giving(grants) as tables:
        tables.put_due(b"orders", [(rows.order_key(order), rows.pack_order(order))])
        blocked = _bar_of(tables, Bar("network", order.network, order.since, order.since))
        if blocked is not None and blocked.until > order.since:
            ended = replace(blocked, since=order.since, until=order.since)
            _put_bar(tables, replace(blocked, until=order.since))
            outbox.tell_unblocked(tables, ended, by)
        outbox.tell(tables, order, by)
        act = Act(order.since, "allow", order.network.decode(), by, order.until, order.note)
        written(tables, act, due(grants, order.since))


def bar(grants: Map, order: Bar, by: str, what: str) -> Struck:
    """Make void all logins up to a time; an allow of the very same network ends.

    ``what``: the name of the act: ``revoke``, ``block`` or ``expire``.  A bar of the same subject
    that reaches farther stays as it is; what is returned says how far.
    """
    note = order.note
    with _giving(grants) as tables:
        old = _bar_of(tables, order)
        if old is not None and old.until > order.until:
            order = replace(old, since=order.since)
        else:
            _put_bar(tables, order)
        outbox.tell(tables, order, by)
        ended = False
        if order.subject == "network":
            allowed = Allow(order.name, order.since, None)
            ended = tables.delete(b"orders", rows.order_key(allowed))
            outbox.tell_ended(tables, allowed, by)
        until = order.until if order.until > order.since else None
        act = Act(order.since, what, _named(order), by, until, note)
        written(tables, act, due(grants, order.since))
        begin(tables, order)
    try:
        struck = finish(grants, order, order.since)
    except MapError as error:
        raise MapError(
            f"{error}; the order stands, but what it makes void is not all removed yet: the daemon "
            "does that within some seconds, or give the order again"
        ) from None
    struck.until = order.until
    if ended:
        struck.allows += 1
        single = b"/" not in order.name
        if single and not struck.addresses and not grants.allows(order.name, order.since):
            struck.addresses = 1
    return struck


def fold_orders(grants: Map) -> None:
    """Let orders about users be about their names in lower case, by which they are kept now."""
    capitals = [
        bar for bar in grants.obey().bars if bar.subject == "user" and bar.name != bar.name.lower()
    ]
    for some in batches(capitals):
        with grants.changing() as tables:
            for one in some:
                tables.delete(b"orders", rows.order_key(one))
                outbox.untold(tables, one)
                order = replace(one, name=one.name.lower())
                old = _bar_of(tables, order)
                if old is None or old.until < order.until:
                    _put_bar(tables, order)
                    begin(tables, order)
                    outbox.tell(tables, order, _FOLDED)
            bump(tables)


def similar(grants: Map, user: bytes, most: int) -> list[bytes]:
    """Users in the map whose names differ from ``user`` by case, or by having a domain or not."""
    local = user.lower().partition(b"@")[0]
    whole = user.lower()
    found: dict[bytes, None] = {}
    with grants.reading() as tables:
        for first in sorted({local[:1], local[:1].upper()}):
            for key, _ in tables.rows(b"users", first):
                if key[: len(local)].lower() != local:
                    continue
                name = rows.parse_user_key(key)[0]
                folded = name.lower()
                domain = folded == local or (whole == local and folded.startswith(local + b"@"))
                if name != user and (folded == whole or domain):
                    found[name] = None
                    if len(found) > most:
                        return list(found)
    return list(found)


def unblock(grants: Map, order: Bar, by: str) -> bool:
    """End a block now; whether there was one.  Logins before now stay void."""
    with _giving(grants) as tables:
        old = _bar_of(tables, order)
        if old is None or old.until <= order.since:
            return False
        _put_bar(tables, replace(old, until=order.since))
        outbox.tell_unblocked(tables, replace(old, since=order.since, until=order.since), by)
        act = Act(order.since, "unblock", _named(order), by)
        written(tables, act, due(grants, order.since))
    return True


def restore(grants: Map, orders: Sequence[Allow | Bar]) -> None:
    """Put orders into a map that does not know them; the daemon removes what they make void."""
    for some in batches(orders):
        with grants.changing() as tables:
            tables.put_due(b"orders", [(rows.order_key(one), rows.pack_order(one)) for one in some])
            if tables.count(b"logins") or tables.count(b"sessions"):
                for one in some:
                    if isinstance(one, Bar):
                        begin(tables, one)
            outbox.tell_again(tables)
            bump(tables)


def sweep(grants: Map, by: str, now: float) -> int:
    """Remove all that is due, where no daemon does it; how many grants were over.

    A daemon tells each of them in its audit trail; of these it tells the number, as one act.
    """
    over, looked = 0, CHANGED_ROWS
    try:
        while looked == CHANGED_ROWS:
            swept = grants.sweep(now, CHANGED_ROWS)
            looked = swept.looked
            over += len(swept.over)
        if over:
            with grants.changing() as tables:
                act = Act(now, "expire", "", by, note=f"{over} grants that were over")
                written(tables, act, due(grants, now))
    except MapError as error:
        raise MapError(f"{error}; not all is removed: give it again then") from None
    return over


def forget(grants: Map, user: bytes, by: str, now: float) -> dict[str, int]:
    """Remove every row that names ``user``; how many of each kind there were.

    The act itself does not name him.
    """
    try:
        return _forget(grants, user, by, now)
    except MapError as error:
        raise MapError(f"{error}; not all is forgotten: give it again then") from None


def _forget(grants: Map, user: bytes, by: str, now: float) -> dict[str, int]:
    struck = strike(grants, [Bar("user", user, now, now)], now, remember=False)
    found = {"login": struck.logins, "open session": struck.sessions}
    for table, word, names in _PERSONAL:
        found[word] = _delete_where(grants, table, partial(names, user))
    _delete_where(grants, b"outbox", partial(outbox.names, user))
    with grants.changing() as tables:
        outbox.tell_forgotten(tables, user)
        written(tables, Act(now, "forget", "", by), due(grants, now))
    return found


def _names_past(user: bytes, _key: bytes, value: bytes) -> bool:
    return rows.unpack_past(value).user == user


def _names_refusal(user: bytes, key: bytes, _value: bytes) -> bool:
    return rows.parse_refusal_key(key).user == user


def _names_order(user: bytes, key: bytes, value: bytes) -> bool:
    order = rows.unpack_order(key, value)
    return isinstance(order, Bar) and order.subject == "user" and order.name == user


def _names_act(user: bytes, _key: bytes, value: bytes) -> bool:
    return unpack(_key, value).on == f"user {rows.text_of(user)}"


_PERSONAL: Sequence[tuple[bytes, str, Callable[[bytes, bytes, bytes], bool]]] = (
    (b"past", "past grant", _names_past),
    (b"refusals", "refusal", _names_refusal),
    (b"orders", "order", _names_order),
    (b"acts", "act", _names_act),
)
"""The tables that may name a user beside the logins and sessions, and how to tell."""


def _delete_where(grants: Map, table: bytes, fits: Callable[[bytes, bytes], bool]) -> int:
    with grants.reading() as tables:
        keys = [key for key, value in tables.rows(table) if fits(key, value)]
    for some in batches(keys):
        with grants.changing() as tables:
            for key in some:
                tables.delete(table, key)
    return len(keys)


def shares(grants: Map) -> bool:
    """Whether the daemon shares its grants, so that other hosts are told of what is done here."""
    with grants.reading() as tables:
        return outbox.on(tables)


def due(grants: Map, now: float) -> float:
    """Until when an act is remembered: at least until the daemon has told it."""
    return now + max(grants.retention, _TOLD_WITHIN)


def _named(order: Bar) -> str:
    return {
        "network": rows.text_of(order.name),
        "user": f"user {rows.text_of(order.name)}",
        "everybody": "everybody",
    }[order.subject]


def _bar_of(tables: Tables, order: Bar) -> Bar | None:
    """The bar of the same subject that there is already."""
    key = rows.order_key(order)
    value = tables.get(b"orders", key)
    found = None if value is None else rows.unpack_order(key, value)
    return found if isinstance(found, Bar) else None


def _put_bar(tables: Tables, order: Bar) -> None:
    tables.put_due(b"orders", [(rows.order_key(order), rows.pack_order(order))])
