"""Slow, full and read-only disks, and other processes that stall or die: nothing is lost.

And nothing waits: lookups are answered, and logins granted, whatever becomes of the map.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest

from tests.daemon import (
    NO,
    OK,
    PATIENCE,
    ROOT,
    TROUBLE,
    Daemon,
    Log,
    addresses,
    command,
    environment,
    login,
    refused,
    until,
)
from tests.faults import injected

Start = Callable[..., Daemon]

PAGES = "pwritev,writev"
META = "pwrite64"
"""How LMDB writes the pages of a transaction, and the one that makes it count."""

SLOW = 0.4
"""Seconds that a commit takes on the slow disk."""

IN_TIME = SLOW / 2
"""Seconds in which a lookup is answered: one that waits for commits takes longer now and then."""


def granted(daemon: Daemon) -> set[str]:
    """What is committed in the map."""
    ended = command("list", "--json", "--map", daemon.map)
    assert ended.status == 0
    return {row["address"] for row in json.loads(ended.out)}


def committed(daemon: Daemon, address: str) -> None:
    until(lambda: daemon.get(address) == 0, f"{address} is committed")


def said_or_committed(daemon: Daemon, said: str, address: str) -> None:
    until(lambda: said in daemon.said or daemon.get(address) == 0, "a commit")


# The disk


def test_a_slow_disk_delays_no_lookup(start: Start, log: Log, tmp_path: Path) -> None:
    log.write(login("198.18.0.1"))
    trace = tmp_path / "trace"
    with injected(trace, f"fdatasync:delay_exit={int(SLOW * 1e6)}"):
        daemon = start(quiet=True)
    slowest: dict[str, float] = {}

    def ask(address: str, expected: bytes, what: str) -> None:
        began = time.monotonic()
        assert daemon.ask(address) == expected
        slowest[what] = max(slowest.get(what, 0.0), time.monotonic() - began)

    ask("198.18.0.1", OK, "the first")
    logged = addresses(100_000, start=256)
    ends = time.monotonic() + 5 * SLOW
    asked = 0
    while time.monotonic() < ends:
        log.write(login(logged[asked]))
        ask(logged[asked], OK, "just logged")
        ask("198.18.0.1", OK, "granted")
        ask("198.19.255.1", NO, "a stranger")
        asked += 1
    daemon.stop()
    assert trace.read_text().count("(DELAYED)") >= 3, "the disk was not slow"
    assert max(slowest.values()) < IN_TIME, slowest
    assert granted(daemon) == {"198.18.0.1", *logged[:asked]}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (f"{PAGES}:error=ENOSPC:when=3..5", "no space left on the disk"),
        (f"{PAGES}:error=EROFS:when=3..5", "mount it for writing"),
        ("fdatasync:error=EIO:when=3..5", "Input/output error"),
    ],
)
def test_what_cannot_be_written_is_kept_and_written_later(
    fault: str, said: str, start: Start, log: Log, tmp_path: Path
) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    daemon.stop()
    # The thread that writes meets it, in its third commit.
    with injected(tmp_path / "trace", fault):
        daemon.start()
    logged = addresses(2000, start=256)
    for number, address in enumerate(logged):
        log.write(login(address))
        assert daemon.ask(address) == OK
        if number % 400 == 0 and said not in daemon.said:
            said_or_committed(daemon, said, address)
    daemon.process.says(said)
    assert [address for address in logged if daemon.ask(address) != OK] == []
    daemon.process.says("can be written again")
    assert daemon.ask("198.18.0.1") == OK
    assert daemon.ask("198.19.0.1") == NO
    committed(daemon, logged[-1])
    daemon.kill()
    assert daemon.said.count(said) == 1
    assert granted(daemon) == {"198.18.0.1", *logged}
    daemon.start()
    assert [address for address in logged if daemon.ask(address) != OK] == []
    assert "granted" not in daemon.said, "a line was read twice"


@pytest.mark.parametrize("times", ["3", "3..5"])
def test_a_map_that_lmdb_gives_up_is_opened_again(
    times: str, start: Start, log: Log, tmp_path: Path
) -> None:
    """The page that makes a transaction count cannot be written: then not even reading goes on."""
    daemon = start()
    log.write(login("198.18.0.1"))
    daemon.stop()
    with injected(tmp_path / "trace", f"{META}:error=EIO:when={times}"):
        daemon.start()
    replies: list[bytes] = []
    for address in addresses(2000, start=256):
        log.write(login(address))
        while (reply := daemon.ask(address)) == TROUBLE:
            replies.append(reply)
            assert len(replies) < 100, "it is not opened again"
        assert reply == OK
        if "Input/output error" not in daemon.said:
            said_or_committed(daemon, "Input/output error", address)
    daemon.process.says("can be written again")
    assert daemon.ask("198.18.0.1") == OK
    assert daemon.ask("198.19.0.1") == NO
    daemon.stop()
    assert granted(daemon) == {"198.18.0.1", *addresses(2000, start=256)}


def test_a_kill_while_the_disk_is_full_costs_nothing(
    start: Start, log: Log, tmp_path: Path
) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    daemon.stop()
    with injected(tmp_path / "trace", f"{PAGES}:error=ENOSPC"):
        daemon.start()
    logged = addresses(500, start=256)
    log.write(*(login(address) for address in logged))
    assert daemon.ask(logged[-1]) == OK
    daemon.process.says("no space left on the disk")
    assert granted(daemon) == {"198.18.0.1"}
    daemon.kill()
    daemon.start()
    assert [address for address in logged if daemon.ask(address) != OK] == []


@pytest.mark.parametrize(
    ("name", "fault", "said"),
    [
        ("daemon.lock", "openat:error=EROFS", "this user cannot keep a map there (Read-only file"),
        ("lock.mdb", "openat:error=EROFS", "lock.mdb cannot be made (Read-only file system)"),
        ("lock.mdb", "fallocate:error=ENOSPC", "lock.mdb cannot be made (No space left on device)"),
        ("data.mdb", "openat:error=EROFS", "cannot be written ("),
        ("data.mdb", "pwrite64,pwritev,writev:error=ENOSPC", "no space left on the disk ("),
    ],
)
def test_a_start_where_nothing_can_be_written_is_one_line(
    name: str, fault: str, said: str, tmp_path: Path
) -> None:
    config = tmp_path / "empty.toml"
    config.touch()
    with injected(tmp_path / "trace", fault, only=tmp_path / "map" / name):
        told = refused(
            "run", "--config", config, "--log", tmp_path / "mail.log", "--map", tmp_path / "map",
            "--tcp-table", "127.0.0.1:0",
        )  # fmt: skip
    assert told.startswith(f"{tmp_path / 'map'}: {said}")


# Other processes

HOLDER = """
import sys
from pathlib import Path
from pbs_watch.grants.store import Map

