"""The tables in MariaDB or MySQL, and the statements that both layouts need.  Pure.

Ours (``own``), made by ``pbs-watch shared init``: one row for each login; times are microseconds
since the epoch.  The old one (``authpfix``) is the table of courier-auth-postfix: ``ip`` and
``logintime`` in seconds, 0 for what is permanent; it knows no users.  Orders are kept in tables of
ours in either case.

An address is canonical text, as Postfix asks for it, so that a ``mysql:`` map of Postfix can read
the same table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pbs_watch.grants import rows
from pbs_watch.grants.address import NETWORK_BITS, prefix, widened
from pbs_watch.grants.orders import Bar
from pbs_watch.grants.records import Record
from pbs_watch.shared.engine import USERS_KEPT, Shared

Statement = tuple[str, Sequence[object]]
"""SQL, and the values of its ``%s``."""

GRANTS, ORDERS, META = "pbs_watch_grants", "pbs_watch_orders", "pbs_watch_meta"

WIDTHS: Mapping[str, Mapping[str, int]] = {
    GRANTS: {"address": 49, "user": 400, "service": 400},
    ORDERS: {"subject": 420},
}
"""How many bytes the columns must hold: an IPv6 network, a user as long as the map keeps him."""

_CREATE_GRANTS = (
    f"CREATE TABLE IF NOT EXISTS {GRANTS} ("
    "address VARCHAR(49) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, "
    "user VARBINARY(400) NOT NULL, service VARBINARY(400) NOT NULL, "
    "login BIGINT UNSIGNED NOT NULL, expires BIGINT UNSIGNED NOT NULL, "
    "PRIMARY KEY (address, user), KEY expires (expires)) ENGINE=InnoDB"
)
_CREATE_ORDERS = (
    f"CREATE TABLE IF NOT EXISTS {ORDERS} ("
    "subject VARBINARY(420) NOT NULL PRIMARY KEY, record BLOB NOT NULL) ENGINE=InnoDB"
)
_CREATE_META = (
    f"CREATE TABLE IF NOT EXISTS {META} ("
    "name VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY, "
    "value VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL) ENGINE=InnoDB"
)
CREATE = (_CREATE_GRANTS, _CREATE_ORDERS, _CREATE_META)

_NUMBERS = frozenset({"int", "bigint"})

_OLD_WIDTH = 45
"""Characters of the longest address (INET6_ADDRSTRLEN without the NUL)."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the server describes it."""

    type: str
    length: int
    key: str


@dataclass(frozen=True, slots=True)
class Table:
    """The old layout's table and its columns."""

    name: str = "authpfix"
    address: str = "ip"
    login: str = "logintime"


