"""What other hosts are still to be told: rows of the map, written together with what they tell of.

Pure: rows of a transaction in and out.  Two tables, used where grants are shared:

``outbox``
    ``L`` and the key of a login: the expiry that is to be sent.  ``O`` and the key of an order.
    ``F`` and a user who is to be forgotten.  A row is there from the transaction in which its login
    was granted, or its order given, until the engine has confirmed it: a crash loses nothing.  The
    same login again is the same row, so that an engine that is away for long costs no more rows
    than there are logins.
``shared``
    By the key of an order its latest record (:mod:`pbs_watch.grants.records`), told or learned.

The order of sending does not matter: the later expiry wins, and the later record.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

from pbs_watch.grants.orders import Allow, Bar
from pbs_watch.grants.records import Record, pack, record_of
from pbs_watch.grants.rows import OFFERED, OFFERING, SHARING
from pbs_watch.grants.tables import Row, Tables

LOGIN, ORDER, FORGET = b"L", b"O", b"F"
"""How the keys of the three kinds of rows begin."""


def on(tables: Tables) -> bool:
    """Whether the daemon shares its grants, so that what is done by hand is to be told."""
    return tables.get(b"meta", SHARING) is not None


def shares_as(tables: Tables, host: str) -> bool:
    """Whether commands are told by now that grants are shared as ``host``; empty: by nobody."""
    return tables.get(b"meta", SHARING) == (host.encode() or None)


def begin(tables: Tables, host: str) -> None:
    """Share as ``host``; all is offered where nothing was shared until now."""
    if not on(tables):
        tell_again(tables)
    tables.put(b"meta", SHARING, host.encode())


def end(tables: Tables) -> None:
    """Share no more: then nothing is kept for anybody (:func:`clear`)."""
    tables.delete(b"meta", SHARING)
    tell_again(tables)


def clear(tables: Tables, most: int) -> bool:
    """Remove so many rows that were kept for others, if grants are not shared; are there more?"""
    if on(tables):
        return False
    for table in (b"outbox", b"shared"):
        keys = [key for key, _ in islice(tables.rows(table), most)]
        for key in keys:
            tables.delete(table, key)
        if keys:
            return True
    return False


def tell(tables: Tables, order: Allow | Bar, by: str) -> None:
    """An order was given: let the others know, where grants are shared."""
    _tell(tables, record_of(order, by))


def tell_unblocked(tables: Tables, order: Bar, by: str) -> None:
    """A block was ended."""
    _tell(tables, record_of(order, by, "unblock"))


def tell_ended(tables: Tables, order: Allow, by: str) -> None:
    """An allow was ended, here or on a host that knows it; ``since``: now."""
    _tell(tables, record_of(order, by, "end"))


def untold(tables: Tables, order: Bar) -> None:
    """An order is of no use any more: tell nobody of it who has not heard of it yet."""
    key = record_of(order, "").key
    if tables.delete(b"outbox", ORDER + key):
        tables.delete(b"shared", key)


def names(user: bytes, key: bytes, _value: bytes) -> bool:
    """Whether a row of the outbox is for a login of ``user``."""
    return key.startswith(LOGIN) and key.partition(b"\0")[2] == user


def tell_forgotten(tables: Tables, user: bytes) -> None:
    """A user is to be forgotten: by the engine too, and here nothing names him but that."""
    if not on(tables):
        return
    key = record_of(Bar("user", user, 0.0, 0.0), "").key
    tables.delete(b"shared", key)
    tables.delete(b"outbox", ORDER + key)
    tables.put(b"outbox", FORGET + user, b"")


def _tell(tables: Tables, record: Record) -> None:
    host = tables.get(b"meta", SHARING)
    if host is not None:
        value = pack(replace(record, by=f"{record.by}@{host.decode()}"))
        tables.put(b"shared", record.key, value)
        tables.put(b"outbox", ORDER + record.key, value)


def tell_again(tables: Tables) -> None:
    """Offer all logins and orders that there are: they came from elsewhere."""
    # A walk that is under way may be past them.
    for name in (OFFERED, OFFERING):
        tables.delete(b"meta", name)


def delivered(tables: Tables, sent: Iterable[Row]) -> None:
    """Take out rows that the engine has, unless they were written anew meanwhile."""
    for key, value in sent:
        if tables.get(b"outbox", key) == value:
            tables.delete(b"outbox", key)
