"""A line that waits for its second one survives kills, restarts and rotations between the two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pbs_watch.grants.rows import source_id
from pbs_watch.grants.store import Map
from tests.daemon import NO, OK, Daemon, Log, addresses, line

Start = Callable[..., Daemon]

PATTERN = """format two
    tag two
    join pid within 60s
    open "from " address
    login "passed " user
    example login "Nov 22 08:00:00 mail two[1]: from 192.0.2.1"
                  "Nov 22 08:00:00 mail two[1]: passed bob" user bob address 192.0.2.1
"""


@pytest.fixture
def pattern(tmp_path: Path) -> Path:
    path = tmp_path / "two.pattern"
    path.write_text(PATTERN)
    return path


def opened(address: str, pid: int) -> bytes:
    return line(f"from {address}", tag=f"two[{pid}]")


def passed(pid: int) -> bytes:
    return line("passed bob", tag=f"two[{pid}]")


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("killed", [False, True])
def test_a_login_is_joined_to_a_connection_from_before_the_restart(
    start: Start, log: Log, pattern: Path, *, rotated: bool, killed: bool
) -> None:
    daemon = start("--patterns", pattern)
    # Fewer than rotations keep: a file that is gone may have held more.
    for number, address in enumerate(addresses(8)):
        log.write(opened(address, number))
        assert daemon.ask(address) == NO
        (daemon.kill if killed else daemon.stop)()
        if rotated:
            log.rename()
        if number % 2:
            log.write(passed(number))
        daemon.start()
        log.write(passed(number))
        assert daemon.ask(address) == OK, (number, daemon.said)


def test_nobody_is_joined_to_a_connection_that_another_start_ended(
    start: Start, log: Log, pattern: Path
) -> None:
    daemon = start("--patterns", pattern)
    log.write(opened("198.18.0.1", 5), passed(5), opened("198.18.0.2", 6))
    assert daemon.ask("198.18.0.1") == OK
    daemon.stop()
    grants = Map(daemon.map, "read")
    assert [one.key for one in grants.joins(source_id(str(log.path)))] == [b"6"]
    grants.close()
    log.write(opened("198.18.0.3", 6))
    daemon.start()
    log.write(passed(5), passed(6))
    assert daemon.ask("198.18.0.3") == OK
    assert daemon.ask("198.18.0.2") == NO


def test_what_was_lost_meanwhile_joins_nothing(start: Start, log: Log, pattern: Path) -> None:
    daemon = start("--patterns", pattern)
    log.write(opened("198.18.0.1", 5))
    assert daemon.ask("198.18.0.1") == NO
    daemon.stop()
    log.path.unlink()
    log.open()
    daemon.start()
    log.write(passed(5))
    assert daemon.ask("198.18.0.1") == NO
    log.write(opened("198.18.0.2", 6), passed(6))
    assert daemon.ask("198.18.0.2") == OK
