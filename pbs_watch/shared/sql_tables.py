"""The tables in MariaDB or MySQL, and what the statements on them have in common.  Pure.

Ours, made by ``pbs-watch shared init``: one row for each login (:mod:`pbs_watch.shared.sql_own`),
the records of orders, and what the data are called.  Sites that have the table of
courier-auth-postfix may keep it for the logins (:mod:`pbs_watch.shared.sql_authpfix`).

An address is canonical text, as Postfix asks for it, so that a ``mysql:`` map of Postfix can read
the same table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pbs_watch.grants.address import NETWORK_BITS, prefix, widened

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


def missing(name: str) -> str:
    """What to do about a table that is not there."""
    if name in {GRANTS, ORDERS, META}:
        return "run pbs-watch shared init"
    return (
        "name the right one with shared_table, or table = in the .cf file; shared init makes no "
        f"such table, this does: CREATE TABLE {name} (ip VARCHAR(45) NOT NULL PRIMARY KEY, "
        "logintime BIGINT NOT NULL)"
    )


def orders_trouble(columns: Mapping[str, Column]) -> str:
    """The same for the table of orders."""
    return narrow(ORDERS, columns)


def narrow(table: str, columns: Mapping[str, Column]) -> str:
    """Why a table of ours cannot be used, and the ALTER that mends it; empty: it can."""
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
