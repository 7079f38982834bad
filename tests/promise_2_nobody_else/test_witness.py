"""The kernel as second witness: a line without a connection is believed less."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pbs_watch import witness
from pbs_watch.config import Config
from pbs_watch.grants.changes import Hold, SessionKey
from pbs_watch.kernel import Connections
from pbs_watch.notices import Notices
from pbs_watch.pattern import library
from pbs_watch.service import Service
from pbs_watch.witness import Holding, missing
from tests.daemon import NO, OK, Daemon, Log, line, refused, until

Start = Callable[..., Daemon]
NOW = 1_795_337_040.0
A = b"198.18.0.1"


class Mailbox:
    """A server on loopback that clients are connected to: what Courier would be."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []

    def client(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port))
        served, _ = self._listener.accept()
        self._ends += [client, served]
        return client

    def hang_up(self) -> None:
        """The server closes first, as after QUIT: the kernel remembers that for a minute."""
        client, served = self._ends[-2:]
        served.close()
        assert client.recv(1) == b""
        client.close()

    def reset(self) -> None:
        """Both sides forget the connection at once."""
        for end in self._ends[-2:]:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()

    def close(self) -> None:
        for end in (*self._ends, self._listener):
            end.close()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    made = Mailbox()
    yield made
    made.close()


def imap(port: int, address: str = "127.0.0.1", at: float | None = None) -> bytes:
    text = f"LOGIN, user=bob, ip=[::ffff:{address}], port=[{port}], protocol=IMAP"
    return line(text, tag="imapd", at=at)


def logout(port: int) -> bytes:
    text = f"LOGOUT, user=bob, ip=[127.0.0.1], port=[{port}], headers=0, body=0, time=1"
    return line(text, tag="imapd")


@pytest.fixture
def witnessed(start: Start, mailbox: Mailbox) -> Callable[[str], Daemon]:
    return lambda how: start("--witness", how, "--witness-ports", str(mailbox.port))


Witnessed = Callable[[str], Daemon]


def test_a_login_without_a_connection_grants_nothing_where_that_is_required(
    witnessed: Witnessed, mailbox: Mailbox, log: Log
) -> None:
    daemon = witnessed("require")
    genuine = mailbox.client().getsockname()[1]
    # Written by logger(1): of an address that never connected, and from a port that is not ours.
    log.write(imap(genuine, "203.0.113.7"), imap(genuine - 1))
    assert [daemon.ask(one) for one in ("203.0.113.7", "127.0.0.1")] == [NO, NO]
    log.write(logout(genuine - 1))
    assert daemon.ask("127.0.0.1") == NO
    log.write(imap(genuine))
    assert daemon.ask("127.0.0.1") == OK
    daemon.process.says("event=refused address=203.0.113.7")
    assert daemon.said.count("reason=witness") == 3


def test_a_connection_that_ended_a_moment_ago_counts(
    witnessed: Witnessed, mailbox: Mailbox, log: Log
) -> None:
    daemon = witnessed("require")
    port = mailbox.client().getsockname()[1]
    mailbox.hang_up()
    log.write(imap(port))
    assert daemon.ask("127.0.0.1") == OK


def test_an_end_whose_login_was_witnessed_needs_no_connection(
    witnessed: Witnessed, mailbox: Mailbox, log: Log
) -> None:
    daemon = witnessed("require")
    port = mailbox.client().getsockname()[1]
    log.write(imap(port))
    assert daemon.ask("127.0.0.1") == OK
    # Both ends are gone with a reset: the kernel remembers nothing.
    mailbox.reset()
    log.write(logout(port))
    daemon.process.says("event=ended address=127.0.0.1")
    assert "reason=witness" not in daemon.said


