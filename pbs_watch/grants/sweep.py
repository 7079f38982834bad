"""Tidying: removing rows that are due, and remembering the grants that are over for a while.

Expiry is checked on every read, so nothing depends on this.  It costs what expires, not what
exists: the expiry index names the rows to look at, in the order of their time.
"""

from __future__ import annotations

from typing import NamedTuple

from pbs_watch.grants import rows
from pbs_watch.grants.acts import bump
from pbs_watch.grants.tables import Tables

_tuple = tuple.__new__


class Over(NamedTuple):
    """A grant that has ended, as the map had it, and when: both packed (:mod:`grants.rows`)."""

    address: bytes
    ended: bytes
    grant: bytes


class Swept(NamedTuple):
    """How many rows a sweep looked at, the grants that were found over, and how many orders."""

    looked: int
    over: list[Over]
    orders: int = 0


def held(tables: Tables, address: bytes, now: float) -> bool:
    """Whether an open session holds ``address`` at ``now``."""
    return any(
        rows.unpack_time(value) > now for _, value in tables.rows(b"sessions", address + b"\0")
    )


def remember(tables: Tables, over: list[Over], retention: float) -> None:
    """Keep grants that ended for ``retention`` seconds; 0: not at all."""
    if not retention or not over:
        return
    # All of a batch are due together, with the last of them.
    due = rows.later(max(one[1] for one in over), int(retention * 1e6))
    mark = due + rows.KINDS[b"past"]
    past = sorted([(address + b"\0" + ended, due + grant) for address, ended, grant in over])
    tables.put_all(b"past", past)
    tables.put_all(b"expiry", [(mark + name, b"") for name, _ in past])


def due(tables: Tables, now: float) -> bool:
    """Whether anything is to be swept."""
    first = next(tables.rows(b"expiry"), None)
    return first is not None and rows.unpack_time(first[0]) <= now


def sweep(tables: Tables, now: float, most: int, retention: float) -> Swept:
    """Remove rows that were due before ``now``, of which at most so many are looked at."""
    found = tables.take_first(b"expiry", rows.pack_time(now), most)
    gone = {table: _expire(tables, found, table, now) for table in rows.KINDS}
    if gone[b"orders"]:
        bump(tables)  # so that nobody goes on to remember them
    ended: dict[bytes, bytes] = {}
    for name in gone[b"logins"]:
        address, _, user = name.partition(b"\0")
        ended[address] = b""  # with its window, which the grant knows
        tables.delete(b"users", user + b"\0" + address)
    for name, when in gone[b"sessions"].items():
        address = name[: name.index(b"\0")]
        ended[address] = max(when, ended.get(address, b""))
    over = _drop_grants(tables, ended, now)
    remember(tables, over, retention)
    return Swept(len(found), over, len(gone[b"orders"]))


# Many rows at once and in order take half as long as row by row.


def _expire(tables: Tables, found: list[bytes], table: bytes, now: float) -> dict[bytes, bytes]:
    """Remove rows of one table that were due; returns their keys, and when they ended.

    What was renewed meanwhile goes back into the index.
    """
    mark = rows.KINDS[table]
    names = {key[9:]: key[:8] for key in found if key[8:9] == mark}
    if not names:
        return {}
    present = rows.pack_time(now)
    known = dict(tables.some(table, sorted(names)))
    renewed = {name: value[:8] for name, value in known.items() if value[:8] > present}
    for name in known:
        if name not in renewed:
            tables.delete(table, name)
    tables.put_all(b"expiry", [(until + mark + name, b"") for name, until in renewed.items()])
    # A row that is there no more was ended by a line, just now.
    return {
        name: known[name][:8] if name in known else present for name in names if name not in renewed
    }


def _drop_grants(tables: Tables, ended: dict[bytes, bytes], now: float) -> list[Over]:
    """Remove those grants that are over: expired, and no session holds them."""
    present, sessions = rows.pack_time(now), tables.count(b"sessions")
    over: list[Over] = []
    for address, value in tables.some(b"grants", sorted(ended)):
        expires = value[:8]
        if expires > present or (sessions and held(tables, address, now)):
            continue
        tables.delete(b"grants", address)
        over.append(_tuple(Over, (address, max(ended[address], expires), value)))
    return over
