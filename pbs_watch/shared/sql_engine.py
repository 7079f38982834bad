"""MariaDB or MySQL as the engine: the statements of one round trip each, and our tables.

Which server is asked is :mod:`pbs_watch.shared.sql_link`'s to say, what stands in the table of
logins that of the layout.  Needs MariaDB 10.2 or MySQL 8.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from time import time
from typing import Any

from pbs_watch.errors import SharedError
from pbs_watch.escape import printable
from pbs_watch.grants.records import Record, merged, pack
from pbs_watch.shared import sql_tables as sql
from pbs_watch.shared.engine import USERS_KEPT, Found, Mark, Shared, by_address
from pbs_watch.shared.legible import Legible
from pbs_watch.shared.sql_authpfix import Old
from pbs_watch.shared.sql_link import Link
from pbs_watch.shared.sql_own import Own
from pbs_watch.shared.sql_tables import META, ORDERS, Column
from pbs_watch.shared.where import Where

_ROWS = 10_000
"""Rows that one statement of a walk or of expiring touches."""


class SqlEngine:
    """An :class:`~pbs_watch.shared.engine.Engine`; ``window``: seconds, for the old layout."""

    def __init__(self, where: Where, window: float) -> None:
        self._own = where.layout == "own"
        self.layout: Own | Old = Own() if self._own else Old(where.table, window)
        self._link = Link(where)
        self._legible = Legible()
        self._checked: object = None
        """The connection whose tables were looked at."""

    # The interface

    def mark(self) -> Mark:
        """See :meth:`Engine.mark`."""
        with self._link.errors():
            found = dict(self._link.run((f"SELECT name, value FROM {META}", ())))  # noqa: S608
            # What was confirmed in the last second may be gone after a crash, unless every commit
            # waits for the disk, or other nodes of a cluster have it.
            started = 0.0
            if not self._link.cluster:
                ((_, up),) = self._link.run(("SHOW GLOBAL STATUS LIKE 'Uptime'", ()))
                started = round(time() - int(up))
            if "epoch" not in found:
                raise SharedError(
                    f"{self._link.name}: has no tables of ours; run pbs-watch shared init"
                )
            if self._checked is not self._link.connection:
                self.check_tables()
            # Another table, or another column of it, lacks what is in this one.
            identity = f"{found['epoch']} {self._link.identity} {self.layout.place}"
            return Mark(identity, int(found.get("version", 0)), started)

    def put(self, logins: Sequence[Shared]) -> None:
        """See :meth:`Engine.put`."""
        if logins:
            with self._link.errors():
                self._link.change(lambda: self._link.run(self.layout.put(logins)))

    def find(self, addresses: Sequence[bytes], now: float) -> Found:
        """See :meth:`Engine.find`."""
        with self._link.errors():
            query, values = self.layout.find(addresses, now)
            version = f"(SELECT value FROM {META} WHERE name = 'version')"  # noqa: S608
            # One statement, one round trip: what is found, and a row about the server.
            both = f"{query} UNION ALL SELECT '', {version}, '', @@global.read_only, 0"
            *found, (_, version, _, demoted, _) = self._link.run((both, values))
            if int(demoted):
                self.close()
                raise SharedError(f"{self._link.name}: has become read-only")
            logins = by_address(self._logins(found))
            return Found(
                int(version or 0), {key: some[:USERS_KEPT] for key, some in logins.items()}
            )

    def _logins(self, found: Iterable[tuple[Any, ...]]) -> Iterator[Shared]:
        """The logins of rows; one that is none of ours is passed over."""
        for row in found:
            with suppress(ValueError):
                yield self.layout.shared(row)

    def remove(self, record: Record) -> None:
        """See :meth:`Engine.remove`."""
        with self._link.errors():
            for statement in self.layout.remove(record):
                self._link.run(statement)

    def records(self) -> list[Record]:
        """See :meth:`Engine.records`."""
        with self._link.errors():
            found = self._link.run((f"SELECT subject, record FROM {ORDERS}", ()))  # noqa: S608
            return list(self._read(found).values())

    def _read(self, found: list[tuple[Any, ...]]) -> dict[bytes, Record]:
        records = ((sql.raw(key), sql.raw(value)) for key, value in found)
        return self._legible.read(self._link.name, records)

    def put_records(self, records: Sequence[Record], now: float) -> None:
        """See :meth:`Engine.put_records`."""
        with self._link.errors():
            self._link.change(lambda: self._merge(records, now))

    def _merge(self, records: Sequence[Record], now: float) -> None:
        self._lock_orders()
        found = self._link.run((f"SELECT subject, record FROM {ORDERS} FOR UPDATE", ()))  # noqa: S608
        changed = False
        known = self._read(found)
        for record in records:
            new = merged(known.get(record.key), record)
            if new != known.get(record.key):
                known[record.key] = new
                put = f"REPLACE INTO {ORDERS} (subject, record) VALUES (%s, %s)"  # noqa: S608
                self._link.run((put, [new.key, pack(new)]))
                for statement in self.layout.mirror(new):
                    self._link.run(statement)
                changed = True
        for key, record in known.items():
            if record.over(now):
                self._link.run((f"DELETE FROM {ORDERS} WHERE subject = %s", [key]))  # noqa: S608
                changed = True
        if changed:
            self._raise_version()

    def _lock_orders(self) -> None:
        """Hosts that change orders wait for each other at the row of the version."""
        lock = f"SELECT value FROM {META} WHERE name = 'version' FOR UPDATE"  # noqa: S608
        self._link.run((lock, ()))

    def _raise_version(self) -> None:
        self._link.run((f"UPDATE {META} SET value = value + 1 WHERE name = 'version'", ()))  # noqa: S608

    def forget(self, user: bytes) -> None:
        """See :meth:`Engine.forget`."""
        with self._link.errors():
            self._link.change(lambda: self._forget(user))

    def _forget(self, user: bytes) -> None:
        self._lock_orders()
        for statement in self.layout.forget(user):
            self._link.run(statement)
        name = [b"BU" + user]
        if self._link.run((f"SELECT subject FROM {ORDERS} WHERE subject = %s", name)):  # noqa: S608
            self._link.run((f"DELETE FROM {ORDERS} WHERE subject = %s", name))  # noqa: S608
            self._raise_version()

    def all(self, now: float) -> Iterator[Shared]:
        """See :meth:`Engine.all`."""
        after = b""
        while True:
            with self._link.errors():
                found = self._some(after, now)
            if len(found) < _ROWS:
                yield from self._logins(found)
                return
            # The last address may have more rows: they come with the next.
            last = found[-1][0]
            whole = [row for row in found if row[0] != last]
            if not whole:
                raise SharedError(
                    f"{self._link.name}: {printable(str(last))} has more than {_ROWS} logins"
                )
            yield from self._logins(whole)
            after = sql.raw(whole[-1][0])

    def _some(self, after: bytes, now: float) -> list[tuple[Any, ...]]:
        return self._link.run(self.layout.all(after, now, _ROWS))

    def expire(self, now: float) -> int:
        """See :meth:`Engine.expire`."""
        removed = 0
        with self._link.errors():
            while True:
                with self._link.connected().cursor() as cursor:
                    gone = int(cursor.execute(*self.layout.expire(now, _ROWS)))
                removed += gone
                if gone < _ROWS:
                    return removed

    def close(self) -> None:
        """See :meth:`Engine.close`."""
        self._link.close()

    # Making and looking at the tables

    def make_tables(self) -> None:
        """Make those that are missing; raises SharedError where one that is there cannot be used.

        The old layout's own table is never made or changed.
        """
        with self._link.errors():
            tables = sql.CREATE if self._own else sql.CREATE[1:]
            for statement in tables:
                self._link.run((statement, ()))
            for name, value in (("epoch", secrets.token_hex(8)), ("version", "1")):
                put = f"INSERT IGNORE INTO {META} (name, value) VALUES (%s, %s)"  # noqa: S608
                self._link.run((put, [name, value]))
        self.check_tables()

    def check_tables(self) -> None:
        """Raise SharedError, with the ALTER to run, where a table cannot be used."""
        with self._link.errors():
            for name, trouble in (
                (self.layout.grants, self.layout.trouble),
                (ORDERS, sql.orders_trouble),
            ):
                columns = self._columns(name)
                if not columns:
                    raise SharedError(
                        f"{self._link.name}: has no table {name}; {sql.missing(name)}"
                    )
                if said := trouble(columns):
                    raise SharedError(f"{self._link.name}: {said}")
        self._checked = self._link.connection

    def _columns(self, table: str) -> dict[str, Column]:
        query = (
            "SELECT COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, COLUMN_KEY "
            "FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s"
        )
        return {
            str(name): Column(str(kind).lower(), int(length or 0), str(key))
            for name, kind, length, key in self._link.run((query, [table]))
        }

    def ask(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a question about the server or the tables; raises SharedError."""
        with self._link.errors():
            return self._link.run((query, values))
