"""What events change in the map: logins, grants and sessions, collected until they are committed.

The rules by which two values become one stand here once; lookups in what is not yet committed and
the map's own transaction both use them.  ``expires`` only grows (facts/following-logs.md, lesson
5): reading a line twice is harmless.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from pbs_watch.log.position import SourceState


class Grant(NamedTuple):
    """An address that may relay until ``expires``; times in epoch seconds.

    ``login``, ``user`` and ``service`` (the tag) are those of the latest login.
    """

    expires: float
    login: float
    user: bytes
    service: bytes
    permanent: bool = False

    def joined(self, other: Grant) -> Grant:
        """Both together: the later expiry, and what the later login says.

        Of two logins at the same time the user's name decides, so that no order of joining does.
        """
        if self.login == other.login:
            later, earlier = (self, other) if self.user >= other.user else (other, self)
        else:
            later, earlier = (self, other) if self.login > other.login else (other, self)
        if later.expires >= earlier.expires and later.permanent >= earlier.permanent:
            return later
        return later._replace(
            expires=max(self.expires, other.expires),
            permanent=self.permanent or other.permanent,
        )


def grant(expires: float, login: float, user: bytes, service: bytes) -> Grant:
    """A grant by a login; built as a plain tuple, which takes half as long."""
    return tuple.__new__(Grant, (expires, login, user, service, False))


class SessionKey(NamedTuple):
    """What tells the sessions of one address apart."""

    service: bytes
    user: bytes
    port: bytes


@dataclass(slots=True)
class Changes:
    """Changes of the map in the making; handed over whole, it is not touched any more.

    ``logins`` by address NUL user (the key in the map), ``grants`` by address, ``sessions`` by
    address and key: until when an open session holds its address, or ``None`` for one that ended.
    ``sources``: how far each source has been read when these changes are complete.
    """

    logins: dict[bytes, Grant] = field(default_factory=dict)
    grants: dict[bytes, Grant] = field(default_factory=dict)
    sessions: dict[bytes, dict[SessionKey, float | None]] = field(default_factory=dict)
    sources: dict[str, SourceState] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.logins or self.sessions or self.sources)

    @property
    def rows(self) -> int:
        """How many rows of the map these changes touch, about."""
        return len(self.logins) + len(self.sessions) + len(self.sources)

    def login(self, address: bytes, grant: Grant) -> None:
        """Somebody logged in from ``address``, or proved by an end that he had."""
        key = address + b"\0" + grant[2]
        logins, grants = self.logins, self.grants
        old = logins.get(key)
        logins[key] = grant if old is None else old.joined(grant)
        old = grants.get(address)
        grants[address] = grant if old is None else old.joined(grant)

    def session(self, address: bytes, key: SessionKey, until: float | None) -> None:
        """A session opened that holds ``address`` until then, or ended (``None``)."""
        self.sessions.setdefault(address, {})[key] = until

    def append(self, later: Changes) -> None:
        """Take in changes that were made after these."""
        for key, grant in later.logins.items():
            self.login(key[: key.index(b"\0")], grant)
        for address, sessions in later.sessions.items():
            self.sessions.setdefault(address, {}).update(sessions)
        self.sources.update(later.sources)
