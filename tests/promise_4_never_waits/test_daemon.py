"""The daemon as Postfix meets it: whatever is asked, an answer comes, and soon."""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pbs_watch.answer.socketmap import netstring
from tests.daemon import (
    NO,
    OK,
    PROGRAM,
    ROOT,
    TROUBLE,
    Connection,
    Daemon,
    Log,
    addresses,
    command,
    environment,
    free_port,
    listens,
    login,
    refused,
    until,
)

Start = Callable[..., Daemon]

IN_TIME = 1.0
"""Seconds within which an answer always comes (design.md)."""

MALFORMED = b"500 expected: get KEY\n"


@pytest.fixture
def blind(start: Start, tmp_path: Path) -> Daemon:
    """A daemon whose log is a directory: a lookup that needs the log cannot be answered."""
    (tmp_path / "mail.log").mkdir()
    return start()


NAMES = [
    *("mail.example.com", "unknown", "get", ":", "%00", "%FF", "x" * 255, "1.2.3.4.5.6"),
    *("198.18.0", "198.18.0.256", "198.18.0.0/24", "198.18.0.1%20", "::g", "[::1]", "fe80::1%25e"),
]
MALFORMED_REQUESTS = [
    *(b"put x y\n", b"get \n", b"get\n", b"\n", b"\r\n", b"GET 198.18.0.1\n", b"get %zz\n"),
    *(b"get  198.18.0.1\n", b"get 198.18.0.1 x\n", b"\0\n", b"\xff\xfe\n"),
]


def test_what_is_no_address_is_no_without_the_log(blind: Daemon) -> None:
    assert {name: blind.ask(name) for name in NAMES} == dict.fromkeys(NAMES, NO)


def test_what_is_no_request_is_no_without_the_log(blind: Daemon) -> None:
    for request in MALFORMED_REQUESTS:
        assert blind.connection.say(request) == MALFORMED, request


def test_an_address_is_not_denied_while_the_log_cannot_be_read(blind: Daemon) -> None:
    assert blind.ask("198.18.0.1") == TROUBLE
    # Postfix hangs up after a 400; whoever does not may go on.
    assert blind.ask("2001:db8::1") == TROUBLE


def test_trouble_can_defer(start: Start, tmp_path: Path) -> None:
    (tmp_path / "mail.log").mkdir()
    daemon = start("--trouble", "defer")
    assert daemon.ask("198.18.0.1").startswith(b"200 DEFER 4.7.1 ")
    assert daemon.ask("mail.example.com") == NO


def test_a_request_of_more_than_4096_bytes_ends_the_connection(start: Start, log: Log) -> None:
    log.write(login("198.18.0.1"))
    daemon = start()
    greedy = daemon.connect()
    assert greedy.say(b"get " + b"x" * 5000) == b"400 request longer than 4096 bytes\n"
    assert greedy.hear() == b""
    assert daemon.ask("198.18.0.1") == OK


def test_half_requests_wait_for_their_other_half(start: Start, log: Log) -> None:
    log.write(login("198.18.0.1"))
    daemon = start()
    halves = [daemon.connect() for _ in range(50)]
    for half in halves:
        half.socket.sendall(b"get 198.")
    assert daemon.ask("198.18.0.1") == OK
    for half in halves:
        assert half.say(b"18.0.1\r\n") == OK


def test_requests_at_once_are_answered_in_their_order(start: Start, log: Log) -> None:
    log.write(login("198.18.0.1"))
    daemon = start()
    client = daemon.connect()
    client.socket.sendall(b"get 198.18.0.1\nget 198.18.0.2\nput x y\nget unknown\n" * 500)
    heard = b""
    expected = (OK + NO + MALFORMED + NO) * 500
    while len(heard) < len(expected):
        heard += client.hear()
    assert heard == expected


def test_two_thousand_idle_connections(start: Start, log: Log) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        daemon = start()
        idle = [daemon.connect() for _ in range(2000)]
        slowest = 0.0
        for address in addresses(100):
            log.write(login(address))
            began = time.monotonic()
            assert daemon.ask(address) == OK
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < IN_TIME
        assert {client.ask("198.18.0.5") for client in idle} == {OK}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_backlog_delays_no_answer(start: Start, log: Log) -> None:
    daemon = start(quiet=True)
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK
    log.write(login("198.18.0.2") * 400_000)
    client = daemon.connect()
    slowest = 0.0
    replies: set[bytes] = set()
    while NO not in replies:
        for key in ("198.18.0.1", "unknown", "198.18.0.3"):
            began = time.monotonic()
            reply = client.ask(key)
            slowest = max(slowest, time.monotonic() - began)
            if key == "198.18.0.3":
                replies.add(reply)
            else:
                assert reply == (OK if key == "198.18.0.1" else NO)
    assert replies <= {TROUBLE, NO}
    assert slowest < IN_TIME + 0.5  # what a busy machine adds


