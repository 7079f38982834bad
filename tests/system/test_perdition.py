"""Perdition in front of two Courier hosts: the client's address counts, and never the proxy's.

The watcher beside Perdition grants whoever logs in through it.  Those beside the Couriers see every
login come from the proxy: with it in ``never`` they grant nobody.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.daemon import NO, OK, Daemon, command, listens, until
from tests.system.courier import PASSWORD, USERS, Courier, close, connect, opened
from tests.system.host import Host
from tests.system.rsyslog import Rsyslog

LINKS = (("10.99.1.1", "10.99.1.2"), ("10.99.2.1", "10.99.2.2"))
"""The proxy's address and the server's, on each cable."""


@dataclass(frozen=True, slots=True)
class Site:
    """The proxy's host and the servers' behind it, and the logs of all three."""

    front: Host
    logs: tuple[Rsyslog, ...]


def _perdition(host: Host) -> None:
    """Users of even numbers have their mailbox on the first server, the others on the second."""
    popmap = host.path("/run/popmap.re")
    popmap.write_text(f"^.*[02468]$: {LINKS[0][1]}\n^.*[13579]$: {LINKS[1][1]}\n")
    for name, port in (("pop3", 110), ("imap4", 143)):
        host.launch(
            *(f"perdition.{name}", "--config_file", "/dev/null", "--ssl_mode", "none"),
            *("--listen_port", str(port), "--outgoing_port", str(port), "--log_facility", "mail"),
            *("--map_library", _library(), "--map_library_opt", "/run/popmap.re"),
            *("--username", "nobody", "--group", "nogroup", "--pid_file", f"/run/{name}.pid"),
        )
    until(lambda: all(listens(f"127.0.0.1:{port}") for port in (110, 143)), "the proxy is up")


def _library() -> str:
    found = sorted(Path("/usr/lib").rglob("libperditiondb_posix_regex.so.0"))
    assert found, "perdition is not installed as .ci/run does"
    return str(found[0])


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    missing = [name for name in ("perdition.pop3", "pop3d", "rsyslogd") if not shutil.which(name)]
    if os.geteuid() != 0 or missing:
        pytest.fail(f"needs root and {missing}: .ci/run installs what is missing", pytrace=False)
    with ExitStack() as stack:
        hosts, logs = [], []
        for _ in range(3):
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pbs-watch-proxy-")))
            home.chmod(0o755)
            host = Host(home)
            stack.callback(host.stop)
            hosts.append(host)
            logs.append(Rsyslog(host))
        front, *servers = hosts
        for (ours, theirs), server in zip(LINKS, servers, strict=True):
            front.link(server, f"{ours}/30", f"{theirs}/30")
        for server, log in zip(servers, logs[1:], strict=True):
            courier = Courier(server)
            with server.network():
                log.start()
                courier.start()
        with front.network():
            logs[0].start()
            _perdition(front)
        yield Site(front, tuple(logs))


@pytest.fixture
def watchers(site: Site, tmp_path: Path) -> Iterator[list[Daemon]]:
    """Beside the proxy and beside each server, each as its documentation says."""
    daemons = []
    never = ",".join(ours for ours, _ in LINKS)
    words = [("--patterns", "perdition"), ("--never", never), ("--never", never)]
    try:
        for number, (log, said) in enumerate(zip(site.logs, words, strict=True)):
            home = tmp_path / str(number)
            home.mkdir()
            daemons.append(Daemon(home, *said, logs=(log.log,)))
        yield daemons
    finally:
        for daemon in daemons:
            daemon.end()


_numbers = itertools.count(1)


@pytest.fixture
def clients() -> Iterator[str]:
    return (f"198.18.9.{number}" for number in _numbers)


Clients = Iterator[str]


@pytest.mark.parametrize("way", ["pop3", "imap"])
@pytest.mark.parametrize("server", [0, 1])
def test_the_clients_address_is_granted_beside_the_proxy_alone(
    site: Site, watchers: list[Daemon], clients: Clients, way: str, server: int
) -> None:
    client = next(clients)
    user = USERS[10 + server]
    with site.front.network():
        session = opened(client, way)
        session.login(user, PASSWORD)
    for log in site.logs:
        log.mark()
    assert watchers[0].ask(client) == OK
    with site.front.network():
        close(session)
    for log in site.logs:
        log.mark()
    assert watchers[0].ask(client) == OK
    proxy = LINKS[server][0]
    assert f"LOGIN, user={user}, ip=[::ffff:{proxy}]" in site.logs[1 + server].text()
    for watcher in watchers[1:]:
        assert [watcher.ask(address) for address in (client, *LINKS[0], *LINKS[1])] == [NO] * 5
    # Without never, whoever is behind the proxy would relay.
    path = site.logs[1 + server].log
    granted = command("replay", "--grants", path).out.decode().split()
    assert granted == [proxy]
    assert command("replay", "--grants", "--never", proxy, path).out == b""


FORGED = (
    "Auth: 192.0.2.66:2274->10.99.1.1:143 client-secure=plaintext authorisation_id=NONE "
    'authentication_id="user10" server="10.99.1.2:143" protocol=IMAP4 server-secure=plaintext '
    'status="ok"'
)


@pytest.mark.parametrize(
    "name",
    [
        "user10",
        FORGED,
        f"user10\n{FORGED}",
        'user10" server="10.99.1.2:143" protocol=IMAP4 server-secure=plaintext status="ok',
        "A" * 700 + FORGED,
    ],
    ids=["a wrong password", "a line", "a newline and a line", "the rest of a line", "a long name"],
)
def test_who_does_not_log_in_is_granted_nowhere(
    site: Site, watchers: list[Daemon], clients: Clients, name: str
) -> None:
    client = next(clients)
    with site.front.network(), closing(connect(client, 143)) as imap:
        stream = imap.makefile("rwb")
        stream.readline()
        password = b"wrong"
        stream.write(b"a LOGIN {%d}\r\n" % len(name))
        stream.flush()
        assert stream.readline().startswith(b"+")
        stream.write(name.encode() + b" {%d}\r\n" % len(password))
        stream.flush()
        assert stream.readline().startswith(b"+")
        stream.write(password + b"\r\n")
        stream.flush()
        assert not stream.readline().startswith(b"a OK")
    for log in site.logs:
        log.mark()
    for watcher in watchers:
        assert [watcher.ask(one) for one in (client, "192.0.2.66", "10.99.1.1")] == [NO] * 3
