"""A gigabyte of log to read at the start: lookups are answered all the while, and in time.

What is not known yet is "cannot tell", so that Postfix asks again later; it is never "no", and
never a grant for somebody who did not log in.
"""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon import NO, OK, TROUBLE, Connection, Daemon, addresses, command, rfc3339

Start = Callable[..., Daemon]

BACKLOG = 1_000_000_000
"""Bytes."""

IN_TIME = 1.0
"""Seconds within which an answer always comes (design.md)."""

PATIENCE = 150.0
"""Seconds after which the backlog should have been read, however slow the machine is."""

MEMORY = 300 << 20
"""Bytes that the daemon may take at most: it must not hold the backlog."""

HOUR = 3600.0
WINDOW = "12h"

ALLOWED = addresses(50_000)
"""Addresses that log in within the window, each of them several times."""

STRANGERS = addresses(2000, start=60_000)
"""Addresses that connect and fail to log in."""

LATE = addresses(2000, start=70_000)
"""Addresses that logged in before the window only."""

LINES, LOGINS = 20_000, 1000
"""Lines of a block, which is 2.5 MB, and logins among them."""

ASKERS = 4


def block() -> bytes:
    """Lines of one moment; ``%b`` stands for the address of each login, ``STAMP`` for the time."""
    chance = random.Random(1)
    sent = "relay=mail.example.com[{}]:25, delay=0.31, dsn=2.0.0, status=sent (250 2.0.0 Ok)"
    others = [
        "postfix/smtpd[812]: connect from host1.example.net[{}]",
        "postfix/smtpd[812]: 0A1B2C3D4E: client=host1.example.net[{}], sasl_method=PLAIN",
        "postfix/cleanup[813]: 0A1B2C3D4E: message-id=<0123456789abcdef.4242@client.example.net>",
        f"postfix/smtp[814]: 0A1B2C3D4E: to=<alice@example.com>, {sent}",
        "imapd: Connection, ip=[::ffff:{}], port=[4242]",
        "pop3d: LOGIN FAILED, user=alice, ip=[::ffff:{}], port=[4242]",
    ]
    logins = [
        "pop3d: LOGIN, user=alice, ip=[::ffff:%b], port=[4242]",
        "imapd: LOGIN, user=alice, ip=[::ffff:%b], port=[4242], protocol=IMAP",
    ]
    said = [chance.choice(logins) for _ in range(LOGINS)]
    said += [chance.choice(others).format(chance.choice(STRANGERS)) for _ in range(LINES - LOGINS)]
    chance.shuffle(said)
    return "".join(f"STAMP mail {one}\n" for one in said).encode()


def filled(template: bytes, at: float, who: list[str]) -> bytes:
    """The block at that time, with the logins of ``who``, each of them as often as it takes."""
    whole = [who[number % len(who)].encode() for number in range(LOGINS)]
    return template.replace(b"STAMP", rfc3339(at).encode()) % tuple(whole)


def write_backlog(path: Path) -> None:
    """Appends a gigabyte, from six hours ago until now."""
    template, now = block(), time.time()
    blocks = BACKLOG // len(filled(template, now, ALLOWED)) + 1
    with path.open("ab") as log:
        for number in range(blocks):
            first = number * LOGINS % len(ALLOWED)
            at = now - 6 * HOUR * (1 - number / blocks)
            log.write(filled(template, at, ALLOWED[first : first + LOGINS]))


class Asker:
    """Asks without a pause until it is stopped, and holds each answer to what the log says."""

    def __init__(self, connection: Connection, seed: int) -> None:
        self.answers: Counter[bytes] = Counter()
        self.slowest = 0.0
        self.wrong: list[tuple[str, bytes]] = []
        self._connection = connection
        self._chance = random.Random(seed)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        while not self._ended.is_set():
            self._ask(self._chance.choice(ALLOWED), OK)
            self._ask(self._chance.choice([*STRANGERS, *LATE]), NO)

    def _ask(self, key: str, right: bytes) -> None:
        began = time.monotonic()
        answer = self._connection.ask(key)
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.answers[answer] += 1
        if answer not in {right, TROUBLE}:
            self.wrong.append((key, answer))

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()


def until_it_is_read(daemon: Daemon) -> None:
    """A stranger's lookup can be answered only when the whole log is known."""
    deadline = time.monotonic() + PATIENCE
    while daemon.ask(STRANGERS[0]) == TROUBLE:
        assert time.monotonic() < deadline, daemon.said[-1000:]


def largest(daemon: Daemon) -> int:
    """Bytes of memory that the daemon had at most, the pages of its map included."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def answers_while_it_reads(daemon: Daemon) -> None:
    """Asks until the backlog has been read, and then about everybody."""
    began = time.monotonic()
    askers = [Asker(daemon.connect(), seed) for seed in range(ASKERS)]
    try:
        until_it_is_read(daemon)
        seconds = time.monotonic() - began
    finally:
        for asker in askers:
            asker.stop()
    answers = sum((asker.answers for asker in askers), Counter[bytes]())
    slowest = max(asker.slowest for asker in askers)
    memory = largest(daemon)
    print(f"{seconds:.1f} s, slowest {slowest:.3f} s, {memory >> 20} MiB, {dict(answers)}")
    assert [asker.wrong for asker in askers] == [[]] * ASKERS
    assert slowest < IN_TIME
    assert answers[TROUBLE] > 100
    assert memory < MEMORY
    assert [address for address in ALLOWED if daemon.ask(address) != OK] == []
    assert {daemon.ask(address) for address in (*STRANGERS, *LATE)} == {NO}
    daemon.stop()
    ended = command("list", "--json", "--map", daemon.map)
    assert {row["address"] for row in json.loads(ended.out)} == set(ALLOWED)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """The mail log; a gigabyte is not left behind."""
    path = tmp_path / "mail.log"
    yield path
    path.unlink()


def test_a_first_start_on_a_gigabyte(start: Start, log: Path) -> None:
    template, before = block(), time.time() - 13 * HOUR
    with log.open("wb") as file:
        for first in range(0, len(LATE), LOGINS):
            file.write(filled(template, before, LATE[first : first + LOGINS]))
    write_backlog(log)
    answers_while_it_reads(start("--window", WINDOW, quiet=True))


def test_a_restart_with_a_gigabyte_to_catch_up(start: Start, log: Path) -> None:
    log.write_bytes(filled(block(), time.time(), ALLOWED[:10]))
    daemon = start("--window", WINDOW, quiet=True)
    until_it_is_read(daemon)
    assert daemon.ask(ALLOWED[0]) == OK
    daemon.stop()
    write_backlog(log)
    daemon.start()
    answers_while_it_reads(daemon)