def test_a_port_in_use_is_one_line(start: Start, log: Log, tmp_path: Path) -> None:
    daemon = start()
    where = daemon.process.where()
    config = tmp_path / "empty.toml"
    told = refused(
        "run", "--config", config, "--log", log.path, "--map", tmp_path / "other",
        "--tcp-table", where,
    )  # fmt: skip
    assert told.startswith(f"{where}: Address already in use; stop the program that listens there")
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK


def test_several_ways_of_asking_at_once(start: Start, log: Log, tmp_path: Path) -> None:
    path = tmp_path / "socketmap"
    daemon = start(
        "--tcp-table", "[::1]:0", "--socketmap", f"unix:{path}", "--socketmap", "127.0.0.1:0"
    )
    daemon.process.says("ready")
    listening = [text.split()[-2:] for text in daemon.said.splitlines() if "listening" in text]
    assert [protocol for protocol, _ in listening] == ["tcp_table"] * 2 + ["socketmap"] * 2
    for number, (protocol, where) in enumerate(listening):
        log.write(login(f"198.18.0.{number}"))
        client = Connection(where)
        if protocol == "tcp_table":
            assert client.ask(f"198.18.0.{number}") == OK
        else:
            client.socket.sendall(netstring(b"relay 198.18.0.%d" % number))
            assert client.socket.recv(100) == netstring(b"OK OK")
        client.socket.close()
    assert path.is_socket()
    daemon.stop()
    assert not path.exists()


def test_a_map_that_cannot_be_written_costs_nothing(start: Start, log: Log) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    until(lambda: daemon.get("198.18.0.1") == 0, "committed")
    # As on a full disk: no file of this process may grow beyond what the map begins with.
    pid = daemon.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, limits[1]))
    log.write(login("198.18.0.2"))
    assert daemon.ask("198.18.0.2") == OK
    daemon.process.says("File too large")
    for address in addresses(1000, start=256):
        log.write(login(address))
        assert daemon.ask(address) == OK
    assert daemon.ask("198.18.0.1") == OK
    assert daemon.ask("198.18.9.9") == NO
    assert daemon.get("198.18.0.2") == 1
    resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
    daemon.process.says("can be written again")
    until(lambda: daemon.get("198.18.0.2") == 0, "committed")
    assert daemon.said.count("File too large") == 1
    daemon.stop()
    assert daemon.get("198.18.4.231") == 0


def test_a_kill_while_the_map_cannot_be_written_loses_nothing(start: Start, log: Log) -> None:
    daemon = start()
    pid = daemon.process.pid
    log.write(login("198.18.0.1"))
    until(lambda: daemon.get("198.18.0.1") == 0, "committed")
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, limits[1]))
    log.write(login("198.18.0.2"))
    daemon.process.says("File too large")
    daemon.kill()
    daemon.start()
    assert daemon.ask("198.18.0.1") == daemon.ask("198.18.0.2") == OK


def test_clients_that_hang_up_at_once(start: Start, log: Log) -> None:
    daemon = start()
    host, port = daemon.process.where().rsplit(":", 1)
    for _ in range(500):
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"get 198.18.0.1\n")
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK


def test_a_local_user_cannot_take_all_descriptors(tmp_path: Path, log: Log) -> None:
    where, map_ = f"127.0.0.1:{free_port()}", tmp_path / "map"
    words: list[str | Path] = ["run", "--map", map_, "--log", log.path, "--tcp-table", where]
    process = subprocess.Popen(
        ["sh", "-c", 'ulimit -n 256; exec "$@"', "sh", *PROGRAM, *words],
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment(),
    )
    idle: list[Connection] = []
    try:
        until(lambda: listens(where), f"{where} is open")
        postfix = Connection(where)
        assert postfix.ask("198.18.0.1") == NO
        idle += [Connection(where) for _ in range(400)]

        def state() -> Any:
            ended = command("status", "--json", "--map", map_)
            assert ended.status == 0
            return json.loads(ended.out)

        until(lambda: state()["warnings"] > 0, "it is told")
        told = "cannot accept connections: too many are open; "
        assert state()["last_warning"].startswith(told)
        # The log can be followed all the same, and the operator gives orders.
        for number in range(3):
            log.rename()
            log.write(login(f"198.18.0.{number}"))
            assert postfix.ask(f"198.18.0.{number}") == OK
        until(lambda: command("why", "198.18.0.1", "--map", map_).status == 0, "it is committed")
        assert command("revoke", "198.18.0.1", "--map", map_).status == 0
        assert postfix.ask("198.18.0.1") == NO
        for one in idle:
            one.socket.close()
        fresh = Connection(where)
        assert fresh.ask("198.18.0.0") == OK
        for connection in (fresh, postfix):
            connection.socket.close()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 0
        assert said.count(told.encode()) == 1
        assert b"accepting connections again" in said
        assert b"Too many open files" not in said
    finally:
        for one in idle:
            one.socket.close()
        process.kill()
        process.communicate()
