"""Replaying what real daemons logged grants whoever authenticated, and nobody else.

The result is the same however the log is split into reads, blocks and rotated files.
"""

from __future__ import annotations

import gzip
import itertools
import json
import re
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pbs_watch.chain import Chain
from pbs_watch.grants.listing import granted
from pbs_watch.log import archive
from pbs_watch.log.clock import Clock
from pbs_watch.log.cuts import Cuts, Mode
from pbs_watch.log.file import LogFile
from pbs_watch.pattern.scan import Scanner
from pbs_watch.replay import opened_map, replay
from tests.logs import AFTER_CAPTURES, COURIER, LOGS, STAMPS, Watched, capture, policy, truth

CAPTURES = ("courier-clean", "courier-forged", "courier-odd")
MODES: tuple[Mode, ...] = ("strict", "next")

Outcome = tuple[set[str], int, int, int, int]
"""Granted addresses; counts of lines, cuts, suspects and logins."""

few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
each_capture = pytest.mark.parametrize(
    ("name", "stamps", "mode"), list(itertools.product(CAPTURES, STAMPS, MODES))
)


def outcome(watching: Watched) -> Outcome:
    counts = watching.chain.counts
    return watching.allowed(), counts.lines, counts.cuts, counts.suspect, counts.judged.logins


def whole(name: str, stamps: str, mode: Mode) -> Outcome:
    watching = Watched(mode)
    watching.feed(capture(name, stamps))
    return outcome(watching)


def replayed(files: list[Path], mode: Mode = "strict") -> tuple[set[str], Chain]:
    """The same through the map, as the command does it."""
    chain = Chain(Scanner(COURIER, Clock(UTC)), policy())
    names = [str(path) for path in files]
    with opened_map(None) as grants:
        done = replay(names, chain, Cuts(mode), grants, now=AFTER_CAPTURES, until=None)
        return {row.address.decode() for row in granted(grants, done.at)}, chain


def expected(stamps: str, mode: Mode) -> set[str]:
    found = json.loads((LOGS / "courier-forged.expected.json").read_text())[stamps]
    assert found["cuts"] == 9
    return set(found[mode])


@pytest.mark.parametrize("stamps", STAMPS)
@pytest.mark.parametrize("mode", [*MODES, "off"])
def test_a_clean_log_grants_exactly_those_who_authenticated(stamps: str, mode: Mode) -> None:
    granted, lines, cuts, suspects, logins = whole("courier-clean", stamps, mode)
    assert granted == set(truth("courier-clean")["authenticated"])
    assert (lines, cuts, suspects, logins) == (240, 0, 0, 80)


@pytest.mark.parametrize("stamps", STAMPS)
@pytest.mark.parametrize("mode", MODES)
def test_a_forged_log_grants_what_the_rules_leave_over(stamps: str, mode: Mode) -> None:
    granted, lines, cuts, _, _ = whole("courier-forged", stamps, mode)
    assert granted == expected(stamps, mode)
    assert (lines, cuts) == (199, 9)
    told = truth("courier-forged")
    assert not granted & set(told["never_authenticated"])
    assert granted <= set(told["authenticated"])
    assert not any(address.startswith("192.0.2.") for address in granted)


@pytest.mark.parametrize("stamps", STAMPS)
def test_without_the_cut_rules_forgers_are_granted(stamps: str) -> None:
    """So the forged log tests something: only the rules keep these out."""
    granted, *_ = whole("courier-forged", stamps, "off")
    assert granted & set(truth("courier-forged")["never_authenticated"])
    assert any(address.startswith("192.0.2.") for address in granted)


@pytest.mark.parametrize("stamps", STAMPS)
def test_a_login_that_was_swallowed_is_proven_by_its_end(stamps: str) -> None:
    granted, *_ = whole("courier-forged", stamps, "next")
    lines = capture("courier-forged", stamps).splitlines()
    (only,) = (line for line in lines if b"user=" in line and b"198.18.112.36]" in line)
    assert b": LOGOUT, user=" in only
    assert "198.18.112.36" in granted
    assert "198.18.112.39" not in granted  # not a single line of it was logged


@pytest.mark.parametrize("stamps", STAMPS)
def test_odd_sessions_are_granted_by_their_logins(stamps: str) -> None:
    granted, lines, cuts, suspects, logins = whole("courier-odd", stamps, "strict")
    logged = re.findall(
        rb": LOGIN, user=\w+, ip=\[(?:::ffff:)?([^\]]+)\]", capture("courier-odd", stamps)
    )
    assert granted == {address.decode() for address in logged}
    assert granted == {*(f"198.18.113.{n}" for n in (1, 2, 3, 4, 6)), "2001:db8::1"}
    assert (lines, cuts, suspects, logins) == (26, 0, 0, 8)


