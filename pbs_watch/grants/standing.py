"""What is known when events are judged: the map, and what is not yet committed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Protocol

from pbs_watch.errors import MapError
from pbs_watch.grants.changes import Changes
from pbs_watch.grants.orders import Orders
from pbs_watch.grants.rows import login_key
from pbs_watch.grants.store import LOOKED_AT, Map


class Connections(Protocol):
    """Who can tell which connections there are."""

    def connected(self, address: bytes, port: bytes) -> bool:
        """Whether ``address`` is connected from ``port``, or was a moment ago."""


class Known:
    """The standing by a map and by what is known beyond it.

    ``beyond`` gives the changes that are not yet committed, the oldest first.
    """

    def __init__(
        self,
        grants: Map,
        beyond: Callable[[], Iterable[Changes]],
        witness: Connections | None = None,
    ) -> None:
        self._map = grants
        self._beyond = beyond
        self._witness = witness

    def connected(self, address: bytes, port: bytes) -> bool:
        """Whether the kernel knows the connection, or is not asked."""
        return self._witness is None or self._witness.connected(address, port)

    @property
    def orders(self) -> Orders:
        """The operator's orders."""
        return self._map.orders

    # Where the map cannot be read nothing of it is known: lookups report that.

    def logged_in(self, address: bytes, user: bytes, now: float) -> bool:
        """Whether a login of ``user`` from ``address`` has a window that is not over at ``now``."""
        key = login_key(address, user)
        for changes in self._beyond():
            login = changes.logins.get(key)
            if login is not None and login.expires > now:
                return True
        try:
            return self._map.logged_in(address, user, now)
        except MapError:
            return False

    def crowded(self, address: bytes, most: int, now: float) -> bool:
        """Whether so many users, or more, logged in from ``address``, as far as windows last."""
        pending = {
            user
            for changes in self._beyond()
            for user in islice(changes.crowd().users.get(address, ()), LOOKED_AT)
            if changes.logins[login_key(address, user)].expires > now
        }
        return self._reaches(pending, self._map.users, address, most, now)

    def spread(self, user: bytes, most: int, now: float) -> bool:
        """Whether ``user`` logged in from so many addresses, or more, as far as windows last."""
        pending = {
            address
            for changes in self._beyond()
            for address in islice(changes.crowd().addresses.get(user, ()), LOOKED_AT)
            if changes.logins[login_key(address, user)].expires > now
        }
        return self._reaches(pending, self._map.addresses, user, most, now)

    @staticmethod
    def _reaches(
        pending: set[bytes],
        read: Callable[[bytes, float, int], list[bytes]],
        name: bytes,
        most: int,
        now: float,
    ) -> bool:
        if len(pending) >= most:
            return True
        try:
            return len(pending.union(read(name, now, most))) >= most
        except MapError:
            return False
