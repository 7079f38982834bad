"""A followed log gives each whole line once and in order, through rotation and truncation."""

from __future__ import annotations

import errno
import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbs_watch.log import places
from pbs_watch.log.follow import GRACE, Source
from pbs_watch.log.lines import LINE_LIMIT, take
from tests.logs import capture
from tests.promise_3_exactly_once.followed import Followed, Writer, lines, numbered, text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mail.log"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    opened = Writer(path)
    yield opened
    opened.file.close()


@pytest.fixture
def log(path: Path, writer: Writer) -> Iterator[Followed]:
    assert writer.path == path
    followed = Followed(path).start()
    yield followed
    followed.source.close()


def test_a_real_log_is_read_as_it_is(log: Followed, writer: Writer) -> None:
    written = capture("courier-forged", "bsd")
    writer.write(written)
    assert log.drain() == written.splitlines()
    assert log.drain() == []
    assert log.gaps == 0


# Whole lines


def test_half_a_line_waits_until_it_is_completed(log: Followed, writer: Writer) -> None:
    for piece in (b"one\ntw", b"", b"o", b" and", b" more"):
        writer.write(piece)
        log.drain()
    assert log.lines == [b"one"]
    writer.write(b"\nth")
    assert log.drain() == [b"two and more"]
    writer.write(b"ree\n")
    assert log.drain() == [b"three"]


@given(pieces=st.lists(st.binary(max_size=12) | st.just(b"\n"), max_size=20))
def test_no_part_of_a_line_is_ever_taken(pieces: list[bytes]) -> None:
    """Whatever arrives: what is taken is what stands before the last newline."""
    rest, taken_lines, skipping = b"", b"", False
    for piece in pieces:
        rest += piece
        taken = take(rest, 0, skipping=skipping)
        taken_lines += rest[taken.start : taken.end]
        rest, skipping = rest[taken.rest :], taken.skipping
    whole = b"".join(pieces)
    end = whole.rfind(b"\n") + 1
    assert (taken_lines, rest) == (whole[:end], whole[end:])


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"\0",
        b"a\0b",
        b"\xff\xfe\x80",
        "ümläut €".encode(),
        b"\r",
        b"\x1b[2J",
        bytes(range(1, 10)),
    ],
)
def test_odd_bytes_are_lines_like_others(log: Followed, writer: Writer, odd: bytes) -> None:
    writer.write(b"before\nx" + odd + b"\nafter\n")
    assert log.drain() == [b"before", b"x" + odd, b"after"]


def test_a_binary_file_stops_nothing(log: Followed, writer: Writer) -> None:
    junk = bytes(range(256)) * 4096
    writer.write(junk + b"\nafter\n")
    assert log.drain()[-1] == b"after"
    writer.write(text(0, 10))
    assert log.drain() == lines(0, 10)
    assert log.gaps == 0


