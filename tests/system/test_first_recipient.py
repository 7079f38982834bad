"""What a client sees: he logs in, and names a recipient over an SMTP session that is open already.

The numbers of docs/chain.rst: ``make test-system ARGS='-s -k first_recipient'``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import pytest

from tests.daemon import until
from tests.system.conftest import MailHost, Watch
from tests.system.courier import PASSWORD, USERS, close, opened
from tests.system.postfix import OUTSIDE, Session
from tests.system.rsyslog import Rsyslog

Clients = Iterator[str]

TIMES = 200

WAIT = 0.8
"""Seconds that a miss waits at most."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How often the first recipient was accepted, and when one was, in seconds after the OK."""

    at_once: int
    took: list[float]

    def __str__(self) -> str:
        cuts = statistics.quantiles(self.took, n=100)
        return (
            f"{self.at_once} of {len(self.took)} at once, "
            f"p50 {1e3 * cuts[49]:.1f} ms, p99 {1e3 * cuts[98]:.1f} ms, "
            f"longest {1e3 * max(self.took):.1f} ms"
        )


def accepted(smtp: Session) -> bool:
    return smtp.rcpt(OUTSIDE) == 250


def try_often(mailhost: MailHost, clients: Clients, way: str) -> Seen:
    """Log in ``TIMES`` times, each from another address, and name a recipient until it is taken."""
    at_once, took = 0, []
    for number in range(TIMES):
        client = next(clients)
        with mailhost.postfix.session(client) as smtp:
            session = opened(client, way)
            session.login(USERS[number % len(USERS)], PASSWORD)
            ok = time.perf_counter()
            first = smtp.rcpt(OUTSIDE)
            at_once += first == 250
            if first != 250:
                until(partial(accepted, smtp), f"{client} may relay")
            took.append(time.perf_counter() - ok)
            close(session)
    return Seen(at_once, took)


QUIET, STUTTERING, FLOODED = "quiet", "rsyslog stutters", "20,000 lines/s"

every_protocol = pytest.mark.parametrize("way", ["pop3", "imap"])
every_load = pytest.mark.parametrize("load", [QUIET, STUTTERING, FLOODED])


def loaded(rsyslog: Rsyslog, load: str) -> AbstractContextManager[None]:
    if load == QUIET:
        return nullcontext()
    return rsyslog.flooded() if load == FLOODED else rsyslog.stuttering()


@every_protocol
@every_load
def test_whoever_logs_in_may_relay_a_moment_later(
    mailhost: MailHost, watch: Watch, clients: Clients, way: str, load: str
) -> None:
    watch()
    with loaded(mailhost.rsyslog, load):
        seen = try_often(mailhost, clients, way)
    print(f"\n{way}, {load}: {seen}")
    assert max(seen.took) < 1.0


@every_protocol
@every_load
def test_with_miss_wait_the_first_recipient_is_accepted(
    mailhost: MailHost, watch: Watch, clients: Clients, way: str, load: str
) -> None:
    watch("--miss-wait", f"{WAIT}s")
    with loaded(mailhost.rsyslog, load):
        seen = try_often(mailhost, clients, way)
    print(f"\n{way}, {load}, miss_wait: {seen}")
    assert seen.at_once == TIMES
    # And as soon as the login was in the log: nobody waited to the end.
    assert max(seen.took) < WAIT
