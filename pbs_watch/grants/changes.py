"""What events change in the map: logins, grants and sessions, collected until they are committed.

The rules by which two values become one stand here once; lookups in what is not yet committed and
the map's own transaction both use them.  ``expires`` only grows (facts/following-logs.md, lesson
5): reading a line twice is harmless.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pbs_watch.grants.events import Half, JoinKey
from pbs_watch.log.position import SourceState

if TYPE_CHECKING:
    from pbs_watch.grants.orders import Orders

_tuple = tuple.__new__

_REFUSALS = 10_000
"""Refusals remembered until the next commit: a client can cause any number, of any address."""


class Grant(NamedTuple):
    """An address that may relay until ``expires``; times in epoch seconds.

    ``login``, ``user`` and ``service`` (the tag) are those of the latest login; ``since``: the
    first of the logins whose windows have joined to this one without a gap.  Where the line of the
    latest login stands: ``source`` (:func:`pbs_watch.grants.rows.source_id`), ``file`` (its inode
    number) and ``offset`` (bytes); all 0 where nobody knows.
    """

    expires: float
    login: float
    since: float
    user: bytes
    service: bytes
    source: int = 0
    file: int = 0
    offset: int = 0

    def joined(self, other: Grant) -> Grant:
        """Both together: the later expiry, and what the later login says.

        Of two logins at the same time the user's name decides, so that no order of joining does.
        """
        # By their places: this is called for every second login of an address.
        mine, theirs = self[1], other[1]
        if mine > theirs or (mine == theirs and self[3] >= other[3]):
            later, earlier = self, other
        else:
            later, earlier = other, self
        expires, login, since, user, service, source, file, offset = later
        ended, _, began, *_ = earlier
        if began < since <= ended:
            since = began
        elif ended <= expires:
            return later
        expires = max(expires, ended)
        return _tuple(Grant, (expires, login, since, user, service, source, file, offset))


def grant(
    expires: float,
    login: float,
    user: bytes,
    service: bytes,
    place: tuple[int, int, int] = (0, 0, 0),
) -> Grant:
    """A grant by a login; built as a plain tuple, which takes half as long.

    ``place``: the source, the file and the offset of the line.
    """
    return _tuple(Grant, (expires, login, login, user, service, *place))


class SessionKey(NamedTuple):
    """What tells the sessions of one address apart."""

    service: bytes
    user: bytes
    port: bytes


class Hold(NamedTuple):
    """An open session that began then and holds its address until then, in epoch seconds."""

    until: float
    began: float


class RefusalKey(NamedTuple):
    """What refusals are counted by; ``reason`` is a name of :class:`~grants.judge.Judged`."""

    address: bytes
    reason: str
    user: bytes


class Refusal(NamedTuple):
    """How often an address was refused for one reason; ``first`` and ``last`` in epoch seconds.

    ``source``, ``file``, ``offset``: where the last line stands, as for :class:`Grant`.
    """

    first: float
    last: float
    times: int
    service: bytes
    source: int
    file: int
    offset: int

    def joined(self, later: Refusal) -> Refusal:
        """Both together."""
        return later._replace(first=self.first, times=self.times + later.times)


Packed = tuple[
    list[tuple[bytes, tuple[object, ...]]],
    list[tuple[bytes, tuple[bytes, ...], tuple[float, ...] | None]],
    "Changes",
]
"""Logins by their keys, sessions by address, and the rest of some :class:`Changes`."""


class Crowd:
    """Who logged in from where: the pairs of some logins, both ways."""

    def __init__(self) -> None:
        self.users: dict[bytes, set[bytes]] = {}
        self.addresses: dict[bytes, set[bytes]] = {}

    def add(self, address: bytes, user: bytes) -> None:
        """``user`` logged in from ``address``."""
        self.users.setdefault(address, set()).add(user)
        self.addresses.setdefault(user, set()).add(address)


@dataclass(slots=True)
class Changes:
    """Changes of the map in the making; handed over whole, it is not touched any more.

    ``logins`` by address NUL user (the key in the map), ``grants`` by address, ``sessions`` by
    address and key: an open one that holds its address, or ``None`` for one that ended.
    ``sources``: how far each source has been read when these changes are complete.  ``names``:
    what the sources of the logins are called, by their ids.  ``orders``: the oldest version of the
    operator's orders by which any of it was judged.  ``told``: the number of the last of his acts
    that the audit trail has told; 0: none since.  ``joins``: by source and key, the lines that wait
    for a second one (:mod:`pbs_watch.grants.joins`) and until when, or ``None``: no more.

    ``sharing``: whether other hosts are to be told of logins.  Then ``outbox`` holds the keys of
    those that were read here, and ``news`` the logins of which nobody has been told yet.
    """

    orders: int = 0
    logins: dict[bytes, Grant] = field(default_factory=dict)
    grants: dict[bytes, Grant] = field(default_factory=dict)
    sessions: dict[bytes, dict[SessionKey, Hold | None]] = field(default_factory=dict)
    refusals: dict[RefusalKey, Refusal] = field(default_factory=dict)
    sources: dict[str, SourceState] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    told: int = 0
    joins: dict[tuple[int, JoinKey], tuple[float, Half] | None] = field(default_factory=dict)
    sharing: bool = False
    outbox: set[bytes] = field(default_factory=set)
    news: dict[bytes, Grant] = field(default_factory=dict)
    _crowd: Crowd | None = None

    def __bool__(self) -> bool:
        changed = self.logins or self.sessions or self.sources or self.refusals or self.joins
        return bool(changed or self.told)

    @property
    def rows(self) -> int:
        """How many rows of the map these changes touch, about."""
        refused = len(self.refusals)
        logged = len(self.logins) + len(self.sessions) + len(self.joins)
        return logged + refused + len(self.sources)

    def login(self, address: bytes, grant: Grant) -> None:
        """Somebody logged in from ``address``, or proved by an end that he had."""
        key = address + b"\0" + grant[3]
        logins, grants = self.logins, self.grants
        old = logins.get(key)
        logins[key] = grant if old is None else old.joined(grant)
        old = grants.get(address)
        grants[address] = grant if old is None else old.joined(grant)
        if self._crowd is not None:
            self._crowd.add(address, grant[3])
        if self.sharing and grant[5]:  # read in a log here, not learned from another host
            self.outbox.add(key)
            self.news[key] = logins[key]

    def share(self, *, sharing: bool) -> None:
        """Let other hosts be told of these logins, or of none of them."""
        self.sharing = sharing
        self.outbox = {key for key, grant in self.logins.items() if sharing and grant.source}
        self.news = {key: self.logins[key] for key in self.outbox}

    def crowd(self) -> Crowd:
        """Who logged in from where; made when it is asked for, and kept up from then on."""
        if self._crowd is None:
            self._crowd = Crowd()
            for key, grant in self.logins.items():
                self._crowd.add(key[: key.index(b"\0")], grant.user)
        return self._crowd

    def session(self, address: bytes, key: SessionKey, hold: Hold | None) -> None:
        """A session opened that holds ``address``, or ended (``None``)."""
        self.sessions.setdefault(address, {})[key] = hold

    def refuse(self, key: RefusalKey, refusal: Refusal) -> None:
        """A line was refused."""
        old = self.refusals.get(key)
        if old is not None:
            self.refusals[key] = old.joined(refusal)
        elif len(self.refusals) < (_REFUSALS // 2 if key.reason == "suspect" else _REFUSALS):
            self.refusals[key] = refusal

    def packed(self) -> Packed:
        """These changes for another process: plain values, which are written four times as fast."""
        logins = [(key, tuple(grant)) for key, grant in self.logins.items()]
        sessions = [
            (address, tuple(key), hold and tuple(hold))
            for address, sessions in self.sessions.items()
            for key, hold in sessions.items()
        ]
        # What is rare goes as it is.
        rest = Changes(
            orders=self.orders,
            refusals=self.refusals,
            sources=self.sources,
            names=self.names,
            told=self.told,
            joins=self.joins,
        )
        return logins, sessions, rest

    def append_packed(self, packed: Packed) -> None:
        """Take in changes that were made after these, in another process."""
        logins, sessions, rest = packed
        for key, grant in logins:
            self.login(key[: key.index(b"\0")], _tuple(Grant, grant))
        for address, session, hold in sessions:
            name = _tuple(SessionKey, session)
            self.session(address, name, None if hold is None else _tuple(Hold, hold))
        self.append(rest)

    def append(self, later: Changes) -> None:
        """Take in changes that were made after these."""
        self.orders = min(self.orders, later.orders)
        for key, grant in later.logins.items():
            self.login(key[: key.index(b"\0")], grant)
        for address, sessions in later.sessions.items():
            self.sessions.setdefault(address, {}).update(sessions)
        for name, refusal in later.refusals.items():
            self.refuse(name, refusal)
        self.sources.update(later.sources)
        self.names.update(later.names)
        self.joins.update(later.joins)
        self.told = max(self.told, later.told)
        self.outbox |= later.outbox
        self.news.update(later.news)

    def leave_out(self, login_is: Callable[[Grant], bool]) -> int:
        """Take out the logins of which that holds, and their part in the grants; how many."""
        gone = {key for key, login in self.logins.items() if login_is(login)}
        left = {key: login for key, login in self.logins.items() if key not in gone}
        addresses = {key[: key.index(b"\0")] for key in gone}
        for address in addresses:
            self.grants.pop(address, None)
        for key, login in left.items():
            address = key[: key.index(b"\0")]
            if address in addresses:
                old = self.grants.get(address)
                self.grants[address] = login if old is None else old.joined(login)
        self.logins, self._crowd = left, None
        self.outbox -= gone
        self.news = {key: login for key, login in self.news.items() if key not in gone}
        return len(gone)

    def without(self, orders: Orders) -> Changes:
        """These changes but for what ``orders`` bar, which were given after they were made."""
        if not orders.bars:
            return self
        kept = Changes(
            orders=orders.version,
            refusals=self.refusals,
            sources=self.sources,
            names=self.names,
            told=self.told,
            joins=self.joins,
            sharing=self.sharing,
        )
        for key, grant in self.logins.items():
            address = key[: key.index(b"\0")]
            if orders.bar(address, grant.user, grant.login) is None:
                kept.login(address, grant)
        for address, sessions in self.sessions.items():
            for name, hold in sessions.items():
                barred = hold is not None and orders.bar(address, name.user, hold.began)
                kept.session(address, name, None if barred else hold)
        kept.outbox = self.outbox & kept.logins.keys()
        kept.news = {key: login for key, login in self.news.items() if key in kept.logins}
        return kept
