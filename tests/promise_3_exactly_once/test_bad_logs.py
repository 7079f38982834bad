"""Logs that are missing, are no logs, or hold anything: what was granted stays granted."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon import NO, OK, TROUBLE, Daemon, Log, line, login, until

Start = Callable[..., Daemon]

JUNK = {
    "nuls": bytes(100_000) + b"\n",
    "nuls in a line": line("LOGIN, user=b\0b, ip=[198.18.9.9], port=[1]"),
    "a megabyte in a line": line("LOGIN, user=" + "x" * 1_000_000 + ", ip=[198.18.9.9], port=[1]"),
    "ten megabytes in a line": b"x" * 10_000_000 + b"\n",
    "not UTF-8": b"\xff\xfe\xc3\x28" * 1000 + b"\n" + login("198.18.9.9")[:-2] + b"\xff]\n",
    "binary": random.Random(7).randbytes(1_000_000) + b"\n",
    "empty lines": b"\n" * 100_000,
    "carriage returns": b"\r\n" * 1000 + login("198.18.9.9")[:-2] + b"\r\r\n",
    "controls": bytes(range(32)) * 1000 + b"\n",
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK.keys())
def test_whatever_the_log_holds(start: Start, log: Log, junk: bytes) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK
    log.write(junk)
    until(lambda: daemon.ask("198.18.9.9") == NO, "the junk was read")
    assert daemon.ask("198.18.0.1") == OK
    # A line that is too long counts as cut: what follows closely is suspect.
    log.write(line("Connection, ip=[198.18.255.1]") * 2)
    log.write(login("198.18.0.2", at=time.time() + 3))
    assert daemon.ask("198.18.0.2") == OK
    daemon.stop()
    assert daemon.get("198.18.0.1") == daemon.get("198.18.0.2") == 0
    assert daemon.get("198.18.9.9") == 1


def test_a_log_that_is_missing_is_waited_for(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "later.log"
    daemon = start(logs=(path,))
    assert daemon.ask("198.18.0.1") == NO
    daemon.process.says("later.log: no such file yet")
    log = Log(path)
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK
    daemon.process.says("later.log: is there and readable")
    assert daemon.said.count("no such file yet") == 1
    log.close()


def test_a_log_in_a_directory_that_is_missing(start: Start, tmp_path: Path) -> None:
    daemon = start(logs=(tmp_path / "new" / "mail.log",))
    assert daemon.ask("198.18.0.1") == NO
    (tmp_path / "new").mkdir()
    log = Log(tmp_path / "new" / "mail.log")
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK
    log.close()


def make_directory(path: Path) -> None:
    path.mkdir()


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [make_directory, make_fifo, make_device])
def test_what_can_never_be_a_log(
    start: Start, log: Log, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    bad = tmp_path / "bad.log"
    make(bad)
    daemon = start(logs=(log.path, bad))
    log.write(login("198.18.0.1"))
    until(lambda: daemon.ask("198.18.0.1") == OK, "the good log is followed")
    # Not "no": the login may stand in the log that cannot be read.
    assert daemon.ask("198.18.0.2") == TROUBLE
    assert daemon.connect().ask("mail.example.com") == NO
    assert daemon.said.count("bad.log: is ") == 1
    bad.rename(tmp_path / "away")
    good = Log(bad)
    good.write(login("198.18.0.2"))
    assert daemon.connect().ask("198.18.0.2") == OK
    good.close()


def test_a_log_that_cannot_be_read_is_reported_once(start: Start, log: Log) -> None:
    # It opens and has a size; reading it fails: as on a network file system that is gone.
    daemon = start(logs=(log.path, Path("/proc/self/mem")))
    log.write(login("198.18.0.1"))
    until(lambda: daemon.ask("198.18.0.1") == OK, "the good log is followed")
    for _ in range(200):
        assert daemon.connect().ask("198.18.0.2") == TROUBLE
    assert daemon.said.count("/proc/self/mem: Input/output error") == 1


def test_a_log_that_is_removed_and_comes_back(start: Start, log: Log) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK
    log.path.unlink()
    log.write(login("198.18.0.2"))
    assert daemon.ask("198.18.0.2") == OK
    log.open()
    log.write(login("198.18.0.3"))
    assert daemon.ask("198.18.0.3") == OK
    assert daemon.ask("198.18.0.1") == OK
