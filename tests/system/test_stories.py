"""The whole story with the real mail system: Courier, courierlogger, rsyslog, us, Postfix."""

from __future__ import annotations

import imaplib
import poplib
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.daemon import PATIENCE, PROGRAM, environment, until
from tests.faults import injected
from tests.supervised import Supervisor
from tests.system.conftest import MailHost, Watch
from tests.system.courier import PASSWORD, USERS, WAYS, close, opened
from tests.system.postfix import INBOUND, OUTSIDE, TCP

every_way = pytest.mark.parametrize("way", WAYS)
Clients = Iterator[str]

WINDOW = 2.0
"""Seconds, where a story tells of the end of a window."""


# Logging in


@every_way
def test_relay_denied_login_relay_accepted(
    mailhost: MailHost, watch: Watch, clients: Clients, way: str
) -> None:
    watch()
    client, stranger = next(clients), next(clients)
    with mailhost.postfix.session(client) as session:
        assert session.rcpt(OUTSIDE) == 554
        mailhost.log_in(client, way=way)
        assert session.rcpt(OUTSIDE) == 250
        assert session.send() == 250
    assert not mailhost.relays(stranger)


@pytest.mark.parametrize("client", ["::1", "127.0.0.7", "2001:db8::7"])
@pytest.mark.parametrize("way", ["pop3", "imap"])
def test_from_everywhere(mailhost: MailHost, watch: Watch, client: str, way: str) -> None:
    watch()
    with mailhost.postfix.session(client) as session:
        assert session.rcpt(OUTSIDE) == 554
        mailhost.log_in(client, way=way)
        assert session.rcpt(OUTSIDE) == 250
    assert not mailhost.relays("127.0.0.8")


def test_a_failed_login_grants_nothing(mailhost: MailHost, watch: Watch, clients: Clients) -> None:
    watch()

    def fail(way: str, user: str) -> str:
        client = next(clients)
        session = opened(client, way)
        # Courier takes five seconds to say no.
        with pytest.raises((poplib.error_proto, imaplib.IMAP4.error)):
            session.login(user, "wrong")
        assert not mailhost.relays(client)
        close(session)
        return client

    tried = [(way, user) for way in WAYS for user in (USERS[0], "nobody")]
    with ThreadPoolExecutor(len(tried)) as together:
        failed = list(together.map(fail, *zip(*tried, strict=True)))
    mailhost.rsyslog.mark()
    for client, (_, user) in zip(failed, tried, strict=True):
        assert f"LOGIN FAILED, user={user}, ip=[::ffff:{client}]" in mailhost.rsyslog.text()
        assert not mailhost.relays(client)


def test_a_connection_without_a_login_grants_nothing(
    mailhost: MailHost, watch: Watch, clients: Clients
) -> None:
    watch()
    client = next(clients)
    for way in WAYS:
        close(opened(client, way))
    mailhost.rsyslog.mark()
    assert mailhost.rsyslog.text().count(f"[::ffff:{client}]") >= 2 * len(WAYS)
    assert not mailhost.relays(client)


# The window and sessions


@pytest.mark.parametrize("way", ["pop3", "imap"])
def test_the_window_ends_and_another_login_begins_another(
    mailhost: MailHost, watch: Watch, clients: Clients, way: str
) -> None:
    watch("--window", f"{WINDOW}s")
    client = next(clients)
    with mailhost.postfix.session(client) as session:
        began = time.time()
        mailhost.log_in(client, way=way)
        assert session.rcpt(OUTSIDE) == 250
        until(lambda: session.rcpt(OUTSIDE) != 250, "the window is over")
        assert time.time() - began >= WINDOW
        assert session.rcpt(OUTSIDE) == 554
        mailhost.log_in(client, way=way)
        assert session.rcpt(OUTSIDE) == 250


def test_an_open_imap_session_keeps_relaying_and_an_open_pop3_session_does_not(
    mailhost: MailHost, watch: Watch, clients: Clients
) -> None:
    watch("--window", f"{WINDOW}s")
    reader, other, popper = next(clients), next(clients), next(clients)
    with mailhost.logged_in(reader, way="imap") as imap:
        with mailhost.logged_in(popper):
            mailhost.log_in(other, way="imap")
            assert mailhost.relays(other)
            assert mailhost.relays(popper)
            until(lambda: not mailhost.relays(other), "the window of who has left is over")
            until(lambda: not mailhost.relays(popper), "and that of a POP3 session")
            assert mailhost.relays(reader)
        assert isinstance(imap, imaplib.IMAP4)
        assert imap.select()[0] == "OK"
        assert mailhost.relays(reader)
        left = time.time()
    # Its end begins the window anew.
    assert mailhost.relays(reader)
    until(lambda: not mailhost.relays(reader), "the window after the session is over")
    assert time.time() - left >= WINDOW


