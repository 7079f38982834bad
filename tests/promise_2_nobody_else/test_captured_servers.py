"""What Dovecot, Cyrus, Perdition and nginx logged of real logins, failures and forgeries.

A third of each log's clients never authenticated and tried to have somebody granted by what they
sent as a user name; see the README beside the logs.
"""

from __future__ import annotations

import json
from datetime import UTC

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pbs_watch.chain import Chain
from pbs_watch.grants.changes import Changes
from pbs_watch.log.clock import Clock
from pbs_watch.log.cuts import Cuts
from pbs_watch.pattern.format import Format
from pbs_watch.pattern.library import load, load_text, shipped
from pbs_watch.pattern.scan import Scanner
from tests.logs import LOGS, at, policy

NOW = at("2026-11-24 23:30:00")
ALL = load(sorted(path.stem for path in shipped().glob("*.pattern")), [])

CAPTURES = {
    "dovecot-server.bsd": ("dovecot", "dovecot-server"),
    "dovecot-server.rfc3339": ("dovecot", "dovecot-server"),
    "dovecot-odd.rfc3339": ("dovecot", "dovecot-odd"),
    "dovecot-own": ("dovecot", "dovecot-own"),
    "dovecot-proxy.rfc3339": ("dovecot", "dovecot-proxy"),
    "cyrus.bsd": ("cyrus", "cyrus"),
    "cyrus.rfc3339": ("cyrus", "cyrus"),
    "perdition.rfc3339": ("perdition", "perdition"),
    "nginx.rfc3339": ("nginx", "nginx"),
}
each = pytest.mark.parametrize("log", CAPTURES)


class Reading:
    """A log that goes through the chain."""

    def __init__(self, formats: tuple[Format, ...]) -> None:
        self.chain = Chain(Scanner(formats, Clock(UTC)), policy())
        self.cuts = Cuts()
        self.changes = Changes()

    def feed(self, data: bytes) -> Reading:
        scanned = self.chain.scanner.scan(data, 0, len(data), self.cuts, NOW)
        self.chain.take(scanned, None, self.changes)
        return self

    @property
    def granted(self) -> set[str]:
        return {address.decode() for address in self.changes.grants}

    @property
    def open(self) -> int:
        sessions = self.changes.sessions.values()
        return sum(hold is not None for each in sessions for hold in each.values())


def data(log: str) -> bytes:
    return (LOGS / f"{log}.log").read_bytes()


def truth(log: str) -> tuple[dict[str, str], set[str]]:
    """Who authenticated, by what kind of session, and who did not."""
    told = json.loads((LOGS / f"{CAPTURES[log][1]}.truth.json").read_text())
    return told["authenticated"], set(told["never_authenticated"])


@each
def test_whoever_logged_in_is_granted_and_nobody_else(log: str) -> None:
    authenticated, never = truth(log)
    assert len(never) > 100
    reading = Reading(load([CAPTURES[log][0]], [])).feed(data(log))
    assert not reading.granted & never
    assert reading.granted <= set(authenticated)
    missing = {authenticated[address] for address in set(authenticated) - reading.granted}
    # Names with spaces and quotes are safe to read in Dovecot's lines alone.
    assert missing <= ({"submission"} if "dovecot" in log else {"odd"})
    assert len(reading.granted) > 15


@each
def test_all_patterns_together_make_the_same_of_it(log: str) -> None:
    alone = Reading(load([CAPTURES[log][0]], [])).feed(data(log))
    together = Reading(ALL).feed(data(log))
    submission = {a for a, kind in truth(log)[0].items() if kind == "submission"}
    assert together.granted == alone.granted | submission
    assert together.chain.counts.judged.ends == alone.chain.counts.judged.ends


@pytest.mark.parametrize("log", [log for log in CAPTURES if "dovecot" in log])
def test_every_session_of_dovecot_ends(log: str) -> None:
    reading = Reading(load(["dovecot"], [])).feed(data(log))
    judged = reading.chain.counts.judged
    assert judged.logins == judged.ends > 20
    assert reading.open == 0
    assert len(reading.chain.joins) == 0


@each
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(places=st.lists(st.integers(0, 100_000), max_size=30))
def test_any_blocks_give_the_same(log: str, places: list[int]) -> None:
    whole = data(log)
    formats = load([CAPTURES[log][0]], [])
    ends = sorted({whole.find(b"\n", place) + 1 or len(whole) for place in places} | {len(whole)})
    split = Reading(formats)
    start = 0
    for end in ends:
        split.feed(whole[start:end])
        start = end
    once = Reading(formats).feed(whole)
    assert split.granted == once.granted
    assert split.chain.counts.judged == once.chain.counts.judged
    assert split.open == once.open


LINE = (
    "2026/11/22 08:00:00 [info] 12#0: *7 client logged in, client: 192.0.2.1, "
    'server: 0.0.0.0:110, login: \\"carol\\", upstream: 192.0.2.9:110'
)
FILE = f"""format nginx-file
    header  slash " [info] " pid "#" number ": *" number " "
    login   "client logged in, client: " address ", server: " ( host | "[" ip "]:" number )
            ", login: \\"" name "\\", upstream: " host
    example login "{LINE}"
"""


def test_the_log_file_of_nginx_can_be_forged_and_is_not_read() -> None:
    """A newline in a user name: any line, stamp and all, by a client that never authenticated."""
    log = data("nginx-file")
    assert Reading(load_text("nginx-file.pattern", FILE)).feed(log).granted >= {"192.0.2.66"}
    assert Reading(ALL).feed(log).granted == set()
