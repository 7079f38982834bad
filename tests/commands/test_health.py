"""``health``: exit code 0 and ``well``, or 1 and what is wrong."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

from pbs_watch.health import TOO_LATE, ailments
from tests.daemon import Daemon, Log, command, login, until

Start = Callable[..., Daemon]


def health(daemon: Daemon) -> tuple[int, list[str]]:
    ended = command("health", "--config", "/dev/null", "--map", daemon.map)
    assert ended.err == ""
    return ended.status, ended.lines


def test_a_daemon_at_work_is_well(start: Start, log: Log) -> None:
    log.write(login("198.18.0.1"))
    daemon = start()
    assert health(daemon) == (0, ["well"])


def test_a_log_that_is_missing_is_waited_for(start: Start) -> None:
    assert health(start()) == (0, ["well"])


def test_a_log_that_cannot_be_read_is_ill(start: Start, tmp_path: Path) -> None:
    (tmp_path / "mail.log").mkdir()
    daemon = start()
    until(lambda: health(daemon)[0] == 1, "ill")
    assert health(daemon) == (1, [f"{tmp_path}/mail.log: cannot be read"])


def test_a_map_that_cannot_be_written_is_ill_until_it_can(start: Start, log: Log) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    until(lambda: daemon.get("198.18.0.1") == 0, "committed")
    pid = daemon.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, limits[1]))
    log.write(login("198.18.0.2"))
    daemon.ask("198.18.0.2")
    until(lambda: health(daemon)[0] == 1, "ill")
    assert "File too large" in health(daemon)[1][0]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
    until(lambda: health(daemon) == (0, ["well"]), "well again")


def test_no_daemon_is_ill(tmp_path: Path) -> None:
    ended = command("health", "--config", "/dev/null", "--map", tmp_path)
    assert ended.status == 1
    assert "no running daemon answers" in ended.err


def test_reading_late_is_ill() -> None:
    source = {"name": "x", "readable": True, "lag": TOO_LATE}
    state = {"map": {}, "sources": [source]}
    assert ailments(state) == []
    source["lag"] = TOO_LATE + 10
    assert ailments(state) == ["x: read 70 s late"]