class Own:
    """The statements on our own table."""

    grants = GRANTS

    def put(self, logins: Sequence[Shared]) -> Statement:
        """The later expiry wins; sorted, so that two hosts lock rows in the same order."""
        values: list[object] = []
        for one in sorted(logins):
            expires = rows.micros(one.expires or 0.0)
            values += [text(one.address), one.user, one.service, rows.micros(one.login), expires]
        places = ", ".join(["(%s, %s, %s, %s, %s)"] * len(logins))
        return (
            f"INSERT INTO {GRANTS} (address, user, service, login, expires) VALUES {places} "  # noqa: S608
            "ON DUPLICATE KEY UPDATE service = IF(VALUES(login) >= login, VALUES(service), service)"
            ", login = GREATEST(login, VALUES(login)), expires = GREATEST(expires, VALUES(expires))"
        ), values

    def find(self, addresses: Sequence[bytes], now: float) -> Statement:
        """Of each address the logins that last longest."""
        places = ", ".join(["%s"] * len(addresses))
        return (
            "SELECT address, user, service, login, expires FROM (SELECT address, user, service, "  # noqa: S608
            "login, expires, ROW_NUMBER() OVER (PARTITION BY address ORDER BY expires DESC) AS nr "
            f"FROM {GRANTS} WHERE address IN ({places}) AND expires > %s) AS found "
            f"WHERE nr <= {USERS_KEPT}"
        ), [*map(text, addresses), rows.micros(now)]

    def shared(self, row: Sequence[object]) -> Shared:
        """A login out of a row that was found."""
        address, user, service, login, expires = row
        return Shared(
            raw(address), raw(user), raw(service), int(str(login)) / 1e6, int(str(expires)) / 1e6
        )

    def all(self, after: bytes, now: float, most: int) -> Statement:
        """The logins of addresses after one, in order."""
        return (
            f"SELECT address, user, service, login, expires FROM {GRANTS} "  # noqa: S608
            "WHERE address > %s AND expires > %s ORDER BY address, user LIMIT %s"
        ), [text(after), rows.micros(now), most]

    def expire(self, now: float, most: int) -> Statement:
        """Remove what expired before ``now``, by the index."""
        return f"DELETE FROM {GRANTS} WHERE expires < %s LIMIT %s", [rows.micros(now), most]  # noqa: S608

    def remove(self, record: Record) -> Iterator[Statement]:
        """Remove what a bar makes void, so that a ``mysql:`` map of Postfix does not find it."""
        order = record.order()
        if not isinstance(order, Bar):
            return
        until = rows.micros(order.until)
        if order.subject == "user":
            yield f"DELETE FROM {GRANTS} WHERE user = %s AND login <= %s", [order.name, until]  # noqa: S608
        elif order.subject == "everybody":
            yield f"DELETE FROM {GRANTS} WHERE login <= %s", [until]  # noqa: S608
        else:
            condition, values = within("address", order.name)
            yield (
                f"DELETE FROM {GRANTS} WHERE {condition} AND login <= %s",  # noqa: S608
                [*values, until],
            )

    def mirror(self, record: Record) -> Iterator[Statement]:
        """Nothing: orders have a table of their own."""
        _ = record
        yield from ()

    def forget(self, user: bytes) -> Iterator[Statement]:
        """Remove what names a user."""
        yield f"DELETE FROM {GRANTS} WHERE user = %s", [user]  # noqa: S608

    def trouble(self, columns: Mapping[str, Column]) -> str:
        """Why the table cannot be used and the ALTER that mends it; empty: it can."""
        return _narrow(GRANTS, columns)


@dataclass(frozen=True, slots=True)
class Old:
    """The statements on the table of courier-auth-postfix; ``window``: seconds of a login."""

    table: Table
    window: float

    @property
    def grants(self) -> str:
        """The table's name."""
        return self.table.name

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
        """A login of nobody knows whom, out of a row that was found."""
        address, login = raw(row[0]), int(str(row[3]))
        return Shared(
            address, b"", b"authpfix", float(login), login + self.window if login else None
        )

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
        if columns[ip].length < _OLD_WIDTH:
            return (
                f"{name}.{ip} holds {columns[ip].length} characters, and addresses have up to "
                f"{_OLD_WIDTH}: ALTER TABLE {name} MODIFY {ip} VARCHAR({_OLD_WIDTH}) NOT NULL"
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


Layout = Own | Old


def orders_trouble(columns: Mapping[str, Column]) -> str:
    """The same for the table of orders."""
    return _narrow(ORDERS, columns)


def _narrow(table: str, columns: Mapping[str, Column]) -> str:
    for name, width in WIDTHS[table].items():
        if name not in columns:
            return f"the table {table} has no column {name}; it is not ours, or of another version"
        if columns[name].length < width:
            kind = "VARCHAR" if name == "address" else "VARBINARY"
            extra = " CHARACTER SET ascii COLLATE ascii_bin" if name == "address" else ""
            return (
                f"{table}.{name} holds {columns[name].length} bytes, and {width} are needed: "
                f"ALTER TABLE {table} MODIFY {name} {kind}({width}){extra} NOT NULL"
            )
    return ""


def within(column: str, network: bytes) -> tuple[str, list[object]]:
    """The condition that an address, or the network it is granted with, lies in ``network``."""
    size, length, first = prefix(network)
    if length == size:
        names = dict.fromkeys([text(network), text(widened(network, NETWORK_BITS))])
        return f"{column} IN ({', '.join(['%s'] * len(names))})", [*names]
    last = first | ((1 << (size - length)) - 1)
    number = f"INET6_ATON(SUBSTRING_INDEX({column}, '/', 1))"
    return (
        f"LENGTH({number}) = %s AND {number} BETWEEN %s AND %s",
        [size // 8, first.to_bytes(size // 8, "big"), last.to_bytes(size // 8, "big")],
    )


def text(address: bytes) -> str:
    """An address as the column has it: of the same character set, so that its index is used."""
    return address.decode("ascii")


def raw(value: object) -> bytes:
    """A column's value as bytes."""
    return value if isinstance(value, bytes) else str(value).encode()
