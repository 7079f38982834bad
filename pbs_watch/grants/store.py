"""The map: one LMDB environment that keeps grants, sessions and positions.

Nobody else reads or writes it; only :mod:`pbs_watch.grants.probe` looks whether it can be opened.
A batch of changes is one transaction: what the log granted and how far it has been read are
committed together or not at all, so that nothing depends on a clean end.  Expiry is checked on
every read; sweeping is only tidying, and costs what expires.

Other processes read and write beside the daemon under LMDB's own locking.  Only who owns a map
(:mod:`pbs_watch.grants.owner`) creates one.  Every LMDB error becomes a :class:`MapError` that says
what to do.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, Literal

import lmdb

from pbs_watch.errors import MapError
from pbs_watch.grants import rows, upgrade
from pbs_watch.grants.changes import Changes, Grant, SessionKey
from pbs_watch.grants.probe import DATA, probe
from pbs_watch.log.position import SourceState

_MAP_SIZE = 1 << 36 if struct.calcsize("P") == 8 else 1 << 30
"""Virtual, not on disk: so large that growing never needs anybody's cooperation."""

_MAX_DATABASES = 16
"""More than the schema has, so that a later one needs no other option here."""

_MAX_READERS = 512
"""Processes and threads that may read at once; four times LMDB's default."""

_LOCK = "lock.mdb"
"""LMDB's name for the file of locks and readers."""

_LOCK_BYTES = _MAX_READERS * 64
"""What LMDB makes of it, but for the last readers."""

_DATABASES = (b"grants", b"logins", b"sessions", b"expiry", b"sources", b"meta")

_BROKEN = (lmdb.Error, struct.error, ValueError)
"""What LMDB says, and what a row says that is not as we wrote it."""

SWEEP_ROWS = 10_000
"""Rows per transaction at most, so that other writers wait milliseconds (design.md, Map)."""

Ended = Callable[[bytes], Mapping[SessionKey, float | None]]


def _nothing_known(_address: bytes) -> Mapping[SessionKey, float | None]:
    return {}


Mode = Literal["daemon", "scratch", "write", "read"]


