"""Kills, restarts and rotations between them: every login counts, and nothing else does."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon import NO, OK, Daemon, Log, addresses, command, line, login, until

Start = Callable[..., Daemon]

BYSTANDERS = addresses(2000, start=60_000)
"""Addresses that connect and fail to log in."""


def granted(daemon: Daemon) -> set[str]:
    """What is committed in the map."""
    ended = command("list", "--json", "--map", daemon.map)
    assert ended.status == 0
    return {row["address"] for row in json.loads(ended.out)}


class Writer:
    """Appends a login and a failure at a steady pace, as busy daemons do, until it is stopped."""

    def __init__(self, log: Log, *, rotate_every: int = 0) -> None:
        self.logged: list[str] = []
        self._log = log
        self._rotate_every = rotate_every
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        for number, address in enumerate(addresses(50_000)):
            if self._rotate_every and number % self._rotate_every == self._rotate_every - 1:
                self._log.rename()
            stranger = BYSTANDERS[number % len(BYSTANDERS)]
            self._log.write(
                login(f"::ffff:{address}"),
                line(f"LOGIN FAILED, user=bob, ip=[::ffff:{stranger}], port=[1]"),
            )
            self.logged.append(address)
            if self._ended.wait(0.001):
                return

    def stop(self) -> list[str]:
        self._ended.set()
        self._thread.join()
        return self.logged


def kill_again_and_again(daemon: Daemon, writer: Writer, seed: int) -> None:
    pause, chance = threading.Event(), random.Random(seed)
    for _ in range(6):
        pause.wait(chance.uniform(0.0, 0.4))  # the moment of the kill is what varies
        daemon.kill()
        daemon.start()
    asked = [address for address in list(writer.logged) if daemon.ask(address) != OK]
    assert asked == []


def test_killed_in_mid_stream(start: Start, log: Log) -> None:
    daemon = start()
    writer = Writer(log)
    try:
        kill_again_and_again(daemon, writer, seed=1)
    finally:
        logged = writer.stop()
    assert len(logged) > 500
    assert [address for address in logged if daemon.ask(address) != OK] == []
    assert {daemon.ask(address) for address in BYSTANDERS[:200]} == {NO}
    daemon.stop()
    assert granted(daemon) == set(logged)


def test_killed_in_mid_stream_while_the_log_rotates(start: Start, log: Log) -> None:
    daemon = start()
    writer = Writer(log, rotate_every=400)
    try:
        kill_again_and_again(daemon, writer, seed=2)
    finally:
        logged = writer.stop()
    assert len(logged) > 500
    assert [address for address in logged if daemon.ask(address) != OK] == []
    daemon.stop()
    assert granted(daemon) == set(logged)


def test_killed_with_half_a_line_written(start: Start, log: Log) -> None:
    daemon = start()
    first, second = login("198.18.0.1"), login("198.18.0.2")
    log.write(first, second[:30])
    assert daemon.ask("198.18.0.1") == OK
    until(lambda: daemon.get("198.18.0.1") == 0, "committed")
    daemon.kill()
    daemon.start()
    assert daemon.ask("198.18.0.1") == OK
    assert daemon.ask("198.18.0.2") == NO
    log.write(second[30:])
    assert daemon.ask("198.18.0.2") == OK


def test_a_stop_commits_everything(start: Start, log: Log) -> None:
    daemon = start()
    logged = addresses(1000)
    log.write(*(login(address) for address in logged))
    daemon.stop()
    assert granted(daemon) == set(logged)


def test_a_stop_while_lookups_are_asked(start: Start, log: Log) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    daemon.connection.socket.sendall(b"get 198.18.0.1\nget half")
    daemon.stop()
    assert granted(daemon) == {"198.18.0.1"}


def test_what_was_logged_while_it_was_down(start: Start, log: Log) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    daemon.stop()
    log.write(login("198.18.0.2"))
    daemon.start()
    assert daemon.ask("198.18.0.1") == daemon.ask("198.18.0.2") == OK


@pytest.mark.parametrize("apart", [3600, 0], ids=["an hour apart", "in one moment"])
def test_the_place_is_found_again_after_rotations(start: Start, log: Log, apart: float) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    daemon.stop()
    for number in range(2, 6):
        log.write(login(f"198.18.0.{number}"))
        log.rename()
        written = time.time() - apart * (6 - number)
        os.utime(log.path.with_name("mail.log.1"), (written, written) if apart else (1e9, 1e9))
    log.write(login("198.18.0.6"))
    daemon.start()
    assert [daemon.ask(f"198.18.0.{number}") for number in range(1, 7)] == [OK] * 6
    assert "not found again" not in daemon.said
    log.write(login("198.18.0.7"))
    assert daemon.ask("198.18.0.7") == OK


def test_a_rotation_while_it_was_down_and_no_new_file_yet(start: Start, log: Log) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    daemon.stop()
    log.write(login("198.18.0.2"))
    log.path.rename(log.path.with_name("mail.log.1"))
    daemon.start()
    assert daemon.ask("198.18.0.2") == OK
    log.open()
    log.write(login("198.18.0.3"))
    assert daemon.ask("198.18.0.3") == OK


def test_a_first_start_reads_back_through_the_predecessor(start: Start, log: Log) -> None:
    log.write(login("198.18.0.1", at=time.time() - 60))
    log.rename()
    log.write(login("198.18.0.2"))
    log.write(login("198.18.0.3", at=time.time() - 7200))
    daemon = start()
    assert daemon.ask("198.18.0.2") == OK
    assert daemon.ask("198.18.0.1") == OK
    assert daemon.ask("198.18.0.3") == NO


def test_a_restart_grants_nothing_twice(start: Start, log: Log) -> None:
    daemon = start("--window", "2s")
    at = time.time()
    log.write(login("198.18.0.1", at=at))
    assert daemon.ask("198.18.0.1") == OK
    daemon.stop()
    daemon.start()
    until(lambda: daemon.ask("198.18.0.1") == NO, "the end of the window")
    daemon.kill()
    daemon.start()
    assert daemon.ask("198.18.0.1") == NO


def test_a_map_that_is_thrown_away_is_made_anew(start: Start, log: Log, tmp_path: Path) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    daemon.stop()
    daemon.map.rename(tmp_path / "away")
    daemon.start()
    assert daemon.ask("198.18.0.1") == OK
