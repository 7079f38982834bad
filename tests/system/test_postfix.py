"""A real Postfix, configured as README.rst recommends, asks a running daemon."""

from __future__ import annotations

import time

import pytest

from tests.system.conftest import INBOUND, OUTSIDE, Daemon, Postfix, Tables, until

HOME = "198.18.7.1"
HOME6 = "2001:db8::7"
STRANGER = "198.18.7.99"
WAYS = ("tcp", "proxy:tcp", "socketmap:inet", "socketmap:unix")

every_way = pytest.mark.parametrize("way", WAYS)


@every_way
def test_the_very_next_recipient_after_a_login_is_accepted(
    postfix: Postfix, daemon: Daemon, way: str
) -> None:
    daemon.start()
    with postfix.session(HOME, way) as session:
        assert session.rcpt(OUTSIDE) == 554
        daemon.login(HOME)
        assert session.rcpt(OUTSIDE) == 250
        assert session.send() == 250


@every_way
def test_an_ipv6_client_relays_after_its_login(postfix: Postfix, daemon: Daemon, way: str) -> None:
    daemon.start()
    with postfix.session(HOME6, way) as session:
        assert session.rcpt(OUTSIDE) == 554
        daemon.login("2001:0DB8:0:0:0:0:0:7")
        assert session.rcpt(OUTSIDE) == 250


def test_a_login_in_the_log_before_the_daemon_starts_counts(
    postfix: Postfix, daemon: Daemon
) -> None:
    daemon.login(HOME, before=60)
    daemon.start()
    with postfix.session(HOME) as session:
        assert session.rcpt(OUTSIDE) == 250


def test_a_login_helps_nobody_else(postfix: Postfix, daemon: Daemon) -> None:
    daemon.start()
    daemon.login(HOME)
    with postfix.session(STRANGER) as session:
        assert session.rcpt(OUTSIDE) == 554


def test_relaying_ends_with_the_window_and_not_before(postfix: Postfix, daemon: Daemon) -> None:
    daemon.window = "3s"
    daemon.start()
    with postfix.session(HOME) as session:
        login = daemon.login(HOME)
        assert session.rcpt(OUTSIDE) == 250
        codes: set[int] = set()

        def refused() -> bool:
            codes.add(code := session.rcpt(OUTSIDE))
            return code != 250

        until(refused)
        assert time.time() - login >= 3
        assert codes == {250, 554}


def test_a_login_older_than_the_window_grants_nothing(postfix: Postfix, daemon: Daemon) -> None:
    daemon.window = "1m"
    daemon.start()
    with postfix.session(HOME) as session:
        daemon.login(HOME, before=61)
        assert session.rcpt(OUTSIDE) == 554


def test_inbound_mail_is_accepted_whatever_we_answer(postfix: Postfix, daemon: Daemon) -> None:
    daemon.start()
    with postfix.session(STRANGER) as session:
        assert session.rcpt(OUTSIDE) == 554
        assert session.rcpt(INBOUND) == 250
        assert session.send() == 250


@every_way
def test_without_the_daemon_inbound_mail_is_accepted_and_relaying_is_deferred(
    postfix: Postfix, daemon: Daemon, way: str
) -> None:
    daemon.start()
    daemon.login(HOME)
    daemon.stop()
    with postfix.session(HOME, way) as session:
        asked = time.monotonic()
        assert session.rcpt(INBOUND) == 250
        assert time.monotonic() - asked < 2
        assert session.send() == 250
    with postfix.session(HOME, way) as session:
        # Over tcp: Postfix tries ten times, a second apart, before it gives up.
        assert session.rcpt(OUTSIDE) == 451


@every_way
def test_a_restart_of_the_daemon_loses_no_grant_within_an_open_session(
    postfix: Postfix, daemon: Daemon, way: str
) -> None:
    daemon.start()
    with postfix.session(HOME, way) as session:
        daemon.login(HOME)
        assert session.rcpt(OUTSIDE) == 250
        daemon.stop()
        daemon.start()
        assert session.rcpt(OUTSIDE) == 250


@every_way
def test_postmap_agrees(postfix: Postfix, daemon: Daemon, tables: Tables, way: str) -> None:
    table = tables.by_name[way]
    daemon.start()
    assert postfix.postmap(HOME, table) == (1, "")
    daemon.login(HOME)
    assert postfix.postmap(HOME, table) == (0, "OK\n")
    assert postfix.postmap(STRANGER, table) == (1, "")
    assert postfix.postmap("client.home.example", table) == (1, "")


def test_a_session_that_opens_before_the_log_exists_is_served_once_it_does(
    postfix: Postfix, daemon: Daemon
) -> None:
    daemon.log.unlink()
    daemon.start()
    with postfix.session(HOME) as session:
        assert session.rcpt(OUTSIDE) in {451, 554}
        daemon.login(HOME)
        until(lambda: session.rcpt(OUTSIDE) == 250)
