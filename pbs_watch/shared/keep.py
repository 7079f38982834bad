"""What was found at the engine becomes logins of this host, as far as this host grants them.  Pure.

It lasts until it expires, obeys the orders and the policy of this host, and is not told back: a
login without a place was read in no log of ours.  Others than we may write into the engine, so that
each row is looked at before it is kept.
"""

from __future__ import annotations

from pbs_watch.grants.address import IPV6_BITS
from pbs_watch.grants.changes import Changes, grant
from pbs_watch.grants.orders import Orders
from pbs_watch.grants.policy import Policy
from pbs_watch.grants.rows import LONGEST_NAME
from pbs_watch.shared.engine import USERS_KEPT, Found, Shared

PERMANENT_FOR = 60.0
"""Seconds that a permanent row of the old layout counts here before it is asked for again."""


def keep(found: Found, orders: Orders, policy: Policy, now: float, into: Changes) -> list[Shared]:
    """Add what was found to ``into``; what was added, as it counts here.

    ``now``: epoch seconds.
    """
    kept: list[Shared] = []
    for address, logins in found.logins.items():
        for login in logins[:USERS_KEPT]:
            user = login.user.lower() if policy.fold else login.user
            expires = now + PERMANENT_FOR if login.expires is None else login.expires
            if _barred(login, user, orders, now):
                continue
            if expires > now and _sound(login) and _granted(policy, address, user):
                one = Shared(address, user, login.service, min(login.login, now), expires)
                into.login(address, grant(expires, one.login, user, login.service))
                kept.append(one)
    return kept


def _barred(login: Shared, user: bytes, orders: Orders, now: float) -> bool:
    """Whether an order makes a login void."""
    if login.expires is not None:
        return orders.bar(login.address, user, login.login) is not None
    # A permanent row is an allow of its address: an order about the very same one ends it, and
    # takes the row away as soon as the engine has been told.
    latest = orders.blocked(login.address, now - PERMANENT_FOR)
    return latest is not None and latest.name == login.address


def _sound(login: Shared) -> bool:
    """Whether the map can hold it."""
    return (
        b"\0" not in login.user + login.service
        and len(login.user) <= LONGEST_NAME
        and len(login.service) <= LONGEST_NAME
    )


def _granted(policy: Policy, address: bytes, user: bytes) -> bool:
    """Whether this host's own policy lets it be: what it never grants, nobody grants on it."""
    narrow = policy.prefix == IPV6_BITS and b"/" not in address
    if policy.never and (policy.never.holds if narrow else policy.never.overlaps)(address):
        return False
    if policy.only and not (policy.only.holds if narrow else policy.only.contains)(address):
        return False
    return not (policy.ignored and policy.ignores(user))