def test_a_login_without_a_connection_is_warned_about(
    witnessed: Witnessed, mailbox: Mailbox, log: Log
) -> None:
    daemon = witnessed("alarm")
    log.write(imap(mailbox.client().getsockname()[1]))
    assert daemon.ask("127.0.0.1") == OK
    assert "never saw" not in daemon.said
    log.write(imap(4242, "203.0.113.7"))
    assert daemon.ask("203.0.113.7") == OK
    daemon.process.says("the kernel never saw the connection of 'bob' from 203.0.113.7")


def test_without_a_witness_lines_are_believed(start: Start, log: Log) -> None:
    daemon = start()
    log.write(imap(4242, "203.0.113.7"))
    assert daemon.ask("203.0.113.7") == OK


def test_a_session_whose_connection_is_gone_holds_no_longer() -> None:
    """Two looks must miss it, and it must not be the session of a login just logged."""
    key = SessionKey(b"imapd", b"bob", b"9")
    sessions = {
        (A, key): Hold(NOW + 3600, NOW - 60),
        (A, key._replace(port=b"10")): Hold(NOW + 3600, NOW - 60),
        (A, key._replace(port=b"11")): Hold(NOW + 3600, NOW - 1),
    }
    kernel = _Kernel({(A, b"10")})
    woken: list[int] = []
    holding = Holding(
        kernel,  # type: ignore[arg-type]
        lambda: sessions,
        lambda: woken.append(1),
        Notices(),
    )
    holding.look(NOW)
    assert holding.gone() == []
    holding.look(NOW + 3)
    assert [(gone.address, gone.key) for gone in holding.gone()] == [(A, key)]
    assert woken == [1]
    # A login that took its place in between is another session.
    holding.look(NOW + 6)
    holding.gone()
    sessions[A, key] = Hold(NOW + 3660, NOW + 1)
    holding.look(NOW + 9)
    assert [gone.key.port for gone in holding.gone()] == [b"11"]


class _Kernel:
    def __init__(self, alive: set[tuple[bytes, bytes]]) -> None:
        self._alive = frozenset(alive)

    def look(self) -> Connections:
        return Connections(self._alive, self._alive)


def test_the_daemon_lets_go_of_an_address_whose_connection_is_gone(
    tmp_path: Path, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its windows are short here: only the open session holds the address."""
    monkeypatch.setattr(witness, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(witness, "_YOUNG", 0.0)
    log = tmp_path / "mail.log"
    log.touch()
    config = Config(
        log=(str(log),), map=tmp_path / "map", tcp_table=("127.0.0.1:0",), window=0.001,
        witness="hold", witness_ports=(mailbox.port,),
    )  # fmt: skip
    service = Service(config, library.load(["courier"], []))
    service.listen()
    service.start()
    connection = mailbox.client()
    with log.open("ab") as file:
        file.write(imap(connection.getsockname()[1]))

    def allowed() -> bool:
        service.turn(0.01)
        return service._map.allows(b"127.0.0.1", time.time())

    until(allowed, "the session holds")
    for _ in range(20):
        assert allowed()
    connection.close()
    mailbox.close()
    until(lambda: not allowed(), "it holds no longer")
    service.close()


def test_a_session_that_told_no_port_holds_while_its_address_is_connected() -> None:
    key = SessionKey(b"imapd", b"bob", b"")
    hold = Hold(NOW + 3600, NOW)
    six = b"2001:db8::/64"
    sessions = {(A, key): hold, (b"198.18.0.2", key): hold, (six, key._replace(port=b"5")): hold}
    gone = missing(sessions, {(A, b"77"), (b"2001:db8::9", b"5")})
    assert set(gone) == {(b"198.18.0.2", key)}


def test_a_witness_is_asked_on_ports_only(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("home")
    words = ("run", "--map", home / "map", "--log", home / "mail.log")
    told = refused(*words, "--witness-ports", "0")
    assert told == "--witness-ports: '0' is not a port; write a number from 1 to 65535"
    assert "is none of off, hold, alarm, require" in refused(*words, "--witness", "yes")
