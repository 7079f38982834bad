"""A real Postfix and a running daemon for the stories of this folder.

Postfix is a throw-away instance: all its directories lie in one folder under /tmp, its ports are
free ones of the loopback address, and the fixture that starts it stops it.  It needs root and
Debian's package ``postfix``; without them the tests fail, since a story that was not told has not
been seen.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
POSTFIX_SHARE = Path("/etc/postfix")
INBOUND = "postmaster@inbound.example"
OUTSIDE = "someone@outside.example"

MAIN_CF = """\
compatibility_level = 3.6
config_directory = {home}/etc
meta_directory = {home}/etc
queue_directory = {home}/spool
data_directory = {home}/data
daemon_directory = {daemon_directory}
maillog_file = {home}/postfix.log
maillog_file_prefixes = {home}
myhostname = mx.inbound.example
mydestination = inbound.example
mynetworks = 127.0.0.9/32
inet_interfaces = 127.0.0.1
inet_protocols = all
smtpd_peername_lookup = no
smtpd_authorized_xclient_hosts = 127.0.0.1
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 1000
alias_maps =
alias_database =
local_recipient_maps =
local_transport = discard:
relay_transport = discard:
default_transport = discard:
in_flow_delay = 0
proxy_read_maps = {proxied}
# One session for each smtpd, so that no test meets the table connections of another.
max_use = 1
"""

# The recommended restrictions, once for each way of asking.
SMTPD = """\
127.0.0.1:{port} inet n - n - - smtpd
  -o {{ smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated,
  permit_auth_destination, check_client_access {table},
  reject_unauth_destination }}
"""

MASTER_CF = """\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
discard unix - - n - - discard
error unix - - n - - error
retry unix - - n - - error
postlog unix-dgram n - n - 1 postlogd
"""


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Return as soon as ``condition`` holds; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s")
        pause.wait(0.02)


def answers(port: int) -> bool:
    """Whether something listens on ``port`` of the loopback address."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def free_ports(count: int) -> list[int]:
    """Return ``count`` different ports that nothing uses."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@dataclass(frozen=True, slots=True)
class Tables:
    """Where the daemon of this run listens, by Postfix's names for the ways of asking."""

    tcp_port: int
    socketmap_port: int
    socket: Path

    @property
    def by_name(self) -> dict[str, str]:
        """Postfix's table name for each way of asking."""
        return {
            "tcp": f"tcp:127.0.0.1:{self.tcp_port}",
            "proxy:tcp": f"proxy:tcp:127.0.0.1:{self.tcp_port}",
            "socketmap:inet": f"socketmap:inet:127.0.0.1:{self.socketmap_port}:relay",
            "socketmap:unix": f"socketmap:unix:{self.socket}:relay",
        }


