"""The marked login, and whether the settings let it be granted.  Pure.

Its address is of a network that exists in documentation alone (RFC 5737), its user is nobody's: it
can be mistaken for no login, and grants no machine anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pbs_watch.grants.changes import Changes
from pbs_watch.grants.events import Login
from pbs_watch.grants.judge import judge
from pbs_watch.grants.orders import Orders
from pbs_watch.grants.policy import Policy
from pbs_watch.grants.screens import Nothing
from pbs_watch.log.clock import Clock
from pbs_watch.log.cuts import Cuts
from pbs_watch.pattern.format import Format
from pbs_watch.pattern.scan import Scanner

USER = "pbs-watch-selftest"
"""Unmistakable, in the log, in ``list`` and in ``why``."""

TAG = "pop3d"
"""A POP3 login: it opens no session that would hold the address."""

NETWORKS = ("198.51.100", "203.0.113", "192.0.2")
"""TEST-NET-2, TEST-NET-3 and TEST-NET-1 (RFC 5737), without the last number."""


@dataclass(frozen=True, slots=True)
class Marked:
    """A login of the user :data:`USER`."""

    address: str
    port: int

    @property
    def message(self) -> str:
        """What Courier would log."""
        return f"LOGIN, user={USER}, ip=[::ffff:{self.address}], port=[{self.port}]"

    def line(self, now: float, host: str) -> bytes:
        """A whole line of a log, as rsyslog writes it; ``now``: epoch seconds."""
        stamp = datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds")
        return f"{stamp} {host} {TAG}: {self.message}\n".encode()


class _Standing(Nothing):
    """What is known of it: the operator's orders, and that no connection is behind it."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders

    def connected(self, _address: bytes, _port: bytes) -> bool:
        """The kernel never saw it."""
        return False


def refusal(
    marked: Marked,
    formats: Sequence[Format],
    policy: Policy,
    orders: Orders,
    *,
    now: float,
    host: str,
) -> str:
    """Why the login would be refused, by its name in docs/grants.rst; empty: it would be granted.

    ``unread``: no pattern takes the line.
    """
    line = marked.line(now, host)
    found = Scanner(formats, Clock(UTC)).scan(line, 0, len(line), Cuts("off"), now)
    events = [event for event in found.events if isinstance(event, Login)]
    if not events:
        return "unread"
    judged = judge(events, policy, now, Changes(), standing=_Standing(orders))
    return next((reason for reason, count in judged.refused.items() if count), "")


CURES = {
    "unread": "the patterns do not read Courier's lines: add courier to patterns",
    "never": "never holds the test networks: take 198.51.100.0/24 out of it for a moment",
    "only": "only leaves the test networks out: add 198.51.100.0/24 to it for a moment",
    "ignored": f"ignore_users names {USER}: take it out",
    "host": "hosts does not name this host, whose lines are written here",
    "barred": "the operator has barred the test networks: pbs-watch list --orders",
    "witness": "witness is require, and no connection stands behind a line that selftest writes",
    "suspect": "the line stands after a cut or a gap of the log: wait, and try again",
}
"""What to do about a refusal, where it is not pbs-watch selftest --scratch."""
