"""Two hundred kills at random moments, under a busy log that is rotated every second.

The daemon is killed while it reads, commits and answers, and while it starts.  Whatever it lost of
its memory, every login counts, and nothing else does.
"""

from __future__ import annotations

import json
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from math import inf

from tests.daemon import NO, OK, TROUBLE, Daemon, Log, Process, command, until
from tests.slow.stream import BYSTANDERS, RATE, ROTATE_EVERY, Stream

Start = Callable[..., Daemon]
Launch = Callable[..., Process]


KILLS = 200
LONGEST_LIFE = 2.0
"""Seconds until a daemon that has started is killed."""

STARTING = 0.6
"""Seconds that a start takes on an idle machine, and some more."""

UNCOMMITTED = 10.0
"""Seconds after which what was read is committed, however busy the machine is."""

RECENT = 2000
"""Logins that are probably not committed yet, or were written while the daemon was dead."""


class Killer:
    """Starts a daemon, asks it, and kills it."""

    def __init__(self, daemon: Daemon, stream: Stream, launch: Launch, seed: int) -> None:
        self.asked: Counter[bytes] = Counter()
        self.kills = 0
        self.read = 0
        """Logins and ends that the daemons said they read; some are read twice."""
        self._daemon = daemon
        self._stream = stream
        self._launch = launch
        self._killed_at = time.time()
        self._chance = random.Random(seed)

    def run(self) -> None:
        while self.kills < KILLS:
            assert self._stream.running
            self._ask_for(self._chance.uniform(0.0, LONGEST_LIFE))
            killed_at = time.time()
            self._daemon.kill()
            self.kills += 1
            self._went_on_where_it_stopped()
            self._killed_at = killed_at
            while self.kills < KILLS and self._chance.random() < 0.3:
                self._kill_while_it_starts()
            self._daemon.start()

    def _ask_for(self, seconds: float) -> None:
        """What is in the log is never denied; what is not is never granted."""
        killed_at = time.monotonic() + seconds
        while time.monotonic() < killed_at:
            address = self._somebody_logged_in()
            answer = self._daemon.ask(address)
            self.asked[answer] += 1
            assert answer in {OK, TROUBLE}, (address, self.kills, self._notices())
            stranger = self._chance.choice(BYSTANDERS)
            assert self._daemon.ask(stranger) in {NO, TROUBLE}, (stranger, self.kills)

    def _notices(self) -> list[str]:
        """What the daemon said, but for each login and end."""
        return [one for one in self._daemon.said.splitlines() if not one.startswith("time=")]

    def _went_on_where_it_stopped(self) -> None:
        """It read again what had not been committed, and nothing that is older."""
        said = self._daemon.said
        assert "not found again" not in said, said
        stamps = re.findall(r"^time=(\S+) event=(?:granted|ended|refused) ", said, re.MULTILINE)
        logged = [datetime.fromisoformat(stamp).timestamp() for stamp in stamps]
        self.read += len(logged)
        oldest = min(logged, default=inf)
        assert oldest >= self._killed_at - UNCOMMITTED, (oldest, self.kills)

    def _somebody_logged_in(self) -> str:
        logged = self._stream.logged
        until(lambda: len(logged) > 0, "a login")
        count = len(logged)
        first = self._chance.choice([count - 1, max(count - RECENT, 0), 0])
        return logged[self._chance.randrange(first, count)]

    def _kill_while_it_starts(self) -> None:
        """Before it can answer; it may not even have opened its map."""
        home = self._daemon.map.parent
        process = self._launch(
            *("run", "--config", home / "empty.toml", "--map", self._daemon.map),
            *("--log", home / "mail.log", "--window", "12h", "--tcp-table", "127.0.0.1:0"),
        )
        threading.Event().wait(self._chance.uniform(0.0, STARTING))  # the moment is what varies
        assert process.signal(signal.SIGKILL) == -signal.SIGKILL, process.said
        self.kills += 1


def test_two_hundred_kills_lose_nothing_and_grant_nobody_else(
    start: Start, launch: Launch, log: Log
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    daemon = start("--window", "12h")
    stream = Stream(log, seed)
    killer = Killer(daemon, stream, launch, seed)
    try:
        killer.run()
    finally:
        stream.stop()
    print(f"{stream.lines} lines in {stream.seconds:.1f} s, {stream.rotations} rotations,")
    print(f"{stream.compressed} compressed, {stream.halves} halves,")
    print(f"{len(stream.expected)} addresses, {killer.read} read, {dict(killer.asked)}")
    assert stream.lines / stream.seconds > 0.9 * RATE
    assert stream.rotations > 0.9 * stream.seconds / ROTATE_EVERY
    assert stream.compressed > stream.rotations / 3
    # What those that were killed while they started had read is not known.
    assert killer.read > 0.5 * len(stream.logged)
    # "Cannot tell" is for the moments after a start.
    assert killer.asked[OK] > 10 * KILLS
    assert killer.asked[OK] > 4 * killer.asked[TROUBLE]
    everybody_is_granted_and_nobody_else(daemon, stream)


def everybody_is_granted_and_nobody_else(daemon: Daemon, stream: Stream) -> None:
    until(lambda: daemon.ask(BYSTANDERS[0]) != TROUBLE, "the whole log is read")
    denied = [address for address in stream.expected if daemon.ask(address) != OK]
    assert denied == []
    assert {daemon.ask(stranger) for stranger in BYSTANDERS} == {NO}
    daemon.stop()
    ended = command("list", "--json", "--map", daemon.map)
    assert ended.status == 0
    listed = {row["address"]: row for row in json.loads(ended.out)}
    assert listed.keys() == stream.expected.keys()
    wrong = [
        (row, listed[address])
        for address, row in stream.expected.items()
        if not row.agrees(listed[address])
    ]
    assert wrong == []
