"""Events only wake the poller early: without them, or with too many, every login is seen."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon import OK, Daemon, Log, addresses, login, until
from tests.faults import injected

Start = Callable[..., Daemon]

POLLING = 1.0
"""Seconds between two looks at idle logs."""

BUSY = 1.0
"""Seconds that a busy machine and the program that asks the map may add."""


def threads(daemon: Daemon) -> int:
    return len(list(Path(f"/proc/{daemon.process.pid}/task").iterdir()))


def granted_after(daemon: Daemon, log: Log, address: str) -> float:
    """Seconds from logging a login to its grant, when nobody asks."""
    began = time.monotonic()
    log.write(login(address))
    until(lambda: f"event=granted address={address} " in daemon.said, f"{address} is granted")
    return time.monotonic() - began


def test_an_event_wakes_it_early(start: Start, log: Log) -> None:
    daemon = start()
    busy = threads(daemon)
    took = []
    for number in range(5):
        until(lambda: threads(daemon) > busy, "it watches its log")
        # Until the next poll: a part of its interval that is another each time.
        threading.Event().wait(number * 0.17)
        took.append(granted_after(daemon, log, f"198.18.0.{number}"))
        until(lambda: threads(daemon) == busy, "the watch has ended")
    # By polling alone the five would take half an interval on the average.
    assert sum(took) < 5 * POLLING / 4, took


def test_a_log_that_was_rotated_wakes_it_early_again(start: Start, log: Log) -> None:
    daemon = start()
    busy = threads(daemon)
    until(lambda: threads(daemon) > busy, "it watches its log")
    log.rename()
    granted_after(daemon, log, "198.18.0.1")
    until(lambda: threads(daemon) == busy, "the watch of the old file has ended")
    until(lambda: threads(daemon) > busy, "it watches the new one")
    took = []
    for number in range(2, 7):
        until(lambda: threads(daemon) > busy, "it watches its log")
        threading.Event().wait(number * 0.17)
        took.append(granted_after(daemon, log, f"198.18.0.{number}"))
        until(lambda: threads(daemon) == busy, "the watch has ended")
    assert sum(took) < 5 * POLLING / 4, took


@pytest.mark.parametrize(
    "fault",
    [
        "inotify_init,inotify_init1:error=EMFILE",
        "inotify_init,inotify_init1:error=ENOSYS",
        "inotify_add_watch:error=ENOSPC",
    ],
)
def test_without_events_every_login_is_seen_by_polling(
    fault: str, start: Start, log: Log, tmp_path: Path
) -> None:
    with injected(tmp_path / "trace", fault):
        daemon = start()
    daemon.process.says("the system tells of no changes")
    for address in addresses(200):
        log.write(login(address))
        assert daemon.ask(address) == OK
    for number in range(3):
        threading.Event().wait(1.1 + number * 0.3)  # idle again
        assert granted_after(daemon, log, f"198.18.9.{number}") < POLLING + BUSY
    until(lambda: daemon.get("198.18.9.2") == 0, "committed")
    daemon.stop()
    assert daemon.said.count("the system tells of no changes") == 1
    assert "(INJECTED)" in (tmp_path / "trace").read_text()


def test_more_events_than_the_system_keeps(start: Start, log: Log) -> None:
    daemon = start()
    busy = threads(daemon)
    until(lambda: threads(daemon) > busy, "it watches its log")
    kept = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    os.kill(daemon.process.pid, signal.SIGSTOP)
    logged = addresses(kept // 2 + 100)
    for number, address in enumerate(logged):
        log.write(login(address))
        # Events that are alike are kept once: every other one is of another kind.
        log.path.chmod(0o640 if number % 2 else 0o600)
    os.kill(daemon.process.pid, signal.SIGCONT)
    assert {daemon.ask(address) for address in logged} == {OK}
    until(lambda: daemon.get(logged[-1]) == 0, "committed")
    for line in daemon.said.splitlines():
        assert line.startswith(("pbs-watch: ", "time=")), line
    until(lambda: threads(daemon) > busy, "it watches its log again")
    assert granted_after(daemon, log, "198.18.250.250") < POLLING + BUSY
