"""Where IPv6 networks are granted, what is said of one address holds for its network: one rule."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.daemon import NO, OK, Daemon, Log, command, login

Start = Callable[..., Daemon]


@pytest.fixture
def daemon(start: Start) -> Daemon:
    words = (
        "--never",
        "2001:db8:9::5,::ffff:198.18.9.0/120",
        "--only",
        "2001:db8::/32,198.18.0.0/15",
    )
    return start("--prefix", "64", *words)


def test_who_is_blocked_relays_by_nobody_elses_login(daemon: Daemon, log: Log) -> None:
    log.write(login("2001:db8::5"))
    assert daemon.ask("2001:db8::6") == OK
    ended = command("block", "2001:db8::5", "--for", "1h", "--map", daemon.map)
    assert ended.status == 0
    log.write(login("2001:db8::6", user="eve"), login("2001:db8:1::6"))
    assert [daemon.ask(one) for one in ("2001:db8::5", "2001:db8::6")] == [NO, NO]
    assert daemon.ask("2001:db8:1::7") == OK
    daemon.process.says("event=refused address=2001:db8::6 user=eve")


def test_an_order_about_somebody_else_loses_no_login(daemon: Daemon, log: Log) -> None:
    """What judges a login and what commits it agree."""
    command("block", "2001:db8::5", "--for", "1h", "--map", daemon.map)
    for number in range(10):
        address = f"2001:db8:{number + 16:x}::6"
        log.write(login(address))
        assert daemon.ask(address) == OK
        command("revoke", "--user", f"nobody{number}", "--map", daemon.map)
        assert daemon.ask(address) == OK


def test_what_is_never_granted_is_not_granted_with_its_network(daemon: Daemon, log: Log) -> None:
    log.write(login("2001:db8:9::6"), login("2001:db8:8::6"), login("198.18.9.7"))
    asked = ("2001:db8:9::5", "2001:db8:9::6", "2001:db8:8::6", "198.18.9.7")
    assert [daemon.ask(one) for one in asked] == [NO, NO, OK, NO]


def test_a_network_that_is_not_wholly_among_the_only_ones_is_not_granted(
    start: Start, log: Log
) -> None:
    daemon = start("--prefix", "64", "--only", "2001:db8:a::/96,2001:db8:b::/48")
    log.write(login("2001:db8:a::6"), login("2001:db8:b::6"))
    asked = ("2001:db8:a::6", "2001:db8:a:0:1::1", "2001:db8:b::7")
    assert [daemon.ask(one) for one in asked] == [NO, NO, OK]
