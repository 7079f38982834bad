"""MariaDB or MySQL as the engine, through PyMySQL.

PyMySQL, since it is Python alone (nothing to compile, no client library to match), is in Debian 12,
takes timeouts in fractions of a second, and releases the interpreter while it waits.

Several servers are tried in their order.  One that is read-only (a replica, or a primary that was
demoted) or not part of a Galera cluster's majority is passed over; with Galera reads wait until
what other nodes have confirmed is there (``wsrep_sync_wait``), so that a login counts for the next
lookup whichever nodes the two hosts are connected to.  Needs MariaDB 10.2 or MySQL 8.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import time
from typing import Any, TypeVar

import pymysql
from pymysql.constants import ER

from pbs_watch.errors import SharedError
from pbs_watch.grants.records import Record, merged, pack, unpack
from pbs_watch.shared import sql_layout as sql
from pbs_watch.shared.engine import PATIENCE, USERS_KEPT, Found, Mark, Shared, by_address
from pbs_watch.shared.rights import RIGHTS
from pbs_watch.shared.sql_layout import META, ORDERS, Column, Layout, Old, Own, Statement
from pbs_watch.shared.where import Server, Where

_Result = TypeVar("_Result")

_NOT_HERE = frozenset({1047, 1290, 1836, 1792})
"""A node outside of the majority, and a server that has become read-only: another one is wanted."""

_COLLISIONS = frozenset({ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT})
"""Two hosts wrote the same rows: one of them tries again."""

_TRIES = 5

_ROWS = 10_000
"""Rows that one statement of a walk or of expiring touches."""


class SqlEngine:
    """An :class:`~pbs_watch.shared.engine.Engine`; ``window``: seconds, for the old layout."""

    def __init__(self, where: Where, window: float) -> None:
        self._where = where
        self.layout: Layout = Own() if where.layout == "own" else Old(where.table, window)
        self._connection: Any = None
        self._server: Server | None = None
        self._identity = ""
        self._cluster = False
        self._checked = False

    # Connecting

    def _connected(self) -> Any:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> Any:
        why: list[str] = []
        for server in self._where.servers:
            try:
                connection = _open(self._where, server)
            except (pymysql.Error, OSError) as error:
                why.append(f"{server} {_advice(error)}")
                continue
            try:
                unfit = self._settle(connection, server)
            except (pymysql.Error, OSError) as error:
                unfit = _advice(error)
            if not unfit:
                self._server = server
                self._checked = False
                return connection
            why.append(f"{server} {unfit}")
            _close(connection)
        raise SharedError(f"{self._where}: {'; '.join(why)}")

    def _settle(self, connection: Any, server: Server) -> str:
        """Prepare a new connection; why its server is not to be used, or empty."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'wsrep_on', "
                "'hostname', 'server_id')"
            )
            said = dict(cursor.fetchall())
            if said.get("read_only") not in {"OFF", None}:
                return "is read-only"
            self._identity = f"{said.get('hostname')} {server.port} {said.get('server_id')}"
            self._cluster = said.get("wsrep_on") == "ON"
            if self._cluster:
                cursor.execute("SHOW GLOBAL STATUS WHERE Variable_name LIKE 'wsrep\\_%'")
                status = dict(cursor.fetchall())
                if status.get("wsrep_ready") != "ON":
                    return "is not part of its cluster's majority"
                # Whichever node answers, the data are the same.
                self._identity = str(status.get("wsrep_cluster_state_uuid"))
                cursor.execute("SET SESSION wsrep_sync_wait = 1")
        return ""

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (pymysql.err.OperationalError, pymysql.err.InterfaceError, OSError) as error:
            self.close()
            raise SharedError(f"{self._name}: {_advice(error)}") from None
        except pymysql.Error as error:
            if _number(error) in _NOT_HERE:
                self.close()
            raise SharedError(f"{self._name}: {_advice(error)}") from None
        except ValueError as error:
            raise SharedError(f"{self._name}: holds what is not ours ({error})") from None

    @property
    def _name(self) -> str:
        return str(self._server or self._where)

    def _run(self, statement: Statement) -> list[tuple[Any, ...]]:
        with self._connected().cursor() as cursor:
            cursor.execute(*statement)
            return list(cursor.fetchall())

    def _change(self, change: Callable[[], _Result]) -> _Result:
        """Run ``change`` in one transaction, again where it collided with another host's."""
        for left in range(_TRIES, 0, -1):
            connection = self._connected()
            try:
                connection.begin()
                result = change()
                connection.commit()
            except pymysql.err.OperationalError as error:
                if _number(error) not in _COLLISIONS or left == 1:
                    raise
                connection.rollback()
            else:
                return result
        raise AssertionError  # the last try returns or raises

    # The interface

    def mark(self) -> Mark:
        """See :meth:`Engine.mark`."""
        with self._errors():
            found = dict(self._run((f"SELECT name, value FROM {META}", ())))  # noqa: S608
            # What was confirmed in the last second may be gone after a crash, unless every commit
            # waits for the disk, or other nodes of a cluster have it.
            started = 0.0
            if not self._cluster:
                ((_, up),) = self._run(("SHOW GLOBAL STATUS LIKE 'Uptime'", ()))
                started = round(time() - int(up))
            if "epoch" not in found:
                raise SharedError(f"{self._name}: has no tables of ours; run pbs-watch shared init")
            if not self._checked:
                self.check_tables()
            identity = f"{found['epoch']} {self._identity}"
            return Mark(identity, int(found.get("version", 0)), started)

    def put(self, logins: Sequence[Shared]) -> None:
        """See :meth:`Engine.put`."""
        if logins:
            with self._errors():
                self._change(lambda: self._run(self.layout.put(logins)))

    def find(self, addresses: Sequence[bytes], now: float) -> Found:
        """See :meth:`Engine.find`."""
        with self._errors():
            query, values = self.layout.find(addresses, now)
            version = f"(SELECT value FROM {META} WHERE name = 'version')"  # noqa: S608
            # One statement, one round trip: what is found, and a row about the server.
            both = f"{query} UNION ALL SELECT '', {version}, '', @@global.read_only, 0"
            *found, (_, version, _, demoted, _) = self._run((both, values))
            if int(demoted):
                self.close()
                raise SharedError(f"{self._name}: has become read-only")
            logins = by_address(map(self.layout.shared, found))
            return Found(
                int(version or 0), {key: some[:USERS_KEPT] for key, some in logins.items()}
            )

    def remove(self, record: Record) -> None:
        """See :meth:`Engine.remove`."""
        with self._errors():
            for statement in self.layout.remove(record):
                self._run(statement)

    def records(self) -> list[Record]:
        """See :meth:`Engine.records`."""
        with self._errors():
            found = self._run((f"SELECT subject, record FROM {ORDERS}", ()))  # noqa: S608
            return [unpack(sql.raw(key), sql.raw(value)) for key, value in found]

    def put_records(self, records: Sequence[Record], now: float) -> None:
        """See :meth:`Engine.put_records`."""
        with self._errors():
            self._change(lambda: self._merge(records, now))

    def _merge(self, records: Sequence[Record], now: float) -> None:
        # The row of the version first: hosts that change orders wait for each other there.
        lock = f"SELECT value FROM {META} WHERE name = 'version' FOR UPDATE"  # noqa: S608
        self._run((lock, ()))
        found = self._run((f"SELECT subject, record FROM {ORDERS} FOR UPDATE", ()))  # noqa: S608
        changed = False
        known = {sql.raw(key): unpack(sql.raw(key), sql.raw(value)) for key, value in found}
        for record in records:
            new = merged(known.get(record.key), record)
            if new != known.get(record.key):
                known[record.key] = new
                put = f"REPLACE INTO {ORDERS} (subject, record) VALUES (%s, %s)"  # noqa: S608
                self._run((put, [new.key, pack(new)]))
                for statement in self.layout.mirror(new):
                    self._run(statement)
                changed = True
        for key, record in known.items():
            if record.over(now):
                self._run((f"DELETE FROM {ORDERS} WHERE subject = %s", [key]))  # noqa: S608
                changed = True
        if changed:
            self._run((f"UPDATE {META} SET value = value + 1 WHERE name = 'version'", ()))  # noqa: S608

    def forget(self, user: bytes) -> None:
        """See :meth:`Engine.forget`."""
        with self._errors():
            for statement in self.layout.forget(user):
                self._run(statement)
            self._run((f"DELETE FROM {ORDERS} WHERE subject = %s", [b"BU" + user]))  # noqa: S608

    def all(self, now: float) -> Iterator[Shared]:
        """See :meth:`Engine.all`."""
        after = b""
        while True:
            with self._errors():
                found = [self.layout.shared(row) for row in self._some(after, now)]
            if len(found) < _ROWS:
                yield from found
                return
            # The last address may have more rows: they come with the next.
            last = found[-1].address
            whole = [one for one in found if one.address != last]
            if not whole:
                raise SharedError(f"{self._name}: {last.decode()} has more than {_ROWS} logins")
            yield from whole
            after = whole[-1].address

    def _some(self, after: bytes, now: float) -> list[tuple[Any, ...]]:
        return self._run(self.layout.all(after, now, _ROWS))

    def expire(self, now: float) -> int:
        """See :meth:`Engine.expire`."""
        removed = 0
        with self._errors():
            while True:
                with self._connected().cursor() as cursor:
                    gone = int(cursor.execute(*self.layout.expire(now, _ROWS)))
                removed += gone
                if gone < _ROWS:
                    return removed

    def close(self) -> None:
        """See :meth:`Engine.close`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            _close(connection)

    # Making and looking at the tables

    def make_tables(self) -> None:
        """Make those that are missing; raises SharedError where one that is there cannot be used.

        The old layout's own table is never made or changed.
        """
        with self._errors():
            tables = sql.CREATE if self._where.layout == "own" else sql.CREATE[1:]
            for statement in tables:
                self._run((statement, ()))
            for name, value in (("epoch", secrets.token_hex(8)), ("version", "1")):
                put = f"INSERT IGNORE INTO {META} (name, value) VALUES (%s, %s)"  # noqa: S608
                self._run((put, [name, value]))
        self.check_tables()

    def check_tables(self) -> None:
        """Raise SharedError, with the ALTER to run, where a table cannot be used."""
        with self._errors():
            for name, trouble in (
                (self.layout.grants, self.layout.trouble),
                (ORDERS, sql.orders_trouble),
            ):
                columns = self._columns(name)
                if not columns:
                    what = "run pbs-watch shared init"
                    if name not in {sql.GRANTS, ORDERS}:
                        what = "name the right one with table = in the .cf file, or shared_table"
                    raise SharedError(f"{self._name}: has no table {name}; {what}")
                if said := trouble(columns):
                    raise SharedError(f"{self._name}: {said}")
        self._checked = True

    def _columns(self, table: str) -> dict[str, Column]:
        query = (
            "SELECT COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, COLUMN_KEY "
            "FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s"
        )
        return {
            str(name): Column(str(kind).lower(), int(length or 0), str(key))
            for name, kind, length, key in self._run((query, [table]))
        }

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a question about the server itself; raises SharedError."""
        with self._errors():
            return self._run((query, ()))


