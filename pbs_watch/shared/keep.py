"""What was found at the engine becomes logins of this host, as far as this host grants them.  Pure.

It lasts until it expires, though no longer than a login now would here; it obeys the orders and the
policy of this host, and is not told back: a login without a place was read in no log of ours.
Others than we may write into the engine, so that each row is looked at before it is kept.
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

CLOCKS = 60.0
"""Seconds that the clock of the host which granted a login may be ahead of ours."""


def keep(found: Found, orders: Orders, policy: Policy, now: float, into: Changes) -> list[Shared]:
    """Add what was found to ``into``; what was added, as it counts here.

    ``now``: epoch seconds.
    """
    kept: list[Shared] = []
    longest = now + max(policy.window, *policy.windows.values(), 0.0) + CLOCKS
    for address, logins in found.logins.items():
        for login in logins[:USERS_KEPT]:
            user = login.user.lower() if policy.fold else login.user
            ends = now + PERMANENT_FOR if login.expires is None else min(login.expires, longest)
            # A login to come, by another clock or forged, is one of now, for the orders as well.
            one = Shared(address, user, login.service, min(login.login, now), ends)
            if login.expires is None:
                barred = _ended(address, orders, now)
            else:
                barred = orders.bar(address, user, one.login) is not None
            if barred or ends <= now or login.address != address:
                continue
            if _sound(one) and _granted(policy, one):
                into.login(address, grant(ends, one.login, user, login.service))
                kept.append(one)
    return kept


def _ended(address: bytes, orders: Orders, now: float) -> bool:
    """Whether an order ends a permanent row."""
    # It is an allow of its address: an order about the very same one ends it, and takes the row
    # away as soon as the engine has been told.
    latest = orders.blocked(address, now - PERMANENT_FOR)
    return latest is not None and latest.name == address


def _sound(login: Shared) -> bool:
    """Whether the map can hold it."""
    return (
        b"\0" not in login.user + login.service
        and len(login.user) <= LONGEST_NAME
        and len(login.service) <= LONGEST_NAME
    )


def _granted(policy: Policy, login: Shared) -> bool:
    """Whether this host's own policy lets it be: what it never grants, nobody grants on it."""
    address, user = login.address, login.user
    narrow = policy.prefix == IPV6_BITS and b"/" not in address
    if policy.never and (policy.never.holds if narrow else policy.never.overlaps)(address):
        return False
    if policy.only and not (policy.only.holds if narrow else policy.only.contains)(address):
        return False
    return not (policy.ignored and policy.ignores(user))
