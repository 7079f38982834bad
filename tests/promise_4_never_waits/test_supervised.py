"""With sockets that were handed over the port is always open, and restarts are seen by nobody."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pbs_watch.answer.socketmap import netstring
from tests.daemon import NO, OK, TROUBLE, Connection, Log, command, login, refused, until
from tests.supervised import Supervisor

Supervise = Callable[..., Supervisor]

A, B = "198.18.0.1", "198.18.0.2"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings that tests may change."""
    path = tmp_path / "pbs-watch.toml"
    path.write_text(f'log = "{tmp_path}/mail.log"\nmap = "{tmp_path}/map"\n')
    return path


@pytest.fixture
def supervise(tmp_path: Path, config: Path) -> Iterator[Supervise]:
    """Starts a daemon as systemd does; it ends with the test."""
    started: list[Supervisor] = []

    def supervised(
        *words: str | Path,
        names: tuple[str, ...] = ("tcp_table",),
        watchdog: float = 0.0,
        more: tuple[int, ...] = (),
    ) -> Supervisor:
        whole = ["run", "--config", config, *words]
        started.append(Supervisor(tmp_path, whole, names, watchdog, more))
        return started[-1]

    yield supervised
    for one in started:
        one.end()


def relay(connection: Connection, address: str) -> bytes:
    connection.socket.sendall(netstring(b"relay " + address.encode()))
    return connection.socket.recv(4096)


def test_it_is_ready_when_it_listens_and_says_how_it_is(supervise: Supervise, log: Log) -> None:
    log.write(login(A))
    daemon = supervise()
    daemon.tells("READY=1")
    assert daemon.status.endswith(f"following {log.path}")
    assert daemon.connect().ask(A) == OK
    assert daemon.stop() == 0
    assert "STOPPING=1" in daemon.told
    assert daemon.said == ""


def test_names_and_families_say_what_a_socket_speaks(supervise: Supervise, log: Log) -> None:
    log.write(login(A))
    daemon = supervise(names=("pbs-watch.socket", "socketmap", "unix", "tcp_table"))
    assert daemon.connect(0).ask(A) == daemon.connect(3).ask(A) == OK
    for number in (1, 2):
        assert relay(daemon.connect(number), A) == netstring(b"OK OK")
        assert relay(daemon.connect(number), B) == netstring(b"NOTFOUND ")
    daemon.stop()
    assert (daemon.home / "relay").is_socket(), "it is the supervisor's to remove"


def test_open_connections_see_nothing_of_a_restart(supervise: Supervise, log: Log) -> None:
    log.write(login(A))
    daemon = supervise(names=("tcp_table", "unix"))
    tables = [daemon.connect() for _ in range(300)]
    maps = [daemon.connect(1) for _ in range(20)]
    assert {one.ask(A) for one in tables} == {OK}
    assert {relay(one, A) for one in maps} == {netstring(b"OK OK")}
    for _ in range(2):
        daemon.restart()
        assert daemon.stored == [], "they were handed on"
        assert {one.ask(A) for one in tables} == {OK}
        assert {one.ask(B) for one in tables} == {NO}
        assert {relay(one, A) for one in maps} == {netstring(b"OK OK")}


def test_what_is_asked_while_nobody_runs_is_answered_by_the_next(
    supervise: Supervise, log: Log
) -> None:
    log.write(login(A))
    daemon = supervise()
    before = daemon.connect()
    assert before.ask(A) == OK
    daemon.stop()
    new = daemon.connect()
    log.write(login(B))
    for one in (before, new):
        one.socket.sendall(b"get 198.18.0.2\nget 198.18.0.3\n")
    daemon.start()
    for one in (before, new):
        heard = b""
        while heard.count(b"\n") < 2:
            heard += one.hear()
        assert heard == OK + NO
    assert daemon.connect().ask(A) == OK


