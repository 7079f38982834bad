"""An idle daemon costs next to nothing, whatever goes on beside its log."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import lmdb

from tests.daemon import Daemon, Log, addresses, login, until

Start = Callable[..., Daemon]

SHARE = 1e-3
"""Seconds of processor time a second that an idle daemon may take."""

LONG = 5.0
"""Seconds that are measured."""


def used(daemon: Daemon) -> float:
    """Seconds of processor time that all threads of the daemon have taken so far."""
    threads = Path(f"/proc/{daemon.process.pid}/task").iterdir()
    return sum(int((one / "schedstat").read_text().split()[0]) for one in threads) / 1e9


def share(daemon: Daemon) -> float:
    """What share of a processor the daemon takes."""
    began, before = monotonic(), used(daemon)
    threading.Event().wait(LONG)
    return (used(daemon) - before) / (monotonic() - began)


def threads(daemon: Daemon) -> int:
    return len(list(Path(f"/proc/{daemon.process.pid}/task").iterdir()))


def rows(daemon: Daemon) -> int:
    """How many grants the map has, expired or not."""
    with lmdb.open(str(daemon.map), readonly=True, max_dbs=16) as env:
        grants = env.open_db(b"grants", create=False)
        with env.begin() as txn:
            entries: int = txn.stat(grants)["entries"]
    return entries


def idle(daemon: Daemon) -> None:
    """Waits until the daemon waits for events."""
    busy = threads(daemon)
    until(lambda: threads(daemon) > busy, "it watches its log")


def test_an_idle_daemon_takes_no_processor(start: Start, log: Log) -> None:
    daemon = start("--never", "own,gateway")
    log.write(login("198.18.0.1"))
    until(lambda: daemon.get("198.18.0.1") == 0, "committed")
    idle(daemon)
    assert share(daemon) < SHARE


def test_other_logs_in_the_same_directory_cost_nothing(
    start: Start, log: Log, tmp_path: Path
) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    until(lambda: daemon.get("198.18.0.1") == 0, "committed")
    idle(daemon)
    other, ended = Log(tmp_path / "syslog"), threading.Event()

    def chatter() -> None:
        while not ended.wait(0.002):
            other.write(b"Nov 22 08:41:27 mail kernel: something else\n")

    thread = threading.Thread(target=chatter)
    thread.start()
    try:
        assert share(daemon) < SHARE
    finally:
        ended.set()
        thread.join()
        other.close()
    assert other.path.stat().st_size > 10_000


def test_forgetting_many_grants_costs_little(start: Start, log: Log) -> None:
    """A minute in which they expire costs no more than an idle one may."""
    daemon = start("--window", "1s", quiet=True)
    logged = addresses(5000)
    for some in range(0, len(logged), 1000):
        log.write(*(login(address) for address in logged[some : some + 1000]))
        daemon.ask("198.19.255.1")
    until(lambda: daemon.get(logged[-1]) == 1, "all have expired")
    idle(daemon)
    before = used(daemon)
    threading.Event().wait(11)  # a sweep comes every ten seconds
    assert rows(daemon) == 0
    assert used(daemon) - before < 60 * SHARE
