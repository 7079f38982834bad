"""Standard input as a source (``--log -``): each whole line once, whatever becomes of the pipe."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbs_watch.log.lines import LINE_LIMIT
from pbs_watch.log.stream import Pipe
from tests.daemon import NO, OK, PROGRAM, ROOT, Daemon, addresses, environment, line, login, until

Start = Callable[..., Daemon]


class Written:
    """A pipe that a test writes to and a daemon reads from."""

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe()

    def write(self, *lines: bytes) -> None:
        data = b"".join(lines)
        while data:
            data = data[os.write(self._writing, data) :]

    def close(self) -> None:
        """Ends what the daemon reads."""
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1

    def end(self) -> None:
        self.close()
        os.close(self.reading)


@pytest.fixture
def pipe() -> Iterator[Written]:
    opened = Written()
    yield opened
    opened.end()


@pytest.fixture
def daemon(start: Start, pipe: Written) -> Daemon:
    return start(logs=("-",), stdin=pipe.reading)


def test_a_login_counts_when_its_line_is_whole(daemon: Daemon, pipe: Written) -> None:
    first, second = login("198.18.0.1"), login("198.18.0.2")
    pipe.write(first, second[:30])
    until(lambda: daemon.ask("198.18.0.1") == OK, "the first login")
    assert daemon.ask("198.18.0.2") == NO
    pipe.write(second[30:-1])
    assert daemon.ask("198.18.0.2") == NO
    pipe.write(b"\n")
    until(lambda: daemon.ask("198.18.0.2") == OK, "the second login")
    daemon.stop()
    assert daemon.said.count("event=granted ") == 2


def test_more_than_a_pipe_holds(daemon: Daemon, pipe: Written) -> None:
    logged = addresses(8000)
    pipe.write(*map(login, logged))
    until(lambda: daemon.ask(logged[-1]) == OK, "the last login")
    chosen = random.Random(1).sample(logged, 500)
    assert [address for address in chosen if daemon.ask(address) != OK] == []
    daemon.stop()
    assert daemon.said.count("event=granted ") == len(logged)


def test_a_stop_takes_what_is_in_the_pipe(daemon: Daemon, pipe: Written) -> None:
    logged = addresses(500)
    pipe.write(*map(login, logged))
    daemon.stop()
    assert [address for address in logged[::50] if daemon.get(address) != 0] == []
    # The other end of the pipe lived on: the next daemon reads what came meanwhile.
    pipe.write(login("198.18.200.1"))
    daemon.start()
    until(lambda: daemon.ask("198.18.200.1") == OK, "what was written meanwhile")
    assert [address for address in logged if daemon.ask(address) != OK] == []


def test_beside_a_file(start: Start, pipe: Written, tmp_path: Path) -> None:
    (tmp_path / "mail.log").write_bytes(login("198.18.0.1"))
    daemon = start(logs=("-", tmp_path / "mail.log"), stdin=pipe.reading)
    pipe.write(login("198.18.0.2"))
    until(lambda: daemon.ask("198.18.0.2") == OK, "the login on standard input")
    assert daemon.ask("198.18.0.1") == OK


def test_the_end_of_standard_input_is_told_once(daemon: Daemon, pipe: Written) -> None:
    pipe.write(login("198.18.0.1"), login("198.18.0.2")[:-1])
    pipe.close()
    daemon.process.says("standard input ended")
    assert daemon.ask("198.18.0.1") == OK
    assert daemon.ask("198.18.0.2") == NO
    daemon.stop()
    assert daemon.said.count("standard input ended") == 1


def test_a_line_that_is_too_long_is_a_cut(daemon: Daemon, pipe: Written) -> None:
    pipe.write(line("LOGIN, user=" + "x" * 5 * LINE_LIMIT + ", ip=[198.18.9.9], port=[1]"))
    pipe.write(login("198.18.0.1"))
    daemon.process.says("1 cut lines")
    pipe.write(login("198.18.0.2"), login("198.18.0.3", at=9e9), login("198.18.0.4"))
    pipe.close()
    daemon.process.says("standard input ended")
    # Two messages and a second: the stamp of the third is far ahead, and so grants nothing.
    assert [daemon.ask(f"198.18.0.{number}") for number in (1, 2, 3)] == [NO] * 3
    assert daemon.ask("198.18.0.4") == OK
    assert daemon.ask("198.18.9.9") == NO


def test_a_file_as_standard_input(start: Start, tmp_path: Path) -> None:
    logged = addresses(8000)
    path = tmp_path / "some.log"
    path.write_bytes(b"".join(map(login, logged)))
    with path.open("rb") as file:
        daemon = start(logs=("-",), stdin=file.fileno())
        daemon.process.says("standard input ended")
        assert daemon.ask(logged[0]) == daemon.ask(logged[-1]) == OK
        daemon.stop()
    assert daemon.said.count("event=granted ") == len(logged)


def test_a_terminal_that_is_hung_up(start: Start) -> None:
    ours, terminal = os.openpty()
    daemon = start(logs=("-",), stdin=terminal)
    os.write(ours, login("198.18.0.1"))
    until(lambda: daemon.ask("198.18.0.1") == OK, "the login")
    os.close(ours)
    daemon.process.says("standard input ended")
    assert daemon.ask("198.18.0.1") == OK
    daemon.stop()
    os.close(terminal)


def test_without_standard_input(tmp_path: Path) -> None:
    words = ["run", "--map", str(tmp_path / "map"), "--tcp-table", "127.0.0.1:0", "--log", "-"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *PROGRAM, *words],
        capture_output=True,
        cwd=ROOT,
        env=environment(),
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"pbs-watch: -: standard input is closed")
    assert done.stderr.count(b"\n") == 1


def test_the_terminal_is_left_as_it_was(start: Start) -> None:
    # Whoever started the daemon reads from the same terminal after it.
    ours, terminal = os.openpty()
    daemon = start(logs=("-",), stdin=terminal)
    os.write(ours, login("198.18.0.1"))
    until(lambda: daemon.ask("198.18.0.1") == OK, "the login")
    assert not os.get_blocking(terminal)
    daemon.stop()
    assert os.get_blocking(terminal)
    os.close(ours)
    os.close(terminal)


# Whole lines out of a pipe

LINES = st.lists(
    st.one_of(
        st.binary(max_size=40).map(lambda text: text.replace(b"\n", b"")),
        st.integers(LINE_LIMIT - 2, 3 * LINE_LIMIT).map(lambda size: b"x" * size),
    ),
    max_size=5,
)


@given(lines=LINES, unfinished=st.booleans(), chance=st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_however_the_bytes_come(
    lines: list[bytes],
    unfinished: bool,  # noqa: FBT001 - hypothesis names its arguments
    chance: random.Random,
) -> None:
    data = b"".join(text + b"\n" for text in lines)
    if unfinished and data:
        data, lines = data[:-1], lines[:-1]
    reading, writing = os.pipe()
    pipe = Pipe(reading)
    got: list[bytes] = []

    def take() -> None:
        pipe.fill()
        while pipe.waiting:
            blocks, size = pipe.lines()
            got.extend(block.data[block.start : block.end] for block in blocks)
            if not size:
                return

    # At any places, and where more would not fit into the pipe.
    size = len(data)
    borders = sorted({*range(0, size, 60_000), *chance.choices(range(size + 1), k=12), 0, size})
    for begin, end in itertools.pairwise(borders):
        os.write(writing, data[begin:end])
        take()
    os.close(writing)
    take()
    assert pipe.ended
    os.close(reading)
    last = data[data.rfind(b"\n") + 1 :]
    assert pipe.unfinished == bool(last)
    if len(last) > LINE_LIMIT:
        lines = [*lines, last]
    found = b"".join(got).split(b"\n")[:-1]
    assert len(found) == len(lines)
    for one, written in zip(found, lines, strict=True):
        # One that is too long may be shortened, never below the limit.
        assert one == written if len(written) <= LINE_LIMIT else written.startswith(one)
        assert len(one) >= min(len(written), LINE_LIMIT)
