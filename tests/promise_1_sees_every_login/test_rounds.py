"""Rounds of draining, stepped turn by turn: nothing here waits for a clock."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pbs_watch.config import Config
from pbs_watch.looks import POLL_BUSY
from pbs_watch.pattern import library
from pbs_watch.service import Service
from tests.daemon import command

OTHER = (
    b"Nov 22 08:44:00 mail postfix/smtpd[1]: connect from unknown[203.0.113.9], as it often does\n"
)
BACKLOG = OTHER * 20_000
"""Some seven slices of lines that nobody waits for."""


def login(address: str) -> bytes:
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    return f"{stamp} mail pop3d: LOGIN, user=bob, ip=[::ffff:{address}], port=[4242]\n".encode()


class Stepped:
    """A daemon that is run turn by turn, and its log."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "mail.log"
        self.log.touch()
        self.map = directory / "map"
        config = Config(log=(str(self.log),), map=self.map, tcp_table=("127.0.0.1:0",))
        self.service = Service(config, library.load(["courier"], []))
        where = self.service.listen()[0]
        self.port = int(where.rsplit(":", 1)[1])
        self.service.start()
        self.clients: list[socket.socket] = []
        self.turn()

    def turn(self) -> None:
        self.service.turn(0)

    def append(self, data: bytes) -> None:
        with self.log.open("ab") as file:
            file.write(data)

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port))
        self.clients.append(client)
        self.turn()
        return client

    def answers(self, *clients: socket.socket, turns: int = 200) -> list[bytes]:
        """What each client is answered within so many turns."""
        found: dict[socket.socket, bytes] = {}
        for client in clients:
            client.settimeout(0)
        for _ in range(turns):
            self.turn()
            for client in clients:
                try:
                    found.setdefault(client, client.recv(99))
                except BlockingIOError:
                    continue
            if len(found) == len(clients):
                break
        return [found.get(client, b"") for client in clients]


@pytest.fixture
def stepped(tmp_path: Path) -> Iterator[Stepped]:
    made = Stepped(tmp_path)
    yield made
    for client in made.clients:
        client.close()
    made.service.close()


def test_a_question_that_arrives_in_a_round_is_answered_by_what_that_round_reads(
    stepped: Stepped,
) -> None:
    """It was looked up before, and its own round finds nothing new."""
    first, second = stepped.connect(), stepped.connect()
    stepped.append(BACKLOG + login("198.51.100.7"))
    first.sendall(b"get 203.0.113.1\n")
    stepped.turn()
    second.sendall(b"get 198.51.100.7\n")
    assert stepped.answers(first, second) == [b"500 not found\n", b"200 OK\n"]


def test_a_round_ends_where_the_log_is_truncated_under_it(stepped: Stepped) -> None:
    first, second = stepped.connect(), stepped.connect()
    stepped.append(BACKLOG)
    first.sendall(b"get 203.0.113.1\n")
    stepped.turn()
    stepped.log.write_bytes(OTHER * 10)
    stepped.service.turn(2 * POLL_BUSY)  # time to look at the log, and nothing else to do
    second.sendall(b"get 203.0.113.2\n")
    assert stepped.answers(first, second) == [b"500 not found\n"] * 2


def test_a_login_behind_a_long_backlog_is_found_by_the_question_that_began_the_round(
    stepped: Stepped,
) -> None:
    client = stepped.connect()
    stepped.append(BACKLOG + login("198.51.100.8"))
    client.sendall(b"get 198.51.100.8\n")
    assert stepped.answers(client) == [b"200 OK\n"]


def test_lookups_that_arrive_together_with_a_login_all_see_it(stepped: Stepped) -> None:
    """They share one look at the log, which comes after the last of them has arrived."""
    clients = [stepped.connect() for _ in range(6)]
    for number in range(5):
        login_at = f"198.51.100.{10 + number}"
        for client in clients[:3]:
            client.sendall(b"get 203.0.113.1\n")
        stepped.append(login(login_at))
        for client in clients[3:]:
            client.sendall(b"get %b\n" % login_at.encode())
        assert stepped.answers(*clients) == [b"500 not found\n"] * 3 + [b"200 OK\n"] * 3


def test_lookups_that_arrive_together_see_what_was_allowed_before_them(stepped: Stepped) -> None:
    first, second = stepped.connect(), stepped.connect()
    first.sendall(b"get 203.0.113.1\n")
    assert stepped.answers(first) == [b"500 not found\n"]
    first.sendall(b"get 203.0.113.1\n")
    allowed = command("allow", "203.0.113.2", "--map", stepped.map, "--config", "/dev/null")
    assert allowed.status == 0, allowed.err
    second.sendall(b"get 203.0.113.2\n")
    assert stepped.answers(first, second) == [b"500 not found\n", b"200 OK\n"]