# The log


@pytest.mark.parametrize("stamps", ["rfc3339", "bsd"])
def test_both_templates_of_rsyslog(
    mailhost: MailHost, watch: Watch, clients: Clients, stamps: str
) -> None:
    rsyslog = mailhost.rsyslog
    rsyslog.stop()
    rsyslog.log.unlink()
    rsyslog.start("bsd" if stamps == "bsd" else "rfc3339")
    try:
        watch("--window", f"{WINDOW}s")
        client = next(clients)
        with mailhost.postfix.session(client) as session:
            for way in WAYS:
                mailhost.log_in(client, way=way)
                assert session.rcpt(OUTSIDE) == 250
            until(lambda: session.rcpt(OUTSIDE) == 554, "the window is over")
        stamp = (
            r"\w{3} [ \d]\d \d\d:\d\d:\d\d" if stamps == "bsd" else r"[-\d]+T[:\d]+\.\d+\+\d\d:\d\d"
        )
        assert re.search(rf"(?m)^{stamp} mail pop3d: LOGIN, user=", rsyslog.text())
    finally:
        rsyslog.stop()
        rsyslog.start()


ROTATION = Path("/etc/logrotate.d/rsyslog")


def logs_in_and_relays(mailhost: MailHost, client: str) -> bool:
    return mailhost.relays(mailhost.log_in(client))


def rotate(mailhost: MailHost, mode: str) -> None:
    """Run logrotate with Debian's file for rsyslog; there is no systemd to send the signal."""
    hup = "kill -HUP $(cat /run/rsyslogd.pid)"
    text = ROTATION.read_text().replace("/usr/lib/rsyslog/rsyslog-rotate", hup)
    assert hup in text
    if mode == "copytruncate":
        text = re.sub(r"(?s)\tsharedscripts.*endscript", "\tcopytruncate", text)
    home = mailhost.host.home
    (home / "logrotate.conf").write_text("su root adm\n" + text)
    mailhost.host.run("logrotate", "-f", "-s", home / "logrotate.state", home / "logrotate.conf")


@pytest.mark.parametrize("mode", ["create", "copytruncate"])
def test_logrotate_in_the_middle(
    mailhost: MailHost, watch: Watch, clients: Clients, mode: str
) -> None:
    daemon = watch()
    early = [next(clients) for _ in range(5)]
    for round_ in range(2):
        for client in early:
            mailhost.log_in(client)
        rotate(mailhost, mode)
        assert all(mailhost.relays(client) for client in early)
        late = next(clients)
        with mailhost.postfix.session(late) as session:
            assert session.rcpt(OUTSIDE) == 554
            mailhost.log_in(late)
            if mode == "copytruncate":
                # What was written between copy and truncation is lost for all readers.  As after
                # a cut, a second of the service's lines is not believed.
                until(partial(logs_in_and_relays, mailhost, late), "the login is believed")
            assert session.rcpt(OUTSIDE) == 250
        if round_ == 0:
            daemon.stop()
            daemon.start()
        early = [*early, late]
    assert len(list(mailhost.rsyslog.log.parent.glob("mail.log.*"))) == 2


def longer(items: Sized, than: int, *work: Future[None]) -> Callable[[], bool]:
    """Whether there are more of them, or those who work on it have ended."""
    return lambda: len(items) > than or any(one.done() for one in work)


def test_logins_while_logrotate_runs(mailhost: MailHost, watch: Watch, clients: Clients) -> None:
    watch()
    over = threading.Event()
    seen: list[str] = []

    def log_in_and_relay() -> None:
        while not over.is_set():
            client = next(clients)
            with mailhost.postfix.session(client) as session:
                pop3 = opened(client, "pop3")
                pop3.login(USERS[0], PASSWORD)
                until(lambda: session.rcpt(OUTSIDE) == 250, f"{client} may relay")
                close(pop3)
                seen.append(client)

    with ThreadPoolExecutor() as beside:
        work = beside.submit(log_in_and_relay)
        try:
            for number in range(3):
                until(longer(seen, 10 * (number + 1), work), "logins")
                rotate(mailhost, "create")
        finally:
            over.set()
        work.result()
    assert len(seen) > 30
    assert all(mailhost.relays(client) for client in seen)


# The daemon


