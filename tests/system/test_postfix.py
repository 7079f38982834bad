"""How Debian's Postfix asks: every table, in its chroot or not, over open sessions and restarts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.daemon import Log, line, login, until
from tests.system.conftest import MailHost, Watch
from tests.system.postfix import INBOUND, OUTSIDE, SASL_PASSWORD, SASL_USER, TABLES, Postfix

HOME = "198.18.7.1"
STRANGER = "198.18.7.99"

every_table = pytest.mark.parametrize("table", TABLES)


@every_table
def test_the_very_next_recipient_after_a_login_is_accepted(
    mailhost: MailHost, watch: Watch, clients: Iterator[str], table: str
) -> None:
    watch()
    client = next(clients)
    with mailhost.postfix.session(client, table) as session:
        assert session.rcpt(OUTSIDE) == 554
        mailhost.log_in(client)
        assert session.rcpt(OUTSIDE) == 250
        assert session.send() == 250


@every_table
def test_a_restart_loses_no_grant_within_an_open_session(
    mailhost: MailHost, watch: Watch, clients: Iterator[str], table: str
) -> None:
    daemon = watch()
    client = next(clients)
    with mailhost.postfix.session(client, table) as session:
        mailhost.log_in(client)
        assert session.rcpt(OUTSIDE) == 250
        daemon.stop()
        daemon.start()
        assert session.rcpt(OUTSIDE) == 250


@every_table
def test_postmap_agrees(
    mailhost: MailHost, watch: Watch, clients: Iterator[str], table: str
) -> None:
    watch()
    client = next(clients)
    assert mailhost.postfix.postmap(client, TABLES[table]) == (1, "")
    mailhost.log_in(client)
    assert mailhost.postfix.postmap(client, TABLES[table]) == (0, "OK\n")
    assert mailhost.postfix.postmap(STRANGER, TABLES[table]) == (1, "")
    assert mailhost.postfix.postmap("client.home.example", TABLES[table]) == (1, "")


def test_without_the_daemon_inbound_mail_is_accepted_and_relaying_is_deferred(
    mailhost: MailHost, watch: Watch, clients: Iterator[str]
) -> None:
    daemon = watch()
    client = next(clients)
    mailhost.log_in(client)
    daemon.stop()

    def inbound(table: str) -> int:
        asked = time.monotonic()
        with mailhost.postfix.session(client, table) as session:
            assert session.rcpt(INBOUND) == 250
            assert time.monotonic() - asked < 2
            return session.send()

    def outbound(table: str) -> int:
        # Over tcp: Postfix tries ten times, a second apart, before it gives up.
        with mailhost.postfix.session(client, table) as session:
            return session.rcpt(OUTSIDE)

    with ThreadPoolExecutor(len(TABLES)) as together:
        assert set(together.map(inbound, TABLES)) == {250}
        assert set(together.map(outbound, TABLES)) == {451}


def test_a_reload_of_postfix_changes_nothing(
    mailhost: MailHost, watch: Watch, clients: Iterator[str]
) -> None:
    watch()
    client, stranger = next(clients), next(clients)
    mailhost.log_in(client)
    with mailhost.postfix.session(client) as session:
        assert session.rcpt(OUTSIDE) == 250
        mailhost.postfix.reload()
        assert session.rcpt(OUTSIDE) == 250
        assert session.send() == 250
    with mailhost.postfix.session(client) as session:
        assert session.rcpt(OUTSIDE) == 250
    with mailhost.postfix.session(stranger) as session:
        assert session.rcpt(OUTSIDE) == 554


class TestSubmission:
    """587 accepts grants and SASL; port 25 knows nothing of either."""

    def test_it_accepts_who_logged_in(
        self, mailhost: MailHost, watch: Watch, clients: Iterator[str]
    ) -> None:
        watch()
        client = next(clients)
        with mailhost.postfix.session(client, "submission") as session:
            assert session.rcpt(OUTSIDE) == 554
            assert session.rcpt(INBOUND) == 554
            mailhost.log_in(client)
            assert session.rcpt(OUTSIDE) == 250
            assert session.rcpt(INBOUND) == 250
            assert session.send() == 250

    def test_it_accepts_who_authenticates_and_nobody_else_from_there(
        self, mailhost: MailHost, watch: Watch, clients: Iterator[str]
    ) -> None:
        watch()
        client = next(clients)
        with mailhost.postfix.session(client, "submission") as session:
            session.smtp.rset()
            session.smtp.login(SASL_USER, SASL_PASSWORD)
            assert session.smtp.mail("dave@home.example")[0] == 250
            assert session.rcpt(OUTSIDE) == 250
            assert session.send() == 250
        with mailhost.postfix.session(client, "submission") as session:
            assert session.rcpt(OUTSIDE) == 554

    def test_it_accepts_who_authenticates_while_the_daemon_is_down(
        self, postfix: Postfix, clients: Iterator[str]
    ) -> None:
        with postfix.session(next(clients), "submission") as session:
            session.smtp.rset()
            session.smtp.login(SASL_USER, SASL_PASSWORD)
            assert session.smtp.mail("dave@home.example")[0] == 250
            assert session.rcpt(OUTSIDE) == 250

    def test_port_25_relays_for_nobody(
        self, mailhost: MailHost, watch: Watch, clients: Iterator[str]
    ) -> None:
        watch()
        client = next(clients)
        mailhost.log_in(client)
        with mailhost.postfix.session(client, "smtp") as session:
            assert "auth" not in session.smtp.esmtp_features
            assert session.rcpt(OUTSIDE) == 554
            assert session.rcpt(INBOUND) == 250
            assert session.send() == 250


# Lines that no Courier of today writes, and times that have passed.


def test_an_ipv6_address_in_another_form_is_the_same_client(
    postfix: Postfix, watch: Watch, log: Log
) -> None:
    watch(log=log.path)
    with postfix.session("2001:db8::7") as session:
        assert session.rcpt(OUTSIDE) == 554
        log.write(login("2001:0DB8:0:0:0:0:0:7"))
        assert session.rcpt(OUTSIDE) == 250


def test_a_login_older_than_the_window_grants_nothing(
    postfix: Postfix, watch: Watch, log: Log
) -> None:
    watch("--window", "1m", log=log.path)
    with postfix.session(HOME) as session:
        log.write(login(HOME, at=time.time() - 61))
        assert session.rcpt(OUTSIDE) == 554
        log.write(login(HOME, at=time.time() - 50))
        assert session.rcpt(OUTSIDE) == 250


def test_a_session_that_opens_before_the_log_exists_is_served_once_it_does(
    postfix: Postfix, watch: Watch, log: Log
) -> None:
    log.path.unlink()
    watch(log=log.path)
    with postfix.session(HOME) as session:
        assert session.rcpt(OUTSIDE) in {451, 554}
        log.open()
        log.write(line("LOGOUT, ip=[198.18.0.9], port=[1]"), login(HOME))
        until(lambda: session.rcpt(OUTSIDE) == 250, "the log is read")