def _open(where: Where, server: Server) -> Any:
    words: dict[str, Any] = {}
    if server.socket:
        words["unix_socket"] = server.socket
    elif where.tls is not None:
        import ssl  # noqa: PLC0415 - where it is used

        context = ssl.create_default_context(cafile=where.tls.ca or None)
        if where.tls.cert:
            context.load_cert_chain(where.tls.cert, where.tls.key or where.tls.cert)
        words["ssl"] = context
    return pymysql.connect(
        host=server.host,
        port=server.port,
        user=where.user,
        password=where.password,
        database=where.database,
        charset="utf8mb4",
        binary_prefix=True,
        autocommit=True,
        connect_timeout=PATIENCE,
        read_timeout=PATIENCE,
        write_timeout=PATIENCE,
        # Too long a value is refused, and not cut into another address.
        sql_mode="STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION",
        **words,
    )


def _close(connection: Any) -> None:
    # Not close(), which says goodbye and may wait for the network.
    connection._force_close()


def _number(error: Exception) -> int:
    number = error.args[0] if error.args else 0
    return number if isinstance(number, int) else 0


def _advice(error: Exception) -> str:
    text = " ".join(str(error.args[-1] if error.args else error).split())
    number = _number(error)
    if number in {1044, 1045, 1698}:
        return f"does not accept the user or the password ({text})"
    if number in {1142, 1143}:
        return f"the account lacks rights ({text}): GRANT {RIGHTS} on its tables"
    if number in {1146, 1054}:
        return f"{text}; run pbs-watch shared init"
    if number == 1049:
        return f"{text}; make the database, then run pbs-watch shared init"
    if number in _NOT_HERE:
        return f"takes no changes ({text})"
    return f"cannot be used ({text})"
