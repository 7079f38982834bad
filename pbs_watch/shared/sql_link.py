"""A connection to one of several MariaDB or MySQL servers, by PyMySQL.

PyMySQL, since it is Python alone (nothing to compile, no client library to match), is in Debian 12,
takes timeouts in fractions of a second, and releases the interpreter while it waits.

Several servers are tried in their order.  One that is read-only (a replica, or a primary that was
demoted) or not part of a Galera cluster's majority is passed over; with Galera reads wait until
what other nodes have confirmed is there (``wsrep_sync_wait``), so that a login counts for the next
lookup whichever nodes the two hosts are connected to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pymysql
from pymysql.constants import ER

from pbs_watch.errors import SharedError
from pbs_watch.shared.rights import RIGHTS
from pbs_watch.shared.sql_connection import connect
from pbs_watch.shared.sql_tables import Statement, missing
from pbs_watch.shared.where import Server, Where

_Result = TypeVar("_Result")

_NOT_HERE = frozenset({1047, 1290, 1836, 1792})
"""A node outside of the majority, and a server that has become read-only: another one is wanted."""

_COLLISIONS = frozenset({ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT})
"""Two hosts wrote the same rows: one of them tries again."""

_TRIES = 5

_TABLE = re.compile(r"'[^']*\.([^'.]+)'")
"""The name in what a server says of a table that it does not have."""


class Link:
    """The connection, made anew where it was lost.

    ``identity``: by which the server, or its cluster, is told from others; ``cluster``: whether it
    is a node of one.  ``connection``: the present one, if there is one.
    """

    def __init__(self, where: Where) -> None:
        self.connection: Any = None
        self.identity = ""
        self.cluster = False
        self._where = where
        self._server: Server | None = None

    def connected(self) -> Any:
        """The connection, made where there is none; raises SharedError."""
        if self.connection is None:
            self.connection = self._connect()
        return self.connection

    def _connect(self) -> Any:
        why: list[str] = []
        for server in self._where.servers:
            try:
                connection = connect(self._where, server)
            except (pymysql.Error, OSError, RuntimeError) as error:
                # RuntimeError: MySQL's way of hiding a password without TLS takes a library more.
                why.append(f"{server} {_advice(error)}")
                continue
            try:
                unfit = self._settle(connection, server)
            except (pymysql.Error, OSError) as error:
                unfit = _advice(error)
            if not unfit:
                self._server = server
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
            self.identity = f"{said.get('hostname')} {server.port} {said.get('server_id')}"
            self.cluster = said.get("wsrep_on") == "ON"
            if self.cluster:
                cursor.execute("SHOW GLOBAL STATUS WHERE Variable_name LIKE 'wsrep\\_%'")
                status = dict(cursor.fetchall())
                if status.get("wsrep_ready") != "ON":
                    return "is not part of its cluster's majority"
                # Whichever node answers, the data are the same.
                self.identity = str(status.get("wsrep_cluster_state_uuid"))
                cursor.execute("SET SESSION wsrep_sync_wait = 1")
        return ""

    @contextmanager
    def errors(self) -> Iterator[None]:
        """What goes wrong within is a SharedError; a connection that is of no use is closed."""
        try:
            yield
        except (pymysql.err.OperationalError, pymysql.err.InterfaceError, OSError) as error:
            self.close()
            raise SharedError(f"{self.name}: {_advice(error)}") from None
        except pymysql.Error as error:
            if _number(error) in _NOT_HERE:
                self.close()
            raise SharedError(f"{self.name}: {_advice(error)}") from None
        except ValueError as error:
            raise SharedError(f"{self.name}: holds what is not ours ({error})") from None

    @property
    def name(self) -> str:
        """Which server it is, for people."""
        return str(self._server or self._where)

    def run(self, statement: Statement) -> list[tuple[Any, ...]]:
        """The rows of a statement; within :meth:`errors`."""
        with self.connected().cursor() as cursor:
            cursor.execute(*statement)
            return list(cursor.fetchall())

    def change(self, change: Callable[[], _Result]) -> _Result:
        """Run ``change`` in one transaction, again where it collided with another host's.

        Whatever goes wrong, the transaction and its locks are gone when this raises.
        """
        for left in range(_TRIES, 0, -1):
            connection = self.connected()
            try:
                connection.begin()
                result = change()
                connection.commit()
            except BaseException as error:
                collided = isinstance(error, pymysql.Error) and _number(error) in _COLLISIONS
                self._undo(connection)
                if not collided or left == 1:
                    raise
            else:
                return result
        raise AssertionError  # the last try returns or raises

    def _undo(self, connection: Any) -> None:
        try:
            connection.rollback()
        except (pymysql.Error, OSError):
            self.close()

    def close(self) -> None:
        """Close the connection; never raises."""
        connection, self.connection = self.connection, None
        if connection is not None:
            _close(connection)


def _close(connection: Any) -> None:
    # Not close(), which says goodbye and may wait for the network.
    connection._force_close()


def _number(error: Exception) -> int:
    number = error.args[0] if error.args else 0
    return number if isinstance(number, int) else 0


def _advice(error: Exception) -> str:
    text = " ".join(str(error.args[-1] if error.args else error).split())
    number = _number(error)
    if number == ER.DBACCESS_DENIED_ERROR:
        return (
            f"the account has no rights on the database, or its name is wrong ({text}): "
            f"GRANT {RIGHTS} on its tables"
        )
    if number in {1045, 1698}:
        return f"does not accept the user or the password ({text})"
    if number in {1142, 1143} and text.startswith("CREATE "):
        return (
            f"this account may not make tables ({text}): run shared init with one that may, by a "
            ".cf file of its own (docs/shared.rst)"
        )
    if number in {1142, 1143}:
        return f"the account lacks rights ({text}): GRANT {RIGHTS} on its tables"
    if number == ER.NO_SUCH_TABLE:
        named = _TABLE.search(text)
        return f"{text}; {missing(named[1] if named else '')}"
    if number == ER.BAD_FIELD_ERROR:
        return f"{text}; run pbs-watch shared init, which says what to change"
    if number == 1049:
        return f"{text}; make the database, then run pbs-watch shared init"
    if number in _NOT_HERE:
        return f"takes no changes ({text})"
    return f"cannot be used ({text})"
