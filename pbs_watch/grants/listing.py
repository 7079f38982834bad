"""Who may relay, as the map and the operator's orders say: what ``list`` and others show.

A map holds a million grants: they are read some thousands at a time, each time in a transaction
of its own, as plain tuples.  What changes meanwhile is seen or not.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeAlias

from pbs_watch.grants import rows, tables
from pbs_watch.grants.address import prefix
from pbs_watch.grants.orders import Allow, Bar
from pbs_watch.grants.policy import domain_of
from pbs_watch.grants.store import Map

_SLICE = 4000
"""Rows read in one transaction; more take twice as long each, outside the processor's cache."""

Row: TypeAlias = tuple[bytes, bytes, bytes, int, int | None, str]
"""Address or network, user, service, login, expires and note, as :class:`Listed` says, but with
times in microseconds since the epoch.  A plain tuple, which takes a third of the time."""

_TIMES = struct.Struct(">QQ").unpack_from
"""Expiry and login of a packed grant, or login."""

_WHO = 48
"""Where service and user begin in a packed grant."""


class Listed(NamedTuple):
    """An address or network that may relay; times in epoch seconds.

    ``expires``: ``None`` where it is allowed permanently.  ``login``: of the latest login, or when
    the operator allowed it.  ``user`` and ``service`` are empty where only he did; ``note`` is his.
    """

    address: bytes
    user: bytes
    service: bytes
    login: float
    expires: float | None
    note: str = ""


class Session(NamedTuple):
    """An open session; ``began`` and ``until``, when it stops to hold, in epoch seconds."""

    address: bytes
    user: bytes
    service: bytes
    port: bytes
    began: float
    until: float


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be listed; what is empty does not matter.

    ``user``: a user, or ``@`` and a domain.  ``network``: a canonical network or address; a network
    that is granted is chosen where it holds ``network``, or lies in it.  ``permanent``: only what
    is allowed permanently.
    """

    user: bytes = b""
    network: bytes = b""
    service: bytes = b""
    permanent: bool = False

    def names(self, user: bytes) -> bool:
        """Whether ``user`` is meant."""
        if self.user.startswith(b"@"):
            return domain_of(user) == self.user.lower()
        return not self.user or user == self.user

    @property
    def holds(self) -> Callable[[bytes], bool]:
        """A function that says whether an address or network is meant."""
        if not self.network:
            return lambda _: True
        size, length, first = prefix(self.network)
        sixth = size == 128

        def holds(address: bytes) -> bool:
            if (b":" in address) != sixth:
                return False
            _, own, value = prefix(address)
            shift = size - min(length, own)
            return value >> shift == first >> shift

        return holds


def granted(grants: Map, now: float) -> list[Listed]:
    """All that may relay at ``now``, sorted by address; raises :class:`MapError`.

    Where only an open session still holds an address, it expires when that does at the latest.
    """
    return [
        Listed(address, user, service, login / 1e6, None if due is None else due / 1e6, note)
        for some in slices(grants, now)
        for address, user, service, login, due, note in some
    ]


def slices(grants: Map, now: float, choice: Choice | None = None) -> Iterator[list[Row]]:
    """What may relay at ``now``, some thousand rows at a time, in the order of the addresses' text.

    Of a chosen user, or domain, these are his own logins, whoever was the latest at the address.
    Raises :class:`MapError`.
    """
    choice = choice or Choice()
    allows = [allow for allow in grants.obey().allows if allow.holds(now)]
    if choice.permanent:
        allows = [allow for allow in allows if allow.until is None]
    if choice.user.startswith(b"@"):
        found = iter([_logins_of_domain(grants, now, choice)])
    elif choice.user:
        found = iter([_logins_of_user(grants, now, choice)])
    elif choice.permanent:
        found = iter([_grants_of(grants, now, sorted(allow.network for allow in allows))])
    else:
        found = _read(grants, b"grants", _parser(grants, now))
    # Nobody logged in where the operator allows: he has neither a user nor a service.
    alone = not (choice.user or choice.service)
    holds = choice.holds
    for some in _with_allows(found, allows, alone=alone):
        chosen = some
        if choice.network:
            chosen = [row for row in chosen if holds(row[0])]
        if choice.service:
            chosen = [row for row in chosen if row[2] == choice.service]
        if choice.permanent:
            chosen = [row for row in chosen if row[4] is None]
        if chosen:
            yield chosen


def sessions(grants: Map, now: float, choice: Choice) -> list[Session]:
    """The chosen sessions that are open at ``now``; raises :class:`MapError`."""
    holds = choice.holds
    return [
        Session(address, key.user, key.service, key.port, hold.began, hold.until)
        for (address, key), hold in grants.sessions(now).items()
        if choice.names(key.user)
        and (not choice.service or key.service == choice.service)
        and holds(address)
    ]


def orders(grants: Map, now: float, choice: Choice) -> list[Allow | Bar]:
    """The operator's chosen orders, allows first; raises :class:`MapError`."""
    known = grants.obey()
    holds = choice.holds
    allows = [
        allow
        for allow in known.allows
        if allow.holds(now)
        and not choice.user
        and (allow.until is None or not choice.permanent)
        and holds(allow.network)
    ]
    bars = [bar for bar in known.bars if not choice.permanent and _meant(bar, choice)]
    return [*allows, *bars]


