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
from pbs_watch.shared.keep import PERMANENT_FOR, keep

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


# The thread that asks


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
