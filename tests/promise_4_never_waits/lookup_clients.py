"""Clients of a server that the test itself drives, poll by poll."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable

from pbs_watch.answer.server import Server
from pbs_watch.answer.verdict import Verdict

GRANTED = b"198.18.0.1"
UNSURE = b"198.18.0.2"
NAME = b"mail.example.com"


def lookup(key: bytes) -> Verdict | None:
    """Everything is a miss that must wait, but for an address, a trouble and names."""
    known = {GRANTED: Verdict.FOUND, UNSURE: Verdict.UNKNOWN, NAME: Verdict.ABSENT}
    return known.get(key)


class Client:
    """A connection that never blocks; ``heard`` is all it was sent, ``ended`` that it is over."""

    def __init__(self, where: str) -> None:
        if where.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(where.removeprefix("unix:"))
        else:
            host, _, port = where.rpartition(":")
            self.socket = socket.create_connection((host.strip("[]"), int(port)), timeout=5)
        self.socket.settimeout(0)
        self.heard = b""
        self.ended = False

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self) -> None:
        while not self.ended:
            try:
                data = self.socket.recv(1 << 16)
            except BlockingIOError:
                return
            except ConnectionResetError:
                data = b""
            self.heard += data
            self.ended = not data


def drive(server: Server, condition: Callable[[], bool], *clients: Client) -> None:
    """Polls until the condition holds; that it never does fails the test.

    Never means: not in so much time and not in so many polls either.  Time alone would fail where
    the machine stood still.
    """
    deadline = time.monotonic() + 10
    for polls in itertools.count():
        for client in clients:
            client.read()
        if condition():
            return
        assert polls < 1000 or time.monotonic() < deadline, "the condition never came true"
        server.poll(0.01)


def hear(server: Server, client: Client, expected: bytes) -> None:
    """Polls until the client has heard as much as expected, and no more is on its way."""
    drive(server, lambda: len(client.heard) >= len(expected), client)
    server.poll(0)
    client.read()
    assert client.heard == expected
    client.heard = b""


def end(server: Server, client: Client, expected: bytes) -> None:
    """Polls until the server ends the connection, after the expected replies."""
    drive(server, lambda: client.ended, client)
    assert client.heard == expected
