"""The systemd journal as a source: real journal files, followed through the real journalctl.

systemd-journal-remote (the Debian package of that name) writes the files; both it and journalctl
(package systemd) must be installed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pbs_watch.config import Config
from pbs_watch.log.journal import PREFIX, Journal
from tests.daemon import NO, OK, TROUBLE, Daemon, addresses, command, until

Start = Callable[..., Daemon]
Message = str | bytes

REMOTE = "/lib/systemd/systemd-journal-remote"
LOGIN = "LOGIN, user=bob, ip=[%s], port=[4242]"


def field(name: str, value: Message) -> bytes:
    """A field in the journal's export format: binary where it is not one line of UTF-8."""
    data = value.encode() if isinstance(value, str) else value
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\n"
    if any(char < " " for char in text):
        return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
    return name.encode() + b"=" + data + b"\n"


def entry(message: Message, *, at: float | None = None, **fields: Message) -> bytes:
    """An entry as courierlogger makes it, unless told otherwise."""
    when = int((time.time() if at is None else at) * 1e6)
    told: dict[str, Message] = {
        "__REALTIME_TIMESTAMP": str(when),
        "__MONOTONIC_TIMESTAMP": str(when),
        "_BOOT_ID": "1" * 32,
        "_TRANSPORT": "syslog",
        "_HOSTNAME": "mail",
        "_COMM": "courierlogger",
        "_UID": "0",
        "SYSLOG_IDENTIFIER": "pop3d",
        "MESSAGE": message,
        **fields,
    }
    return b"".join(field(name, value) for name, value in told.items()) + b"\n"


def login(address: str, *, at: float | None = None, **fields: Message) -> bytes:
    """An entry of a login."""
    return entry(LOGIN % address, at=at, **fields)


def allows(daemon: Daemon, address: str) -> Callable[[], bool]:
    return lambda: daemon.ask(address) == OK


