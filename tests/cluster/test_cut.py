"""The network between two hosts is cut, and healed; each host is a network namespace of its own.

::

    host a 10.77.1.1 ---+--- engine 10.77.0.10
    host b 10.77.2.1 ---+

What is cut drops packets without a word, as a broken switch does.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import certificates
from tests.certificates import Certificates
from tests.cluster.conftest import PASSWORD
from tests.daemon import PROGRAM, ROOT, Connection, Log, environment, login, until
from tests.engines import RUNNING, Mariadb, Redis, Server, wait

ENGINE = "10.77.0.10"
OK, NO = b"OK OK", b"NOTFOUND "
TROUBLE = b"TEMP "


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Network:
    """Three namespaces, whose names no other test has."""

    def __init__(self) -> None:
        self.names = {end: f"pbs{os.getpid()}{end}" for end in ("m", "a", "b")}

    def begin(self) -> None:
        middle = self.names["m"]
        for name in self.names.values():
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", middle, "addr", "add", f"{ENGINE}/32", "dev", "lo")
        for number, end in enumerate("ab", 1):
            name, net, near = self.names[end], f"10.77.{number}", f"to-{end}"
            peer = ("peer", "name", "eth", "netns", name)
            ip("-n", middle, "link", "add", near, "type", "veth", *peer)
            ip("-n", middle, "addr", "add", f"{net}.10/24", "dev", near)
            ip("-n", middle, "link", "set", near, "up")
            ip("-n", name, "addr", "add", f"{net}.1/24", "dev", "eth")
            ip("-n", name, "link", "set", "eth", "up")
            ip("-n", name, "route", "add", ENGINE, "via", f"{net}.10")

    def within(self, end: str) -> list[str]:
        return ["ip", "netns", "exec", self.names[end]]

    def cut(self, end: str, *, healed: bool = False) -> None:
        host = f"10.77.{'ab'.index(end) + 1}.1/32"
        ip("-n", self.names["m"], "route", "del" if healed else "add", "blackhole", host)

    def end(self) -> None:
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network()
    try:
        made.begin()
        yield made
    finally:
        made.end()


@pytest.fixture(params=["redis", "mariadb"])
def url(
    request: pytest.FixtureRequest, network: Network, tmp_path: Path, tls: Certificates
) -> Iterator[str]:
    """An engine in the middle, which is asked over TLS and with a password."""
    server: Server
    if request.param == "redis":
        server = Redis(
            tmp_path / "redis", "protected-mode no", f"bind {ENGINE} 127.0.0.1",
            f"requirepass {PASSWORD!r}", "tls-port 6390", f"tls-cert-file {tls.cert}",
            f"tls-key-file {tls.key}", f"tls-ca-cert-file {tls.ca}", "tls-auth-clients no",
        )  # fmt: skip
        found = f"rediss://{ENGINE}:6390/0"
    else:
        server = Mariadb(
            "--bind-address=0.0.0.0", f"--ssl-cert={tls.cert}", f"--ssl-key={tls.key}",
            "--require-secure-transport=ON",
        )  # fmt: skip
        found = f"mysql://pbs@{ENGINE}:{server.port}/pbs"
    server.starts_within(network.within("m"))
    if isinstance(server, Mariadb):
        wait(server.socket.exists, "MariaDB answers")
        wait(lambda: server.can("SELECT 1"), "MariaDB answers")
        server.make_database(PASSWORD)
        (tmp_path / "password").write_text(PASSWORD)
        subprocess.run(
            [*network.within("m"), *PROGRAM, "shared", "init", "--config", "/dev/null", "--shared",
             found, "--shared-password-file", str(tmp_path / "password"), "--shared-ca-file",
             str(tls.ca)],
            check=True, cwd=ROOT, env=environment(),
        )  # fmt: skip
    yield found
    server.end()
    assert server not in RUNNING


@pytest.fixture
def tls() -> Iterator[Certificates]:
    # MariaDB's user reads them too.
    home = Path(tempfile.mkdtemp(prefix="pbs-tls-"))
    yield certificates.make(home, ENGINE)
    shutil.rmtree(home)


class Apart:
    """A host in a namespace, asked through a unix socket, which reaches across."""

    def __init__(self, home: Path, network: Network, end: str, url: str, tls: Certificates) -> None:
        home.mkdir()
        (home / "password").write_text(PASSWORD)
        (home / "empty.toml").touch()
        self.log = Log(home / "mail.log")
        self._socket = home / "s"
        self._process = subprocess.Popen(
            [*network.within(end), *PROGRAM, "run", "--config", home / "empty.toml", "--map",
             home / "map", "--log", self.log.path, "--socketmap", f"unix:{self._socket}",
             "--shared", url, "--shared-password-file", home / "password", "--shared-ca-file",
             tls.ca, "--shared-host", end, "--shared-linger", "250ms", "--shared-deadline",
             "400ms"],
            cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL,
        )  # fmt: skip
        until(self._socket.exists, "it listens")
        self._connection = Connection(f"unix:{self._socket}")
        self.slowest = 0.0

    def ask(self, address: str) -> bytes:
        request = f"relay {address}".encode()
        began = time.perf_counter()
        self._connection.socket.sendall(b"%d:%b," % (len(request), request))
        heard = b""
        while not heard.endswith(b","):
            heard += self._connection.socket.recv(4096)
        self.slowest = max(self.slowest, time.perf_counter() - began)
        return heard.partition(b":")[2][:-1]

    def logs_in(self, *addresses: str) -> None:
        self.log.write(*map(login, addresses))

    def end(self) -> None:
        self._connection.socket.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)
        self.log.close()


@pytest.fixture
def hosts(
    tmp_path: Path, network: Network, url: str, tls: Certificates
) -> Iterator[Callable[[], tuple[Apart, Apart]]]:
    made: list[Apart] = []

    def pair() -> tuple[Apart, Apart]:
        made.extend(Apart(tmp_path / end, network, end, url, tls) for end in "ab")
        return made[0], made[1]

    yield pair
    for one in made:
        one.end()


def test_a_cut_and_healed_network(
    network: Network, hosts: Callable[[], tuple[Apart, Apart]]
) -> None:
    first, second = hosts()
    until(lambda: first.ask("203.0.113.1") == NO, "the first host is in step")
    until(lambda: second.ask("203.0.113.1") == NO, "and the second one")
    first.logs_in("198.18.0.1")
    assert second.ask("198.18.0.1") == OK
    network.cut("a")
    # Both go on: with their own logins, and with what they have found before.
    first.logs_in("198.18.0.2")
    second.logs_in("198.18.0.3")
    assert first.ask("198.18.0.1") == OK
    assert first.ask("198.18.0.2") == OK
    assert second.ask("198.18.0.1") == OK
    assert second.ask("198.18.0.3") == OK
    for number in range(20):
        assert first.ask("198.18.0.3").startswith(TROUBLE), number
        assert second.ask("203.0.113.2") == NO
    assert first.slowest < 1.0
    assert second.slowest < 1.0
    network.cut("a", healed=True)
    until(lambda: first.ask("198.18.0.3") == OK, "the first host learns")
    until(lambda: second.ask("198.18.0.2") == OK, "and the second one")
    until(lambda: first.ask("203.0.113.3") == NO, "and is sure again")
    assert max(first.slowest, second.slowest) < 1.0