@pytest.mark.parametrize("size", [LINE_LIMIT - 1, LINE_LIMIT, LINE_LIMIT + 1, 3_000_000])
@pytest.mark.parametrize("step", [10_007, 500_000])
def test_a_line_of_megabytes_hides_no_other(
    log: Followed, writer: Writer, size: int, step: int
) -> None:
    """It counts as one line, shortened at most; its middle is never taken for a line."""
    long = b"LOGIN " * (size // 6 + 1)
    data = b"before\n" + long[:size] + b"\nafter\n"
    for start in range(0, len(data), step):
        writer.write(data[start : start + step])
        log.drain()
    assert [log.lines[0], log.lines[-1]] == [b"before", b"after"]
    (found,) = log.lines[1:-1]
    assert long[:size].startswith(found)
    assert len(found) >= min(size, LINE_LIMIT)


def test_leading_nuls_of_a_writer_that_kept_its_offset_are_no_line(path: Path) -> None:
    """copytruncate under a writer that does not append."""
    with path.open("wb", buffering=0) as writer:
        followed = Followed(path).start()
        writer.write(text(0, 100))
        assert followed.drain() == lines(0, 100)
        os.truncate(path, 0)
        writer.write(text(100, 110))
        assert path.read_bytes().startswith(b"\0" * 100)
        assert followed.drain() == lines(100, 110)
        writer.write(text(110, 120))
        assert followed.drain() == lines(110, 120)
        followed.source.close()


def test_nuls_longer_than_a_read_are_skipped_as_well(path: Path) -> None:
    path.write_bytes(b"\0" * 1_000_000 + b"line\n")
    followed = Followed(path).start()
    assert followed.drain(LINE_LIMIT + 1) == [b"line"]
    followed.source.close()


# Rotation by renaming


def test_the_old_file_is_drained_while_its_writer_goes_on(log: Followed, writer: Writer) -> None:
    writer.write(text(0, 10))
    log.drain()
    writer.write(text(10, 20))
    writer.rename()
    writer.write(text(20, 30))
    with writer.path.open("wb", buffering=0) as new:
        new.write(text(100, 110))
        assert log.drain() == lines(10, 30) + lines(100, 110)
        for number in range(30, 40):
            writer.write(text(number, number + 1))
            new.write(text(number + 100, number + 101))
            assert log.drain() == lines(number, number + 1) + lines(number + 100, number + 101)
    assert log.gaps == 0


def test_the_old_file_is_left_when_it_has_not_grown_for_the_time_of_grace(
    log: Followed, writer: Writer
) -> None:
    log.drain()
    old = writer.path.open("ab", buffering=0)
    writer.rotate()
    writer.write(b"new\n")
    log.drain()
    followed = [len(log.source.positions)]
    log.now += GRACE - 5
    old.write(b"late\n")
    assert log.drain() == [b"late"]
    log.now += GRACE - 5
    log.look()
    followed.append(len(log.source.positions))
    log.now += 10
    log.look()
    followed.append(len(log.source.positions))
    assert followed == [2, 2, 1]
    assert log.gaps == 0
    old.close()


def test_half_a_line_at_the_end_of_an_old_file_is_a_gap_when_it_is_left(
    log: Followed, writer: Writer
) -> None:
    writer.write(b"one\nhal")
    log.drain()
    writer.rotate()
    writer.write(b"two\n")
    assert log.drain() == [b"two"]
    assert log.gaps == 0
    log.now += GRACE + 5
    log.drain()
    log.look()
    assert log.gaps == 1
    assert log.lines == [b"one", b"two"]


def test_half_a_line_before_a_rotation_is_completed_after_it(log: Followed, writer: Writer) -> None:
    writer.write(b"one\nhal")
    log.drain()
    writer.rename()
    log.drain()
    writer.write(b"f\n")
    writer.reopen()
    writer.write(b"two\n")
    assert log.drain() == [b"half", b"two"]


def test_between_rename_and_create_the_old_file_is_read_on(log: Followed, writer: Writer) -> None:
    writer.write(text(0, 5))
    writer.rename()
    assert log.drain() == lines(0, 5)
    writer.write(text(5, 10))
    assert log.drain() == lines(5, 10)
    assert not log.source.blind
    writer.reopen()
    writer.write(text(10, 15))
    assert log.drain() == lines(10, 15)


def test_a_removed_file_is_drained_too(log: Followed, writer: Writer) -> None:
    writer.write(text(0, 5))
    log.drain()
    writer.write(text(5, 10))
    writer.path.unlink()
    writer.write(text(10, 12))
    assert log.drain() == lines(5, 12)
    writer.reopen()
    writer.write(text(12, 15))
    assert log.drain() == lines(12, 15)


def test_several_rotations_between_two_looks_lose_nothing(log: Followed, writer: Writer) -> None:
    writer.write(text(0, 10))
    log.drain()
    for number in range(10, 60, 10):
        writer.write(text(number, number + 10))
        writer.rotate()
    writer.write(text(60, 70))
    assert log.drain() == lines(10, 70)
    assert log.gaps == 0
    assert numbered(writer.path, 5).exists()


def test_older_siblings_are_not_read_at_a_rotation(writer: Writer) -> None:
    """Neither those that were passed by at the start, nor those that were left since."""
    for number in range(0, 30, 10):
        writer.write(text(number, number + 10))
        writer.rotate()
    writer.write(text(30, 40))
    followed = Followed(writer.path).start(since=1.0, date_of=lambda _: 0.0)
    assert followed.drain() == lines(30, 40)
    for number in range(40, 80, 10):
        writer.rotate()
        followed.now += GRACE + 5
        writer.write(text(number, number + 10))
        assert followed.drain() == lines(number, number + 10)
        followed.now += GRACE + 5
        followed.drain()
    followed.source.close()


def test_a_swapped_symlink_is_a_rotation(tmp_path: Path) -> None:
    days = [tmp_path / f"mail-{day}.log" for day in range(3)]
    link = tmp_path / "current.log"
    days[0].write_bytes(text(0, 10))
    link.symlink_to(days[0].name)
    followed = Followed(link).start()
    assert followed.drain() == lines(0, 10)
    for day in (1, 2):
        with days[day - 1].open("ab") as old:
            old.write(text(day * 10, day * 10 + 5))
        days[day].write_bytes(text(day * 10 + 5, day * 10 + 10))
        swap = tmp_path / "swap"
        swap.symlink_to(days[day].name)
        swap.rename(link)
        assert followed.drain() == lines(day * 10, day * 10 + 10)
    assert followed.gaps == 0
    followed.source.close()


@pytest.mark.parametrize("wait", [0, GRACE + 5])
def test_a_name_that_comes_back_to_an_old_file_repeats_nothing(tmp_path: Path, wait: float) -> None:
    link, files = tmp_path / "current.log", [tmp_path / "a", tmp_path / "b"]
    for number, file in enumerate(files):
        file.write_bytes(text(number * 10, number * 10 + 10))
    link.symlink_to("a")
    followed = Followed(link).start()
    followed.drain()
    for turn in range(20, 80, 10):
        swap = tmp_path / "swap"
        swap.symlink_to(files[turn // 10 % 2 ^ 1].name)
        swap.rename(link)
        followed.now += wait
        followed.drain()
        followed.now += wait
        followed.drain()
        with link.open("ab") as current:
            current.write(text(turn, turn + 10))
        followed.drain()
    assert followed.lines == lines(0, 80)
    followed.source.close()


# Truncation


def test_a_file_that_shrank_is_read_again_from_its_beginning(log: Followed, writer: Writer) -> None:
    writer.write(text(0, 50))
    log.drain()
    os.truncate(writer.path, 0)
    assert log.drain() == []
    assert log.gaps == 1
    writer.write(text(50, 60))
    assert log.drain() == lines(50, 60)
    assert log.gaps == 1
    assert log.source.restarts == 1


def test_a_file_that_was_truncated_and_grew_past_the_position_is_noticed(
    log: Followed, writer: Writer
) -> None:
    writer.write(text(0, 10))
    log.drain()
    os.truncate(writer.path, 0)
    writer.write(text(100, 200))
    assert log.drain() == lines(100, 200)
    assert log.gaps == 1


def test_a_file_truncated_and_regrown_to_the_very_size_is_noticed(
    log: Followed, writer: Writer
) -> None:
    writer.write(b"aaaa\nbbbb\n")
    log.drain()
    os.truncate(writer.path, 0)
    writer.write(b"cccc\ndddd\n")
    assert log.drain() == [b"cccc", b"dddd"]
    assert log.gaps == 1


def test_what_was_copied_before_a_truncation_is_not_lost(log: Followed, writer: Writer) -> None:
    """Written after the last look, copied by logrotate, truncated: it stands in the copy."""
    writer.write(text(0, 10))
    log.drain()
    writer.write(text(10, 20))
    writer.copytruncate()
    writer.write(text(20, 30))
    assert log.drain() == lines(10, 30)
    # Between copying and truncating lines may have been lost.
    assert log.gaps == 1


def test_the_gap_of_a_truncation_lies_behind_its_copy(log: Followed, writer: Writer) -> None:
    writer.write(text(0, 10))
    log.drain()
    writer.write(text(10, 20))
    writer.copytruncate()
    writer.write(text(20, 30))
    log.look()
    blocks, _ = log.source.read(1 << 18)
    (block,) = blocks
    assert block.data[block.start : block.end] == text(10, 20)
    assert log.gaps == 0
    blocks, _ = log.source.read(1 << 18)
    assert log.gaps == 1


def test_a_crash_while_a_copy_is_drained_finds_copy_and_gap_again(
    log: Followed, writer: Writer
) -> None:
    writer.write(text(0, 10))
    log.drain()
    writer.write(text(10, 20))
    writer.copytruncate()
    writer.write(text(20, 30))
    log.look()
    log.restart()
    assert log.gaps == 0
    assert log.drain() == lines(10, 30)
    assert log.gaps == 1


def test_copying_and_truncating_again_and_again(log: Followed, writer: Writer) -> None:
    for number in range(0, 100, 10):
        writer.write(text(number, number + 3))
        log.drain()
        writer.write(text(number + 3, number + 5))
        writer.copytruncate()
        if number % 20:
            log.drain()
        writer.write(text(number + 5, number + 10))
        log.drain()
        writer.copytruncate()
    log.drain()
    assert log.drain() == []
    assert log.lines == lines(0, 100)


# What cannot be observed


def test_a_missing_log_is_waited_for_and_read_from_its_beginning(path: Path) -> None:
    followed = Followed(path).start()
    for _ in range(3):
        assert followed.look() == 0
    assert followed.notices == [f"{path}: no such file yet, waiting for it"]
    assert not followed.source.blind
    path.write_bytes(text(0, 10))
    assert followed.drain() == lines(0, 10)
    assert followed.notices[1:] == [f"{path}: is there and readable, following it"]
    assert followed.gaps == 0
    followed.source.close()


def test_a_directory_in_its_place_is_said_once_and_blinds(path: Path) -> None:
    path.mkdir()
    followed = Followed(path).start()
    for _ in range(3):
        assert followed.look() == 0
        assert followed.source.blind
    assert len(followed.notices) == 1
    assert "directory" in followed.notices[0]
    path.rmdir()
    path.write_bytes(text(0, 10))
    assert followed.drain() == lines(0, 10)
    assert not followed.source.blind
    followed.source.close()


def test_a_fifo_in_its_place_holds_nothing_up(path: Path) -> None:
    os.mkfifo(path)
    followed = Followed(path).start()
    assert followed.look() == 0
    assert followed.source.blind
    followed.source.close()


def loop(path: Path) -> None:
    """A symlink to itself: whoever stats or opens it gets an error, root too."""
    path.symlink_to(path.name)


def test_a_log_that_cannot_be_observed_for_a_while_is_not_gone(
    log: Followed, writer: Writer, tmp_path: Path
) -> None:
    writer.write(text(0, 10))
    log.drain()
    aside = tmp_path / "aside"
    writer.path.rename(aside)
    loop(writer.path)
    # The descriptor goes on giving lines.
    writer.write(text(10, 20))
    assert log.drain() == lines(10, 20)
    blind = [log.source.blind]
    assert log.notices == [f"{writer.path}: {os.strerror(errno.ELOOP)}"]
    writer.path.unlink()
    aside.rename(writer.path)
    writer.write(text(20, 30))
    assert log.drain() == lines(20, 30)
    blind.append(log.source.blind)
    assert blind == [True, False]
    assert log.gaps == 0


def test_a_log_that_cannot_be_observed_at_the_start_is_resumed_later(writer: Writer) -> None:
    """The saved position counts as soon as the log can be observed again."""
    writer.write(text(0, 10))
    followed = Followed(writer.path).start()
    followed.drain()
    positions = followed.source.positions
    followed.source.close()
    writer.write(text(10, 20))
    writer.rotate()
    writer.write(text(20, 30))
    aside = writer.path.with_name("aside")
    writer.path.rename(aside)
    loop(writer.path)
    again = Followed(writer.path).start(positions)
    assert again.drain() == []
    assert again.source.blind
    assert again.source.positions == positions
    writer.path.unlink()
    aside.rename(writer.path)
    assert again.drain() == lines(10, 30)
    assert again.gaps == 0
    again.source.close()


def test_a_log_that_can_be_seen_but_not_read_blinds_until_it_can(tmp_path: Path) -> None:
    """As on a disk that fails: /proc/self/mem opens, and reading its beginning is an error."""
    link = tmp_path / "mail.log"
    link.symlink_to("/proc/self/mem")
    followed = Followed(link).start()
    followed.drain()
    seen = []
    for _ in range(3):
        followed.look()
        seen.append(followed.source.blind)
        followed.drain()
    assert seen == [True, True, True]
    assert followed.notices == [f"{link}: {os.strerror(errno.EIO)}"]
    followed.source.close()


def test_a_sibling_that_cannot_be_read_keeps_nobody_from_the_log(writer: Writer) -> None:
    writer.write(text(0, 10))
    loop(numbered(writer.path, 1))
    numbered(writer.path, 2).mkdir()
    followed = Followed(writer.path).start()
    assert followed.drain() == lines(0, 10)
    assert len(followed.notices) == 2
    assert not followed.source.blind
    followed.source.close()


# Restarts


def test_a_restart_reads_on_where_it_stopped(log: Followed, writer: Writer) -> None:
    for number in range(0, 50, 10):
        writer.write(text(number, number + 7) + b"half")
        log.drain()
        log.restart()
        writer.write(b"\n" + text(number + 7, number + 10))
        log.drain()
    expected = []
    for number in range(0, 50, 10):
        expected += [*lines(number, number + 7), b"half", *lines(number + 7, number + 10)]
    assert log.lines == expected
    assert log.gaps == 0


def test_a_restart_inside_a_line_of_megabytes_skips_its_rest(log: Followed, writer: Writer) -> None:
    writer.write(b"x" * 400_000)
    log.drain()
    assert log.source.positions[0].skipping
    log.restart()
    writer.write(b"y" * 100_000 + b"\nafter\n")
    assert log.drain() == [b"after"]


@pytest.mark.parametrize("rotations", [1, 2, 5])
def test_rotations_while_it_was_stopped_lose_nothing(
    log: Followed, writer: Writer, rotations: int
) -> None:
    writer.write(text(0, 10))
    log.drain()
    for number in range(10, 10 + 10 * rotations, 10):
        writer.write(text(number, number + 10))
        writer.rotate()
    writer.write(text(10 + 10 * rotations, 100))
    log.restart()
    assert log.drain() == lines(10, 100)
    assert log.gaps == 0


def test_siblings_named_by_date_are_found_too(log: Followed, writer: Writer) -> None:
    writer.write(text(0, 10))
    log.drain()
    for day in range(20261120, 20261123):
        number = (day - 20261119) * 10
        writer.write(text(number, number + 10))
        writer.path.rename(writer.path.with_name(f"mail.log-{day}"))
        writer.reopen()
    writer.write(text(40, 50))
    log.restart()
    assert log.drain() == lines(10, 50)
    assert log.gaps == 0


def test_a_restart_while_the_old_file_is_still_written_to(log: Followed, writer: Writer) -> None:
    writer.write(text(0, 10))
    log.drain()
    old = writer.path.open("ab", buffering=0)
    writer.rotate()
    writer.write(text(10, 20))
    log.drain()
    log.restart()
    old.write(text(20, 30))
    writer.write(text(30, 40))
    assert log.drain() == lines(20, 40)
    assert log.gaps == 0
    old.close()


def test_copied_and_truncated_while_it_was_stopped(log: Followed, writer: Writer) -> None:
    writer.write(text(0, 10))
    log.drain()
    writer.write(text(10, 20))
    writer.copytruncate()
    writer.write(text(20, 60))
    log.restart()
    assert log.drain() == lines(10, 60)
    # What was written between copying and truncating is in neither.
    assert log.gaps == 1


def test_no_new_file_yet_after_a_rotation_while_it_was_stopped(
    log: Followed, writer: Writer
) -> None:
    writer.write(text(0, 10))
    log.drain()
    writer.write(text(10, 20))
    writer.rename()
    log.restart()
    assert log.drain() == lines(10, 20)
    writer.reopen()
    writer.write(text(20, 30))
    assert log.drain() == lines(20, 30)
    assert log.gaps == 0


def test_an_inode_that_was_reused_is_no_position(log: Followed, writer: Writer) -> None:
    """Another file under the same inode: here the file itself, written anew."""
    writer.write(text(0, 10))
    log.drain()
    os.truncate(writer.path, 0)
    writer.write(text(500, 600))
    log.restart()
    assert log.drain() == lines(500, 600)
    assert log.gaps == 1
    assert any("not found again" in notice for notice in log.notices)


# A first start


def test_a_first_start_beside_an_older_file_begins_in_doubt(writer: Writer) -> None:
    """The first piece of a cut line may be the last line of the file that is not looked into."""
    writer.write(text(0, 10))
    older = numbered(writer.path, 1).with_suffix(".1.gz")
    older.write_bytes(gzip.compress(text(0, 10)))
    os.utime(older, (1000, 1000))
    log = Followed(writer.path).start(since=2000.0)
    assert log.drain() == lines(0, 10)
    assert log.gaps == 1
    log.source.close()


def dated(number: int) -> bytes:
    return b"%010d %s\n" % (number, b"x" * 80)


def date_of(data: bytes) -> float | None:
    return float(data[:10]) if data[:10].isdigit() else None


@pytest.mark.parametrize("since", [0, 1, 3_333, 9_000, 9_999, 20_000])
def test_a_first_start_on_a_large_log_begins_near_the_window(
    writer: Writer, since: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "READ_WHOLE", 50_000)
    monkeypatch.setattr(places, "RUN_UP", 5_000)
    writer.write(b"".join(dated(number) for number in range(10_000)))
    followed = Followed(writer.path).start(since=float(since), date_of=date_of)
    followed.drain()
    writer.write(dated(10_000))
    followed.drain()
    first = int(followed.lines[0][:10])
    assert followed.lines == [dated(number)[:-1] for number in range(first, 10_001)]
    assert first <= since
    # At most the run-up, twice, and a line.
    assert since - first <= 2 * 5_000 / 92 + 2 or since > 9_999
    assert followed.gaps == (first > 0)
    followed.source.close()


def test_a_log_that_is_not_large_is_read_from_its_beginning(writer: Writer) -> None:
    writer.write(b"".join(dated(number) for number in range(1000)))
    followed = Followed(writer.path).start(since=999.0, date_of=date_of)
    assert len(followed.drain()) == 1000
    assert followed.gaps == 0
    followed.source.close()


@pytest.mark.parametrize(
    ("since", "first", "gaps"), [(5, 0, 0), (25, 20, 1), (30, 20, 1), (31, 30, 1)]
)
def test_a_first_start_reads_the_predecessors_that_reach_into_the_window(
    writer: Writer, since: int, first: int, gaps: int
) -> None:
    for number in range(0, 40, 10):
        writer.write(b"".join(dated(one) for one in range(number, number + 10)))
        if number < 30:
            writer.rotate()
    followed = Followed(writer.path).start(since=float(since), date_of=date_of)
    assert followed.drain() == [dated(number)[:-1] for number in range(first, 40)]
    assert followed.gaps == gaps
    followed.source.close()


def test_a_first_start_inside_a_line_of_megabytes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "READ_WHOLE", 50_000)
    monkeypatch.setattr(places, "RUN_UP", 5_000)
    path.write_bytes(dated(0) + b"x" * 300_000 + b"\n" + dated(1) + dated(2))
    followed = Followed(path).start(since=2.0, date_of=date_of)
    assert followed.drain()[-2:] == [dated(1)[:-1], dated(2)[:-1]]
    followed.source.close()


def test_nothing_is_read_before_it_is_asked_for(path: Path) -> None:
    """A source that was never started and never looked holds nothing open."""
    path.write_bytes(text(0, 10))
    source = Source(str(path), lambda: None, lambda _: None)
    assert source.read(1 << 18) == ([], 0)
    assert source.positions == ()


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_only_rotated_names_are_siblings(data: st.DataObject) -> None:
    from pbs_watch.log.rotation import is_sibling

    name = data.draw(st.sampled_from(["mail.log", "mail.info", "a+b"]))
    number = data.draw(st.integers(0, 99999999))
    packed = data.draw(st.sampled_from(["", ".gz", ".xz", ".zst"]))
    for joint in ".-":
        assert is_sibling(name, f"{name}{joint}{number}{packed}")
    for other in (
        name,
        f"{name}.offset",
        f"{name}.{number}.swp",
        f"x{name}.{number}",
        f"{name}{number}",
        "mailxlog.1",
    ):
        assert not is_sibling(name, other)
