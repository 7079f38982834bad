"""The LMDB environment of a map: opening and closing it, its schema, its errors.

Every LMDB error becomes a :class:`MapError` that says what to do.  Only who owns a map
(:mod:`pbs_watch.grants.owner`) creates one; :mod:`pbs_watch.grants.probe` looks first whether it
can be opened.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import lmdb

from pbs_watch.errors import MapError
from pbs_watch.grants import rows, upgrade
from pbs_watch.grants.probe import DATA, no_map, probe
from pbs_watch.grants.tables import Tables

CHANGED_ROWS = 10_000
"""Rows per transaction at most, so that other writers wait milliseconds (design.md, Map)."""

_MAP_SIZE = 1 << 36 if struct.calcsize("P") == 8 else 1 << 30
"""Virtual, not on disk: so large that growing never needs anybody's cooperation."""

_MAX_DATABASES = 16
"""More than the schema has, so that a later one needs no other option here."""

_MAX_READERS = 512
"""Processes and threads that may read at once; four times LMDB's default."""

LOCK = "lock.mdb"
"""LMDB's name for the file of locks and readers."""

_LOCK_BYTES = _MAX_READERS * 64
"""What LMDB makes of it, but for the last readers."""

_DATABASES = (
    b"grants",
    b"logins",
    b"users",
    b"sessions",
    b"past",
    b"refusals",
    b"orders",
    b"acts",
    b"joins",
    b"expiry",
    b"sources",
    b"outbox",
    b"shared",
    b"meta",
)

BROKEN = (lmdb.Error, struct.error, ValueError)
"""What LMDB says, and what a row says that is not as we wrote it."""

Mode = Literal["daemon", "scratch", "write", "read"]


class Environment:
    """An open map's environment.

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
            raise no_map(path)
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
            self._db = {name: self._env.open_db(name, create=create) for name in _DATABASES}
            if found is None:
                with self._env.begin(write=True, db=self._db[b"meta"]) as txn:
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
            # Steps name the databases that their schema has, which need not be today's.
            tables = Tables(txn, lambda name: self._env.open_db(name, txn=txn))
            try:
                reached = upgrade.upgrade(found, tables)
            except struct.error as error:
                raise self._trouble(error) from None
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
        except BROKEN as error:
            raise self._trouble(error) from error

    def _trouble(self, error: Exception) -> MapError:
        if isinstance(error, lmdb.PanicError):
            self.broken = True
        # What a daemon cannot write it tries again; commands say themselves what they did not do.
        return MapError(f"{self.path}: {_advice(error, waits=self._mode == 'daemon')}")

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

    @contextmanager
    def reading(self) -> Iterator[Tables]:
        """All tables as they are now; raises :class:`MapError`, also for a damaged row."""
        with self._errors(), self._env.begin() as txn:
            yield self._tables(txn)

    @contextmanager
    def changing(self) -> Iterator[Tables]:
        """All tables to be changed together or, where an error is raised, not at all.

        Every other writer waits meanwhile: for at most :data:`CHANGED_ROWS` rows, and no I/O.
        """
        with self._errors(), self._writing() as txn:
            yield self._tables(txn)

    def sync(self) -> None:
        """Wait until all that was committed is on the disk, the last transaction too."""
        with self._errors():
            self._env.sync(True)  # noqa: FBT003 - lmdb's own way

    def changed(self) -> int:
        """A number that grows with every transaction, of other processes too."""
        with self._errors():
            return int(self._env.info()["last_txnid"])

    def size(self) -> int:
        """Bytes of the map on the disk."""
        with self._errors():
            return int((self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"])

    def _tables(self, txn: lmdb.Transaction) -> Tables:
        return Tables(txn, self._db.__getitem__)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()


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
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            if not os.fstat(descriptor).st_size:
                os.posix_fallocate(descriptor, 0, _LOCK_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise MapError(
            f"{path}: {LOCK} cannot be made ({error.strerror}); make room, give the "
            "files to the daemon's user, or name another directory with --map"
        ) from None


def _advice(error: Exception, *, waits: bool) -> str:
    text, meanwhile = str(error), ", nothing is lost meanwhile" if waits else ""
    if isinstance(error, struct.error | ValueError):
        return f"the map is damaged ({text}); stop the daemon and run pbs-watch rebuild"
    if isinstance(error, lmdb.InvalidError | lmdb.VersionMismatchError):
        return (
            f"not a map, or damaged ({text.rpartition(': ')[2]}); name the daemon's with --map, or "
            "stop the daemon and run pbs-watch rebuild, which keeps your orders"
        )
    if isinstance(error, lmdb.ReadonlyError) or "Permission denied" in text:
        return f"this user may not read and write the map ({text}); run as the daemon's user"
    if isinstance(error, lmdb.MapFullError):
        return f"the map is full ({text}); expire grants or report this, it should never happen"
    if isinstance(error, lmdb.ReadersFullError):
        return f"too many processes read the map ({text}); end some of them"
    if "No space left" in text:
        return f"no space left on the disk ({text}); make room{meanwhile}"
    if "Read-only file system" in text:
        return f"cannot be written ({text}); mount it for writing{meanwhile}"
    return f"LMDB says: {text}"
