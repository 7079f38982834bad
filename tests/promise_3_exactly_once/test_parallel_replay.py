"""Several processes make of a large log exactly what one makes of it."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import lmdb
import pytest

from pbs_watch import replay as replaying
from pbs_watch.chain import Chain, Counts
from pbs_watch.errors import SourceError
from pbs_watch.grants.listing import granted
from pbs_watch.grants.rows import SOURCE_NAME
from pbs_watch.grants.store import Map
from pbs_watch.log import segments
from pbs_watch.log.clock import Clock
from pbs_watch.log.cuts import Cuts, Mode
from pbs_watch.log.lines import LINE_LIMIT
from pbs_watch.pattern.scan import Scanner
from pbs_watch.replay import replay
from tests.logs import AFTER_CAPTURES, COURIER, STAMPS, capture, policy, truth

CAPTURES = ("courier-clean", "courier-forged", "courier-odd")


class Made(NamedTuple):
    """All that a replay makes."""

    counts: Counts
    size: int
    at: float
    doubts: dict[str, object]
    rows: dict[str, dict[bytes, bytes]]
    granted: set[bytes]


def rows(path: Path) -> dict[str, dict[bytes, bytes]]:
    """The rows of a closed map, but for the expiry index, which depends on when it was written.

    Nor does it matter what the log was called, and which number its file had; the offsets do.
    """
    env = lmdb.open(str(path), max_dbs=16, readonly=True, lock=False)
    with env.begin() as txn:
        tables = [name.decode() for name in txn.cursor().iternext(values=False)]
    found = {}
    for table in tables:
        if table != "expiry":
            database = env.open_db(table.encode(), create=False)
            with env.begin(db=database) as txn:
                found[table] = dict(txn.cursor())
    env.close()
    for table, at in (("grants", 24), ("logins", 24), ("past", 32), ("refusals", 32)):
        found[table] = {key: one[:at] + one[at + 16 :] for key, one in found[table].items()}
    found["meta"] = {
        name: one for name, one in found["meta"].items() if not name.startswith(SOURCE_NAME)
    }
    return found


class Replays:
    """Replays logs, by one process or more, and counts the processes that were forked."""

    def __init__(self, home: Path, retention: float) -> None:
        self.forked = 0
        self.retention = retention
        self._home = home
        self._count = 0

    def made(
        self, *logs: bytes, processes: int = 1, mode: Mode = "strict", until: float | None = None
    ) -> Made:
        self._count += 1
        home = self._home / str(self._count)
        home.mkdir()
        paths = []
        for number, log in enumerate(logs):
            (home / str(number)).write_bytes(log)
            paths.append(str(home / str(number)))
        cuts = Cuts(mode)
        grants = Map(home / "map", "scratch")
        grants.retention = self.retention
        chain = Chain(Scanner(COURIER, Clock(UTC)), policy())
        before = self.forked
        done = replay(
            paths, chain, cuts, grants, now=AFTER_CAPTURES, until=until, processes=processes
        )
        told = {row.address for row in granted(grants, done.at)}
        grants.close()
        assert self.forked - before < max(processes, 2) * len(logs)
        doubts = {name: cuts.dump()[name] for name in ("gap", "doubts")}
        return Made(done.counts, done.bytes, done.at, doubts, rows(home / "map"), told)


@pytest.fixture(params=[0.0, 3600.0], ids=["thrown away", "kept"])
def replays(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Replays:
    """With a map that nobody sees afterwards, and with one that remembers what is over."""
    made = Replays(tmp_path, request.param)
    fork = os.fork

    def counted() -> int:
        made.forked += 1
        return fork()

    monkeypatch.setattr(os, "fork", counted)
    monkeypatch.setattr(replaying, "_LARGE", 0)
    monkeypatch.setattr(segments, "SMALLEST", 1)
    return made


def cut_at(monkeypatch: pytest.MonkeyPatch, *borders: int) -> None:
    """Divides logs there, which must be where lines begin, whatever the number of processes."""

    def boundaries(_descriptor: int, size: int, _parts: int) -> list[int]:
        return [0, *borders, size]

    monkeypatch.setattr(replaying, "boundaries", boundaries)


@pytest.mark.parametrize("stamps", STAMPS)
@pytest.mark.parametrize("name", CAPTURES)
@pytest.mark.parametrize("mode", ["strict", "next", "off"])
def test_captured_logs_again_and_again(
    replays: Replays, name: str, stamps: str, mode: Mode
) -> None:
    log = capture(name, stamps) * 5
    one = replays.made(log, mode=mode)
    assert one.counts.lines == log.count(b"\n")
    assert one.counts.judged.logins > 0
    assert replays.made(log, processes=7, mode=mode) == one
    assert replays.forked == 6


@pytest.mark.parametrize("stamps", STAMPS)
def test_who_is_granted(replays: Replays, stamps: str) -> None:
    found = replays.made(capture("courier-clean", stamps), processes=3)
    everybody = {address.encode() for address in truth("courier-clean")["authenticated"]}
    assert found.granted == everybody


@pytest.mark.parametrize("stamps", STAMPS)
def test_cuts_at_the_border_of_parts(
    replays: Replays, monkeypatch: pytest.MonkeyPatch, stamps: str
) -> None:
    """The border stands once before every line."""
    log = capture("courier-forged", stamps)
    one = replays.made(log)
    assert one.counts.cuts == 9
    assert one.counts.suspect > 0
    border = 0
    for line in log.splitlines(keepends=True)[:-1]:
        border += len(line)
        cut_at(monkeypatch, border)
        assert replays.made(log, processes=2) == one


@pytest.mark.parametrize("processes", [2, 3, 40])
@pytest.mark.parametrize("stamps", STAMPS)
def test_cuts_in_any_number_of_parts(replays: Replays, stamps: str, processes: int) -> None:
    log = capture("courier-forged", stamps)
    assert replays.made(log, processes=processes) == replays.made(log)


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b"N",
        b"Nov 22 08:59:00 mail pop3d: LOGIN, user=bob, ip=[198.18.9.9], port=[1]",
        b"x" * (LINE_LIMIT - 1),
        b"x" * LINE_LIMIT,
        b"x" * (LINE_LIMIT + 1),
        b"x" * 300_000,
        b"Nov 22 08:59:00 mail pop3d: LOGIN FAILED, user=" + b"x" * 300_000,
    ],
    ids=["none", "a byte", "a login", "limit - 1", "limit", "limit + 1", "long", "long and cut"],
)
@pytest.mark.parametrize("processes", [2, 30])
def test_an_unfinished_last_line(replays: Replays, tail: bytes, processes: int) -> None:
    log = capture("courier-clean", "bsd")
    # What follows in the next file is suspect, as behind every gap.
    one = replays.made(log + tail, log)
    assert one.doubts["gap"] == bool(tail)
    assert (one.counts.suspect > 0) == bool(tail)
    assert replays.made(log + tail, log, processes=processes) == one


@pytest.mark.parametrize("log", [b"", b"\n", b"x", b"x" * 1000, b"\n" * 1000])
def test_next_to_nothing(replays: Replays, log: bytes) -> None:
    assert replays.made(log, processes=3) == replays.made(log)


@pytest.mark.parametrize("long", [600, 20_000, LINE_LIMIT, LINE_LIMIT + 1, 3 * LINE_LIMIT])
@pytest.mark.parametrize("processes", [3, 40])
def test_lines_longer_than_a_part(replays: Replays, long: int, processes: int) -> None:
    lines = capture("courier-clean", "rfc3339").splitlines(keepends=True)
    header = lines[0][: lines[0].index(b"Connection")]
    for at in (200, 100, 3, 0):
        lines.insert(at, header + b"LOGIN, user=" + b"x" * long + b"\n")
        lines.insert(at, b"y" * long + b"\n")
    log = b"".join(lines)
    one = replays.made(log)
    assert one.counts.cuts == 4
    assert replays.made(log, processes=processes) == one


@pytest.mark.parametrize("batch", [1, 40])
def test_however_often_it_is_committed(
    replays: Replays, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    replays.retention = 0.0  # what a map remembers is what it found over at a commit
    log = b"".join(capture(name, "rfc3339") for name in CAPTURES) * 2
    one = replays.made(log)
    monkeypatch.setattr(replaying, "_BATCH", batch)
    assert replays.made(log, processes=3) == one


def test_lines_after_the_end_have_no_effect(replays: Replays) -> None:
    log = capture("courier-clean", "rfc3339")
    lines = log.splitlines()
    middle = datetime.fromisoformat(lines[len(lines) // 2].split()[0].decode()).timestamp()
    one = replays.made(log, until=middle)
    assert 0 < one.counts.judged.logins < 80
    assert replays.made(log, processes=3, until=middle) == one


def test_logs_at_random(replays: Replays) -> None:
    """Slices of the captures, long lines and losses between them, in any number of parts."""
    chance = random.Random(3)
    lines = [
        line for name in CAPTURES for line in capture(name, "rfc3339").splitlines(keepends=True)
    ]
    stamp = lines[0][:32]
    lost = stamp + b" mail rsyslogd: imuxsock lost 3 messages due to rate-limiting\n"
    suspect = 0
    for _ in range(20):
        log = b""
        for _ in range(chance.randrange(1, 12)):
            begin = chance.randrange(len(lines))
            log += b"".join(lines[begin : begin + chance.randrange(80)])
            log += chance.choice([b"", b"", lost, b"z" * chance.randrange(2000) + b"\n"])
        log = log[: len(log) - chance.choice([0, 0, 1, 30])]
        one = replays.made(log)
        suspect += one.counts.suspect
        several = replays.made(log, processes=chance.choice([2, 3, 10]))
        # Out of order, the latest stamp is the latest of those that were looked at.
        assert one.counts.latest is not None or log.count(b"\n") == 0
        several.counts.latest, several = one.counts.latest, several._replace(at=one.at)
        assert several == one
    assert suspect > 0


def test_a_tag_that_is_first_seen_long_after_a_gap(replays: Replays) -> None:
    stamp = b"2026-11-22T08:%02d:%02d.5+00:00 mail "
    lost = stamp % (0, 0) + b"rsyslogd: imuxsock lost 3 messages due to rate-limiting\n"
    login = b"LOGIN, user=bob, ip=[198.18.0.%d], port=[4242]"
    between = b"".join(
        stamp % (1 + n // 3000, n // 50 % 60) + b"pop3d: Connection, ip=[198.18.9.9]\n"
        for n in range(40_000)
    )
    late = stamp % (30, 0) + b"imapd: " + login % 1 + b", protocol=IMAP\n"
    pop3d = stamp % (30, 1) + b"pop3d: " + login % 2 + b"\n"
    log = lost + between + late + pop3d
    assert len(log) > 2 << 20
    one = replays.made(log)
    assert one.granted == {b"198.18.0.2"}
    assert one.counts.suspect == 1
    assert replays.made(log, processes=9) == one


# What nobody asks for


def test_what_is_over_by_the_end_need_not_be_kept(tmp_path: Path) -> None:
    """Sessions of all lengths, windows that join and end, over a week: the same may relay."""
    chance = random.Random(5)
    lines: list[tuple[float, bytes]] = []
    for number in range(3000):
        began = chance.random() * 7 * 86400
        lasted = int(chance.choice([3, 600, 7200, 100_000]) * chance.random())
        who = b"user=u%d, ip=[198.18.%d.%d], port=[%d]" % (
            number % 5, number % 7, number % 50, number % 3
        )  # fmt: skip
        lines.append((began, b"LOGIN, " + who + b", protocol=IMAP"))
        if chance.random() < 0.7:
            word = chance.choice([b"LOGOUT, ", b"DISCONNECTED, ", b"TIMEOUT, "])
            lines.append((began + lasted, word + who + b", headers=0, body=0, time=%d" % lasted))
    log = b"".join(
        datetime.fromtimestamp(1.79e9 + when, UTC).isoformat().encode()
        + b" mail imapd: %b\n" % text
        for when, text in sorted(lines)
    )
    (tmp_path / "kept").mkdir()
    (tmp_path / "not").mkdir()
    kept, thrown = Replays(tmp_path / "kept", 3600.0), Replays(tmp_path / "not", 0.0)
    for until in (None, *(1.79e9 + chance.random() * 7 * 86400 for _ in range(20))):
        one, other = kept.made(log, until=until), thrown.made(log, until=until)
        assert one.granted == other.granted
        assert one.counts == other.counts
        assert one.granted
        assert len(other.rows["logins"]) < len(one.rows["logins"])


# Processes that fail


@pytest.mark.parametrize("how", ["killed", "an error"])
def test_a_process_that_fails(replays: Replays, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    log = capture("courier-clean", "rfc3339") * 3
    one = replays.made(log)
    parent, pieces = os.getpid(), segments.pieces
    in_order = []

    def failing(descriptor: int, start: int, end: int) -> Iterator[bytes]:
        if os.getpid() == parent:
            in_order.append(start)
        elif start > 20_000:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError("not read")
        return pieces(descriptor, start, end)

    monkeypatch.setattr(replaying, "pieces", failing)
    assert replays.made(log, processes=20) == one
    assert len(in_order) > 10


def test_an_error_ends_all_processes(replays: Replays, monkeypatch: pytest.MonkeyPatch) -> None:
    log = capture("courier-forged", "rfc3339") * 200
    parent = os.getpid()
    pieces = segments.pieces

    def failing(descriptor: int, start: int, end: int) -> Iterator[bytes]:
        if os.getpid() == parent:
            raise OSError("the disk is gone")
        return pieces(descriptor, start, end)

    monkeypatch.setattr(replaying, "pieces", failing)
    with pytest.raises(SourceError, match="the disk is gone"):
        replays.made(log, processes=3)
    # None is left to be waited for.
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
