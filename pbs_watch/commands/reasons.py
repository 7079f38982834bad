"""Why a line, or a lookup, grants nothing, in words: the one list for all who say it.  Pure.

The names are those of :data:`pbs_watch.grants.judge.ALL_REASONS`; ``docs/grants.rst`` says what to
do about each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Reason(NamedTuple):
    """``many``: of some lines, after their number.  ``one``: of a line, with its setting."""

    many: str
    one: str


REASONS: Mapping[str, Reason] = {
    "never": Reason("of an address that is never granted", "the address is never granted (never)"),
    "only": Reason(
        "of an address that is not among those granted",
        "the address is not among those that alone are granted (only)",
    ),
    "ignored": Reason(
        "of a user who grants nothing", "logins of this user grant nothing (ignore_users)"
    ),
    "stale": Reason("older than the window", "the line was older than the window when it was read"),
    "future": Reason("dated too far ahead", "the line was dated too far in the future"),
    "host": Reason(
        "of a host that does not count",
        "the line was written by a host that does not count (hosts)",
    ),
    "barred": Reason("revoked or blocked", "the login came before a revocation, or during a block"),
    "users": Reason(
        "too many users of one address",
        "too many users logged in from the address (max_users_per_address)",
    ),
    "addresses": Reason(
        "too many addresses of one user",
        "the user logged in from too many addresses (max_addresses_per_user)",
    ),
    "witness": Reason(
        "of a connection that the kernel never saw",
        "the kernel never saw the connection (witness)",
    ),
    "suspect": Reason(
        "suspect, after a cut line",
        "the line stood where a piece of a cut line may stand: it may be forged",
    ),
    "relay_limit": Reason(
        "beyond the relay limit", "the user relayed more than he may (relay_limit)"
    ),
}


def why_refused(reason: str) -> str:
    """Why one line was refused; a reason that another version has names itself."""
    return REASONS[reason].one if reason in REASONS else reason