class Map:
    """An open map.

    ``mode``: ``daemon`` creates what is missing, upgrades a map of an older schema and commits to
    disk; ``scratch`` creates and leaves writing to the kernel (replay: it can be made again);
    ``write`` and ``read`` need a map.  ``upgraded_from``: the schema that the map had, where it was
    upgraded.
    """

    def __init__(self, path: Path, mode: Mode) -> None:
        self.path = path
        self.upgraded_from: str | None = None
        self.broken = False
        """Whether LMDB has given the environment up, for reading too: see :meth:`reopen`."""
        self._mode: Mode = mode
        creates = mode in {"daemon", "scratch"}
        if not creates and not _has_map(path):
            raise MapError(
                f"{path}: there is no map here; name the daemon's with --map, "
                "or start the daemon, which makes it"
            )
        if creates:
            _make_directory(path)
            _reserve_lock(path)
        probe(path)
        self._open()

    def _open(self) -> None:
        creates = self._mode in {"daemon", "scratch"}
        with self._errors():
            self._env = lmdb.open(
                str(self.path),
                map_size=_MAP_SIZE,
                max_dbs=_MAX_DATABASES,
                max_readers=_MAX_READERS,
                create=creates,
                readonly=self._mode == "read",
                sync=self._mode != "scratch",
                # The last transactions may be lost with the power, never the map's consistency;
                # the position is in the same transaction, so their lines are simply read again.
                metasync=False,
                mode=0o640,
            )
        try:
            self._open_databases(self._mode, create=creates)
        except BaseException:
            self._env.close()
            raise
        self.broken = False

    def reopen(self) -> None:
        """Open a broken map again, while no other thread uses it; raises :class:`MapError`.

        A failure to write the last page of a transaction, the one that makes it count, lets LMDB
        refuse everything.  What was committed before is whole.
        """
        self._env.close()
        self._open()

    def _open_databases(self, mode: Mode, *, create: bool) -> None:
        with self._errors():
            found = self._schema()
            if found is None and not create:
                raise MapError(f"{self.path}: not a pbs-watch map; name the daemon's with --map")
            if found is not None and found != rows.SCHEMA:
                self._settle(found, mode)
            self._grants, self._logins, self._sessions, self._expiry, self._sources, meta = (
                self._env.open_db(name, create=create) for name in _DATABASES
            )
            if found is None:
                with self._env.begin(write=True, db=meta) as txn:
                    txn.put(b"schema", rows.SCHEMA)

    def _settle(self, found: bytes, mode: Mode) -> None:
        """Upgrade a map of another schema, or live with it; raises where neither can be."""
        schema, ours = found.decode("ascii", "replace"), rows.SCHEMA.decode()
        if found not in upgrade.STEPS:
            raise MapError(
                f"{self.path}: the map has schema {schema}, this pbs-watch knows {ours}; "
                "use the pbs-watch that made it, or another directory"
            )
        if mode == "daemon":
            self._upgrade(found)
            self.upgraded_from = schema
        elif mode != "read" or found not in upgrade.READABLE:
            raise MapError(
                f"{self.path}: the map still has schema {schema}; restart the daemon, "
                f"which upgrades it to {ours}"
            )

    def _upgrade(self, found: bytes) -> None:
        """Take the map to today's schema, in one transaction."""
        with self._env.begin(write=True) as txn:
            tables = _Tables(self._env, txn)
            try:
                reached = upgrade.upgrade(found, tables)
            except (ValueError, KeyError, TypeError) as error:
                raise self._position_lost(error) from None
            tables.put(b"meta", b"schema", reached)

    def _position_lost(self, error: Exception) -> MapError:
        return MapError(
            f"{self.path}: a source's position cannot be read ({error}); "
            "move the map away and start again, the log is read anew"
        )

    def _schema(self) -> bytes | None:
        """The schema of the map, ``None`` for an environment without any database."""
        with self._env.begin() as txn:
            names = list(txn.cursor().iternext(values=False))
        if not names:
            return None
        if b"meta" not in names:
            raise MapError(
                f"{self.path}: an LMDB environment of another program; name a directory of its own"
            )
        meta = self._env.open_db(b"meta", create=False)
        with self._env.begin(db=meta) as txn:
            schema: bytes | None = txn.get(b"schema")
        return schema or b"(none)"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except _BROKEN as error:
            raise self._trouble(error) from error

    def _trouble(self, error: Exception) -> MapError:
        if isinstance(error, lmdb.PanicError):
            self.broken = True
        return MapError(f"{self.path}: {_advice(error)}")

    @contextmanager
    def _writing(self) -> Iterator[lmdb.Transaction]:
        """A transaction that is committed at the end, or not at all."""
        try:
            with self._env.begin(write=True) as txn:
                yield txn
        except lmdb.Error:
            # Whether that was the end of the environment, LMDB tells only to who comes next.
            try:
                self._env.begin().abort()
            except lmdb.PanicError:
                self.broken = True
            raise

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def allows(self, address: bytes, now: float, ended: Ended = _nothing_known) -> bool:
        """Whether ``address`` (canonical) may relay.

        ``ended`` tells which sessions of an address are known to be over, or open, beyond the map.
        Reads the newest committed state, other processes' included.
        """
        try:
            # LMDB keeps a finished read transaction for the next one: beginning costs 1 us.
            txn = self._env.begin()
            try:
                value = txn.get(address, db=self._grants)
                if value is None:
                    return False
                if rows.counts(value, now):
                    return True
                return self._held(txn, address, now, ended(address))
            finally:
                txn.abort()
        except _BROKEN as error:
            raise self._trouble(error) from error

    def _held(
        self,
        txn: lmdb.Transaction,
        address: bytes,
        now: float,
        known: Mapping[SessionKey, float | None],
    ) -> bool:
        for key, value in _prefixed(txn.cursor(self._sessions), address + b"\0"):
            if rows.unpack_time(value) > now and rows.parse_session_key(key)[1] not in known:
                return True
        return False

    def grants(self, now: float) -> list[tuple[bytes, Grant]]:
        """All addresses that may relay at ``now`` with what the latest login says, sorted.

        Where only an open session still holds one, it expires when that does at the latest.
        """
        with self._errors(), self._env.begin() as txn:
            held: dict[bytes, float] = {}
            for key, value in txn.cursor(self._sessions):
                address, until = rows.parse_session_key(key)[0], rows.unpack_time(value)
                held[address] = max(until, held.get(address, 0.0))
            found = []
            for address, value in txn.cursor(self._grants):
                grant = rows.unpack_grant(value)
                if not grant.permanent and grant.expires <= now:
                    grant = grant._replace(expires=held.get(address, 0.0))
                if grant.permanent or grant.expires > now:
                    found.append((address, grant))
            return found

    def sources(self) -> dict[str, SourceState]:
        """How far each source has been read."""
        with self._errors(), self._env.begin(db=self._sources) as txn:
            try:
                return dict(rows.unpack_source(value) for _, value in txn.cursor())
            except (ValueError, KeyError, TypeError) as error:
                raise self._position_lost(error) from None

    def commit(self, changes: Changes) -> None:
        """Write ``changes`` in one transaction; raises :class:`MapError` and changes nothing."""
        with self._errors(), self._writing() as txn:
            self._put_logins(txn, changes)
            self._put_grants(txn, changes)
            self._put_sessions(txn, changes)
            for name, state in changes.sources.items():
                txn.put(rows.source_key(name), rows.pack_source(name, state), db=self._sources)

    # In order of their keys and all at once: LMDB then finds each page once.

    def _put_logins(self, txn: lmdb.Transaction, changes: Changes) -> None:
        new = {name: rows.pack_login(login) for name, login in changes.logins.items()}
        names = sorted(new)
        with txn.cursor(self._logins) as cursor:
            known = dict(cursor.getmulti(names))
            for name, old in known.items():
                new[name] = rows.join_rows(old, new[name])
            cursor.putmulti([(name, new[name]) for name in names])
        # The index is lazy: a login that comes again is found where its first one expires, and
        # moved on then.  A renewal costs nothing, a sweep looks once per window.
        self._index(
            txn, [new[name][:8] + rows.LOGIN_ROW + name for name in names if name not in known]
        )

    def _put_grants(self, txn: lmdb.Transaction, changes: Changes) -> None:
        new = {address: rows.pack_grant(grant) for address, grant in changes.grants.items()}
        names = sorted(new)
        with txn.cursor(self._grants) as cursor:
            for name, old in cursor.getmulti(names):
                new[name] = rows.join_rows(old, new[name])
            cursor.putmulti([(name, new[name]) for name in names])

    def _put_sessions(self, txn: lmdb.Transaction, changes: Changes) -> None:
        opened: dict[bytes, bytes] = {}
        ended: list[bytes] = []
        for address, sessions in changes.sessions.items():
            for key, until in sessions.items():
                name = rows.session_key(address, key)
                if until is None:
                    ended.append(name)
                else:
                    opened[name] = rows.pack_time(until)
        names = sorted(opened)
        with txn.cursor(self._sessions) as cursor:
            known = {name for name, _ in cursor.getmulti(names)}
            cursor.putmulti([(name, opened[name]) for name in names])
            over = [name for name, _ in cursor.getmulti(sorted(ended))]
        for name in over:
            txn.delete(name, db=self._sessions)
        index = [opened[name] + rows.SESSION_ROW + name for name in names if name not in known]
        # The grant may have outlived its window only by a session that ended: look at once.
        index += [rows.pack_time(0.0) + rows.SESSION_ROW + name for name in over]
        self._index(txn, index)

    def _index(self, txn: lmdb.Transaction, keys: list[bytes]) -> None:
        """Add keys to the expiry index: a time, a kind, and the name of the row to look at."""
        with txn.cursor(self._expiry) as cursor:
            cursor.putmulti([(key, b"") for key in sorted(keys)])

    def sweep(self, now: float) -> int:
        """Remove rows that expired before ``now``; returns how many were looked at.

        At most :data:`SWEEP_ROWS`: that many means that there may be more.
        """
        with self._errors():
            if not self._due(now):
                return 0
            with self._writing() as txn:
                due = self._take_due(txn, now)
                over = self._expire(txn, due, rows.LOGIN_ROW, now)
                over |= self._expire(txn, due, rows.SESSION_ROW, now)
                self._drop_grants(txn, over, now)
        return len(due)

    def _due(self, now: float) -> bool:
        """Whether anything is to be swept, without disturbing other writers."""
        with self._env.begin(db=self._expiry) as txn:
            cursor = txn.cursor()
            return bool(cursor.first()) and rows.unpack_time(cursor.key()) <= now

    # As in a commit: many at once and in order, which takes half as long as row by row.

    def _take_due(self, txn: lmdb.Transaction, now: float) -> list[bytes]:
        """Take the first keys out of the expiry index, as far as they are due."""
        limit = rows.pack_time(now)
        due = txn.cursor(self._expiry).iternext(values=False)
        keys = list(islice(takewhile(lambda key: key[:8] <= limit, due), SWEEP_ROWS))
        for key in keys:
            txn.delete(key, db=self._expiry)
        return keys

    def _expire(
        self, txn: lmdb.Transaction, due: list[bytes], kind: bytes, now: float
    ) -> set[bytes]:
        """Remove rows of one kind that expired; returns whose they were.

        What was renewed meanwhile goes back into the index.
        """
        table = self._logins if kind == rows.LOGIN_ROW else self._sessions
        limit = rows.pack_time(now)
        names = sorted(key[9:] for key in due if key[8:9] == kind)
        with txn.cursor(table) as cursor:
            known = cursor.getmulti(names)
        renewed = {name: value[:8] for name, value in known if value[:8] > limit}
        for name, _ in known:
            if name not in renewed:
                txn.delete(name, db=table)
        self._index(txn, [until + kind + name for name, until in renewed.items()])
        return {name[: name.index(b"\0")] for name in names if name not in renewed}

    def _drop_grants(self, txn: lmdb.Transaction, addresses: set[bytes], now: float) -> None:
        """Remove those grants that are over: expired, and no session holds them."""
        with txn.cursor(self._grants) as cursor:
            known = cursor.getmulti(sorted(addresses))
        sessions = txn.stat(self._sessions)["entries"]
        for address, value in known:
            if rows.counts(value, now) or (sessions and self._held(txn, address, now, {})):
                continue
            txn.delete(address, db=self._grants)

    def free_stale_readers(self) -> int:
        """Clear the reader slots of processes that died; returns how many there were."""
        with self._errors():
            freed: int = self._env.reader_check()
            return freed