class Written:
    """A directory of journal files that a test writes to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = f"{PREFIX}{path}"
        path.mkdir()

    def write(self, *entries: bytes, file: str = "mail") -> None:
        """The entries are in the journal when the call returns."""
        done = subprocess.run(
            [REMOTE, f"--output={self.path}/{file}.journal", "-"],
            input=b"".join(entries),
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def journal(tmp_path: Path) -> Written:
    return Written(tmp_path / "journal")


@pytest.fixture
def daemon(start: Start, journal: Written) -> Daemon:
    return start(logs=(journal.name,))


def granted(daemon: Daemon, *logged: str) -> None:
    """Waits until the addresses may relay."""
    for address in logged:
        until(allows(daemon, address), f"{address} is granted: {daemon.said}")


def children(pid: int) -> list[int]:
    found = []
    for one in Path("/proc").glob("[0-9]*/stat"):
        try:
            status = one.read_text()
        except OSError:
            continue  # ended meanwhile
        if int(status.rpartition(")")[2].split()[1]) == pid:
            found.append(int(one.parent.name))
    return found


def said_granted(daemon: Daemon) -> list[str]:
    """The addresses that a daemon which ended said to have granted, in order."""
    lines = [line for line in daemon.said.splitlines() if " event=granted " in line]
    return [line.split()[2].removeprefix("address=") for line in lines]


# Following


def test_logins_before_the_start_and_after_it(start: Start, journal: Written) -> None:
    now = time.time()
    journal.write(
        login("198.18.0.1", at=now - 1200),
        entry(LOGIN % "198.18.0.2" + ", protocol=IMAP", at=now - 5, SYSLOG_IDENTIFIER="imapd"),
    )
    daemon = start(logs=(journal.name,))
    granted(daemon, "198.18.0.1", "198.18.0.2")
    for number in range(3, 8):
        began = time.monotonic()
        journal.write(login(f"::ffff:198.18.0.{number}"))
        granted(daemon, f"198.18.0.{number}")
        assert time.monotonic() - began < 5
    assert daemon.ask("198.18.0.8") == NO
    daemon.stop()
    assert said_granted(daemon) == [f"198.18.0.{number}" for number in range(1, 8)]
    assert [daemon.get(f"198.18.0.{number}") for number in range(1, 9)] == [0] * 7 + [1]


def test_a_journal_of_several_files(daemon: Daemon, journal: Written) -> None:
    for number in range(1, 5):
        journal.write(login(f"198.18.0.{number}"), file=f"mail{number}")
        granted(daemon, f"198.18.0.{number}")


def test_older_than_the_window(start: Start, journal: Written) -> None:
    now = time.time()
    journal.write(login("198.18.0.1", at=now - 7200), login("198.18.0.2", at=now - 1900))
    journal.write(*(entry("Connection, ip=[198.18.9.9]", at=now - 60 + n) for n in range(4)))
    journal.write(login("198.18.0.3", at=now))
    daemon = start(logs=(journal.name,))
    granted(daemon, "198.18.0.3")
    assert daemon.ask("198.18.0.1") == daemon.ask("198.18.0.2") == NO


def test_a_restart_goes_on_after_the_cursor(daemon: Daemon, journal: Written) -> None:
    first, second = addresses(60)[:30], addresses(60)[30:]
    journal.write(*map(login, first))
    granted(daemon, first[-1])
    daemon.stop()
    assert said_granted(daemon) == first
    journal.write(*map(login, second))
    daemon.start()
    granted(daemon, second[-1])
    daemon.stop()
    assert said_granted(daemon) == second
    assert "gone" not in daemon.said
    listed = command("list", "--json", "--map", daemon.map)
    assert {row["address"] for row in json.loads(listed.out)} == {*first, *second}


def test_a_reboot_loses_nothing(daemon: Daemon, journal: Written) -> None:
    journal.write(login("198.18.0.1"))
    granted(daemon, "198.18.0.1")
    daemon.stop()
    journal.write(login("198.18.0.2"))
    journal.write(login("198.18.0.3", _BOOT_ID="2" * 32), file="later")
    daemon.start()
    granted(daemon, "198.18.0.2", "198.18.0.3")
    daemon.stop()
    assert said_granted(daemon) == ["198.18.0.2", "198.18.0.3"]
    assert "gone" not in daemon.said


def test_a_journal_without_entries_is_waited_for(daemon: Daemon, journal: Written) -> None:
    until(lambda: daemon.ask("198.18.0.1") == NO, "journalctl runs")
    assert children(daemon.process.pid)
    journal.write(login("198.18.0.1"))
    granted(daemon, "198.18.0.1")
    assert "journalctl ended" not in daemon.said


def test_a_cursor_that_is_gone_is_a_gap(daemon: Daemon, journal: Written) -> None:
    journal.write(login("198.18.0.1"))
    granted(daemon, "198.18.0.1")
    daemon.stop()
    (journal.path / "mail.journal").unlink()
    now = time.time()
    times = {"198.18.0.2": now, "198.18.0.3": now + 1, "198.18.0.4": now + 2.5}
    journal.write(*(login(address, at=at) for address, at in times.items()))
    daemon.start()
    daemon.process.says("the entry read last is gone; some may have been missed")
    # Two messages and what follows within a second are suspect.
    granted(daemon, "198.18.0.4")
    assert daemon.ask("198.18.0.2") == daemon.ask("198.18.0.3") == NO
    assert daemon.ask("198.18.0.1") == OK


def test_journalctl_is_started_again(daemon: Daemon, journal: Written) -> None:
    journal.write(login("198.18.0.1"))
    granted(daemon, "198.18.0.1")
    (journalctl,) = children(daemon.process.pid)
    os.kill(journalctl, signal.SIGKILL)
    daemon.process.says("journalctl ended (-9); trying again")
    journal.write(login("198.18.0.2"))
    # The journal may hold a login that we cannot see: not "no".
    assert daemon.connect().ask("198.18.9.9") == TROUBLE
    assert daemon.ask("198.18.0.1") == OK
    granted(daemon, "198.18.0.2")
    assert daemon.ask("198.18.9.9") == NO
    assert len(children(daemon.process.pid)) == 1
    (journalctl,) = children(daemon.process.pid)
    daemon.stop()
    assert not Path(f"/proc/{journalctl}").exists()
    assert said_granted(daemon) == ["198.18.0.1", "198.18.0.2"]
    assert "gone" not in daemon.said


def test_a_directory_that_is_missing(start: Start, tmp_path: Path) -> None:
    daemon = start(logs=(f"{PREFIX}{tmp_path / 'none'}",))
    daemon.process.says("journalctl ended (Failed to open ")
    assert daemon.ask("198.18.0.1") == TROUBLE
    daemon.stop()


# Who is believed

FORGERIES: dict[str, dict[str, Message]] = {
    "logger": {"_COMM": "logger", "_UID": "1000"},
    "logger of root": {"_COMM": "logger"},
    "a program of that name": {"_UID": "1000"},
    "fields of its own": {"_COMM": "logger", "_UID": "1000", "COMM": "courierlogger", "UID": "0"},
    "through the kernel": {"_TRANSPORT": "kernel", "_COMM": "", "_UID": ""},
    "as the journal": {"_COMM": "x", "_UID": "7", "SYSLOG_IDENTIFIER": "systemd-journald"},
}
SUPPRESSED = "Suppressed 99 messages from courier-pop.service"


def forgeries() -> bytes:
    return b"".join(
        login(f"198.18.9.{number}", at=None, **fields) + entry(SUPPRESSED, at=None, **fields)
        for number, fields in enumerate(FORGERIES.values())
    )


def test_nobody_but_courierlogger_is_believed(daemon: Daemon, journal: Written) -> None:
    journal.write(forgeries(), login("198.18.0.1"))
    granted(daemon, "198.18.0.1")
    assert {daemon.ask(f"198.18.9.{number}") for number in range(len(FORGERIES))} == {NO}
    daemon.stop()
    assert said_granted(daemon) == ["198.18.0.1"]


def test_who_is_believed_can_be_set(start: Start, journal: Written, tmp_path: Path) -> None:
    config = tmp_path / "trusting.toml"
    config.write_text('journal_trust = ["_COMM=logger"]\n')
    daemon = start("--config", config, logs=(journal.name,))
    journal.write(login("198.18.0.1"), login("198.18.0.2", _COMM="logger", _UID="1000"))
    granted(daemon, "198.18.0.2")
    assert daemon.ask("198.18.0.1") == NO


def test_the_journal_tells_of_suppressed_messages(daemon: Daemon, journal: Written) -> None:
    own: dict[str, Message] = {"_TRANSPORT": "driver", "_COMM": "systemd-journal"}
    now = time.time()
    journal.write(
        login("198.18.0.1", at=now - 10),
        entry(SUPPRESSED, at=now - 9, SYSLOG_IDENTIFIER="systemd-journald", **own),
        login("198.18.0.2", at=now - 8),
        login("198.18.0.3", at=now - 5),
        login("198.18.0.4", at=now - 3),
    )
    granted(daemon, "198.18.0.1", "198.18.0.4")
    assert daemon.ask("198.18.0.2") == daemon.ask("198.18.0.3") == NO


# Whatever a message holds


def test_a_message_of_several_lines_is_one(daemon: Daemon, journal: Written) -> None:
    forged = f"2026-11-22T08:44:00+00:00 mail pop3d: {LOGIN % '198.18.9.1'}"
    now = time.time()
    tail = ", ip=[198.18.0.9], port=[1]"
    journal.write(
        entry(f"LOGIN FAILED, user=x\n{forged}\nx{tail}", at=now - 9),
        entry(f"LOGIN FAILED, user=x\r{forged}{tail}", at=now - 8),
        entry(f"LOGIN, user=x\n, ip=[198.18.9.2], port=[1]\n{tail}", at=now - 7),
        login("198.18.0.1", at=now),
    )
    granted(daemon, "198.18.0.1")
    assert [daemon.ask(one) for one in ("198.18.9.1", "198.18.9.2", "198.18.0.9")] == [NO] * 3


def test_a_user_that_is_not_utf_8(daemon: Daemon, journal: Written) -> None:
    journal.write(entry(b"LOGIN, user=j\xf6rg\xff, ip=[198.18.0.1], port=[1]"))
    granted(daemon, "198.18.0.1")
    daemon.process.says('user="j\\\\xf6rg\\\\xff" service=pop3d')


@pytest.mark.parametrize("size", [504, 20_000, 1_000_000])
@pytest.mark.parametrize("byte", [b"x", b"\xff"])
def test_a_very_long_message_is_a_cut(
    daemon: Daemon, journal: Written, size: int, byte: bytes
) -> None:
    now = time.time()
    journal.write(
        login("198.18.0.1", at=now - 9),
        entry(b"LOGIN FAILED, user=" + byte * size, at=now - 8),
        login("198.18.9.9", at=now - 7.9),
        login("198.18.9.8", at=now - 5),
        login("198.18.0.2", at=now - 3),
    )
    granted(daemon, "198.18.0.1", "198.18.0.2")
    assert daemon.ask("198.18.9.9") == daemon.ask("198.18.9.8") == NO


class Read:
    """A :class:`Journal` without a daemon, and all that it gave."""

    def __init__(self, name: str) -> None:
        self.gaps = 0
        self.lines: list[bytes] = []
        self.source = Journal(name, Config().journal_trust, self._gap, lambda _text: None)
        self.source.start("", 0.0)

    def _gap(self) -> None:
        self.gaps += 1

    def look(self) -> int:
        if self.source.look(time.monotonic()):
            for block in self.source.read(0)[0]:
                self.lines += block.data[block.start : block.end].splitlines(keepends=True)
        return len(self.lines)


def test_every_entry_once_and_in_order(journal: Written) -> None:
    chance = random.Random(2)
    messages = [
        b"%d " % number + chance.randbytes(chance.choice([0, 3, 40, 400])) for number in range(3000)
    ]
    messages[5:5] = [b"", b"-", b"\n", b"\0", "ü€\U0001f4e7\u2028".encode(), b"\x1b[31m\x7f"]
    journal.write(*map(entry, messages))
    read = Read(journal.name)
    try:
        until(lambda: read.look() >= len(messages), "all entries")
    finally:
        read.source.close()
    assert read.gaps == 0
    texts = [line.partition(b" mail pop3d: ")[2] for line in read.lines]
    assert texts == [_as_rsyslog_writes(message) + b"\n" for message in messages]


def _as_rsyslog_writes(message: bytes) -> bytes:
    return b"".join(
        b"#%03o" % byte if byte < 32 or byte == 127 else bytes([byte]) for byte in message
    )


def test_what_journalctl_complains_of_stops_nothing(
    journal: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would wait for whoever reads its standard error, were there nobody."""
    wrapper = tmp_path / "bin" / "journalctl"
    wrapper.parent.mkdir()
    wrapper.write_text('#!/bin/sh\nyes complaint | head -n 40000 >&2\nexec /bin/journalctl "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    journal.write(login("198.18.0.1"))
    read = Read(journal.name)
    try:
        until(lambda: read.look() == 1, "the entry")
    finally:
        read.source.close()
