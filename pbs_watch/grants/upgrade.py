"""From a map of an older schema to today's, one step for each version.

A step gets the rows of the map within a transaction and rewrites them.  It says itself how they
looked before and look after it, and uses nothing of :mod:`pbs_watch.grants.rows`, so that a later
schema does not change what it does.  All steps and the new version are one transaction: after a
crash the map has its old schema still.

The next schema adds one line to :data:`STEPS`, and clears :data:`READABLE` if its grants or
sessions look different.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol


class Rows(Protocol):
    """The databases of a map, within a transaction."""

    def all(self, database: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Keys and values of a database, which may be changed meanwhile."""

    def put(self, database: bytes, key: bytes, value: bytes) -> None:
        """Write a row."""


Step = Callable[[Rows], None]


def _more_about_files(rows: Rows) -> None:
    """1 to 2: positions tell when their file was written last and its generation; 0, not known."""
    for key, value in rows.all(b"sources"):
        source = json.loads(value)
        source["positions"] = [
            [device, inode, offset, anchor, skipping, 0, 0]
            for device, inode, offset, anchor, skipping in source["positions"]
        ]
        rows.put(b"sources", key, json.dumps(source, separators=(",", ":")).encode())


def _places_and_users(rows: Rows) -> None:
    """2 to 3: logins and grants say since when and by which line, sessions when they began.

    What nobody knows is 0.  No grant is permanent any more: that is an order.  ``users`` is new.
    """
    old, new = struct.Struct(">QQ?"), struct.Struct(">QQQQQQ")
    for table in (b"grants", b"logins"):
        for key, value in rows.all(table):
            expires, login, _ = old.unpack_from(value)
            packed = new.pack(expires, login, login, 0, 0, 0)
            rows.put(table, key, packed + value[old.size :])
    for key, _ in rows.all(b"logins"):
        address, _, user = key.partition(b"\0")
        rows.put(b"users", user + b"\0" + address, b"")
    for key, value in rows.all(b"sessions"):
        rows.put(b"sessions", key, value[:8] + bytes(8))


def _joins(_rows: Rows) -> None:
    """3 to 4: lines that wait for a second one have a database; it begins empty."""


def _outbox(_rows: Rows) -> None:
    """4 to 5: what other hosts are to be told, and were told, have databases; they begin empty."""


STEPS: Mapping[bytes, tuple[Step, bytes]] = {
    b"1": (_more_about_files, b"2"),
    b"2": (_places_and_users, b"3"),
    b"3": (_joins, b"4"),
    b"4": (_outbox, b"5"),
}
"""For each older schema the step from it, and the schema it leads to."""

READABLE: frozenset[bytes] = frozenset()
"""Older schemas whose grants and sessions look as today's: who only reads those needs no step."""


def upgrade(schema: bytes, rows: Rows) -> bytes:
    """Take the rows of ``schema``, one of :data:`STEPS`, to the newest; returns which that is.

    Raises struct.error, ValueError, KeyError or TypeError where a row is not as ``schema`` says.
    """
    while schema in STEPS:
        step, schema = STEPS[schema]
        step(rows)
    return schema
