"""A dead database stops neither mail nor logins, and loses nothing."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from tests.cluster.conftest import Engine
from tests.daemon import NO, OK, TROUBLE, addresses, until
from tests.engines import wait
from tests.hosts import AT_ONCE, PATIENT, Host, listed, next_replies

Start = Callable[..., Host]

CLIENTS = 16

AWAY = 60.0
"""Seconds without an engine."""


def test_a_thousand_of_a_thousand_next_lookups(single: Engine, host: Start) -> None:
    first, second = host("a", single, *PATIENT), host("b", single, *PATIENT)
    first.is_in_step()
    second.is_in_step()

    replies = next_replies(first, second, addresses(1000), CLIENTS)
    assert replies == {OK: 1000}


class Load:
    """Clients that log in on one host and ask another, until :meth:`end`.

    Every second lookup is of an address that nobody logged in from.
    """

    def __init__(self, logs: Host, asked: Host) -> None:
        self._logs, self._asked = logs, asked
        self._over = threading.Event()
        self._numbers = iter(range(100_000))
        self._lock = threading.Lock()
        self.granted: list[str] = []
        self.replies: Counter[tuple[str, bytes]] = Counter()
        self.slowest = 0.0
        self._threads = [threading.Thread(target=self._client) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def _client(self) -> None:
        connection = self._asked.daemon.connect()
        while not self._over.is_set():
            with self._lock:
                number = next(self._numbers)
            (address,) = addresses(1, number)
            self._logs.logs_in(address)
            for kind, key in (("granted", address), ("stranger", f"203.0.113.{number % 256}")):
                began = time.perf_counter()
                reply = connection.ask(key)
                took = time.perf_counter() - began
                with self._lock:
                    self.slowest = max(self.slowest, took)
                    self.replies[kind, reply] += 1
            with self._lock:
                self.granted.append(address)

    def goes_on(self, number: int) -> None:
        """Waits for so many further lookups that were granted."""
        before = self.replies["granted", OK]
        wait(lambda: self.replies["granted", OK] >= before + number, f"{self.replies}")

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def test_the_death_of_a_server_under_load(several: Engine, host: Start) -> None:
    """No lookup later than a second, none wrong, all grants there afterwards."""
    first, second = host("a", several, *PATIENT), host("b", several, *PATIENT)
    first.is_in_step()
    second.is_in_step()
    load = Load(first, second)
    try:
        load.goes_on(50)
        several.servers[0].kill()
        load.goes_on(50)
    finally:
        load.end()
    assert set(load.replies) <= {
        ("granted", OK), ("granted", TROUBLE), ("stranger", NO), ("stranger", TROUBLE)
    }, load.replies  # fmt: skip
    assert load.slowest < 1.0
    first.is_in_step()
    third = host("c", several, *AT_ONCE)
    third.is_in_step()
    until(lambda: third.ask("198.51.100.1") == NO, "the third host is sure")
    assert {address: third.ask(address) for address in load.granted} == dict.fromkeys(
        load.granted, OK
    )


def test_ten_thousand_logins_while_the_engine_is_away(single: Engine, host: Start) -> None:
    """For a minute.  All are delivered, and what this host saw was answered all the time."""
    first = host("a", single, *PATIENT)
    first.is_in_step()
    single.servers[0].kill()
    found = addresses(10_000)
    began = time.monotonic()
    for number, start in enumerate(range(0, len(found), 100), 1):
        first.logs_in(*found[start : start + 100])
        assert first.ask(found[start]) == OK
        wait(lambda due=began + AWAY * number / 100: time.monotonic() >= due, "the minute goes by")
    until(lambda: first.daemon.get(found[-1]) == 0, "all is committed")
    assert first.ask("198.51.100.1") == TROUBLE
    assert first.state()["error"] != ""
    assert time.monotonic() - began >= AWAY
    single.servers[0].start()
    first.is_in_step()
    assert set(listed(single.url, *single.words)) == set(found)
    second = host("b", single, *AT_ONCE)
    second.is_in_step()
    assert Counter(map(second.ask, found[::50])) == {OK: 200}


def test_a_host_that_is_killed_meanwhile_delivers_afterwards(single: Engine, host: Start) -> None:
    first = host("a", single, *PATIENT)
    first.is_in_step()
    single.servers[0].kill()
    found = addresses(500)
    first.logs_in(*found)
    until(lambda: first.daemon.get(found[-1]) == 0, "all is committed")
    first.daemon.kill()
    single.servers[0].start()
    first.daemon.start()
    first.is_in_step()
    wait(lambda: set(listed(single.url, *single.words)) == set(found), "all is delivered")