grants = Map(Path(sys.argv[1]), sys.argv[2])
with grants._env.begin(write=sys.argv[2] == "write") as txn:
    if sys.argv[2] == "write":
        value = txn.get(b"198.18.0.1", db=grants._db[b"grants"])
        txn.put(b"198.18.0.99", value, db=grants._db[b"grants"])
    print("holds", flush=True)
    sys.stdin.read()
"""
"""Another process in the middle of a transaction, until its standard input is closed."""

Hold = Callable[[Daemon, str], "subprocess.Popen[bytes]"]


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Starts a process that begins a transaction; it ends with the test."""
    processes = []

    def holding(daemon: Daemon, mode: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, daemon.map, mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            cwd=ROOT,
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"holds\n"
        return process

    yield holding
    for process in processes:
        process.kill()
        process.communicate()


def readers(daemon: Daemon) -> set[int]:
    """The processes that have a place among the readers of the map."""
    with lmdb.open(str(daemon.map), readonly=True, create=False) as env:
        table: str = env.readers()
    return {int(row.split()[0]) for row in table.splitlines() if row.split()[0].isdigit()}


@pytest.fixture
def daemon(start: Start, log: Log) -> Daemon:
    """A daemon that has committed the login of 198.18.0.1."""
    started = start()
    log.write(login("198.18.0.1"))
    committed(started, "198.18.0.1")
    return started


def test_a_stalled_reader_stops_no_commit(daemon: Daemon, log: Log, hold: Hold) -> None:
    hold(daemon, "read").send_signal(signal.SIGSTOP)
    for start in range(256, 256 + 5000, 1000):
        logged = addresses(1000, start=start)
        log.write(*(login(address) for address in logged))
        assert daemon.ask(logged[-1]) == OK
        committed(daemon, logged[-1])
    daemon.stop()
    assert len(granted(daemon)) == 5001


def test_a_killed_reader_leaves_its_place(daemon: Daemon, log: Log, hold: Hold) -> None:
    process = hold(daemon, "read")
    assert process.pid in readers(daemon)
    process.kill()
    process.wait(PATIENCE)
    until(lambda: process.pid not in readers(daemon), "cleared by the daemon")
    log.write(login("198.18.0.2"))
    committed(daemon, "198.18.0.2")


def test_a_writer_that_is_killed_leaves_nothing(daemon: Daemon, log: Log, hold: Hold) -> None:
    process = hold(daemon, "write")
    log.write(login("198.18.0.2"))
    assert daemon.ask("198.18.0.2") == OK
    process.kill()
    process.wait(PATIENCE)
    committed(daemon, "198.18.0.2")
    assert daemon.ask("198.18.0.99") == NO
    daemon.stop()
    assert granted(daemon) == {"198.18.0.1", "198.18.0.2"}


def test_a_writer_that_stalls_stops_no_grant(daemon: Daemon, log: Log, hold: Hold) -> None:
    process = hold(daemon, "write")
    process.send_signal(signal.SIGSTOP)
    logged = addresses(1000, start=256)
    for address in logged:
        log.write(login(address))
        assert daemon.ask(address) == OK
    assert daemon.ask("198.18.0.1") == OK
    assert daemon.ask("198.19.0.1") == NO
    assert granted(daemon) == {"198.18.0.1"}
    process.send_signal(signal.SIGCONT)
    process.communicate()
    committed(daemon, logged[-1])
    assert granted(daemon) == {"198.18.0.1", "198.18.0.99", *logged}


def test_a_stop_does_not_wait_for_ever_for_another_writer(
    daemon: Daemon, log: Log, hold: Hold
) -> None:
    process = hold(daemon, "write")
    process.send_signal(signal.SIGSTOP)
    log.write(login("198.18.0.2"))
    assert daemon.ask("198.18.0.2") == OK
    daemon.stop()
    assert "what is not written is read again at the next start" in daemon.said
    process.kill()
    daemon.start()
    assert daemon.ask("198.18.0.2") == OK


ORDERS = [
    ("allow", "198.18.0.1"),
    ("block", "198.18.0.1", "--for", "1h"),
    ("revoke", "--user", "bob"),
    ("unblock", "198.18.0.2"),
]


@pytest.mark.parametrize("words", ORDERS, ids=lambda words: words[0])
def test_an_order_without_room_is_said_not_to_be_given(
    words: tuple[str, ...], start: Start, log: Log, tmp_path: Path
) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK
    assert command("block", "198.18.0.2", "--for", "1h", "--map", daemon.map).status == 0
    orders = command("list", "--orders", "--map", daemon.map).out
    with injected(tmp_path / "trace", f"{PAGES}:error=ENOSPC", only=daemon.map / "data.mdb"):
        ended = command(*words, "--map", daemon.map)
    assert (ended.status, ended.out) == (2, b"")
    assert "make room; the order was not given: give it again then" in ended.err
    assert "nothing is lost" not in ended.err
    assert command("list", "--orders", "--map", daemon.map).out == orders
    assert daemon.ask("198.18.0.1") == OK
    assert command(*words, "--map", daemon.map).status == 0


@pytest.mark.parametrize("words", [ORDERS[0], ORDERS[3]], ids=lambda words: words[0])
def test_an_order_is_on_the_disk_when_it_is_acknowledged(
    words: tuple[str, ...], start: Start, tmp_path: Path
) -> None:
    daemon = start()
    assert command("block", "198.18.0.2", "--for", "1h", "--map", daemon.map).status == 0
    daemon.stop()
    # Nothing fails: it is only looked at.
    calls = [f"{name}:delay_exit=1" for name in ("pwrite64", "pwritev", "writev", "fdatasync")]
    with injected(tmp_path / "trace", *calls, only=daemon.map / "data.mdb"):
        assert command(*words, "--map", daemon.map).status == 0
    called = [line.split()[1] for line in (tmp_path / "trace").read_text().splitlines()]
    written = [name for name in called if name.startswith(("pwrite", "writev", "fdatasync"))]
    # The page that makes a transaction count is its last, and not synced by LMDB itself.
    assert [name.partition("(")[0] for name in written[-2:]] == ["pwrite64", "fdatasync"]
