"""What the tests of this promise share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.promise_4_never_waits.lookup_clients import Client

Connect = Callable[[str], Client]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connects a client, and closes it at the end."""
    clients: list[Client] = []

    def connected(where: str) -> Client:
        clients.append(Client(where))
        return clients[-1]

    yield connected
    for client in clients:
        client.socket.close()
