"""Which logins grant, and until when: the window, never, hosts, stale and future-dated lines."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pbs_watch.grants.address import Networks, network
from pbs_watch.grants.changes import Changes
from pbs_watch.grants.judge import Judged, judge
from pbs_watch.grants.policy import Policy
from pbs_watch.log.lines import Block
from tests.logs import (
    AFTER_CAPTURES,
    DAY,
    HOUR,
    MINUTE,
    SESSION_LIMIT,
    WINDOW,
    Watched,
    at,
    capture,
    policy,
    truth,
    watched,
)

NOW = at("2026-11-22 08:44:00")


def line(message: str, time: float = NOW, *, tag: str = "pop3d", host: str = "mail") -> bytes:
    stamp = datetime.fromtimestamp(time, UTC).isoformat(timespec="microseconds")
    return f"{stamp} {host} {tag}: {message}\n".encode()


def bsd_line(message: str, time: float) -> bytes:
    return f"{datetime.fromtimestamp(time, UTC):%b %d %H:%M:%S} mail pop3d: {message}\n".encode()


def login(address: str = "198.18.0.1", user: str = "bob") -> str:
    return f"LOGIN, user={user}, ip=[{address}], port=[4242]"


def end(word: str = "LOGOUT", address: str = "198.18.0.1", seconds: int | None = 60) -> str:
    time = "" if seconds is None else f", time={seconds}"
    return f"{word}, user=bob, ip=[{address}], port=[4242], top=0, retr=0, rcvd=6, sent=30{time}"


def granted_until(watching: Watched) -> float:
    ((address, grant),) = watching.changes.grants.items()
    assert address == b"198.18.0.1"
    return grant.expires


def test_a_login_grants_for_one_window() -> None:
    watching = watched(line(login()), NOW)
    assert watching.allowed(NOW + WINDOW - 1) == {"198.18.0.1"}
    assert watching.allowed(NOW + WINDOW) == set()


def test_the_lines_own_time_counts_not_when_it_is_read() -> None:
    watching = watched(line(login(), NOW - 20 * MINUTE), NOW)
    assert granted_until(watching) == NOW - 20 * MINUTE + WINDOW


@pytest.mark.parametrize(
    ("ago", "granted"),
    [(WINDOW - 1, {"198.18.0.1"}), (WINDOW, set()), (WINDOW + 1, set()), (DAY, set())],
)
def test_a_login_older_than_the_window_grants_nothing(ago: float, granted: set[str]) -> None:
    watching = watched(line(login(), NOW - ago), NOW)
    assert watching.allowed(NOW) == granted
    counts = watching.chain.counts.judged
    assert (counts.logins, counts.stale) == ((1, 0) if granted else (0, 1))
    if not granted:
        assert not watching.granted


@pytest.mark.parametrize("ahead", [1, 60, 300])
def test_a_login_up_to_five_minutes_ahead_counts_as_now(ahead: float) -> None:
    watching = watched(line(login(), NOW + ahead), NOW)
    assert granted_until(watching) == NOW + WINDOW


@pytest.mark.parametrize("ahead", [301, HOUR, DAY, 300 * DAY])
def test_a_login_farther_ahead_grants_nothing_and_is_counted(ahead: float) -> None:
    watching = watched(line(login(), NOW + ahead), NOW)
    assert not watching.granted
    assert watching.chain.counts.judged == Judged(future=1)


@pytest.mark.parametrize("ahead", [301, HOUR, 14 * HOUR, DAY])
def test_without_a_zone_a_login_up_to_a_day_ahead_counts_as_now(ahead: float) -> None:
    """Its zone may be another one than ours."""
    watching = watched(bsd_line(login(), NOW + ahead), NOW)
    assert granted_until(watching) == NOW + WINDOW


def test_without_a_year_a_login_more_than_a_day_ahead_is_last_years() -> None:
    watching = watched(bsd_line(login(), NOW + DAY + 60), NOW)
    assert not watching.granted
    assert watching.chain.counts.judged == Judged(stale=1)


def test_a_line_of_last_year_grants_nothing_today() -> None:
    watching = watched(capture("courier-clean", "bsd"), at("2027-11-20 09:00:00"))
    assert watching.allowed(at("2027-11-20 09:00:00")) == set()
    assert watching.chain.counts.judged.logins == 0


def test_a_future_dated_end_neither_grants_nor_ends() -> None:
    watching = watched(line(end(), NOW + 301), NOW)
    assert not watching.granted
    assert watching.chain.counts.judged == Judged(future=1)


def test_a_log_that_is_read_twice_grants_no_longer() -> None:
    log = capture("courier-clean", "rfc3339")
    once, twice = watched(log), watched(log)
    twice.feed(log, AFTER_CAPTURES + 300, replayed=False)
    assert twice.changes.grants == once.changes.grants


def test_an_older_line_that_comes_later_shortens_nothing() -> None:
    watching = watched(line(login()) + line(login(), NOW - 10 * MINUTE), NOW)
    assert granted_until(watching) == NOW + WINDOW


def test_a_newer_login_of_another_user_extends_the_grant_of_the_address() -> None:
    watching = watched(line(login()) + line(login(user="eve"), NOW + 60), NOW + 60)
    assert granted_until(watching) == NOW + 60 + WINDOW
    assert len(watching.changes.logins) == 2
    assert watching.changes.grants[b"198.18.0.1"].user == b"eve"


# Ends


@pytest.mark.parametrize("word", ["LOGOUT", "DISCONNECTED", "I/O error disconnect", "disc"])
def test_an_end_proves_the_login_and_starts_the_window_anew(word: str) -> None:
    watching = watched(line(end(word, seconds=2 * 3600)), NOW)
    assert granted_until(watching) == NOW + WINDOW


def test_a_timeout_proves_the_login_and_starts_nothing_anew() -> None:
    assert granted_until(watched(line(end("TIMEOUT", seconds=300)), NOW)) == NOW - 300 + WINDOW
    # Together with its login: no longer than that granted.
    both = line(login(), NOW - 300) + line(end("TIMEOUT", seconds=300))
    assert granted_until(watched(both, NOW)) == NOW - 300 + WINDOW


def test_a_timeout_of_a_session_longer_than_the_window_grants_nothing() -> None:
    assert watched(line(end("TIMEOUT", seconds=1800)), NOW).allowed(NOW) == set()


def test_a_timeout_that_does_not_say_how_long_it_was_grants_nothing() -> None:
    assert watched(line(end("TIMEOUT", seconds=None)), NOW).allowed(NOW) == set()


def test_an_end_older_than_the_window_grants_nothing() -> None:
    assert watched(line(end(), NOW - WINDOW), NOW).allowed(NOW) == set()


# never and hosts

NEVER = Networks([network("198.18.110.0/26"), network("2001:db8::/32"), network("198.18.110.71")])


@pytest.mark.parametrize("stamps", ["bsd", "rfc3339"])
def test_an_address_in_never_is_never_granted(stamps: str) -> None:
    watching = Watched(judged_by=policy(NEVER))
    for name in ("courier-clean", "courier-odd"):
        watching.feed(capture(name, stamps))
    everybody = set(truth("courier-clean")["authenticated"])
    barred = {address for address in everybody if int(address.split(".")[3]) < 64} | {
        "198.18.110.71"
    }
    assert 0 < len(barred) < len(everybody)
    others = {f"198.18.113.{number}" for number in (1, 2, 3, 4, 6)}
    assert watching.allowed() == everybody - barred | others
    # 198.18.110.x: a login and an end each; 2001:db8::1 three times.
    assert watching.chain.counts.judged.never == 2 * len(barred) + 6
    assert not any(address.startswith(b"2001:") for address in watching.changes.sessions)


def test_never_knows_an_ipv4_address_mapped_into_ipv6() -> None:
    judged_by = policy(Networks([network("198.18.0.0/24")]))
    watching = Watched(judged_by=judged_by)
    watching.feed(line(login("::ffff:198.18.0.1")), NOW, replayed=False)
    assert not watching.granted


def test_only_lines_of_the_configured_hosts_count() -> None:
    watching = Watched(judged_by=policy(hosts=[b"mail"]))
    for number, host in enumerate(["mail", "other", "mail2", "(none)", "MAIL"]):
        message = login(f"198.18.0.{number}") + "\n"
        block = line(message.rstrip("\n"), host=host)
        watching.feed(block, NOW, replayed=False)
    assert watching.allowed(NOW) == {"198.18.0.0"}
    assert watching.chain.counts.judged == Judged(logins=1, host=4)


def test_without_configured_hosts_all_count() -> None:
    watching = watched(line(login("198.18.0.1")) + line(login("198.18.0.2"), host="other"), NOW)
    assert watching.allowed(NOW) == {"198.18.0.1", "198.18.0.2"}


# Addresses


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("::ffff:198.18.0.1", "198.18.0.1"),
        ("::FFFF:c612:1", "198.18.0.1"),
        ("0:0:0:0:0:ffff:198.18.0.1", "198.18.0.1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("2001:db8::0001", "2001:db8::1"),
        ("::198.18.0.1", "::c612:1"),
        ("::1", "::1"),
    ],
)
def test_an_address_has_one_form(written: str, means: str) -> None:
    found = watched(line(login(written)), NOW).allowed(NOW)
    assert found in ({means}, {"::198.18.0.1"} if means == "::c612:1" else {means})


@pytest.mark.parametrize(
    "written",
    [
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "01.2.3.4",
        ":::1",
        "1::2::3",
        "12345::",
        "abcd",
        "..",
        "::ffff:1.2.3.256",
    ],
)
def test_what_is_no_address_grants_nothing(written: str) -> None:
    watching = watched(line(login(written)) + line(end(address=written)), NOW)
    assert not watching.granted


def test_the_counts_tell_what_became_of_every_event() -> None:
    seen: list[tuple[bytes, str]] = []
    watching = Watched(judged_by=policy(Networks([network("198.18.0.3")]), [b"mail"]))
    block = b"".join(
        [
            line(login("198.18.0.1")),
            line(login("198.18.0.2"), NOW - HOUR),
            line(login("198.18.0.3")),
            line(login("198.18.0.4"), host="other"),
            line(login("198.18.0.5"), NOW + HOUR),
            line(end(address="198.18.0.6")),
        ]
    )
    watching.chain.feed(
        [Block(block, 0, len(block))],
        0,
        watching.cuts,
        NOW,
        watching.changes,
        tell=lambda event, verdict: seen.append((event.address[-1:], verdict)),
    )
    assert seen == list(
        zip(
            (b"1", b"2", b"3", b"4", b"5", b"6"),
            ("logins", "stale", "never", "host", "future", "ends"),
            strict=True,
        )
    )
    assert watching.chain.counts.judged == Judged(
        logins=1, ends=1, never=1, stale=1, future=1, host=1
    )


def test_judging_nothing_changes_nothing() -> None:
    into = Changes()
    assert judge([], Policy(WINDOW, SESSION_LIMIT, Networks([])), NOW, into) == Judged()
    assert not into
