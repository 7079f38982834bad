"""A mail host and a daemon beside it, for the stories of this folder.

The mail host (``host.py``) runs Debian's Courier, rsyslog and Postfix.  It needs root and the
packages that ``.ci/run`` installs; without them the tests fail, since a story that was not told
has not been seen.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.daemon import Daemon, until
from tests.system import postfix as mail
from tests.system.courier import PASSWORD, USERS, Courier, Session, close, opened
from tests.system.host import Host
from tests.system.postfix import Postfix
from tests.system.rsyslog import Rsyslog

Watch = Callable[..., Daemon]

_PROGRAMS = ("postconf", "rsyslogd", "pop3d", "imapd", "authdaemond", "userdbpw", "saslpasswd2")


@dataclass(frozen=True, slots=True)
class MailHost:
    """What runs on the mail host."""

    host: Host
    rsyslog: Rsyslog
    courier: Courier
    postfix: Postfix

    @contextmanager
    def logged_in(
        self, client: str, *, user: str = USERS[0], way: str = "pop3"
    ) -> Iterator[Session]:
        """A session of a user whose login from ``client`` is in the log.

        Courier's imapd says OK before it logs, so the line may come some milliseconds later.
        """
        line = f"LOGIN, user={user}, ip=[{'' if ':' in client else '::ffff:'}{client}]"
        before = self.rsyslog.text().count(line)
        session = opened(client, way)
        try:
            session.login(user, PASSWORD)
            until(lambda: self.rsyslog.text().count(line) > before, f"{line} in the log")
            yield session
        finally:
            close(session)

    def log_in(self, client: str, *, user: str = USERS[0], way: str = "pop3") -> str:
        """Log in from ``client`` and end the session; the client."""
        with self.logged_in(client, user=user, way=way):
            return client

    def relays(self, client: str, service: str = "tcp") -> bool:
        """Whether ``client`` may relay now, in an SMTP session of its own."""
        with self.postfix.session(client, service) as session:
            code = session.rcpt(mail.OUTSIDE)
            assert code in {250, 554}
            return code == 250


@pytest.fixture(scope="session")
def running() -> Iterator[MailHost]:
    """The mail host of this run, which the tests use one after the other."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        pytest.fail(f"needs root and {missing}: .ci/run installs what is missing", pytrace=False)
    with tempfile.TemporaryDirectory(prefix="pbs-watch-system-") as name:
        home = Path(name)
        home.chmod(0o755)  # Postfix's user and the accounts' enter it
        host = Host(home)
        try:
            postfix, rsyslog, courier = Postfix(host), Rsyslog(host), Courier(host)
            with host.network():
                rsyslog.start()
                courier.start()
                postfix.start()
            yield MailHost(host, rsyslog, courier, postfix)
        finally:
            host.stop()


@pytest.fixture
def mailhost(running: MailHost) -> Iterator[MailHost]:
    """The mail host with an empty mail log; the test, and what it starts, is on its network."""
    with running.host.network():
        running.rsyslog.fresh()
        yield running


@pytest.fixture
def postfix(mailhost: MailHost) -> Postfix:
    """Its Postfix."""
    return mailhost.postfix


@pytest.fixture
def watch(mailhost: MailHost, start: Callable[..., Daemon]) -> Watch:
    """Starts a daemon that follows the mail log and answers wherever Postfix asks."""

    def started(*words: str | Path, log: Path | None = None) -> Daemon:
        where: list[str | Path] = ["--tcp-table", mail.TCP, "--socketmap", mail.SOCKETMAP]
        where += ["--socketmap", f"unix:{mailhost.postfix.spool / mail.SOCKET}"]
        return start(*where, *words, logs=(log or mailhost.rsyslog.log,))

    return started


_numbers = itertools.count(1)


@pytest.fixture
def clients() -> Iterator[str]:
    """Addresses of clients that nobody has used before."""
    return (f"198.18.{number // 250}.{number % 250 + 1}" for number in _numbers)
