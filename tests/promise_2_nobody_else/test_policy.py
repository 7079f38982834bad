"""Who may be granted, and for how long, is the operator's to say; each refusal has its reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pbs_watch.grants.address import Networks, network
from pbs_watch.grants.changes import RefusalKey
from pbs_watch.grants.policy import Policy
from pbs_watch.grants.standing import Known
from pbs_watch.grants.store import Map
from tests.logs import HOUR, MINUTE, WINDOW, Watched, at, policy

NOW = at("2026-11-22 08:44:00")


def line(message: str, after: float = 0, tag: str = "pop3d") -> bytes:
    minutes, seconds = divmod(int(after), 60)
    return f"Nov 22 08:{44 + minutes:02}:{seconds:02} mail {tag}: {message}\n".encode()


def login(address: str, user: str = "bob", after: float = 0, port: int = 7) -> bytes:
    return line(f"LOGIN, user={user}, ip=[{address}], port=[{port}]", after)


def imap(address: str, user: str = "bob", after: float = 0) -> bytes:
    return line(f"LOGIN, user={user}, ip=[{address}], port=[9], protocol=IMAP", after, "imapd")


def logout(address: str, user: str = "bob", after: float = 0, seconds: int = 1) -> bytes:
    text = f"LOGOUT, user={user}, ip=[{address}], port=[7], top=0, retr=0, rcvd=6, sent=30"
    return line(f"{text}, time={seconds}", after)


def networks(*texts: str) -> Networks:
    return Networks([network(text) for text in texts])


def judged(by: Policy, *lines: bytes) -> Watched:
    watching = Watched(judged_by=by)
    watching.feed(b"".join(lines), NOW + MINUTE, replayed=False)
    return watching


def refusals(watching: Watched) -> dict[tuple[str, str], int]:
    return {
        (key.address.decode(), key.reason): one.times
        for key, one in watching.changes.refusals.items()
    }


def test_networks_that_are_never_granted_and_those_that_alone_are() -> None:
    by = policy(networks("198.18.9.0/24"), only=networks("198.18.0.0/15", "2001:db8::/32"))
    watching = judged(
        by,
        login("::ffff:198.18.0.1"),
        login("198.18.9.1"),
        login("203.0.113.1"),
        login("2001:db8::7"),
        logout("203.0.113.2"),
    )
    assert watching.allowed(NOW) == {"198.18.0.1", "2001:db8::7"}
    assert refusals(watching) == {
        ("198.18.9.1", "never"): 1,
        ("203.0.113.1", "only"): 1,
        ("203.0.113.2", "only"): 1,
    }
    counts = watching.chain.counts.judged
    assert (counts.logins, counts.ends, counts.never, counts.only) == (2, 0, 1, 2)


def test_users_and_domains_that_are_ignored() -> None:
    by = policy(ignored=frozenset({b"monitor", b"@example.net"}))
    watching = judged(
        by,
        login("198.18.0.1", "monitor"),
        login("198.18.0.2", "monitors"),
        login("198.18.0.3", "eve@Example.NET"),
        login("198.18.0.4", "eve@example.org"),
        logout("198.18.0.5", "monitor"),
    )
    assert watching.allowed(NOW) == {"198.18.0.2", "198.18.0.4"}
    assert watching.chain.counts.judged.ignored == 3


@pytest.mark.parametrize("over", ["alarm", "refuse"])
def test_more_users_of_one_address_than_are_expected(over: str) -> None:
    by = policy(most_users=2, over_limit=over)
    watching = Watched(judged_by=by)
    told: list[str] = []
    watching.chain.standing = _Known(watching)
    block = b"".join(login("198.18.0.1", user) for user in ("a", "b", "a", "c", "a", "c"))
    scanned = watching.chain.scanner.scan(block, 0, len(block), watching.cuts, NOW)
    watching.chain.take(
        scanned, NOW, watching.changes, tell=lambda _, verdict: told.append(verdict)
    )
    if over == "alarm":
        # Who is in is known from then on.
        expected = ["logins", "logins", "logins", "alarm:users", "logins", "logins", "logins"]
        assert watching.chain.counts.judged.alarms == 1
    else:
        expected = ["logins", "logins", "logins", "users", "logins", "users"]
        assert refusals(watching) == {("198.18.0.1", "users"): 2}
    assert told == expected
    assert watching.allowed(NOW) == {"198.18.0.1"}


@pytest.mark.parametrize("over", ["alarm", "refuse"])
def test_a_stolen_password_opens_no_botnet(over: str) -> None:
    by = policy(most_addresses=3, over_limit=over)
    watching = Watched(judged_by=by)
    watching.chain.standing = _Known(watching)
    everywhere = [f"198.18.0.{number}" for number in range(1, 21)]
    watching.feed(b"".join(map(login, everywhere)), NOW, replayed=False)
    watching.feed(b"".join(login(one, "eve") for one in everywhere[:3]), NOW, replayed=False)
    # An end proves a login: it is held to the same.
    watching.feed(logout("198.18.0.77"), NOW, replayed=False)
    if over == "alarm":
        assert watching.allowed(NOW) == {*everywhere, "198.18.0.77"}
        assert watching.chain.counts.judged.alarms == 18
        return
    assert watching.allowed(NOW) == set(everywhere[:3])
    assert watching.chain.counts.judged.addresses == 18
    # When windows are over there is room again.
    watching.feed(login("198.18.1.1", after=WINDOW - 1), NOW + WINDOW - 1, replayed=False)
    assert "198.18.1.1" not in watching.allowed(NOW + WINDOW - 1)


class _Known(Known):
    """What a log granted so far, without a map."""

    def __init__(self, watching: Watched) -> None:
        self._watching = watching
        super().__init__(_NoMap(), lambda: [watching.changes])  # type: ignore[arg-type]


class _NoMap:
    """A map in which nobody stands."""

    orders = Watched().chain.standing.orders

    @staticmethod
    def logged_in(_address: bytes, _user: bytes, _now: float) -> bool:
        return False

    @staticmethod
    def users(_address: bytes, _now: float, _most: int) -> list[bytes]:
        return []

    @staticmethod
    def addresses(_user: bytes, _now: float, _most: int) -> list[bytes]:
        return []


@pytest.fixture
def grants(tmp_path: Path) -> Iterator[Map]:
    opened = Map(tmp_path / "map", "daemon")
    yield opened
    opened.close()


def test_limits_count_what_is_in_the_map_as_well(grants: Map) -> None:
    first = judged(policy(), login("198.18.0.1"), login("198.18.0.2"), login("198.18.0.2", "eve"))
    grants.commit(first.changes)
    watching = Watched(judged_by=policy(most_addresses=2, most_users=2, over_limit="refuse"))
    watching.chain.standing = Known(grants, lambda: [watching.changes])
    watching.feed(
        login("198.18.0.3") + login("198.18.0.2", "carol") + login("198.18.0.1", "carol"),
        NOW,
        replayed=False,
    )
    assert set(watching.changes.refusals) == {
        RefusalKey(b"198.18.0.3", "addresses", b"bob"),
        RefusalKey(b"198.18.0.2", "users", b"carol"),
    }
    assert watching.allowed(NOW) == {"198.18.0.1"}


def test_a_window_of_its_own_for_a_format_and_for_a_domain() -> None:
    by = policy(windows={"courier-imap": 2 * HOUR, "@example.org": 5 * MINUTE})
    by = replace(by, session_limit=1.0)
    watching = judged(
        by,
        login("198.18.0.1"),
        imap("198.18.0.2"),
        imap("198.18.0.3", "bob@EXAMPLE.org"),
        login("198.18.0.4", "x@sub.example.org"),
        logout("198.18.0.5", "bob@example.org"),
    )
    everybody = {f"198.18.0.{number}" for number in range(1, 6)}
    assert watching.allowed(NOW + 5 * MINUTE - 1) == everybody
    assert watching.allowed(NOW + 5 * MINUTE) == everybody - {"198.18.0.3", "198.18.0.5"}
    assert watching.allowed(NOW + WINDOW) == {"198.18.0.2"}
    assert watching.allowed(NOW + 2 * HOUR) == set()


def test_ipv6_addresses_of_one_network_are_granted_together(grants: Map) -> None:
    watching = judged(policy(prefix=64), login("2001:db8:1:2::7"), login("198.18.0.1"))
    assert watching.allowed(NOW) == {"2001:db8:1:2::/64", "198.18.0.1"}
    grants.commit(watching.changes)
    for address in (b"2001:db8:1:2::7", b"2001:db8:1:2:ffff::1", b"198.18.0.1"):
        assert grants.allows(address, NOW), address
    for address in (b"2001:db8:1:3::7", b"198.18.0.2"):
        assert not grants.allows(address, NOW), address


def test_an_end_closes_its_session_though_it_is_refused() -> None:
    watching = judged(policy(), imap("198.18.0.1"))
    watching.chain.policy = policy(ignored=frozenset({b"bob"}))
    text = "LOGOUT, user=bob, ip=[198.18.0.1], port=[9], headers=0, body=0, time=1"
    watching.feed(line(text, tag="imapd"), NOW + 1, replayed=False)
    assert watching.allowed(NOW + WINDOW - 1) == {"198.18.0.1"}
    assert watching.allowed(NOW + WINDOW) == set()
    assert refusals(watching) == {("198.18.0.1", "ignored"): 1}


def test_refusals_are_counted_not_collected() -> None:
    """Whatever a client makes happen, one row an address, a reason and a user is kept."""
    by = policy(networks("198.18.0.0/15"))
    watching = judged(by, *(login("198.18.0.1", after=second) for second in range(50)))
    ((key, refusal),) = watching.changes.refusals.items()
    assert key == RefusalKey(b"198.18.0.1", "never", b"bob")
    assert (refusal.first, refusal.last, refusal.times) == (NOW, NOW + 49, 50)
