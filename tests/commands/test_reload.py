"""``reload`` and SIGHUP: new settings and patterns count, broken ones change nothing."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon import (
    NO,
    OK,
    Connection,
    Daemon,
    Ended,
    Log,
    Process,
    command,
    free_port,
    line,
    listens,
    login,
    refused,
    until,
)

Launch = Callable[..., Process]
A, B, C = "198.18.0.1", "198.18.0.2", "198.18.0.3"

OWN = """\
format own
    header  syslog
    tag     ownd
    login   "HELLO " user " " address
    example login "Nov 22 08:41:27 mail ownd: HELLO bob 198.18.1.2"  user bob  address 198.18.1.2
    example nothing "Nov 22 08:41:27 mail ownd: GOODBYE bob 198.18.1.2"
"""


class Running:
    """A daemon with settings in a file, which a test rewrites."""

    def __init__(self, home: Path, launch: Launch) -> None:
        self.home = home
        self.file = home / "pbs-watch.toml"
        self.where = f"127.0.0.1:{free_port()}"
        self.settings: dict[str, str] = {
            "log": f'["{home}/mail.log"]',
            "map": f'"{home}/map"',
            "tcp_table": f'["{self.where}"]',
        }
        self.write()
        self.process = launch("run", "--config", self.file)
        until(lambda: listens(self.where), "open")
        self.connection = Connection(self.where)
        until(lambda: self.ask("mail.example.com") == NO, "answers")

    def write(self, **changes: str) -> None:
        self.settings |= changes
        lines = (f"{name} = {value}\n" for name, value in self.settings.items())
        self.file.write_text("".join(lines))

    def reload(self, **changes: str) -> Ended:
        self.write(**changes)
        return command("reload", "--config", self.file)

    def taken(self, **changes: str) -> None:
        """The new settings are taken without a word."""
        ended = self.reload(**changes)
        assert (ended.status, ended.out, ended.err) == (0, b"", "")

    def ask(self, key: str) -> bytes:
        return self.connection.ask(key)


@pytest.fixture
def running(tmp_path: Path, launch: Launch, log: Log) -> Iterator[Running]:
    log.write(login(A))
    made = Running(tmp_path, launch)
    yield made
    made.connection.socket.close()


def test_answers_change_on_open_connections(running: Running) -> None:
    assert running.ask(A) == OK
    running.taken(answer='"FILTER smtp:"')
    assert running.ask(A) == b"200 FILTER smtp:\n"
    assert running.ask(B) == NO


def test_the_policy_changes_for_what_comes(running: Running, log: Log) -> None:
    running.taken(never=f'["{B}"]')
    log.write(login(B), login(C))
    assert (running.ask(B), running.ask(C)) == (NO, OK)
    running.taken(never="[]")
    log.write(login(B))
    assert running.ask(B) == OK


def test_shadow_and_the_relay_limit_come_and_go(running: Running) -> None:
    running.taken(shadow="true")
    assert running.ask(A) == NO
    running.taken(shadow="false", relay_limit='"2/1h"', over_relay_limit='"no"')
    assert [running.ask(A) for _ in range(3)] == [OK, OK, NO]
    running.taken(window='"1h"')
    assert running.ask(A) == NO, "what was counted stays"
    running.taken(relay_limit='"none"')
    assert running.ask(A) == OK


def test_a_pattern_is_read_again(running: Running, log: Log) -> None:
    own = running.home / "own.pattern"
    own.write_text(OWN)
    greeting = line(f"HELLO bob {B}", tag="ownd")
    log.write(greeting)
    assert running.ask(B) == NO
    running.taken(patterns=f'["courier", "{own}"]')
    log.write(greeting)
    assert running.ask(B) == OK
    own.write_text(OWN.replace("HELLO", "SALVE"))
    running.taken()
    log.write(line(f"HELLO bob {C}", tag="ownd"))
    assert running.ask(C) == NO
    log.write(line(f"SALVE bob {C}", tag="ownd"))
    assert running.ask(C) == OK


def test_a_log_that_is_added_is_read_and_one_that_is_removed_keeps_its_place(
    running: Running,
) -> None:
    first, other = running.home / "mail.log", Log(running.home / "other.log")
    other.write(login(B))
    assert running.ask(B) == NO
    running.taken(log=f'["{first}", "{other.path}"]')
    until(lambda: running.ask(B) == OK, "read from the window's beginning")
    running.taken(log=f'["{first}"]')
    other.write(login(C))
    assert running.ask(C) == NO, "it is not followed"
    running.taken(log=f'["{other.path}", "{first}"]', audit='"text"')
    until(lambda: running.ask(C) == OK, "read on")
    until(lambda: C in running.process.said, "told")
    assert B not in running.process.said, "nothing is read twice"
    other.close()


def test_a_log_that_is_added_again_at_once_goes_on_where_it_was(running: Running) -> None:
    """Its place is not in the map yet."""
    first, other = running.home / "mail.log", Log(running.home / "other.log")
    for number in range(5):
        running.taken(log=f'["{first}", "{other.path}"]', audit='"text"')
        other.write(login(f"198.18.1.{number}"))
        until(lambda: running.ask(f"198.18.1.{number}") == OK, "read")  # noqa: B023
        running.taken(log=f'["{first}"]')
    for number in range(5):
        mark = f"event=granted address=198.18.1.{number} "
        until(lambda: mark in running.process.said, "told")  # noqa: B023
        assert running.process.said.count(mark) == 1
    other.close()


def test_listening_changes_and_connections_stay(running: Running) -> None:
    other = f"127.0.0.1:{free_port()}"
    path = running.home / "socketmap"
    running.taken(tcp_table=f'["{other}"]', socketmap=f'["unix:{path}"]')
    assert listens(other)
    assert not listens(running.where)
    assert path.is_socket()
    assert running.ask(A) == OK
    running.taken(socketmap="[]")
    assert not path.exists()


def test_a_port_in_use_refuses_all_of_it(running: Running, log: Log) -> None:
    own = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = running.reload(
            tcp_table=f'["127.0.0.1:{own}", "127.0.0.1:{port}"]',
            never=f'["{B}"]',
            answer='"OTHER"',
        )
    assert ended.status == 2
    assert ended.err.startswith(
        f"pbs-watch: not reloaded, the daemon goes on as before: 127.0.0.1:{port}: Address already"
    )
    assert not listens(f"127.0.0.1:{own}")
    log.write(login(B))
    assert running.ask(B) == OK
    assert listens(running.where)


def test_what_takes_a_restart_is_said(running: Running) -> None:
    ended = running.reload(map=f'"{running.home}/map"', metrics='"127.0.0.1:1"', answer='"NEW"')
    assert ended.status == 0
    assert ended.err == "pbs-watch: metrics: takes a restart; until then all is as before\n"
    assert running.ask(A) == b"200 NEW\n"


def test_broken_settings_are_refused_in_one_line(running: Running) -> None:
    running.write(window='"soon"')
    told = refused("reload", "--config", running.file)
    assert told == (
        f"{running.file}:4:1: window: 'soon' is not a duration; write it like 90s, 30m, 12h or 7d"
    )
    assert running.process.said == "", "the daemon was not even asked"
    assert running.ask(A) == OK


def test_the_daemon_refuses_broken_settings_too(running: Running) -> None:
    running.write(window='"soon"', answer='"NEW"')
    running.process._process.send_signal(signal.SIGHUP)
    running.process.says("not reloaded, all is as before: ")
    assert running.process.said.count("\n") == 1
    assert running.ask(A) == OK
    running.taken(window='"1h"')
    assert running.ask(A) == b"200 NEW\n"


def test_a_broken_pattern_is_refused(running: Running) -> None:
    own = running.home / "own.pattern"
    own.write_text(OWN.replace("HELLO", "SALVE", 1))
    running.write(patterns=f'["courier", "{own}"]')
    ended = command("reload", "--config", running.file)
    assert ended.status == 2
    assert ended.err.startswith(f"pbs-watch: {own}:")
    running.process._process.send_signal(signal.SIGHUP)
    running.process.says("not reloaded, all is as before: ")
    assert running.process.said.count("\n") == 1
    assert running.ask(A) == OK


def test_a_hangup_is_a_reload(running: Running) -> None:
    running.write(answer='"NEW"')
    running.process._process.send_signal(signal.SIGHUP)
    until(lambda: running.ask(A) == b"200 NEW\n", "taken")


def test_options_of_the_daemons_command_line_still_win(
    start: Callable[..., Daemon], log: Log
) -> None:
    daemon = start("--answer", "SAID")
    config = daemon.map.parent / "empty.toml"
    config.write_text('answer = "WRITTEN"\n')
    assert command("reload", "--config", config, "--map", daemon.map).status == 0
    log.write(login(A))
    assert daemon.ask(A) == b"200 SAID\n"


def test_nobody_there_is_said(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'map = "{tmp_path}/map"\n')
    assert "No such file or directory" in refused("reload", "--config", config)


def test_reloads_under_load_lose_no_lookup(running: Running, log: Log) -> None:
    over = threading.Event()
    replies: list[tuple[str, bytes]] = []

    def client() -> None:
        connection = Connection(running.where)
        while not over.wait(0.005):
            replies.extend((key, connection.ask(key)) for key in (A, B))
        connection.socket.close()

    clients = [threading.Thread(target=client) for _ in range(3)]
    for one in clients:
        one.start()
    try:
        for number in range(3):
            running.taken(window=f'"{number + 30}m"')
            assert running.reload(window='"soon"').status == 2
            running.process._process.send_signal(signal.SIGHUP)
            answered = len(replies)
            until(lambda: len(replies) > answered + 100, "many more")  # noqa: B023
            log.write(login(f"198.18.2.{number}"))
            assert running.ask(f"198.18.2.{number}") == OK
    finally:
        over.set()
        for one in clients:
            one.join()
    assert {reply for key, reply in replies if key == A} == {OK}
    assert {reply for key, reply in replies if key == B} == {NO}


def test_the_state_is_told_on_a_signal(running: Running) -> None:
    running.ask(A)
    until(lambda: command("get", A, "--map", running.home / "map").status == 0, "committed")
    running.process._process.send_signal(signal.SIGUSR1)
    running.process.says("pbs-watch: 1 grants; 1 logins and ")
    assert f"following {running.home}/mail.log" in running.process.said
    assert A not in running.process.said
