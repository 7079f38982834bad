"""Rotated logs that were compressed are read like the others, and lookups do not wait for it."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pbs_watch.log.rotation import Sibling, oldest_first
from tests.promise_3_exactly_once.followed import Followed, Writer, lines, numbered, text
from tests.promise_3_exactly_once.history import COMPRESSED, compress

endings = pytest.mark.parametrize("ending", sorted(COMPRESSED))


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    opened = Writer(tmp_path / "mail.log")
    yield opened
    opened.file.close()


@pytest.fixture
def log(writer: Writer) -> Iterator[Followed]:
    followed = Followed(writer.path).start()
    yield followed
    followed.source.close()


# While it follows


@endings
def test_compressed_at_once_under_a_follower(log: Followed, writer: Writer, ending: str) -> None:
    writer.write(text(0, 10))
    log.drain()
    writer.write(text(10, 20))
    writer.rotate()
    compress(numbered(writer.path, 1), ending)
    writer.write(text(20, 30))
    log.drain()
    assert log.lines == lines(0, 30)
    assert log.gaps == 0


@endings
def test_several_rotations_between_two_looks(log: Followed, writer: Writer, ending: str) -> None:
    writer.write(text(0, 10))
    log.drain()
    for first in (10, 20, 30):
        writer.write(text(first, first + 10))
        writer.rotate()
        compress(numbered(writer.path, 1), ending)
    writer.write(text(40, 50))
    log.drain()
    assert log.lines == lines(0, 50)
    assert log.gaps == 0


@endings
def test_copied_truncated_and_the_copy_compressed(
    log: Followed, writer: Writer, ending: str
) -> None:
    writer.write(text(0, 10))
    log.drain()
    writer.write(text(10, 20))
    writer.copytruncate()
    compress(numbered(writer.path, 1), ending)
    writer.write(text(20, 30))
    log.drain()
    assert log.lines == lines(0, 30)
    assert log.gaps == 1


# Restarts


@endings
@pytest.mark.parametrize("delayed", [False, True])
def test_rotated_and_compressed_while_it_was_stopped(
    log: Followed,
    writer: Writer,
    ending: str,
    delayed: bool,  # noqa: FBT001
) -> None:
    writer.write(text(0, 10))
    log.drain()
    for first in (10, 20, 30):
        writer.write(text(first, first + 10))
        if delayed and first > 10:
            compress(numbered(writer.path, 1), ending)
        writer.rotate()
        if not delayed:
            compress(numbered(writer.path, 1), ending)
    writer.write(text(40, 50))
    log.restart()
    log.drain()
    assert log.lines == lines(0, 50)
    assert "not found again" not in "".join(log.notices)


@endings
def test_a_restart_in_the_middle_of_a_compressed_file(writer: Writer, ending: str) -> None:
    writer.write(text(0, 20_000))
    log = Followed(writer.path).start()
    log.look()
    log.source.read(100_000)
    positions = log.source.positions
    first = text(0, 20_000)[: positions[0].offset].count(b"\n")
    log.source.close()
    writer.rotate()
    compress(numbered(writer.path, 1), ending)
    for _ in range(3):
        # Each start reads on a little in the compressed file, and is stopped there.
        log.reopen(positions)
        for _ in range(20):
            log.look()
            blocks, _ = log.source.read(100_000)
            log.lines += b"".join(block.data[block.start : block.end] for block in blocks).split(
                b"\n"
            )[:-1]
        positions = log.source.positions
        log.source.close()
    log.reopen(positions)
    log.drain()
    log.source.close()
    assert first > 0
    assert log.lines == lines(first, 20_000)


def test_nothing_is_known_while_a_compressed_file_is_searched(writer: Writer) -> None:
    writer.write(text(0, 20_000))
    log = Followed(writer.path).start()
    log.drain()
    committed = log.source.positions
    log.source.close()
    writer.rotate()
    compress(numbered(writer.path, 1), ".gz")
    writer.write(text(20_000, 20_010))
    log.reopen(committed)
    searching = 0
    while log.look() and log.source.positions == committed:
        # Whatever is committed meanwhile, the place is not lost.
        assert log.source.unsure
        assert log.source.read(70_000)[0] == []
        searching += 1
    assert searching > 10
    log.drain()
    log.source.close()
    assert log.lines == lines(0, 20_010)


@endings
def test_a_damaged_file_is_a_gap_and_the_rest_is_read(
    log: Followed, writer: Writer, ending: str
) -> None:
    writer.write(text(0, 10))
    log.drain()
    writer.rotate()
    writer.write(text(10, 50_000))
    writer.rotate()
    damaged = compress(numbered(writer.path, 1), ending)
    data = damaged.read_bytes()
    damaged.write_bytes(data[: len(data) * 3 // 4])
    writer.write(text(50_000, 50_010))
    log.restart()
    log.drain()
    # What stands before the damage counts, what comes after it too, and nothing is made up.
    before = log.lines[:-10]
    assert before == lines(0, len(before))
    assert 20_000 < len(before) < 50_000
    assert log.lines[-10:] == lines(50_000, 50_010)
    assert log.gaps == 1
    assert sum("mail.log.1" in notice and "to its end" in notice for notice in log.notices) == 1


@endings
def test_a_log_that_shrinks_a_thousand_times_is_read_in_small_steps(
    writer: Writer, ending: str
) -> None:
    """A client can say the same as often as it likes."""
    writer.write(text(0, 10))
    log = Followed(writer.path).start()
    log.drain()
    positions = log.source.positions
    log.source.close()
    said = b"pop3d: LOGIN FAILED, user=bob, ip=[::ffff:203.0.113.1], port=[1]\n"
    for _ in range(64):
        writer.write(said * (1 << 14))
    writer.rotate()
    assert compress(numbered(writer.path, 1), ending).stat().st_size < 500_000
    log.reopen(positions)
    size, slowest, began = 0, 0.0, time.process_time()
    while log.look():
        step = time.process_time()
        size += log.source.read(128 << 10)[1]
        slowest = max(slowest, time.process_time() - step)
    log.source.close()
    assert size > 64 * len(said) * (1 << 14)
    assert slowest < 0.1
    assert time.process_time() - began < 5


def test_a_part_that_cannot_be_read_is_a_gap(log: Followed, writer: Writer) -> None:
    writer.write(text(0, 10))
    log.drain()
    writer.rotate()
    writer.write(text(10, 20))
    writer.rotate()
    unreadable = numbered(writer.path, 1)
    unreadable.unlink()
    unreadable.mkdir()
    writer.write(text(20, 30))
    log.drain()
    assert log.lines == [*lines(0, 10), *lines(20, 30)]
    assert log.gaps == 1


def test_a_file_that_is_being_compressed_is_read_once(log: Followed, writer: Writer) -> None:
    writer.write(text(0, 10))
    log.drain()
    writer.write(text(10, 20))
    writer.rotate()
    writer.write(text(20, 30))
    plain = numbered(writer.path, 1)
    plain.with_name("mail.log.1.gz").write_bytes(gzip.compress(plain.read_bytes())[:50])
    log.restart()
    log.drain()
    assert log.lines == lines(0, 30)
    assert log.gaps == 0


def test_a_position_that_is_nowhere_is_a_gap(log: Followed, writer: Writer) -> None:
    writer.write(text(0, 10))
    log.drain()
    writer.path.unlink()
    numbered(writer.path, 1).with_name("mail.log.1.gz").write_bytes(gzip.compress(text(50, 60)))
    writer.reopen()
    writer.write(text(60, 70))
    log.restart()
    log.drain()
    assert log.lines == [*lines(0, 10), *lines(50, 70)]
    assert log.gaps == 1


def test_a_fifo_with_the_name_of_a_compressed_log_holds_nothing_up(
    log: Followed, writer: Writer
) -> None:
    writer.write(text(0, 10))
    log.drain()
    os.mkfifo(numbered(writer.path, 1).with_name("mail.log.1.gz"))
    writer.write(text(10, 20))
    log.restart()
    log.drain()
    assert log.lines == lines(0, 20)


# A first start


def test_a_first_start_reads_compressed_predecessors_within_the_window(writer: Writer) -> None:
    def dated(*numbers: int) -> bytes:
        return b"".join(b"%010d %s\n" % (number, b"x" * 80) for number in range(*numbers))

    written = time.time_ns()
    for first in range(0, 40, 10):
        writer.write(dated(first, first + 10))
        if first < 30:
            writer.rotate()
            packed = compress(numbered(writer.path, 1), ".xz")
            os.utime(packed, ns=(written, written))
    log = Followed(writer.path).start(since=25.0, date_of=lambda data: float(data[:10] or b"0"))
    log.drain()
    log.source.close()
    assert log.lines == dated(20, 40).splitlines()
    assert log.gaps == 1  # what stands before it is not known


def test_what_was_written_before_the_window_is_not_even_opened(writer: Writer) -> None:
    writer.write(text(0, 10))
    writer.rotate()
    packed = compress(numbered(writer.path, 1), ".gz")
    packed.write_bytes(b"not compressed at all")
    os.utime(packed, (1000, 1000))
    writer.write(text(10, 20))
    log = Followed(writer.path).start(since=2000.0, date_of=lambda _: 3000.0)
    log.drain()
    log.source.close()
    assert log.lines == lines(10, 20)
    assert log.notices == []


# The order of names


@pytest.mark.parametrize(
    "other", ["mail.log.198.18.1.2", "mail.log-host7", "mail.log.2000x", "mail.log.1.bz2"]
)
def test_other_logs_are_no_parts_of_this_one(log: Followed, writer: Writer, other: str) -> None:
    writer.write(text(0, 10))
    log.drain()
    writer.rotate()
    beside = writer.path.with_name(other)
    beside.write_bytes(text(500, 510))
    os.utime(beside, ns=(writer.path.stat().st_mtime_ns,) * 2)
    writer.write(text(10, 20))
    log.drain()
    assert log.lines == lines(0, 20)


@pytest.mark.parametrize(
    "names",
    [
        ["mail.log.10.gz", "mail.log.3.gz", "mail.log.2", "mail.log.1"],
        ["mail.log-20251231.xz", "mail.log-20260101", "mail.log-20261122"],
        ["mail.log-2026-01-31.zst", "mail.log-2026-02-01", "mail.log-2026-11-22"],
        ["mail.log-20261122-1795000000.gz", "mail.log-20261122-1795000100"],
    ],
)
def test_names_tell_the_order_whatever_the_clock_said(names: list[str]) -> None:
    set_back = [Sibling(name, 1000 - age) for age, name in enumerate(names)]
    assert [one.path for one in oldest_first("mail.log", list(reversed(set_back)))] == names


def test_a_log_may_have_a_number_as_its_name() -> None:
    parts = [Sibling(f"/var/log/mail.2026.{number}", 0) for number in (3, 2, 1)]
    assert oldest_first("mail.2026", parts[::-1]) == parts


def test_counted_and_dated_names_are_ordered_by_their_times() -> None:
    mixed = [
        Sibling("mail.log.1", 30),
        Sibling("mail.log-20261122.gz", 10),
        Sibling("mail.log.2", 20),
    ]
    assert [one.modified for one in oldest_first("mail.log", mixed)] == [10, 20, 30]
