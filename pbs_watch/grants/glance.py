"""The map at one moment, for all lookups that arrived together.

One read transaction serves them: beginning one, and seeing whether the operator has given orders,
costs as much as a lookup itself.  It shows whatever was committed before it began, by other
processes too, so it has to begin after the requests have arrived; and it has to end soon, since
LMDB keeps for it what has been changed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import lmdb

from pbs_watch.errors import MapError
from pbs_watch.grants import rows
from pbs_watch.grants.address import NETWORK_BITS, widened
from pbs_watch.grants.environment import BROKEN
from pbs_watch.grants.orders import Orders
from pbs_watch.grants.pending import Pending


class Glance:
    """What is committed and pending now, to be asked until :meth:`close`.

    ``now``: epoch seconds, for all of it.  ``orders``: the operator's, as of ``txn``, whose default
    database is that of the grants; ``sessions``: the database of sessions.  ``trouble`` makes a
    :class:`MapError` of one of LMDB's errors.
    """

    __slots__ = (
        "_get",
        "_now",
        "_orders",
        "_packed",
        "_pending",
        "_sessions",
        "_trouble",
        "_txn",
        "_uncommitted",
    )

    def __init__(
        self,
        txn: lmdb.Transaction,
        now: float,
        *,
        sessions: object,
        orders: Orders,
        pending: Pending | None,
        trouble: Callable[[Exception], MapError],
    ) -> None:
        self._txn = txn
        self._get: Callable[[bytes], bytes | None] = txn.get
        self._sessions = sessions
        self._now = now
        self._packed = rows.pack_moment(now)
        self._orders = orders
        self._pending = pending
        self._trouble = trouble
        self.refresh()

    def refresh(self) -> None:
        """Something may have become pending meanwhile."""
        self._uncommitted = self._pending is not None and self._pending.grants_anything

    def allows(self, address: bytes) -> bool:
        """Whether ``address`` (canonical) may relay; raises :class:`MapError`."""
        try:
            if self._granted(address):
                return True
            return (b":" in address or bool(self._orders)) and self._otherwise(address)
        except BROKEN as error:
            raise self._trouble(error) from error

    def close(self) -> None:
        """Let go of the moment."""
        self._txn.abort()

    def _granted(self, address: bytes) -> bool:
        """Whether a login grants exactly ``address``."""
        if self._uncommitted and self._pending.allows(address, self._now):  # type: ignore[union-attr]
            return True
        value = self._get(address)
        if value is None:
            return False
        return rows.counts_at(value, self._packed) or self._held(address)

    def _otherwise(self, address: bytes) -> bool:
        """Whether its network is granted, or an order allows it."""
        now, orders = self._now, self._orders
        if (
            b":" in address
            and self._granted(widened(address, NETWORK_BITS))
            # Others of its network may have logged in since it was blocked alone.
            and orders.blocked(address, now) is None
        ):
            return True
        return orders.allowed(address, now) is not None

    def _held(self, address: bytes) -> bool:
        """Whether a session that is open holds ``address`` beyond its window."""
        known = {} if self._pending is None else self._pending.sessions(address)
        for key, value in prefixed(self._txn.cursor(self._sessions), address + b"\0"):
            if rows.unpack_time(value) > self._now and rows.parse_session_key(key)[1] not in known:
                return True
        return False


def prefixed(cursor: lmdb.Cursor, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The rows whose keys begin with ``prefix``."""
    if cursor.set_range(prefix):
        for key, value in cursor:
            if not key.startswith(prefix):
                return
            yield key, value