def restarted(mailhost: MailHost, client: str, restart: Callable[[], None]) -> None:
    """Restart the daemon again and again while mail is sent: none is refused, all is delivered."""
    codes: list[int] = []
    sent: list[str] = []
    over = threading.Event()

    def send(number: int) -> None:
        while not over.is_set():
            subject = f"{client} {number} {len(sent)}"
            with mailhost.postfix.session(client) as session:
                codes.append(session.rcpt(OUTSIDE))
                if codes[-1] == 250:
                    assert session.send(subject) == 250
                    sent.append(subject)

    with ThreadPoolExecutor() as beside:
        work = [beside.submit(send, number) for number in range(3)]
        try:
            for _ in range(3):
                before = len(sent)
                restart()
                until(longer(sent, before + 10, *work), "mail goes on")
        finally:
            over.set()
        for one in work:
            one.result()
    assert set(codes) == {250}
    until(lambda: set(sent) <= set(mailhost.postfix.delivered()), "all mail is delivered")


def test_a_restart_in_the_middle_loses_and_bounces_no_mail(
    mailhost: MailHost, watch: Watch, clients: Clients
) -> None:
    daemon = watch()
    client = mailhost.log_in(next(clients))

    def restart() -> None:
        daemon.stop()
        daemon.start()

    # Postfix itself tries again, ten times, a second apart.
    restarted(mailhost, client, restart)


def test_with_the_socket_kept_open_a_restart_is_not_even_noticed(
    mailhost: MailHost, clients: Clients, tmp_path: Path
) -> None:
    log = mailhost.rsyslog.log
    (tmp_path / "empty.toml").touch()
    words: list[str | Path] = [
        "run",
        "--config",
        tmp_path / "empty.toml",
        "--map",
        tmp_path / "map",
        "--log",
        log,
    ]
    supervisor = Supervisor(tmp_path, words, port=int(TCP.rpartition(":")[2]))
    try:
        supervisor.tells("READY=1")
        client = mailhost.log_in(next(clients))
        with mailhost.postfix.session(client) as session:
            assert session.rcpt(OUTSIDE) == 250
            restarted(mailhost, client, supervisor.restart)
            assert session.rcpt(OUTSIDE) == 250
        mailhost.rsyslog.mark()
        assert "postfix/smtpd" in mailhost.rsyslog.text()
        assert "warning" not in mailhost.rsyslog.text()
    finally:
        supervisor.end()


def test_a_login_while_the_daemon_is_stopped_counts_when_it_is_back(
    mailhost: MailHost, watch: Watch, clients: Clients
) -> None:
    daemon = watch()
    client = next(clients)
    daemon.stop()
    mailhost.log_in(client)
    with mailhost.postfix.session(client) as session:
        assert session.rcpt(INBOUND) == 250
        daemon.start()
        assert session.rcpt(OUTSIDE) == 250


def test_who_logged_in_before_the_first_start_may_relay(
    mailhost: MailHost, watch: Watch, clients: Clients
) -> None:
    client, stranger = next(clients), next(clients)
    mailhost.log_in(client, way="imaps")
    watch()
    assert mailhost.relays(client)
    assert not mailhost.relays(stranger)


def test_a_map_that_becomes_read_only_loses_nothing(
    mailhost: MailHost, watch: Watch, clients: Clients, tmp_path: Path
) -> None:
    daemon = watch()
    first, second = next(clients), next(clients)
    mailhost.log_in(first)
    daemon.stop()
    with injected(tmp_path / "trace", "pwritev,writev,pwrite64:error=EROFS:when=3..400"):
        daemon.start()
    until(
        lambda: mailhost.log_in(second) == second and "mount it for writing" in daemon.said,
        "it fails to write",
    )
    assert mailhost.relays(first)
    assert mailhost.relays(second)
    third = next(clients)
    mailhost.log_in(third)
    assert mailhost.relays(third)
    with mailhost.postfix.session(next(clients)) as session:
        assert session.rcpt(OUTSIDE) == 554
        assert session.rcpt(INBOUND) == 250
    daemon.kill()
    # What was not written stands in the log.
    daemon.start()
    assert all(mailhost.relays(client) for client in (first, second, third))


def test_a_map_on_a_read_only_disk_is_refused_in_one_line(tmp_path: Path) -> None:
    home = tmp_path / "map"
    home.mkdir()
    script = 'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; map=$1; shift; exec "$@" $map'
    ended = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", script, "sh", home, *PROGRAM, "run",
         "--log", tmp_path / "mail.log", "--tcp-table", "127.0.0.1:0", "--map"],
        env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "Read-only file system); name a directory" in ended.stderr
