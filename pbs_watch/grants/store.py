"""The map: one LMDB environment that keeps grants, sessions, orders and positions.

Lookups stand here, and when to write; how a batch of changes is written is
:mod:`pbs_watch.grants.batch`, tidying :mod:`pbs_watch.grants.sweep`, and what the operator does by
hand :mod:`pbs_watch.grants.hand`.  A batch is one transaction: what the log granted and how far it
has been read are committed together or not at all, so that nothing depends on a clean end.

Other processes read and write beside the daemon under LMDB's own locking.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import lmdb

from pbs_watch.grants import rows
from pbs_watch.grants.address import granted_as
from pbs_watch.grants.batch import put
from pbs_watch.grants.changes import Changes, Hold, SessionKey
from pbs_watch.grants.environment import BROKEN, Environment, Mode
from pbs_watch.grants.events import Half, JoinKey
from pbs_watch.grants.glance import Glance, prefixed
from pbs_watch.grants.orders import Allow, Bar, Orders
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.sweep import Over, Swept, due, sweep
from pbs_watch.grants.void import Voiding, striking
from pbs_watch.log.position import SourceState

SWEEP_ROWS = 1_000
"""Rows that one sweep of the daemon looks at: LMDB reads and writes many rows in one call, during
which no lookup is answered.  Ten times as many took some 10 ms longer."""

LOOKED_AT = 2000
"""Rows that are looked at to find some, so that a million of them do not stop the loop."""

RETENTION = 7 * 86400.0
"""Seconds for which what is over is remembered, unless told otherwise."""


class Map(Environment):
    """An open map; ``mode`` as for :class:`Environment`.

    ``retention``: seconds for which ended grants and refusals are remembered, 0: not at all; where
    a daemon has said so in the map, that counts.
    ``orders``: the operator's, as of the last lookup or :meth:`obey`.
    """

    def __init__(self, path: Path, mode: Mode, retention: float = RETENTION) -> None:
        self.orders = Orders()
        self._act: bytes | None = None
        self._striking = False
        """Whether the map may have rows that orders have made void."""
        self.retention = 0.0 if mode == "scratch" else retention
        super().__init__(path, mode)
        self._agree_on_retention(mode)

    def _agree_on_retention(self, mode: Mode) -> None:
        """The daemon says how long things are remembered; commands do as it says."""
        if mode == "scratch":
            return
        with self._errors(), self._env.begin(db=self._db[b"meta"]) as txn:
            said = txn.get(rows.RETENTION)
        ours = rows.pack_time(self.retention)
        if mode != "daemon":
            self.retention = self.retention if said is None else rows.unpack_time(said)
        elif said != ours:
            with self._errors(), self._writing() as txn:
                txn.put(rows.RETENTION, ours, db=self._db[b"meta"])

    def remember_for(self, retention: float) -> None:
        """Remember what is over for so many seconds from now on, and say so to commands."""
        self.retention = retention
        self._agree_on_retention("daemon")

    # Lookups

    def allows(self, address: bytes, now: float, pending: Pending | None = None) -> bool:
        """Whether ``address`` (canonical) may relay; see :meth:`glance`."""
        glance = self.glance(now, pending)
        try:
            return glance.allows(address)
        finally:
            glance.close()

    def glance(self, now: float, pending: Pending | None = None) -> Glance:
        """The newest committed state, other processes' included, to be closed soon.

        ``pending``: what is known beyond the map; orders that were given meanwhile win over it.
        Raises :class:`MapError`.
        """
        databases = self._db
        try:  # not by a context manager, which would cost more than all of this
            # LMDB keeps a finished read transaction for the next one: beginning costs 0.3 us.
            txn = self._env.begin(db=databases[b"grants"])
            try:
                if txn.get(rows.LAST_ACT, None, databases[b"meta"]) != self._act:
                    self._load_orders(txn)
                if pending is not None and pending.orders is not self.orders:
                    pending.obey(self.orders)
                voiding = self._voiding(txn, now) if self._striking else None
                return Glance(
                    txn,
                    now,
                    sessions=databases[b"sessions"],
                    logins=databases[b"logins"],
                    orders=self.orders,
                    voiding=voiding,
                    pending=pending,
                    trouble=self._trouble,
                )
            except BaseException:
                txn.abort()
                raise
        except BROKEN as error:
            raise self._trouble(error) from error

    def _voiding(self, txn: lmdb.Transaction, now: float) -> Voiding | None:
        """What says which rows are void, while orders are being carried out."""
        bars = striking(self._tables(txn))
        self._striking = bool(bars)
        return Voiding(bars, now, self.orders) if bars else None

    # The operator's orders

    def obey(self) -> Orders:
        """The operator's orders as they are now; raises :class:`MapError`."""
        try:  # as in glance()
            with self._env.begin(db=self._db[b"meta"]) as txn:
                if txn.get(rows.LAST_ACT) != self._act:
                    self._load_orders(txn)
        except BROKEN as error:
            raise self._trouble(error) from error
        return self.orders

    def read_orders(self) -> Orders:
        """The operator's orders, for another thread than that of the lookups: nothing is noted."""
        with self._errors(), self._env.begin() as txn:
            return self._read_orders(txn)

    def _load_orders(self, txn: lmdb.Transaction) -> None:
        self.orders = self._read_orders(txn)
        self._striking = True  # until somebody looks
        self._act = txn.get(rows.LAST_ACT, db=self._db[b"meta"])

    def _read_orders(self, txn: lmdb.Transaction) -> Orders:
        found = [rows.unpack_order(key, value) for key, value in txn.cursor(self._db[b"orders"])]
        return Orders(
            self._version(txn),
            [order for order in found if isinstance(order, Allow)],
            [order for order in found if isinstance(order, Bar)],
        )

    def _version(self, txn: lmdb.Transaction) -> int:
        return int.from_bytes(txn.get(rows.LAST_ACT, b"", db=self._db[b"meta"]), "big")

    # Who logged in from where

    def logged_in(self, address: bytes, user: bytes, now: float) -> bool:
        """Whether a login of ``user`` from ``address`` has a window that is not over at ``now``."""
        with self._errors(), self._env.begin(db=self._db[b"logins"]) as txn:
            value = txn.get(rows.login_key(address, user))
            return value is not None and rows.unpack_time(value) > now

    def users(self, address: bytes, now: float, most: int | None = None) -> list[bytes]:
        """Whose login from ``address`` has a window that is not over at ``now``.

        ``most``: so many are enough, and :data:`LOOKED_AT` rows; ``None``: all.
        """
        with self._errors(), self._env.begin(db=self._db[b"logins"]) as txn:
            known = prefixed(txn.cursor(), address + b"\0")
            found = (
                rows.parse_login_key(key)[1]
                for key, value in islice(known, None if most is None else LOOKED_AT)
                if rows.unpack_time(value) > now
            )
            return list(islice(found, most))

    def addresses(self, user: bytes, now: float, most: int | None = None) -> list[bytes]:
        """From where ``user`` logged in with a window that is not over at ``now``.

        ``most``: so many are enough, and :data:`LOOKED_AT` rows; ``None``: all.
        """
        with self._errors(), self._env.begin() as txn:
            known = prefixed(txn.cursor(self._db[b"users"]), user + b"\0")
            logins = self._db[b"logins"]
            found = (
                address
                for key, _ in islice(known, None if most is None else LOOKED_AT)
                for address in (rows.parse_user_key(key)[1],)
                if (value := txn.get(rows.login_key(address, user), db=logins)) is not None
                and rows.unpack_time(value) > now
            )
            return list(islice(found, most))

    def latest_user(self, address: bytes, pending: Pending) -> bytes | None:
        """The user of the latest login from ``address``, committed or not; ``None``: there is none.

        Lookups of an address that several users share are charged to him.
        """
        keys = granted_as(address)
        with self._errors(), self._env.begin(db=self._db[b"grants"]) as txn:
            found = [rows.unpack_grant(value) for key in keys if (value := txn.get(key))]
        found += [grant for key in keys if (grant := pending.grant(key)) is not None]
        return max(found, key=lambda grant: grant.login).user if found else None

    # Sessions

    def sessions(self, now: float) -> dict[tuple[bytes, SessionKey], Hold]:
        """The sessions that are open at ``now``, by address and key."""
        with self._errors(), self._env.begin(db=self._db[b"sessions"]) as txn:
            found = {
                rows.parse_session_key(key): rows.unpack_hold(value) for key, value in txn.cursor()
            }
        return {session: hold for session, hold in found.items() if hold.until > now}

    def session(self, address: bytes, key: SessionKey) -> Hold | None:
        """A session of an address."""
        with self._errors(), self._env.begin(db=self._db[b"sessions"]) as txn:
            value = txn.get(rows.session_key(address, key))
            return None if value is None else rows.unpack_hold(value)

    # The logs

    def sources(self) -> dict[str, SourceState]:
        """How far each source has been read."""
        with self._errors(), self._env.begin(db=self._db[b"sources"]) as txn:
            try:
                return dict(rows.unpack_source(value) for _, value in txn.cursor())
            except (ValueError, KeyError, TypeError) as error:
                raise self._position_lost(error) from None

    def joins(self, source: int) -> dict[JoinKey, Half]:
        """The lines of a source (its id) that wait for a second one."""
        with self._errors(), self._env.begin(db=self._db[b"joins"]) as txn:
            found = prefixed(txn.cursor(), rows.join_prefix(source))
            try:
                return dict(rows.unpack_half(value) for _, value in found)
            except (ValueError, TypeError) as error:
                raise self._position_lost(error) from None

    def commit(self, changes: Changes) -> list[Over]:
        """Write ``changes`` in one transaction; raises :class:`MapError` and changes nothing.

        Returns the grants that were found over, and have begun anew.
        """
        with self._errors(), self._writing() as txn:
            if self._version(txn) != changes.orders:
                changes = changes.without(self._read_orders(txn))
            return put(self._tables(txn), changes, self.retention)

    # Tidying

    def sweep(self, now: float, most: int = SWEEP_ROWS) -> Swept:
        """Remove rows that were due before ``now``.

        At most so many are looked at: that many means that there may be more.
        """
        with self.reading() as tables:  # so that other writers are not disturbed for nothing
            if not due(tables, now):
                return Swept(0, [])
        with self.changing() as tables:
            return sweep(tables, now, most, self.retention)

    def free_stale_readers(self) -> int:
        """Clear the reader slots of processes that died; returns how many there were."""
        with self._errors():
            freed: int = self._env.reader_check()
            return freed