class _Tables:
    """The databases of a map within a transaction, for the steps of an upgrade."""

    def __init__(self, env: lmdb.Environment, txn: lmdb.Transaction) -> None:
        self._env = env
        self._txn = txn

    def all(self, database: bytes) -> list[tuple[bytes, bytes]]:
        """Keys and values, copied."""
        return list(self._txn.cursor(self._database(database)))

    def put(self, database: bytes, key: bytes, value: bytes) -> None:
        """Write a row."""
        self._txn.put(key, value, db=self._database(database))

    def _database(self, name: bytes) -> Any:
        return self._env.open_db(name, txn=self._txn)


def _prefixed(cursor: lmdb.Cursor, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    if cursor.set_range(prefix):
        for key, value in cursor:
            if not key.startswith(prefix):
                return
            yield key, value


def _has_map(path: Path) -> bool:
    """Whether there is something to open; LMDB would make an empty file a map."""
    try:
        return (path / DATA).stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise MapError(
            f"{path}: cannot be looked at ({error.strerror}); name the map with --map"
        ) from None


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise MapError(
            f"{path}: cannot make the map's directory ({error.strerror}); "
            "name a directory that this user may write with --map"
        ) from None


def _reserve_lock(path: Path) -> None:
    """Give LMDB's lock file its blocks where it is new.

    LMDB maps it into memory: on a full disk writing there is no error but a SIGBUS.
    """
    try:
        descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            if not os.fstat(descriptor).st_size:
                os.posix_fallocate(descriptor, 0, _LOCK_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise MapError(
            f"{path}: {_LOCK} cannot be made ({error.strerror}); make room, or name another "
            "directory with --map"
        ) from None


def _advice(error: Exception) -> str:
    text = str(error)
    if isinstance(error, struct.error | ValueError):
        return f"the map is damaged ({text}); stop the daemon and run pbs-watch rebuild"
    if isinstance(error, lmdb.InvalidError | lmdb.VersionMismatchError):
        return f"not a map, or damaged ({text}); move it away, or name another directory"
    if isinstance(error, lmdb.ReadonlyError) or "Permission denied" in text:
        return f"this user may not read and write the map ({text}); run as the daemon's user"
    if isinstance(error, lmdb.MapFullError):
        return f"the map is full ({text}); expire grants or report this, it should never happen"
    if isinstance(error, lmdb.ReadersFullError):
        return f"too many processes read the map ({text}); end some of them"
    if "No space left" in text:
        return f"no space left on the disk ({text}); make room, nothing is lost meanwhile"
    if "Read-only file system" in text:
        return f"cannot be written ({text}); mount it for writing, nothing is lost meanwhile"
    return f"LMDB says: {text}"