def test_restarts_under_load_lose_no_lookup(supervise: Supervise, log: Log) -> None:
    """How long they take is measured in tests/system/test_systemd.py."""
    log.write(login(A))
    daemon = supervise()
    over = threading.Event()
    replies: list[tuple[str, bytes]] = []
    troubles: list[OSError] = []

    def client(*, new: bool) -> None:
        connection = Connection(daemon.where)
        number = 0
        while not over.wait(0.02):
            number += 1
            key = A if number % 2 else B
            try:
                if new:
                    connection.socket.close()
                    connection = Connection(daemon.where)
                replies.append((key, connection.ask(key)))
            except OSError as error:
                troubles.append(error)
        connection.socket.close()

    clients = [threading.Thread(target=client, kwargs={"new": n == 0}) for n in range(4)]
    for one in clients:
        one.start()
    try:
        for _ in range(3):
            daemon.restart()
            answered = len(replies)
            until(lambda: len(replies) > answered + 40, "many more")  # noqa: B023
    finally:
        over.set()
        for one in clients:
            one.join()
    assert troubles == []
    assert {reply for key, reply in replies if key == A} == {OK}
    assert {reply for key, reply in replies if key == B} == {NO}


def test_a_connection_that_was_handed_on_ends_with_its_client(
    supervise: Supervise, log: Log
) -> None:
    log.write(login(A))
    daemon = supervise()
    connection = daemon.connect()
    assert connection.ask(A) == OK
    daemon.restart()
    assert connection.ask(A) == OK
    connection.socket.shutdown(socket.SHUT_WR)
    assert connection.hear() == b"", "nobody else holds it open"


def test_half_a_request_is_not_handed_on(supervise: Supervise, log: Log) -> None:
    log.write(login(A))
    daemon = supervise()
    half, whole = daemon.connect(), daemon.connect()
    assert half.ask(A) == whole.ask(A) == OK
    half.socket.sendall(b"get 198.")
    assert whole.ask(A) == OK
    daemon.restart()
    assert half.hear() == b"", "Postfix asks again, on another connection"
    assert whole.ask(A) == OK


def test_a_kill_ends_connections_at_once(supervise: Supervise, log: Log) -> None:
    log.write(login(A))
    daemon = supervise()
    connection = daemon.connect()
    assert connection.ask(A) == OK
    daemon.process.kill()
    assert connection.hear() == b""
    daemon.process.wait()
    daemon.start()
    assert daemon.connect().ask(A) == OK


def test_the_loop_feeds_the_watchdog(supervise: Supervise) -> None:
    daemon = supervise(watchdog=2.0)
    until(lambda: daemon.told.count("WATCHDOG=1") >= 3, "fed")
    os.kill(daemon.process.pid, signal.SIGSTOP)
    fed = daemon.told.count("WATCHDOG=1")
    os.kill(daemon.process.pid, signal.SIGCONT)
    until(lambda: daemon.told.count("WATCHDOG=1") > fed, "fed again")


def test_nothing_is_told_where_nobody_supervises(supervise: Supervise) -> None:
    daemon = supervise()
    daemon.tells("READY=1")
    assert "WATCHDOG=1" not in daemon.told


# A start that fails


def test_broken_settings_answer_trouble_until_they_are_mended(
    supervise: Supervise, config: Path, log: Log
) -> None:
    log.write(login(A))
    sound = config.read_text()
    config.write_text(f"{sound}window = \n")
    daemon = supervise(names=("tcp_table", "unix"), watchdog=2.0)
    daemon.tells("READY=1")
    assert daemon.status.startswith(f"Cannot start: {config}:3:10: not TOML (Invalid value); ")
    early = daemon.connect()
    assert early.ask(A) == TROUBLE
    assert early.ask("mail.example.com") == NO
    trouble = netstring(b"TEMP pbs-watch cannot tell now, try again later")
    assert relay(daemon.connect(1), A) == trouble
    until(lambda: daemon.told.count("WATCHDOG=1") >= 3, "fed")
    config.write_text(sound)
    until(lambda: early.ask(A) == OK, "mended, on the same connection")
    assert daemon.connect().ask(B) == NO
    assert daemon.status.endswith(f"following {log.path}")
    lines = daemon.said.splitlines()
    assert len(lines) == 2, "one line for all the tries"
    assert lines[0].endswith("until then every lookup is answered with trouble")
    assert lines[1] == "pbs-watch: what kept the daemon from starting is mended"


