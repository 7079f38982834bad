"""What others may do to the engine grants no more than this host's orders and policy let it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from pbs_watch.grants.changes import Changes
from pbs_watch.grants.orders import Bar, Orders
from pbs_watch.grants.policy import Policy
from pbs_watch.shared.asking import Asker
from pbs_watch.shared.engine import Found, Shared
from pbs_watch.shared.keep import CLOCKS, PERMANENT_FOR, keep

NOW = 1.9e9
ADDRESS = b"198.18.0.1"
PERMANENT = Shared(ADDRESS, b"", b"authpfix", 0.0, None)


def kept(login: Shared, *bars: Bar, policy: Policy | None = None) -> dict[bytes, object]:
    changes = Changes()
    found = Found(1, {login.address: [login]})
    keep(found, Orders(1, (), bars), policy or Policy(1800.0, 14400.0), NOW, changes)
    return {key: login.expires for key, login in changes.logins.items()}


def test_a_permanent_row_counts_for_a_minute_and_is_asked_for_again() -> None:
    assert kept(PERMANENT) == {ADDRESS + b"\0": NOW + PERMANENT_FOR}


def test_a_permanent_row_is_an_allow_of_its_address_and_ended_by_an_order_about_it() -> None:
    assert not kept(PERMANENT, Bar("network", ADDRESS, NOW - 9, NOW - 9))  # it is not told yet
    assert not kept(PERMANENT, Bar("network", ADDRESS, NOW - 9, NOW + 3600))
    assert kept(PERMANENT, Bar("network", b"198.18.0.0/24", NOW - 9, NOW + 3600))
    # The row was made after the revocation: it takes it away itself.
    assert kept(PERMANENT, Bar("network", ADDRESS, NOW - 3600, NOW - 3600))


def test_a_login_before_a_bar_is_void_whoever_read_it() -> None:
    login = Shared(ADDRESS, b"bob", b"pop3d", NOW - 60, NOW + 600)
    assert kept(login)
    for bar in (
        Bar("user", b"bob", NOW - 9, NOW - 9),
        Bar("network", b"198.18.0.0/24", NOW - 9, NOW - 9),
        Bar("everybody", b"", NOW - 9, NOW - 9),
    ):
        assert not kept(login, bar)
    assert kept(login, Bar("user", b"bob", NOW - 90, NOW - 90))


def test_users_are_called_here_as_this_host_calls_them() -> None:
    login = Shared(ADDRESS, b"Bob", b"pop3d", NOW - 60, NOW + 600)
    folding = Policy(1800.0, 14400.0, fold=True)
    assert list(kept(login, policy=folding)) == [ADDRESS + b"\0bob"]
    assert not kept(login, Bar("user", b"bob", NOW, NOW), policy=folding)


def test_a_login_of_the_future_is_one_of_now_for_the_orders_too() -> None:
    login = Shared(ADDRESS, b"bob", b"pop3d", NOW + 7200, NOW + 600)
    assert kept(login)
    for bar in (
        Bar("user", b"bob", NOW - 9, NOW + 3600),
        Bar("network", ADDRESS, NOW - 9, NOW + 3600),
        Bar("everybody", b"", NOW - 9, NOW + 3600),
    ):
        assert not kept(login, bar)


def test_nothing_counts_longer_than_a_login_now_would_here() -> None:
    key = ADDRESS + b"\0bob"
    short = Policy(1800.0, 14400.0)
    long = Policy(1800.0, 14400.0, windows={"courier": 60.0, "example.org": 7200.0})
    for ends in (NOW + 8000, 9e12, 1e300, float("inf")):
        login = Shared(ADDRESS, b"bob", b"pop3d", NOW - 60, ends)
        assert kept(login, policy=short) == {key: NOW + 1800.0 + CLOCKS}
        assert kept(login, policy=long) == {key: NOW + 7200.0 + CLOCKS}
    soon = Shared(ADDRESS, b"bob", b"pop3d", NOW - 60, NOW + 9)
    assert kept(soon, policy=short) == {key: NOW + 9}


# The thread that asks


class Spelling:
    """An engine that answers with other spellings, and with what nobody asked for."""

    def __init__(self, *spellings: bytes) -> None:
        self.spellings = spellings

    def find(self, _addresses: Sequence[bytes], _now: float) -> Found:
        return Found(1, {name: [Shared(name, b"", b"x", NOW, NOW + 9)] for name in self.spellings})

    def close(self) -> None:
        pass


def test_only_what_was_asked_for_is_taken_by_the_name_that_was_asked() -> None:
    told = threading.Semaphore(0)
    engine = Spelling(
        b"198.18.0.9 ",
        b"2001:DB8::9",
        b"2001:db8::/64",
        b"198.18.0.10",
        b"nonsense",
        b"198.18.0.9\0",
    )
    wake: Callable[[], None] = told.release
    asker = Asker(engine, wake, gather=1.0)  # type: ignore[arg-type]
    asker.ask(time.monotonic(), 1, b"198.18.0.9")
    asker.ask(time.monotonic(), 2, b"2001:db8::9")
    asker.begin()
    assert told.acquire(timeout=10)
    answered = asker.result()
    asker.end()
    asker.join(10)
    assert answered is not None
    assert answered.found is not None
    logins = answered.found.logins
    assert set(logins) == {b"198.18.0.9", b"2001:db8::9", b"2001:db8::/64"}
    assert all(one.address == name for name, some in logins.items() for one in some)


class Noting:
    """An engine that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[Sequence[bytes]] = []

    def find(self, addresses: Sequence[bytes], _now: float) -> Found:
        self.asked.append(addresses)
        return Found(1, {})

    def close(self) -> None:
        pass


def test_who_has_waited_already_is_asked_for_before_those_who_came_earlier() -> None:
    engine, told = Noting(), threading.Semaphore(0)
    wake: Callable[[], None] = told.release
    asker = Asker(engine, wake)  # type: ignore[arg-type]
    asker.begin()
    now = time.monotonic()
    asker.ask(now + 0.4, 1, b"198.18.0.1")
    asker.ask(now, 2, b"198.18.0.2")
    for _ in range(2):
        assert told.acquire(timeout=10)
    asker.end()
    asker.join(10)
    assert engine.asked == [[b"198.18.0.2"], [b"198.18.0.1"]]
    assert time.monotonic() - now >= 0.4