def _meant(bar: Bar, choice: Choice) -> bool:
    if bar.subject == "network":
        return not choice.user and choice.holds(bar.name)
    if bar.subject == "user":
        return not choice.network and choice.names(bar.name)
    return not (choice.user or choice.network)


# Reading


def _read(
    grants: Map, table: bytes, parse: Callable[[list[tables.Row]], list[Row]]
) -> Iterator[list[Row]]:
    after = b""
    while True:
        with grants.reading() as known:
            found = list(islice(known.rows(table, after=after), _SLICE))
            if not found:
                return
            after = found[-1][0]
            some = parse(found)
        if some:
            yield some


def _parser(grants: Map, now: float) -> Callable[[list[tables.Row]], list[Row]]:
    """A function from rows of the map to those of them that may relay at ``now``."""
    present = rows.pack_time(now)
    held: dict[bytes, int] = {}
    for (address, _), hold in grants.sessions(now).items():
        held[address] = max(rows.micros(hold.until), held.get(address, 0))

    def parse(found: list[tables.Row]) -> list[Row]:
        some: list[Row] = []
        add = some.append
        for address, value in found:
            expires, login = _TIMES(value)
            service, user = value[_WHO:].split(b"\0", 1)
            if value[:8] <= present:
                if address not in held:
                    continue
                expires = held[address]
            add((address, user, service, login, expires, ""))
        return some

    return parse


def _grants_of(grants: Map, now: float, networks: list[bytes]) -> list[Row]:
    parse = _parser(grants, now)
    with grants.reading() as known:
        return parse(known.some(b"grants", networks))


def _logins_of_domain(grants: Map, now: float, choice: Choice) -> list[Row]:
    held = _held(grants, now, choice)
    domain = choice.user.lower()

    def parse(found: list[tables.Row]) -> list[Row]:
        some = []
        for key, value in found:
            if key.lower().endswith(domain):
                address, user = rows.parse_login_key(key)
                if domain_of(user) == domain:
                    row = _login(address, user, value, now, held.pop((address, user), None))
                    some += [row] if row else []
        return some

    found = [row for some in _read(grants, b"logins", parse) for row in some]
    return sorted([*found, *held.values()])


def _logins_of_user(grants: Map, now: float, choice: Choice) -> list[Row]:
    held = _held(grants, now, choice)
    found = []
    with grants.reading() as known:
        keys = [
            rows.login_key(rows.parse_user_key(key)[1], choice.user)
            for key, _ in known.rows(b"users", choice.user + b"\0")
        ]
        for key, value in known.some(b"logins", sorted(keys)):
            address, user = rows.parse_login_key(key)
            row = _login(address, user, value, now, held.pop((address, user), None))
            found += [row] if row else []
    return sorted([*found, *held.values()])


def _login(address: bytes, user: bytes, value: bytes, now: float, held: Row | None) -> Row | None:
    """A login's row, or that of the session which holds the address when its window is over."""
    expires, login = _TIMES(value)
    if expires <= now * 1e6:
        return held
    return (address, user, value[_WHO : value.index(b"\0", _WHO)], login, expires, "")


def _held(grants: Map, now: float, choice: Choice) -> dict[tuple[bytes, bytes], Row]:
    """What open sessions of the chosen users hold, by address and user."""
    found: dict[tuple[bytes, bytes], Row] = {}
    for one in sessions(grants, now, Choice(user=choice.user)):
        began, until = rows.micros(one.began), rows.micros(one.until)
        old = found.get((one.address, one.user))
        if old is None or (old[4] or 0) < until:
            found[one.address, one.user] = (
                one.address, one.user, one.service, began, until, "",
            )  # fmt: skip
    return found


# The operator's allows among them


def _with_allows(
    found: Iterator[list[Row]], allows: Iterable[Allow], *, alone: bool
) -> Iterator[list[Row]]:
    """Put the allows where they belong; ``alone``: also where nobody logged in."""
    waiting = {allow.network: allow for allow in allows}
    for some in found:
        due = [network for network in waiting if some and network <= some[-1][0]]
        yield _merged(some, [waiting.pop(network) for network in due], alone=alone)
    yield _merged([], waiting.values(), alone=alone)


def _merged(some: list[Row], allows: Iterable[Allow], *, alone: bool) -> list[Row]:
    by_network = {allow.network: allow for allow in allows}
    if not by_network:
        return some
    merged = []
    for row in some:
        allow = by_network.get(row[0])
        if allow is not None:
            until = None if allow.until is None else rows.micros(allow.until)
            if until is None or until > (row[4] or 0):
                row = (*row[:4], until, allow.note)
        merged.append(row)
    if alone:
        known = {row[0] for row in some}
        for network, allow in by_network.items():
            if network not in known:
                until = None if allow.until is None else rows.micros(allow.until)
                merged.append((network, b"", b"", rows.micros(allow.since), until, allow.note))
        merged.sort(key=lambda row: row[0])
    return merged
