"""Debian's Courier on a mail host, started by its own scripts, and clients of it.

The accounts stand in a userdb.  ``TCPDOPTS`` with stderrlogger is the cure of README, Forged lines.
"""

from __future__ import annotations

import imaplib
import poplib
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.daemon import PATIENCE, listens, until
from tests.system.host import Host

SERVICES = {"pop3d": 110, "pop3d-ssl": 995, "imapd": 143, "imapd-ssl": 993}
_WHERE = [f"127.0.0.1:{port}" for port in SERVICES.values()]
USERS = [f"user{number:02}" for number in range(60)]
PASSWORD = "correct horse"
SERVER = {4: "198.18.0.25", 6: "2001:db8::25"}

_NOBODY = 65534


class Courier:
    """The four services and authdaemond."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._configure()
        self._make_accounts()

    def _configure(self) -> None:
        etc = self._host.path("/etc/courier")
        self._set("authdaemonrc", authmodulelist="authuserdb")
        for name in ("pop3d", "imapd"):
            # Debian's 40 and 4 are for few users; here 50 and their attackers come at once.
            self._set(name, MAXDAEMONS="200", MAXPERIP="100")
        (etc / "imapaccess").mkdir(exist_ok=True)

    def _set(self, name: str, **settings: str) -> None:
        path = self._host.path("/etc/courier") / name
        text = path.read_text()
        for setting, value in settings.items():
            line = f'{setting}="{value}"'
            text, found = re.subn(rf"(?m)^{setting}=.*$", line.replace("\\", r"\\"), text)
            if not found:
                text += f"{line}\n"
        path.write_text(text)

    def _make_accounts(self) -> None:
        hashed = self._host.run("userdbpw", given=PASSWORD + "\n").strip()
        home = self._host.home / "mailboxes"
        rows = []
        for user in USERS:
            for folder in ("cur", "new", "tmp"):
                (home / user / "Maildir" / folder).mkdir(parents=True)
            rows.append(
                f"{user}\thome={home / user}|mail={home / user / 'Maildir'}"
                f"|uid={_NOBODY}|gid={_NOBODY}|systempw={hashed}\n"
            )
        self._host.run("chown", "-R", f"{_NOBODY}:{_NOBODY}", home)
        userdb = self._host.path("/etc/courier/userdb")
        userdb.write_text("".join(rows))
        userdb.chmod(0o600)
        self._host.run("makeuserdb")

    def start(self) -> None:
        """Start everything as Debian does, and wait for the ports; from the host's network."""
        self._host.run("install", "-d", "-o", "courier", "-g", "courier", "/run/courier/authdaemon")
        self._host.launch("authdaemond", "start")
        self.start_services()

    def start_services(self) -> None:
        for name in SERVICES:
            self._host.launch(name, "start")
        until(lambda: all(map(listens, _WHERE)), "all ports are open")

    def stop_services(self) -> None:
        """Stop all but authdaemond, and all sessions."""
        for name in SERVICES:
            self._host.run(name, "stop")
        until(lambda: not any(map(listens, _WHERE)), "all ports are closed")

    @contextmanager
    def cured(self) -> Iterator[None]:
        """Courier as README recommends it: its logger truncates long lines."""
        usual = {name: (self._host.path("/etc/courier") / name).read_text() for name in SERVICES}
        self.stop_services()
        for name in SERVICES:
            cure = f"-stderrlogger=/usr/sbin/courierlogger -stderrloggername={name}"
            self._set(name, TCPDOPTS=f"-nodnslookup -noidentlookup {cure}")
        self.start_services()
        try:
            yield
        finally:
            self.stop_services()
            for name, text in usual.items():
                (self._host.path("/etc/courier") / name).write_text(text)
            self.start_services()


def server_for(client: str) -> str:
    """The server's address of the client's family: loopback for those on loopback."""
    if client == "::1" or client.startswith("127."):
        return client if ":" in client else "127.0.0.1"
    return SERVER[6 if ":" in client else 4]


def connect(client: str, port: int, timeout: float = PATIENCE) -> socket.socket:
    """A connection from ``client`` to a port of the mail host."""
    return socket.create_connection((server_for(client), port), timeout, (client, 0))


def unverified() -> ssl.SSLContext:
    """TLS to a server whose certificate is its own."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Pop3(poplib.POP3):
    """A POP3 session from an address of the client's own."""

    def __init__(self, client: str, *, tls: bool = False) -> None:
        self._client = client
        self._tls = tls
        super().__init__(server_for(client), SERVICES["pop3d-ssl" if tls else "pop3d"], PATIENCE)

    def _create_socket(self, _timeout: float) -> socket.socket:
        plain = connect(self._client, self.port)
        return unverified().wrap_socket(plain) if self._tls else plain

    def login(self, user: str, password: str) -> None:
        """Raises ``poplib.error_proto`` where it fails."""
        self.user(user)
        self.pass_(password)


class Imap(imaplib.IMAP4):
    """An IMAP session from an address of the client's own."""

    def __init__(self, client: str, *, tls: bool = False) -> None:
        self._client = client
        self._tls = tls
        super().__init__(server_for(client), SERVICES["imapd-ssl" if tls else "imapd"], PATIENCE)

    def _create_socket(self, _timeout: float | None) -> socket.socket:
        plain = connect(self._client, self.port)
        return unverified().wrap_socket(plain) if self._tls else plain


Session = Pop3 | Imap

WAYS = ("pop3", "pop3s", "stls", "imap", "imaps", "starttls")


def opened(client: str, way: str) -> Session:
    """A session that is not logged in yet; ``way`` is one of ``WAYS``."""
    if way in {"pop3", "pop3s", "stls"}:
        pop3 = Pop3(client, tls=way == "pop3s")
        if way == "stls":
            pop3.stls(unverified())
        return pop3
    imap = Imap(client, tls=way == "imaps")
    if way == "starttls":
        imap.starttls(unverified())
    return imap


def close(session: Session) -> None:
    """End a session in good order, if it still can be."""
    with suppress(OSError, EOFError, poplib.error_proto, imaplib.IMAP4.error):
        if isinstance(session, Pop3):
            session.quit()
        else:
            session.logout()
