"""The databases of a map as tables of bytes, within one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

from pbs_watch.grants.rows import KINDS, NEVER

if TYPE_CHECKING:
    import lmdb

Row = tuple[bytes, bytes]


class Tables:
    """Tables by name; not to be used after the transaction in which they are handed out."""

    def __init__(self, txn: lmdb.Transaction, database: Callable[[bytes], Any]) -> None:
        self._txn = txn
        self._database = database

    def get(self, table: bytes, key: bytes) -> bytes | None:
        """The value of a row."""
        value: bytes | None = self._txn.get(key, db=self._database(table))
        return value

    def rows(self, table: bytes, prefix: bytes = b"", after: bytes = b"") -> Iterator[Row]:
        """Keys and values in order: those that begin with ``prefix`` and come after ``after``."""
        cursor = self._txn.cursor(self._database(table))
        start = max(prefix, after)
        if not (cursor.set_range(start) if start else cursor.first()):
            return iter(())
        # Without a prefix nothing of ours runs for each row: half a million more in a second.
        found = islice(iter(cursor), int(cursor.key() == after), None)
        return _while(prefix, found) if prefix else found

    def all(self, table: bytes) -> list[Row]:
        """Keys and values, copied, so that rows may be changed meanwhile."""
        return list(self.rows(table))

    def some(self, table: bytes, keys: Iterable[bytes]) -> list[Row]:
        """The rows with these sorted keys, as far as there are any."""
        with self._txn.cursor(self._database(table)) as cursor:
            return list(cursor.getmulti(keys))

    def count(self, table: bytes) -> int:
        """How many rows there are."""
        return int(self._txn.stat(self._database(table))["entries"])

    def put(self, table: bytes, key: bytes, value: bytes) -> None:
        """Write a row."""
        self._txn.put(key, value, db=self._database(table))

    def put_all(self, table: bytes, rows: Iterable[Row]) -> None:
        """Write rows in order of their keys, which takes half as long as one by one."""
        with self._txn.cursor(self._database(table)) as cursor:
            cursor.putmulti(sorted(rows))

    def take_first(self, table: bytes, limit: bytes, most: int) -> list[bytes]:
        """Take out the first rows, at most so many, whose keys do not exceed ``limit`` up to its
        length; returns their keys.
        """
        with self._txn.cursor(self._database(table)) as cursor:
            first = cursor.iternext(values=False)
            keys = list(islice(takewhile(lambda key: key[: len(limit)] <= limit, first), most))
            # They are the first: no need to look each of them up.
            cursor.first()
            for _ in keys:
                cursor.delete()
        return keys

    def put_due(self, table: bytes, rows: Iterable[Row]) -> None:
        """Write rows that begin with the time when they are due, and index those not known."""
        new = sorted(rows)
        found = self.some(table, [name for name, _ in new])
        known = {name for name, value in found if value[:8] != NEVER}
        self.put_all(table, new)
        mark = KINDS[table]
        self.put_all(
            b"expiry",
            [
                (value[:8] + mark + name, b"")
                for name, value in new
                if name not in known and value[:8] != NEVER
            ],
        )

    def delete(self, table: bytes, key: bytes) -> bool:
        """Remove a row; whether there was one."""
        return bool(self._txn.delete(key, db=self._database(table)))


def _while(prefix: bytes, rows: Iterator[Row]) -> Iterator[Row]:
    for row in rows:
        if not row[0].startswith(prefix):
            return
        yield row
