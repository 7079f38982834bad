"""The statements on our own table of logins.  Pure.

One row for each login; times are microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pbs_watch.grants import rows
from pbs_watch.grants.orders import Bar
from pbs_watch.grants.records import Record
from pbs_watch.shared.engine import USERS_KEPT, Shared, seconds
from pbs_watch.shared.sql_tables import GRANTS, Column, Statement, narrow, raw, text, within


class Own:
    """The statements on our own table."""

    grants = place = GRANTS

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
        """A login out of a row that was found; raises ValueError where it is none."""
        address, user, service, login, expires = row
        return Shared(raw(address), raw(user), raw(service), seconds(login), seconds(expires))

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
        return narrow(GRANTS, columns)