@dataclass(frozen=True, slots=True)
class Postfix:
    """The running instance: its folder and the smtpd port for each way of asking."""

    home: Path
    ports: dict[str, int]

    @contextlib.contextmanager
    def session(self, client: str, table: str = "tcp") -> Iterator[Session]:
        """Open an SMTP session from ``client``, asking the daemon by ``table``."""
        with smtplib.SMTP("127.0.0.1", self.ports[table], timeout=60) as smtp:
            smtp.ehlo("client.example")
            address = f"IPV6:{client}" if ":" in client else client
            code, text = smtp.docmd("XCLIENT", f"NAME=[UNAVAILABLE] ADDR={address}")
            assert code == 220, text
            smtp.ehlo("client.example")
            assert smtp.mail("sender@home.example")[0] == 250
            yield Session(smtp)

    def postmap(self, key: str, table: str) -> tuple[int, str]:
        """Ask ``table`` for ``key`` as an administrator does: exit code, and what was printed."""
        done = subprocess.run(
            ["postmap", "-c", self.home / "etc", "-q", key, table],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def log(self) -> str:
        """Return what this Postfix has logged."""
        return (self.home / "postfix.log").read_text()


@dataclass(frozen=True, slots=True)
class Session:
    """One SMTP session of one client."""

    smtp: smtplib.SMTP

    def rcpt(self, recipient: str) -> int:
        """Return the code that answers RCPT TO ``recipient``."""
        return self.smtp.rcpt(recipient)[0]

    def send(self) -> int:
        """Return the code that answers a message to the recipients accepted so far."""
        return self.smtp.data("Subject: a test\r\n\r\nHello.\r\n")[0]


@dataclass(slots=True)
class Daemon:
    """``pbs-watch run`` on a log of its own."""

    home: Path
    tables: Tables
    window: str = "30m"
    process: subprocess.Popen[bytes] | None = None
    ports_used: int = field(default=40000)

    @property
    def log(self) -> Path:
        """The followed log."""
        return self.home / "mail.log"

    def start(self) -> None:
        """Start and wait until lookups are answered."""
        # An empty file, so that the machine's own configuration does not count.
        config = self.home / "empty.toml"
        config.touch()
        command = [sys.executable, "-m", "pbs_watch", "run", "--config", str(config)]
        command += ["--log", str(self.log), "--map", str(self.home / "map")]
        command += ["--window", self.window]
        command += ["--tcp-table", f"127.0.0.1:{self.tables.tcp_port}"]
        command += ["--socketmap", f"127.0.0.1:{self.tables.socketmap_port}"]
        command += ["--socketmap", f"unix:{self.tables.socket}"]
        with (self.home / "daemon.err").open("ab") as err:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=err, stderr=err)
        until(lambda: answers(self.tables.tcp_port) or self.process_ended())
        if self.process_ended():
            pytest.fail(f"the daemon ended by itself:\n{self.printed()}", pytrace=False)

    def process_ended(self) -> bool:
        """Whether the daemon has ended by itself."""
        return self.process is None or self.process.poll() is not None

    def stop(self) -> None:
        """Stop the daemon as systemd would; do nothing if it does not run."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(15)
        finally:
            self.process.kill()
            self.process.wait()
            self.process = None

    def printed(self) -> str:
        """Return what the daemon has printed."""
        return (self.home / "daemon.err").read_text()

    def login(self, address: str, user: str = "carol", *, before: float = 0.0) -> float:
        """Append Courier's line for a POP3 login ``before`` seconds ago; return its time."""
        now = time.time() - before
        self.ports_used += 1
        ip = address if ":" in address else f"::ffff:{address}"
        stamp = datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds")
        line = f"{stamp} mail pop3d: LOGIN, user={user}, ip=[{ip}], port=[{self.ports_used}]\n"
        with self.log.open("a") as file:
            file.write(line)
        return now


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder that Postfix's user may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="pbs-watch-system-") as name:
        home = Path(name)
        home.chmod(0o755)
        yield home


@pytest.fixture(scope="session")
def tables(scratch: Path) -> Tables:
    """Where the daemons of this run listen, one after the other."""
    tcp_port, socketmap_port = free_ports(2)
    return Tables(tcp_port, socketmap_port, scratch / "socketmap")


@pytest.fixture(scope="session")
def postfix(scratch: Path, tables: Tables) -> Iterator[Postfix]:
    """A running Postfix with one smtpd for each way of asking."""
    if os.geteuid() != 0 or shutil.which("postconf") is None:
        pytest.fail("needs root and a Postfix: .ci/run installs what is missing", pytrace=False)
    home = scratch / "postfix"
    names = tables.by_name
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    configure(home, names, ports)
    control(home, "start")
    try:
        until(lambda: all(map(answers, ports.values())))
        yield Postfix(home, ports)
    finally:
        control(home, "stop")
        until(lambda: not inhabitants(home))


def control(home: Path, command: str) -> None:
    """Run ``postfix start`` or ``postfix stop``; both return when it is done."""
    done = subprocess.run(
        ["postfix", "-c", home / "etc", command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def inhabitants(home: Path) -> list[int]:
    """Return the processes that work below ``home``: all of Postfix's do, in its queue."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(home):
                found.append(int(process.name))
    return found


def configure(home: Path, names: dict[str, str], ports: dict[str, int]) -> None:
    """Write the instance's configuration below ``home``."""
    etc = home / "etc"
    etc.mkdir(parents=True)
    (home / "spool").mkdir()
    (home / "data").mkdir()
    shutil.chown(home / "data", "postfix")
    for name in ("dynamicmaps.cf", "postfix-files", "post-install", "postfix-script"):
        shutil.copy(POSTFIX_SHARE / name, etc / name)
    shown = subprocess.run(
        ["postconf", "-dh", "daemon_directory"], capture_output=True, text=True, check=True
    )
    main_cf = MAIN_CF.format(
        home=home, daemon_directory=shown.stdout.strip(), proxied=names["proxy:tcp"]
    )
    (etc / "main.cf").write_text(main_cf)
    services = [SMTPD.format(port=ports[name], table=table) for name, table in names.items()]
    (etc / "master.cf").write_text("".join(services) + MASTER_CF)


@pytest.fixture
def daemon(tmp_path: Path, tables: Tables) -> Iterator[Daemon]:
    """A daemon on an empty log, not yet started."""
    made = Daemon(tmp_path, tables)
    made.log.touch()
    yield made
    made.stop()
