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
from pbs_watch.grants.address import LONGEST, NETWORK_BITS, widened
from pbs_watch.grants.environment import BROKEN
from pbs_watch.grants.orders import Orders
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.void import Voiding


class Glance:
    """What is committed and pending now, to be asked until :meth:`close`.

    ``now``: epoch seconds, for all of it.  ``orders``: the operator's, as of ``txn``, whose default
    database is that of the grants; ``sessions``, ``logins``: the databases of these.  ``voiding``
    says what is void of them, while orders are being carried out.  ``trouble`` makes a
    :class:`MapError` of one of LMDB's errors.
    """

    __slots__ = (
        "_get",
        "_logins",
        "_now",
        "_orders",
        "_packed",
        "_pending",
        "_sessions",
        "_trouble",
        "_txn",
        "_uncommitted",
        "_voiding",
    )

    def __init__(
        self,
        txn: lmdb.Transaction,
        now: float,
        *,
        sessions: object,
        logins: object,
        orders: Orders,
        voiding: Voiding | None,
        pending: Pending | None,
        trouble: Callable[[Exception], MapError],
    ) -> None:
        self._txn = txn
        self._get: Callable[[bytes], bytes | None] = txn.get
        self._sessions = sessions
        self._logins = logins
        self._voiding = voiding
        self._now = now
        self._packed = rows.pack_moment(now)
        self._orders = orders
        self._pending = pending
        self._trouble = trouble
        self.refresh()

    def refresh(self) -> None:
        """Something may have become pending meanwhile."""
        self._uncommitted = self._pending is not None and self._pending.grants_anything

    def grants(self, key: bytes) -> bool:
        """Whether a login that is committed grants exactly ``key``, which may be anything.

        Most lookups are for an address that has logged in, in the one form that the map has.  So
        they need not be looked at any further.  Raises :class:`MapError`.
        """
        if not 0 < len(key) <= LONGEST:
            return False
        try:
            value = self._get(key)
            # A network is nothing that can be asked for.
            return (
                value is not None
                and rows.counts_at(value, self._packed)
                and b"/" not in key
                and (self._voiding is None or self._stands(key, value, self._voiding))
            )
        except BROKEN as error:
            raise self._trouble(error) from error

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
        if self._voiding is not None:
            return self._stands(address, value, self._voiding)
        return rows.counts_at(value, self._packed) or self._held(address)

    def _stands(self, address: bytes, grant: bytes, voiding: Voiding) -> bool:
        """Whether a login or a session grants ``address`` that no order has made void.

        For as long as orders are being carried out: they count at once, and what the ``grant``
        says, a row, is worked out anew only when its turn comes.
        """
        known = False
        for key, value in prefixed(self._txn.cursor(self._logins), address + b"\0"):
            known = True
            user = rows.parse_login_key(key)[1]
            if value[:8] > self._packed and not voiding.void(address, user, value[8:16]):
                return True
        if not known and rows.counts_at(grant, self._packed):
            # One without a login, of an older map or from elsewhere.
            return not voiding.void(address, rows.unpack_grant(grant).user, grant[8:16])
        return self._held(address)

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
            session = rows.parse_session_key(key)[1]
            if rows.unpack_time(value) > self._now and session not in known:
                voiding = self._voiding
                if voiding is None or not voiding.void(address, session.user, value[8:16]):
                    return True
        return False


def prefixed(cursor: lmdb.Cursor, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The rows whose keys begin with ``prefix``."""
    if cursor.set_range(prefix):
        for key, value in cursor:
            if not key.startswith(prefix):
                return
            yield key, value
