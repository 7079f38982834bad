"""Writing a batch of changes into the tables of a map, within one transaction.

Rows are written in order of their keys and all at once: LMDB then finds each page once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from pbs_watch.errors import UnpackableError
from pbs_watch.grants import rows
from pbs_watch.grants.changes import Changes, Grant
from pbs_watch.grants.outbox import LOGIN
from pbs_watch.grants.sweep import Over, held, remember
from pbs_watch.grants.tables import Tables

REFUSALS_KEPT = 100_000
"""Refusals that the map remembers: a client can cause any number, of any address."""


def put(tables: Tables, changes: Changes, retention: float) -> list[Over]:
    """Write ``changes``; returns the grants that were found over, and have begun anew.

    ``retention``: seconds for which those and refusals are remembered; 0: not at all.  Raises
    :class:`UnpackableError` for a login that no row can hold.
    """
    # Sessions after grants: one that is over may have bridged a gap.
    _put_logins(tables, changes)
    over = _put_grants(tables, changes)
    remember(tables, over, retention)
    _put_sessions(tables, changes)
    if retention:
        _put_refusals(tables, changes, retention)
    _put_joins(tables, changes)
    for name, state in changes.sources.items():
        tables.put(b"sources", rows.source_key(name), rows.pack_source(name, state))
    if changes.told:
        tables.put(b"meta", rows.TOLD_ACT, changes.told.to_bytes(8, "big"))
    for number, name in changes.names.items():
        key = rows.SOURCE_NAME + b"%016x" % number
        tables.put(b"meta", key, name.encode("utf-8", "surrogateescape"))
    return over


def _packed(pack: Callable[[Grant], bytes], values: Mapping[bytes, Grant]) -> dict[bytes, bytes]:
    try:
        return {name: pack(value) for name, value in values.items()}
    except (struct.error, OverflowError, ValueError) as error:
        raise UnpackableError(f"a login has a time that no row can hold ({error})") from None


def _put_logins(tables: Tables, changes: Changes) -> None:
    new = _packed(rows.pack_login, changes.logins)
    names = sorted(new)
    known = dict(tables.some(b"logins", names))
    for name, old in known.items():
        new[name] = rows.join_rows(old, new[name])
    tables.put_all(b"logins", [(name, new[name]) for name in names])
    # The index is lazy: a login that comes again is found where its first one expires, and
    # moved on then.  A renewal costs nothing, a sweep looks once per window.
    first = [name for name in names if name not in known]
    mark = rows.KINDS[b"logins"]
    tables.put_all(b"expiry", [(new[name][:8] + mark + name, b"") for name in first])
    tables.put_all(b"users", [(rows.user_key(name), b"") for name in first])
    if changes.outbox:
        tables.put_all(b"outbox", [(LOGIN + name, new[name][:8]) for name in changes.outbox])


def _put_grants(tables: Tables, changes: Changes) -> list[Over]:
    new = _packed(rows.pack_grant, changes.grants)
    names = sorted(new)
    over: list[Over] = []
    for name, old in tables.some(b"grants", names):
        if rows.is_gap(old, new[name]):
            if held(tables, name, rows.unpack_time(new[name][16:])):
                new[name] = new[name][:16] + old[16:24] + new[name][24:]
            else:
                over.append(Over(name, old[:8], old))
        new[name] = rows.join_rows(old, new[name])
    tables.put_all(b"grants", [(name, new[name]) for name in names])
    return over


def _put_sessions(tables: Tables, changes: Changes) -> None:
    opened: dict[bytes, bytes] = {}
    ended: list[bytes] = []
    for address, sessions in changes.sessions.items():
        for key, hold in sessions.items():
            name = rows.session_key(address, key)
            if hold is None:
                ended.append(name)
            else:
                opened[name] = rows.pack_hold(hold)
    tables.put_due(b"sessions", opened.items())
    over = [name for name in sorted(ended) if tables.delete(b"sessions", name)]
    # The grant may have outlived its window only by a session that ended: look at once.
    start = rows.pack_time(0.0) + rows.KINDS[b"sessions"]
    tables.put_all(b"expiry", [(start + name, b"") for name in over])


def _put_refusals(tables: Tables, changes: Changes, retention: float) -> None:
    new = {rows.refusal_key(key): refusal for key, refusal in changes.refusals.items()}
    if not new:
        return
    room = REFUSALS_KEPT - tables.count(b"refusals")
    # Who forges lines must not leave other refusals without a place.
    reserved = REFUSALS_KEPT // 2
    known = dict(tables.some(b"refusals", sorted(new)))
    kept = []
    for name, refusal in sorted(new.items()):
        joined = refusal
        if name in known:
            joined = rows.unpack_refusal(known[name]).joined(refusal)
        elif room > (reserved if b"\0suspect\0" in name else 0):
            room -= 1
        else:
            continue
        kept.append((name, rows.pack_refusal(joined.last + retention, joined)))
    tables.put_due(b"refusals", kept)


def _put_joins(tables: Tables, changes: Changes) -> None:
    waiting = []
    for (source, key), kept in changes.joins.items():
        name = rows.join_key(source, key)
        if kept is None:
            tables.delete(b"joins", name)
        else:
            waiting.append((name, rows.pack_half(kept[0], key, kept[1])))
    if waiting:
        tables.put_due(b"joins", waiting)
