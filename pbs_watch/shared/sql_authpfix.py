"""The statements on the table of courier-auth-postfix, which Postfix's maps read there.  Pure.

``ip`` and ``logintime`` in seconds, 0 for what is permanent; it knows no users, and ends nothing by
itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pbs_watch.grants.orders import Bar
from pbs_watch.grants.records import Record
from pbs_watch.shared.engine import Shared, seconds
from pbs_watch.shared.sql_tables import Column, Statement, Table, raw, text, within

_NUMBERS = frozenset({"int", "bigint"})

_WIDTH = 45
"""Characters of the longest address (INET6_ADDRSTRLEN without the NUL)."""


@dataclass(frozen=True, slots=True)
class Old:
    """The statements on the table of courier-auth-postfix; ``window``: seconds of a login."""

    table: Table
    window: float

    @property
    def grants(self) -> str:
        """The table's name."""
        return self.table.name

    @property
    def place(self) -> str:
        """Where the addresses are, by which these data are told from others."""
        return f"{self.table.name}.{self.table.address}"

    def put(self, logins: Sequence[Shared]) -> Statement:
        """As if the window had begun that much before it ends; what is permanent stays so."""
        latest: dict[bytes, int] = {}
        for one in logins:
            begun = int((one.expires or 0.0) - self.window)
            latest[one.address] = max(begun, latest.get(one.address, 1))
        values: list[object] = []
        for address, begun in sorted(latest.items()):
            values += [text(address), begun]
        name, ip, login = self.table.name, self.table.address, self.table.login
        places = ", ".join(["(%s, %s)"] * len(latest))
        return (
            f"INSERT INTO {name} ({ip}, {login}) VALUES {places} ON DUPLICATE KEY UPDATE "  # noqa: S608
            f"{login} = IF({login} = 0, 0, GREATEST({login}, VALUES({login})))"
        ), values

    def find(self, addresses: Sequence[bytes], now: float) -> Statement:
        """The rows of addresses that count."""
        places = ", ".join(["%s"] * len(addresses))
        name, ip, login = self.table.name, self.table.address, self.table.login
        return (
            f"SELECT {ip}, '', '', {login}, {login} FROM {name} WHERE {ip} IN ({places}) "  # noqa: S608
            f"AND ({login} = 0 OR {login} > %s)"
        ), [*map(text, addresses), int(now - self.window)]

    def shared(self, row: Sequence[object]) -> Shared:
        """A login of nobody knows whom, out of a row that was found; raises ValueError."""
        login = seconds(row[3], 1.0)
        return Shared(raw(row[0]), b"", b"authpfix", login, login + self.window if login else None)

    def all(self, after: bytes, now: float, most: int) -> Statement:
        """The rows of addresses after one, in order."""
        name, ip, login = self.table.name, self.table.address, self.table.login
        return (
            f"SELECT {ip}, '', '', {login}, {login} FROM {name} WHERE {ip} > %s "  # noqa: S608
            f"AND ({login} = 0 OR {login} > %s) ORDER BY {ip} LIMIT %s"
        ), [text(after), int(now - self.window), most]

    def expire(self, now: float, most: int) -> Statement:
        """Remove what expired before ``now``; what is permanent stays."""
        name, login = self.table.name, self.table.login
        return (
            f"DELETE FROM {name} WHERE {login} <> 0 AND {login} < %s LIMIT %s",  # noqa: S608
            [int(now - self.window), most],
        )

    def old(self, now: float) -> Statement:
        """How many rows :meth:`expire` would remove."""
        name, login = self.table.name, self.table.login
        return (
            f"SELECT COUNT(*) FROM {name} WHERE {login} <> 0 AND {login} < %s",  # noqa: S608
            [int(now - self.window)],
        )

    def remove(self, record: Record) -> Iterator[Statement]:
        """Remove what a bar makes void, as far as a table without users can tell."""
        order = record.order()
        if not isinstance(order, Bar) or order.subject == "user":
            return
        name, login, until = self.table.name, self.table.login, int(order.until)
        if order.subject == "everybody":
            yield f"DELETE FROM {name} WHERE {login} <> 0 AND {login} <= %s", [until]  # noqa: S608
            return
        condition, values = within(self.table.address, order.name)
        yield (
            f"DELETE FROM {name} WHERE {condition} AND {login} <> 0 AND {login} <= %s",  # noqa: S608
            [*values, until],
        )

    def mirror(self, record: Record) -> Iterator[Statement]:
        """A permanent allow of one address is a row that Postfix finds too, as it always was."""
        name, ip, login = self.table.name, self.table.address, self.table.login
        if record.key[:1] != b"A" or b"/" in record.key:
            return
        address = text(record.key[1:])
        if record.act == "allow" and record.until is None:
            put = f"INSERT INTO {name} ({ip}, {login}) VALUES (%s, 0) ON DUPLICATE KEY"  # noqa: S608
            yield f"{put} UPDATE {login} = 0", [address]
        elif record.act == "end":
            yield f"DELETE FROM {name} WHERE {ip} = %s AND {login} = 0", [address]  # noqa: S608

    def forget(self, user: bytes) -> Iterator[Statement]:
        """Nothing: the table names no users."""
        _ = user
        yield from ()

    def trouble(self, columns: Mapping[str, Column]) -> str:
        """Why the table cannot be used and the ALTER that mends it; empty: it can."""
        name, ip, login = self.table.name, self.table.address, self.table.login
        for wanted in (ip, login):
            if wanted not in columns:
                return f"the table {name} has no column {wanted}; name it in the .cf file"
        if columns[ip].length < _WIDTH:
            return (
                f"{name}.{ip} holds {columns[ip].length} characters, and addresses have up to "
                f"{_WIDTH}: ALTER TABLE {name} MODIFY {ip} VARCHAR({_WIDTH}) NOT NULL"
            )
        if columns[login].type not in _NUMBERS:
            return (
                f"{name}.{login} is {columns[login].type}, not seconds as a number: "
                f"ALTER TABLE {name} MODIFY {login} BIGINT NOT NULL"
            )
        if columns[ip].key not in {"PRI", "UNI"}:
            return (
                f"{name}.{ip} may occur twice, so that nothing can be renewed: "
                f"ALTER TABLE {name} ADD PRIMARY KEY ({ip})"
            )
        return ""
