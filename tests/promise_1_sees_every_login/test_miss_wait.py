"""Who is logging in while he sends mail need not press Send twice (``miss_wait``)."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.daemon import NO, OK, PATIENCE, Daemon, Log, command, login, refused, until

Start = Callable[..., Daemon]

HOME = "127.0.0.7"
STRANGER = "127.0.0.8"

WAIT = 0.8
"""Seconds that a miss waits here: as long as it may."""

AT_ONCE = WAIT / 2
"""Seconds that an answer may take which is not put off."""


class MailServer:
    """A port to which clients can be connected, as to a POP3 server."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.port = self._listener.getsockname()[1]
        self._held: list[socket.socket] = []

    def connect(self, client: str) -> socket.socket:
        """A connection of ``client``, which both ends keep."""
        ours = socket.create_connection(("127.0.0.1", self.port), PATIENCE, (client, 0))
        theirs, _ = self._listener.accept()
        self._held += [ours, theirs]
        return ours

    def close(self) -> None:
        for one in (*self._held, self._listener):
            one.close()


@pytest.fixture
def server() -> Iterator[MailServer]:
    made = MailServer()
    yield made
    made.close()


@pytest.fixture
def waiting(start: Start, server: MailServer) -> Daemon:
    return start("--miss-wait", f"{WAIT}s", "--witness-ports", str(server.port))


def timed(ask: Callable[[], bytes]) -> tuple[bytes, float]:
    began = time.monotonic()
    return ask(), time.monotonic() - began


def test_the_login_of_a_connected_client_is_waited_for(
    waiting: Daemon, log: Log, server: MailServer
) -> None:
    server.connect(HOME)
    log_later = threading.Timer(0.1, log.write, [login(HOME)])
    log_later.start()
    answer, took = timed(lambda: waiting.ask(HOME))
    log_later.join()
    assert answer == OK
    assert 0.1 <= took < AT_ONCE


def test_it_is_answered_as_soon_as_the_login_comes(
    waiting: Daemon, log: Log, server: MailServer
) -> None:
    # Some of them come while the kernel may not be asked again yet.
    clients = [f"127.0.1.{number}" for number in range(1, 101)]
    slowest = 0.0
    for client in clients:
        server.connect(client)
        log_later = threading.Timer(0.001, log.write, [login(client)])
        log_later.start()
        answer, took = timed(partial(waiting.ask, client))
        log_later.join()
        assert answer == OK
        slowest = max(slowest, took)
    assert slowest < AT_ONCE


def test_it_is_not_waited_for_ever(waiting: Daemon, server: MailServer) -> None:
    server.connect(HOME)
    answer, took = timed(lambda: waiting.ask(HOME))
    assert answer == NO
    assert WAIT <= took < 1.0


def test_a_client_that_is_not_connected_does_not_wait(waiting: Daemon, server: MailServer) -> None:
    server.connect(HOME)
    answer, took = timed(lambda: waiting.ask(STRANGER))
    assert answer == NO
    assert took < AT_ONCE


def test_others_are_answered_meanwhile(waiting: Daemon, log: Log, server: MailServer) -> None:
    server.connect(HOME)
    one, other = waiting.connect(), waiting.connect()
    one.socket.sendall(f"get {HOME}\n".encode())
    answers = [timed(lambda: other.ask(STRANGER)) for _ in range(20)]
    log.write(login(STRANGER))
    answers.append(timed(lambda: other.ask(STRANGER)))
    assert [answer for answer, _ in answers] == [NO] * 20 + [OK]
    assert max(took for _, took in answers) < AT_ONCE
    log.write(login(HOME))
    assert one.hear() == OK


def test_a_limited_number_waits(waiting: Daemon, server: MailServer) -> None:
    server.connect(HOME)
    many = [waiting.connect() for _ in range(300)]
    began = time.monotonic()
    for one in many:
        one.socket.sendall(f"get {HOME}\n".encode())
    took = []
    for one in reversed(many):
        assert one.hear() == NO
        took.append(time.monotonic() - began)
    # Those that came last found all places taken.
    assert took[43] < AT_ONCE
    assert WAIT <= took[-1] < 2 * WAIT


def test_a_client_that_goes_away_while_it_waits_disturbs_nobody(
    waiting: Daemon, log: Log, server: MailServer
) -> None:
    server.connect(HOME)
    gone = waiting.connect()
    gone.socket.sendall(f"get {HOME}\n".encode())
    gone.socket.close()
    log.write(login(HOME))
    assert waiting.ask(HOME) == OK


def test_without_the_setting_nobody_waits(start: Start, server: MailServer) -> None:
    daemon = start("--witness-ports", str(server.port))
    server.connect(HOME)
    answer, took = timed(lambda: daemon.ask(HOME))
    assert answer == NO
    assert took < AT_ONCE


def test_a_stop_does_not_leave_who_waits_without_an_answer(
    waiting: Daemon, log: Log, server: MailServer
) -> None:
    server.connect(HOME)
    one = waiting.connect()
    one.socket.sendall(f"get {HOME}\n".encode())
    log.write(login(STRANGER))
    until(lambda: waiting.ask(STRANGER) == OK, "it was heard")
    waiting.stop()
    assert one.hear() == NO


def test_what_it_takes() -> None:
    assert command("check", "--miss-wait", "0.2s").status == 0
    assert command("check", "--miss-wait", "none").status == 0
    assert "within a second" in refused("check", "--miss-wait", "2s")
    assert refused("check", "--miss-wait", "soon")
