"""A million grants: every command answers while somebody waits, and no lookup waits for one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pbs_watch.grants.changes import Changes, Hold, SessionKey, grant
from pbs_watch.grants.store import Map
from tests.daemon import NO, OK, PROGRAM, ROOT, Daemon, environment
from tests.supervised import Supervisor

Start = Callable[..., Daemon]

GRANTS = 1_000_000
USERS = 20_000
BATCH = 50_000
DAY = 86_400.0

DELAY = 0.010
"""Seconds by which no lookup may be delayed."""


READY = 0.3
"""Seconds within which a daemon is ready."""


def address(number: int) -> bytes:
    return b"10.%d.%d.%d" % (number >> 16, number >> 8 & 255, number & 255)


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The map; each hundredth address has an open session as well."""
    home = tmp_path_factory.mktemp("million")
    grants = Map(home / "map", "daemon")
    now = time.time()
    for start in range(0, GRANTS, BATCH):
        changes = Changes()
        for number in range(start, start + BATCH):
            user = b"user%d@example.org" % (number % USERS)
            login = now - number % 1700
            changes.login(address(number), grant(login + DAY, login, user, b"pop3d", (1, 2, 3)))
            if number % 100 == 0:
                key = SessionKey(b"imapd", user, b"4242")
                changes.session(address(number), key, Hold(login + DAY, login))
        grants.commit(changes)
    grants.close()
    yield home
    shutil.rmtree(home / "map")
    shutil.rmtree(home / "again", ignore_errors=True)


def took(home: Path, *words: str) -> float:
    """Seconds from start to exit, the best of three; ``{}`` in the words is another each time."""
    best = 1e9
    for number in range(3):
        said = [word.format(number) for word in words]
        began = time.perf_counter()
        done = subprocess.run(
            [*PROGRAM, *said, "--map", home / "map", "--config", "/dev/null"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=environment(),
            check=False,
        )
        best = min(best, time.perf_counter() - began)
        assert done.returncode == 0, done.stderr
    return best


@pytest.fixture
def daemon(million: Path) -> Iterator[Daemon]:
    (million / "mail.log").touch()
    started = Daemon(million, quiet=True)
    yield started
    started.end()


def test_commands_answer_in_time(daemon: Daemon, million: Path) -> None:
    assert daemon.ask("10.5.5.5") == OK
    for words, seconds in (
        (("get", "10.5.5.5"), 0.150),
        (("why", "10.5.5.5"), 0.150),
        (("list",), 2.0),
        (("list", "--user", "user77@example.org"), 2.0),
        (("status",), 2.0),
        (("revoke", "--user", "user{}@example.org"), 2.0),
    ):
        measured = took(million, *words)
        print(f"{' '.join(words)}: {measured * 1e3:.0f} ms")
        assert measured < seconds, words


def waited_for_a_core(pid: int) -> float:
    """Seconds for which the main thread of a process could have run but had no core so far."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def slowest(daemon: Daemon, going: Callable[[], bool]) -> tuple[int, float]:
    """How many lookups there were, hits and misses, and how long the slowest took.

    Three busy processes share two cores here.  The time in which the daemon and this process only
    waited for a core is left out: it says nothing about the daemon.
    """
    daemon.connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    count, longest, pace = 0, 0.0, threading.Event()
    processes = (daemon.process.pid, os.getpid())
    idle = sum(map(waited_for_a_core, processes))
    while going():
        key = f"10.{count % 15}.{count % 251}.{count % 253}" if count % 2 else "192.0.2.1"
        began = time.perf_counter()
        reply = daemon.ask(key)
        elapsed = time.perf_counter() - began
        before, idle = idle, sum(map(waited_for_a_core, processes))
        longest = max(longest, elapsed - (idle - before))
        assert reply in {OK, NO}
        count += 1
        pace.wait(0.0005)  # as mail servers ask, not as fast as this machine can
    return count, longest


def while_expiring(home: Path) -> float:
    """The slowest lookup while all grants of the daemon's map are expired."""
    daemon = Daemon(home, quiet=True)
    try:
        assert daemon.ask("10.5.5.5") == OK
        expiring = subprocess.Popen(
            [*PROGRAM, "expire", "--older-than", "0s", "--map", home / "map"],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=environment(),
        )
        count, longest = slowest(daemon, lambda: expiring.poll() is None)
        said, _ = expiring.communicate()
        assert b"lost their grant" in said
        assert count > 1000
        assert daemon.ask("10.5.5.5") == NO
    finally:
        daemon.end()
    print(f"{count} lookups while expiring, the slowest {longest * 1e3:.1f} ms")
    return longest


def test_it_is_ready_in_time(million: Path) -> None:
    """From the start of a process to READY=1, the interpreter's own start included."""
    config = million / "pbs-watch.toml"
    config.write_text(f'log = "{million}/mail.log"\nmap = "{million}/map"\n')
    supervisor = Supervisor(million, ["run", "--config", config])
    found = []
    try:
        for _ in range(10):
            supervisor.stop()
            began = time.perf_counter()
            supervisor.start()
            supervisor.tells("READY=1")
            found.append(time.perf_counter() - began)
            grants = int(supervisor.status.partition(" grants; ")[0].replace(",", ""))
            # Another test has revoked three users.
            assert GRANTS - 3 * GRANTS // USERS <= grants <= GRANTS
        assert supervisor.connect().ask(address(77).decode()) == OK
    finally:
        supervisor.end()
    print(f"ready after {sorted(round(one * 1000) for one in found)} ms")
    assert min(found) < READY


def test_expiring_all_of_them_delays_no_lookup(million: Path) -> None:
    """What the machine does meanwhile only adds to a round: the quieter of two tells."""
    again = million / "again"
    again.mkdir()
    (again / "mail.log").touch()
    shutil.copytree(million / "map", again / "map", ignore=shutil.ignore_patterns("live"))
    assert min(while_expiring(again), while_expiring(million)) < DELAY