@each_capture
def test_the_command_judges_as_the_chain_does(
    name: str, stamps: str, mode: Mode, tmp_path: Path
) -> None:
    granted, lines, cuts, suspects, logins = whole(name, stamps, mode)
    plain = LOGS / f"{name}.{stamps}.log"
    packed = tmp_path / "mail.log.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, packed):
        found, chain = replayed([path], mode)
        assert found == granted
        counts = chain.counts
        assert (counts.lines, counts.cuts) == (lines, cuts)
        assert (counts.suspect, counts.judged.logins) == (suspects, logins)


def split(data: bytes, places: list[int]) -> Iterator[bytes]:
    """``data`` in pieces that end at the line ends after ``places``."""
    ends = sorted({data.find(b"\n", place) + 1 or len(data) for place in places} | {len(data)})
    for start, end in itertools.pairwise([0, *ends]):
        yield data[start:end]


places = st.lists(st.integers(0, 30_000), max_size=30)


@each_capture
@few
@given(cut_at=places)
def test_any_blocks_give_the_same(name: str, stamps: str, mode: Mode, cut_at: list[int]) -> None:
    watching = Watched(mode)
    for block in split(capture(name, stamps), cut_at):
        watching.feed(block)
    assert outcome(watching) == whole(name, stamps, mode)


@each_capture
def test_line_by_line_gives_the_same(name: str, stamps: str, mode: Mode) -> None:
    watching = Watched(mode)
    for line in capture(name, stamps).splitlines(keepends=True):
        watching.feed(line)
    assert outcome(watching) == whole(name, stamps, mode)


@each_capture
@few
@given(sizes=st.lists(st.integers(1, 2000), min_size=1, max_size=30), limit=st.integers(1100, 9000))
def test_any_writes_and_reads_of_a_growing_log_give_the_same(
    name: str, stamps: str, mode: Mode, sizes: list[int], limit: int
) -> None:
    """The log is written in pieces of any size; after each, whatever is whole is read."""
    data = capture(name, stamps)
    watching = Watched(mode)
    with TemporaryDirectory() as directory:
        path = Path(directory) / "mail.log"
        with path.open("wb", buffering=0) as writer:
            log = LogFile(str(path))
            written = 0
            for size in itertools.cycle(sizes):
                if written >= len(data):
                    break
                writer.write(data[written : written + size])
                written += size
                while blocks := log.read(log.see(), limit):
                    for block in blocks:
                        watching.feed(block.data[block.start : block.end])
            log.close()
    assert outcome(watching) == whole(name, stamps, mode)


@each_capture
@pytest.mark.parametrize("size", [2, 3, 64, 505, 4096, 20_000])
def test_any_size_of_reads_in_a_replay_gives_the_same(
    name: str, stamps: str, mode: Mode, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "CHUNK", size)
    granted, lines, cuts, suspects, logins = whole(name, stamps, mode)
    found, chain = replayed([LOGS / f"{name}.{stamps}.log"], mode)
    counts = chain.counts
    assert found == granted
    assert (counts.lines, counts.cuts) == (lines, cuts)
    assert (counts.suspect, counts.judged.logins) == (suspects, logins)


@each_capture
@settings(few, max_examples=6)
@given(cut_at=st.lists(st.integers(0, 30_000), max_size=5))
def test_any_rotated_files_give_the_same(
    name: str, stamps: str, mode: Mode, cut_at: list[int]
) -> None:
    granted, lines, cuts, suspects, logins = whole(name, stamps, mode)
    with TemporaryDirectory() as directory:
        files = []
        for number, part in enumerate(split(capture(name, stamps), cut_at)):
            files.append(Path(directory) / f"mail.log.{number}")
            files[-1].write_bytes(part)
        found, chain = replayed(files, mode)
    counts = chain.counts
    assert found == granted
    assert (counts.lines, counts.cuts) == (lines, cuts)
    assert (counts.suspect, counts.judged.logins) == (suspects, logins)


@pytest.mark.parametrize("stamps", STAMPS)
def test_half_a_line_at_the_end_of_a_replayed_file_is_no_line(stamps: str, tmp_path: Path) -> None:
    """And what follows it, in the next file, is suspect."""
    data = capture("courier-odd", stamps)
    login = data.index(b"LOGIN, user=bob, ip=[2001:db8::1]")
    end = data.index(b"\n", login)
    parts = [tmp_path / "1", tmp_path / "2"]
    parts[0].write_bytes(data[:end])
    parts[1].write_bytes(data[end + 1 :])
    granted, chain = replayed(parts)
    assert "198.18.113.1" in granted
    assert not {"2001:db8::1", "198.18.113.6"} & granted
    assert chain.counts.suspect > 0
