"""The daemon's state is told to its own user and group, on a socket beside the map."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pbs_watch import live
from pbs_watch.answer.client import NobodyAnswersError, ask
from pbs_watch.answer.socketmap import netstring
from pbs_watch.drain import Rate
from tests.daemon import NO, OK, Connection, Daemon, Log, line, login

Start = Callable[..., Daemon]


def told(daemon: Daemon, key: bytes = live.STATUS) -> Any:
    answer = ask(daemon.map / live.SOCKET, live.NAME, key)
    assert answer is not None
    assert answer.isascii()
    return json.loads(answer)


def test_the_socket_is_for_the_daemons_own_group_and_goes_with_it(start: Start) -> None:
    daemon = start()
    path = daemon.map / live.SOCKET
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    daemon.stop()
    assert not path.exists()
    with pytest.raises(NobodyAnswersError, match="no running daemon answers"):
        ask(path, live.NAME, live.STATUS)


def test_a_killed_daemon_leaves_a_socket_that_the_next_one_replaces(start: Start) -> None:
    daemon = start()
    daemon.kill()
    assert (daemon.map / live.SOCKET).exists()
    with pytest.raises(NobodyAnswersError):
        told(daemon)
    daemon.start()
    assert told(daemon)["pid"] == daemon.process.pid


def test_the_map_may_lie_deeper_than_a_sockets_address_reaches(
    start: Start, tmp_path: Path
) -> None:
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    daemon = start("--map", deep)
    daemon.map = deep
    assert told(daemon)["map"]["path"] == str(deep)


def test_every_field_is_documented(start: Start, log: Log) -> None:
    daemon = start()
    log.write(login("198.18.0.1"), line("LOGIN, user=bob, ip=[1.2.3], port=[1]"))
    assert daemon.ask("198.18.0.1") == OK
    said = told(daemon)
    names = [*said, *said["map"], *said["settings"], *said["lookups"]]
    names += [*said["sources"][0], *said["near_misses"][0]]
    words = set((live.__doc__ or "").replace("`", " ").replace(",", " ").split())
    assert {name for name in names if name not in words} == set()


def test_what_is_read_shows_at_once(start: Start, log: Log) -> None:
    daemon = start()
    assert told(daemon)["sources"][0]["latest"] is None
    log.write(login("198.18.0.1"), line("LOGIN, user=b\x1bb, ip=[1.2.3], port=[1]"))
    assert daemon.ask("198.18.0.1") == OK
    said = told(daemon)
    source = said["sources"][0]
    assert (source["lines"], source["bytes"]) == (2, log.path.stat().st_size)
    assert source["rate"] == pytest.approx(log.path.stat().st_size, rel=0.9)
    assert (source["waiting"], source["lag"], source["readable"]) == (0, 0.0, True)
    assert source["searching"] is False
    assert abs(source["latest"] - said["now"]) < 60
    assert said["started"] < said["now"]
    assert said["near"] == 1
    assert said["near_misses"][0]["message"] == "LOGIN, user=b\x1bb, ip=[1.2.3], port=[1]"
    assert said["near_misses"][0]["tag"] == "pop3d"


def test_when_an_address_was_asked_for_is_told(start: Start) -> None:
    daemon = start()
    assert daemon.ask("198.18.0.1") == NO
    said = told(daemon, live.ASKED + b"198.18.0.1")
    assert said["answer"] == "absent"
    never = told(daemon, live.ASKED + b"198.18.0.2")
    assert never == {"time": None, "answer": None, "shadow": False, "limited": False}
    for key in (live.ASKED + b"nobody", live.ASKED, b"other"):
        assert ask(daemon.map / live.SOCKET, live.NAME, key) is None


def test_other_names_are_unknown_there(start: Start) -> None:
    daemon = start()
    with pytest.raises(NobodyAnswersError, match="does not know the question"):
        ask(daemon.map / live.SOCKET, b"other", live.STATUS)


def test_postfixs_sockets_do_not_tell_the_state(start: Start, tmp_path: Path) -> None:
    daemon = start("--socketmap", f"unix:{tmp_path}/socketmap")
    with pytest.raises(NobodyAnswersError, match="unknown map name"):
        ask(tmp_path / "socketmap", live.NAME, live.STATUS)
    assert told(daemon)["pid"] == daemon.process.pid


def test_who_asks_and_does_not_listen_makes_no_lookup_wait(start: Start, log: Log) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    deaf = [Connection(f"unix:{daemon.map}/{live.SOCKET}") for _ in range(20)]
    for client in deaf:
        client.socket.sendall(netstring(live.NAME + b" " + live.STATUS) * 500)
    assert daemon.ask("198.18.0.1") == OK
    assert told(daemon)["lookups"]["found"] == 1
    for client in deaf:
        client.socket.close()


# How fast a log grows


def test_a_steady_rate_is_told_from_the_beginning() -> None:
    rate = Rate()
    assert rate.now(50.0) == 0.0
    for number in range(20, 4000):
        rate.add(50, 100.0 + number / 20)
        if number >= 40:  # for a second
            assert rate.now(100.0 + number / 20) == pytest.approx(1000, rel=0.06)


def test_a_rate_fades_within_a_minute_or_two() -> None:
    rate = Rate()
    for second in range(100):
        rate.add(1000, float(second))
    assert rate.now(130.0) < 300
    assert rate.now(230.0) < 2
