"""All that the map knows of one address: why it may relay, or not, now or at another time.

Reads the map and judges nothing anew: what the log granted stands there, and what the operator
ordered.  Of the past it knows what has ended for as long as it is remembered (``retention``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pbs_watch.grants import rows
from pbs_watch.grants.acts import Act, acts_after
from pbs_watch.grants.address import granted_as, overlap
from pbs_watch.grants.changes import Grant, Hold, Refusal, RefusalKey, SessionKey
from pbs_watch.grants.orders import Allow, Bar, Orders
from pbs_watch.grants.store import Map
from pbs_watch.grants.tables import Tables


class Granted(NamedTuple):
    """What logins granted an address, or its network; ``ended`` is ``None`` while it is kept."""

    address: bytes
    grant: Grant
    ended: float | None = None

    @property
    def until(self) -> float:
        """When it ended, or its window does."""
        return self.grant.expires if self.ended is None else self.ended


class Open(NamedTuple):
    """An open session."""

    address: bytes
    key: SessionKey
    hold: Hold


class Refused(NamedTuple):
    """Lines that granted nothing, for one reason."""

    key: RefusalKey
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Account:
    """What is known of ``address`` at the time ``at``; times in epoch seconds.

    ``may``: whether it may relay then, and ``until`` when, by all that is known; ``until`` is
    ``None`` where it may permanently, or may not.  ``held``: that it is only an open session which
    lets it so long, so that it may end sooner.  ``by``: the grants that hold then, those of the
    past among them, and ``allow`` the operator's order that does.  ``known``: whether the map
    remembers that time at all.  ``sources``: the names of the logs, by their ids.
    """

    address: bytes
    now: float
    at: float
    may: bool
    until: float | None
    held: bool
    known: bool
    remembered: float
    by: list[Granted]
    allow: Allow | None
    logins: list[Granted]
    sessions: list[Open]
    orders: list[Allow | Bar]
    past: list[Granted]
    refusals: list[Refused]
    sources: dict[int, str]


def explain(grants: Map, address: bytes, now: float, at: float | None = None) -> Account:
    """Account for a canonical ``address`` at ``at`` (now); raises :class:`MapError`."""
    then = now if at is None else at
    keys = granted_as(address)
    orders = grants.obey()
    with grants.reading() as tables:
        kept = [
            Granted(key, rows.unpack_grant(value))
            for key in keys
            if (value := tables.get(b"grants", key)) is not None
        ]
        past = [one for key in keys for one in _past(tables, key)]
        logins = [one for key in keys for one in _logins(tables, key)]
        sessions = [one for key in keys for one in _sessions(tables, key)]
        refusals = list(_refusals(tables, address))
        acts = acts_after(tables, 0) if then < now else []
        places = {one.grant.source for one in (*kept, *past, *logins)}
        sources = _names(tables, places | {one.refusal.source for one in refusals})
    sessions = [one for one in sessions if one.hold.until > then]
    if then < now:
        orders = _orders_at(orders, acts, then)
        logins = [one for one in logins if one.grant.since <= then]
        sessions = [one for one in sessions if one.hold.began <= then]
    by = [one for one in (*kept, *past) if _holds(one, sessions, then, now)]
    allow = orders.allowed(address, then)
    if orders.blocked(address, then) is not None:
        # Its network may be granted, it is not.
        by = [one for one in by if one.ended is not None]
    until, held = _until(by, sessions, allow)
    users = {one.grant.user for one in (*logins, *past)}
    users |= {one.key.user for one in sessions} | {one.key.user for one in refusals}
    return Account(
        address,
        now,
        then,
        may=bool(by) or allow is not None,
        until=until,
        held=held,
        known=then >= now - grants.retention,
        remembered=grants.retention,
        by=by,
        allow=allow,
        logins=sorted(logins, key=lambda one: -one.grant.login),
        sessions=sorted(sessions, key=lambda one: -one.hold.until),
        orders=list(_concerning(orders, keys if kept or past else [address], users)),
        past=sorted(past, key=lambda one: -one.until),
        refusals=sorted(refusals, key=lambda one: -one.refusal.last),
        sources=sources,
    )


def _holds(one: Granted, sessions: Iterable[Open], then: float, now: float) -> bool:
    """Whether a grant lets its address relay ``then``: as a lookup decides, but for the past."""
    if then < now and one.grant.since > then:
        return False
    if one.until > then:
        return True
    return one.ended is None and any(session.address == one.address for session in sessions)


def _until(
    by: list[Granted], sessions: list[Open], allow: Allow | None
) -> tuple[float | None, bool]:
    """Until when all of these let relay, and whether only a session does so long."""
    if allow is not None and allow.until is None:
        return None, False
    ends = [one.until for one in by] + ([allow.until or 0.0] if allow else [])
    kept = {one.address for one in by if one.ended is None}
    holds = [one.hold.until for one in sessions if one.address in kept]
    if not ends:
        return None, False
    return max(ends + holds), bool(holds) and max(holds) > max(ends)


# What the rows say


def _past(tables: Tables, address: bytes) -> Iterator[Granted]:
    for key, value in tables.rows(b"past", address + b"\0"):
        ended = rows.unpack_time(key[len(address) + 1 :])
        yield Granted(address, rows.unpack_past(value), ended)


def _logins(tables: Tables, address: bytes) -> Iterator[Granted]:
    for key, value in tables.rows(b"logins", address + b"\0"):
        user = rows.parse_login_key(key)[1]
        yield Granted(address, rows.unpack_grant(value)._replace(user=user))


def _sessions(tables: Tables, address: bytes) -> Iterator[Open]:
    for key, value in tables.rows(b"sessions", address + b"\0"):
        yield Open(address, rows.parse_session_key(key)[1], rows.unpack_hold(value))


def _refusals(tables: Tables, address: bytes) -> Iterator[Refused]:
    for key, value in tables.rows(b"refusals", address + b"\0"):
        yield Refused(rows.parse_refusal_key(key), rows.unpack_refusal(value))


def _names(tables: Tables, places: Iterable[int]) -> dict[int, str]:
    """The names of sources, as far as the map knows them."""
    found = {}
    for number in places:
        name = tables.get(b"meta", rows.SOURCE_NAME + b"%016x" % number)
        if name is not None:
            found[number] = name.decode("utf-8", "surrogateescape")
    return found


# The operator's orders


def _concerning(
    orders: Orders, keys: Sequence[bytes], users: Iterable[bytes]
) -> Iterator[Allow | Bar]:
    """The orders that concern an address, or its network, or somebody who logged in there."""
    known = frozenset(users)
    for allow in orders.allows:
        if overlap(allow.network, keys[0]):
            yield allow
    for bar in orders.bars:
        if bar.subject == "network":
            concerned = any(overlap(bar.name, key) for key in keys)
        else:
            concerned = bar.subject == "everybody" or bar.name in known
        if concerned:
            yield bar


def _orders_at(orders: Orders, acts: Iterable[Act], then: float) -> Orders:
    """The orders in force at a time of the past, as far as they are remembered.

    What was ordered before and stands still was in force; what was replaced since is known by the
    acts that did so.
    """
    allows: dict[bytes, Allow] = {}
    bars: dict[bytes, Bar] = {}
    for act in acts:
        network = rows.bytes_of(act.on)
        if act.time > then or b" " in network or act.on in {"", "everybody"}:
            continue
        if act.what == "allow":
            allows[network] = Allow(network, act.time, act.until, act.note)
            _end(bars, network, act.time)
        elif act.what == "unblock":
            _end(bars, network, act.time)
        elif act.what in {"revoke", "block", "expire"}:
            allows.pop(network, None)
            until = act.time if act.until is None else act.until
            bars[network] = Bar("network", network, act.time, until, act.note)
    allows |= {one.network: one for one in orders.allows if one.since <= then}
    bars |= {one.name: one for one in orders.bars if one.since <= then and one.subject == "network"}
    others = [one for one in orders.bars if one.since <= then and one.subject != "network"]
    return Orders(
        orders.version,
        [one for one in allows.values() if one.holds(then)],
        [*bars.values(), *others],
    )


def _end(bars: dict[bytes, Bar], network: bytes, when: float) -> None:
    old = bars.get(network)
    if old is not None and old.until > when:
        bars[network] = Bar("network", network, old.since, when, old.note)