def test_a_broken_pattern_answers_trouble(supervise: Supervise, config: Path, log: Log) -> None:
    log.write(login(A))
    own = config.parent / "own.pattern"
    own.write_text("format own\n  nonsense\n")
    config.write_text(f'{config.read_text()}patterns = ["courier", "{own}"]\n')
    daemon = supervise()
    connection = daemon.connect()
    assert connection.ask(A) == TROUBLE
    daemon.tells("READY=1")
    assert daemon.status.startswith(f"Cannot start: {own}:2:")


def test_a_broken_map_answers_in_the_settings_words(
    supervise: Supervise, config: Path, log: Log
) -> None:
    log.write(login(A))
    config.write_text(f'{config.read_text()}trouble = "defer"\n')
    path = config.parent / "map"
    path.mkdir()
    (path / "data.mdb").write_bytes(b"no map at all\n" * 1000)
    daemon = supervise()
    connection = daemon.connect()
    assert connection.ask(A).startswith(b"200 DEFER 4.7.1 ")
    daemon.tells("READY=1")
    assert "damaged" in daemon.status
    (path / "data.mdb").unlink()
    until(lambda: connection.ask(A) == OK, "mended")


def test_a_map_that_another_daemon_has_answers_trouble(
    supervise: Supervise, start: Callable[..., object]
) -> None:
    start()
    daemon = supervise()
    assert daemon.connect().ask(A) == TROUBLE
    daemon.tells("READY=1")
    assert "a running daemon uses this map" in daemon.status


def test_a_stop_while_in_trouble_hands_connections_on(
    supervise: Supervise, config: Path, log: Log
) -> None:
    log.write(login(A))
    sound = config.read_text()
    config.write_text("window = \n")
    daemon = supervise()
    connection = daemon.connect()
    assert connection.ask(A) == TROUBLE
    assert daemon.stop() == 0
    config.write_text(sound)
    daemon.start()
    assert connection.ask(A) == OK


def test_a_hangup_tries_again_at_once(supervise: Supervise, config: Path, log: Log) -> None:
    log.write(login(A))
    sound = config.read_text()
    config.write_text("window = \n")
    daemon = supervise()
    connection = daemon.connect()
    assert connection.ask(A) == TROUBLE
    config.write_text(sound)
    assert command("reload", "--config", config).status == 0
    assert connection.ask(A) == OK


def test_without_sockets_a_broken_start_is_one_line(config: Path) -> None:
    config.write_text("window = \n")
    assert refused("run", "--config", config).startswith(f"{config}:1:10: not TOML")


def test_what_cannot_be_used_is_told_and_keeps_from_nothing(
    supervise: Supervise, log: Log, tmp_path: Path
) -> None:
    log.write(login(A))
    with (tmp_path / "file").open("w") as file:
        daemon = supervise(more=(file.fileno(),))
    assert daemon.connect().ask(A) == OK
    assert re.fullmatch(
        r"pbs-watch: descriptor 4 \(''\) that was handed over: no socket; .*\n", daemon.said
    )


def test_settings_of_further_sockets_are_obeyed_beside_them(
    supervise: Supervise, config: Path, log: Log, tmp_path: Path
) -> None:
    log.write(login(A))
    config.write_text(f'{config.read_text()}socketmap = "unix:{tmp_path}/own"\n')
    daemon = supervise()
    assert daemon.connect().ask(A) == OK
    own = Connection(f"unix:{tmp_path}/own")
    assert relay(own, A) == netstring(b"OK OK")
    own.socket.close()
