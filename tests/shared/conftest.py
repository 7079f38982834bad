"""A real Redis for the session, and hosts that share their grants through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines import Redis
from tests.hosts import Host


@pytest.fixture(scope="session")
def session_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    server = Redis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.end()


@pytest.fixture
def engine(session_redis: Redis) -> Redis:
    """An empty Redis, which the test must not end."""
    session_redis.client().flushall()
    return session_redis


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis of the test's own, to be stopped and started; it keeps nothing on the disk."""
    server = Redis(tmp_path / "redis")
    server.start()
    yield server
    server.end()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Starts a host: a daemon with a log and a map of its own."""
    hosts: list[Host] = []

    def started(name: str, url: str, *words: str | Path) -> Host:
        home = tmp_path / name
        home.mkdir()
        hosts.append(Host(home, name, url, *words))
        return hosts[-1]

    yield started
    for one in hosts:
        one.end()
