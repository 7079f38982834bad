"""``status`` and ``top``: what the daemon does, for people, for scripts and on a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from pbs_watch.commands.display import HEADING, age, columns, facts, size, span
from pbs_watch.commands.page import Page
from pbs_watch.commands.state import Step, safe_text, step, taken
from pbs_watch.notices import Notices
from tests.daemon import (
    NO,
    OK,
    PATIENCE,
    PROGRAM,
    ROOT,
    TROUBLE,
    Daemon,
    Log,
    Process,
    command,
    environment,
    line,
    login,
    refused,
    refused_to_nobody,
    until,
)

Start = Callable[..., Daemon]

HOSTILE = "LOGIN, user=bob, ip=[198.18.0.9], port=[4242], new=\x1b[2J\x1b]0;owned\x07\u202e\x9b31m"
"""A near miss whose message would clear the screen, and more."""


def values(map_: Path, status: int = 0) -> dict[str, str]:
    """What ``pbs-watch status`` says in a pipe, by its names."""
    ended = command("status", "--map", map_)
    assert ended.status == status, ended
    assert all(text.isprintable() for text in ended.lines)
    return dict(text.split(": ", 1) for text in ended.lines)


def state(map_: Path) -> dict[str, Any]:
    ended = command("status", "--json", "--map", map_)
    assert (ended.status, ended.err) == (0, "")
    found = json.loads(ended.out)
    assert isinstance(found, dict)
    return found


# In a pipe


def test_the_state_is_told_by_names_and_values(start: Start, log: Log) -> None:
    daemon = start()
    log.write(
        login("198.18.0.1"),
        login("198.18.0.2", at=1e9),
        line("LOGIN, user=bob, ip=[198.18.0.3], port=[1], protocol=IMAP", tag="imapd"),
        line("LOGIN FAILED, user=bob, ip=[198.18.0.4]"),
    )
    assert daemon.ask("198.18.0.1") == OK
    assert daemon.ask("198.18.0.9") == NO
    until(lambda: values(daemon.map)["grants"] == "2", "two grants are committed")
    said = values(daemon.map)
    log_name = f"source {log.path}"
    assert said["pid"] == str(daemon.process.pid)
    assert said["map"] == str(daemon.map)
    assert said["sessions"] == "1"
    assert said["orders"] == "0"
    assert said["setting window"] == "30m"
    assert said["setting session limit"] == "4h"
    assert said["setting cuts"] == "strict"
    assert said["setting witness"] == "off"
    assert said["setting shadow"] == "off"
    assert said[log_name] == "readable"
    assert said[f"{log_name} lines"] == "4"
    assert said[f"{log_name} bytes"] == str(log.path.stat().st_size)
    assert said[f"{log_name} bytes waiting"] == "0"
    assert said[f"{log_name} seconds behind"] == "0.0"
    assert said["logins"] == "2"
    assert said["ends"] == "0"
    assert said["format courier-pop3"] == "2"
    assert said["format courier-imap"] == "1"
    assert said["refused"] == "1"
    assert [name for name in said if name.startswith("refused ")] == [
        "refused older than the window"
    ]
    assert said["cuts"] == "0"
    assert said["near misses"] == "0"
    assert said["lookups found"] == "1"
    assert said["lookups not found"] == "1"
    assert said["lookups cannot say"] == "0"
    assert said["lookups for names"] == "1"  # asked when the test connected
    assert said["warnings"] == "0"
    assert "last warning" not in said


def test_programs_get_the_whole_state_as_one_object(start: Start, log: Log) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK
    said = state(daemon.map)
    assert said["pid"] == daemon.process.pid
    assert said["logins"] == 1
    assert said["lookups"]["found"] == 1
    assert said["sources"][0]["name"] == str(log.path)


def test_a_near_miss_is_shown_and_steers_no_terminal(start: Start, log: Log) -> None:
    daemon = start()
    log.write(line(HOSTILE))
    daemon.ask("198.18.0.9")
    said = values(daemon.map)
    assert said["near misses"] == "1"
    assert said["near miss"].endswith(r"new=\x1b[2J\x1b]0;owned\x07\xe2\x80\xae\xc2\x9b31m")
    assert " pop3d: LOGIN, user=bob" in said["near miss"]
    assert said["warnings"] == "1"
    assert "pbs-watch match tells why" in said["last warning"]


def test_cut_lines_and_suspects_are_counted(start: Start, log: Log) -> None:
    daemon = start()
    log.write(line("LOGIN FAILED, user=" + "x" * 485), login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == NO
    said = values(daemon.map)
    assert said["cuts"] == "1"
    assert said["refused suspect, after a cut line"] == "1"


def test_a_log_that_cannot_be_read_is_told(start: Start, log: Log, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    daemon = start(logs=(log.path, tmp_path / "directory"))
    assert daemon.ask("198.18.0.1") == TROUBLE
    said = values(daemon.map)
    assert said[f"source {log.path}"] == "readable"
    assert said[f"source {tmp_path}/directory"] == "cannot be read"
    assert said["lookups cannot say"] == "1"


def test_shadow_is_told(start: Start, log: Log) -> None:
    daemon = start("--shadow", "--window", "90s")
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == NO
    said = values(daemon.map)
    assert said["setting shadow"] == 'on: every lookup is answered "not found"'
    assert said["setting window"] == "90s"


# Without a daemon


def test_without_a_daemon_the_map_tells_what_it_can(start: Start, log: Log) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK
    assert daemon.ask("198.18.0.1") == OK
    daemon.stop()
    said = values(daemon.map, status=1)
    assert said["pid"] == "none"
    assert said["grants"] == "1"
    assert said[f"source {log.path} read to"] == (
        f"byte {log.path.stat().st_size} of inode {log.path.stat().st_ino}"
    )
    ended = command("status", "--json", "--map", daemon.map)
    assert ended.status == 1
    told = json.loads(ended.out)
    assert (told["pid"], told["map"]["grants"]) == (None, 1)
    for words in (["status"], ["status", "--json"], ["top"], ["top", "--count", "1"]):
        ended = command(*words, "--map", daemon.map)
        assert ended.status == 1
        assert ended.err.startswith(f"pbs-watch: {daemon.map}/live: no running daemon answers")
        assert ended.err.count("\n") == 1


def test_a_killed_daemon_does_not_answer(start: Start, log: Log) -> None:
    daemon = start()
    daemon.kill()
    assert (daemon.map / "live").exists()
    assert values(daemon.map, status=1)["pid"] == "none"
    log.write(login("198.18.0.1"))
    daemon.start()
    assert daemon.ask("198.18.0.1") == OK
    assert values(daemon.map)["logins"] == "1"


@pytest.mark.parametrize("closed", ["live", "."])
def test_who_may_not_ask_is_told_so(start: Start, closed: str) -> None:
    daemon = start()
    assert "Permission denied" in refused_to_nobody("status", path=daemon.map, closed=closed)


# Used wrongly


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["status", "extra"], "unrecognized arguments: extra; see pbs-watch status --help"),
        (["status", "--every", "1s"], "unrecognized arguments"),
        (["status", "--map", ""], "--map: "),
        (["status", "--config", "/nonexistent"], "/nonexistent: cannot be read"),
        (["top", "extra"], "unrecognized arguments"),
        (["top", "--every", "1"], "--every: '1' is not a duration; write it like 90s"),
        (["top", "--every", "0s"], "--every 0s: too often; write 0.1s or more"),
        (["top", "--every", "-1s"], "--every"),
        (["top", "--count", "0"], "--count 0: write how many times, such as 5"),
        (["top", "--count", "-3"], "--count -3"),
        (["top", "--count", "many"], "argument --count: invalid int value: 'many'"),
        (["top", "--json"], "unrecognized arguments"),
    ],
)
def test_a_wrong_use_is_told_in_one_line(words: list[str], told: str) -> None:
    assert told in refused(*words)


@pytest.mark.parametrize("words", [["status"], ["status", "--json"], ["top"]])
def test_without_a_map_there_is_nothing_to_show(words: list[str], tmp_path: Path) -> None:
    told = refused(*words, "--map", tmp_path / "none")
    assert told.startswith(f"{tmp_path}/none: there is no map here; ")
    assert not (tmp_path / "none").exists()
    (tmp_path / "data.mdb").write_bytes(b"x" * 8192)
    assert refused(*words, "--map", tmp_path).startswith(f"{tmp_path}: ")


# top in a pipe


def test_top_in_a_pipe_prints_stable_columns(start: Start, log: Log) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK
    ended = command("top", "--every", "0.1s", "--count", "21", "--map", daemon.map)
    assert (ended.status, ended.err) == (0, "")
    heading, *rows = ended.lines
    assert heading.split() == [
        "time", "lines/s", "logins/s", "found/s", "absent/s", "cannot/s", "waiting", "lag",
        "grants",
    ]  # fmt: skip
    assert rows.pop(20) == heading  # now and then
    assert len(rows) == 21
    for row in rows:
        assert row.isprintable()
        assert len(row) == len(heading) < 80
        assert len(row.split()) == len(heading.split())


def test_top_counts_what_happens_between_two_looks(
    start: Start, log: Log, launch: Callable[..., Process]
) -> None:
    daemon = start()
    top = launch("top", "--every", "0.2s", "--map", daemon.map)
    top.says("grants\n")

    def rows() -> list[list[str]]:
        return [text.split() for text in top.said.splitlines() if not text.endswith("grants")]

    until(lambda: len(rows()) > 1, "two lines")
    assert set(rows()[0][1:6]) == {"0.0"}
    log.write(*[login(f"198.18.0.{n}") for n in range(1, 21)])
    assert daemon.ask("198.18.0.1") == OK
    assert daemon.ask("198.18.1.1") == NO

    def seen(column: int) -> bool:
        return any(float(row[column]) > 0 for row in rows())

    until(lambda: all(seen(column) for column in (1, 2, 3, 4)), "lines, logins and lookups")
    until(lambda: rows()[-1][1:6] == ["0.0"] * 5, "nothing happens any more")
    assert top.signal(signal.SIGINT) == 0


def test_top_goes_on_when_the_daemon_is_restarted(
    start: Start, log: Log, launch: Callable[..., Process]
) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK
    top = launch("top", "--every", "0.1s", "--map", daemon.map)
    top.says(" 0.0 ")
    daemon.kill()
    top.says("pbs-watch: no daemon answers since ")
    top.says("        -        -        -        -        -        -      -        -\n")
    daemon.start()
    top.says("pbs-watch: the daemon was restarted once, last ")
    # Another daemon counts anew: that is no rate.
    before = len(top.said)
    until(lambda: len(top.said) > before + 200, "more lines")
    assert " -" not in top.said[before:].partition("\n")[2]
    assert top.signal(signal.SIGINT) == 0


def test_a_reader_that_has_seen_enough_ends_top(start: Start) -> None:
    daemon = start()
    with subprocess.Popen(
        [*PROGRAM, "top", "--every", "0.1s", "--map", daemon.map],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment(),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 0


# On a terminal

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
STYLE = re.compile(rb"\x1b\[[0-9;]*m")


class Terminal:
    """A terminal of so many columns and lines, in which a command runs; ``shown``: its output."""

    def __init__(self, *words: str | Path, columns: int = 80, lines: int = 24, **changes: str):
        self._master, slave = pty.openpty()
        self.resize(columns, lines, None)
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        self._process = subprocess.Popen(
            [*PROGRAM, *words],
            stdin=slave, stdout=slave, stderr=slave, cwd=ROOT, start_new_session=True,
            env=environment(**{"TERM": "xterm-256color", **changes}),
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )  # fmt: skip
        self.shown = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while data := self._heard():
            self.shown += data

    def _heard(self) -> bytes:
        try:
            return os.read(self._master, 65536)
        except OSError:
            return b""  # nobody has the terminal open any more

    def resize(self, columns: int, lines: int, process: int | None) -> None:
        packed = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, packed)
        if process is not None:
            os.kill(process, signal.SIGWINCH)

    @property
    def pid(self) -> int:
        return self._process.pid

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def shows(self, text: bytes) -> None:
        until(lambda: text in self.shown, f"{text!r} in {self.shown!r}")

    def frames(self) -> list[list[str]]:
        """The whole screens that were shown, each as its lines, without colours."""
        text = STYLE.sub(b"", self.shown).partition(ENTER)[2].partition(LEAVE)[0]
        return [
            frame.decode().replace("\r", "").removesuffix("\x1b[?25h").split("\n")
            for frame in text.split(b"\x1b[H")[1:]
        ][1:-1]

    def wait(self) -> int:
        """The exit code; the terminal is then as it was."""
        status = self._process.wait(PATIENCE)
        assert termios.tcgetattr(self._slave) == self.before
        os.close(self._slave)
        self._slave = -1
        self._reader.join(PATIENCE)
        return status

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE)
        if self._slave >= 0:
            os.close(self._slave)
        self._reader.join(PATIENCE)
        os.close(self._master)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def made(*words: str | Path, **options: Any) -> Terminal:
        opened.append(Terminal(*words, **options))
        return opened[-1]

    yield made
    for one in opened:
        one.end()


Open = Callable[..., Terminal]


def test_status_on_a_terminal_fits_eighty_columns(start: Start, log: Log, terminal: Open) -> None:
    daemon = start()
    log.write(login("198.18.0.1"), line(HOSTILE), line("LOGIN, user=" + "x" * 300))
    assert daemon.ask("198.18.0.1") == OK
    seen = terminal("status", "--map", daemon.map)
    assert seen.wait() == 0
    plain = STYLE.sub(b"", seen.shown).decode().replace("\r\n", "\n")
    assert "\x1b" not in plain
    assert all(text.isprintable() for text in plain.splitlines())
    assert max(map(cell_len, plain.splitlines())) <= 80
    assert f"pid {daemon.process.pid}" in plain
    assert "SOURCE" in plain
    assert r"\x1b[2J" in plain


def test_top_fills_the_screen_and_leaves_it_as_it_was(
    start: Start, log: Log, terminal: Open
) -> None:
    daemon = start()
    log.write(*[line(HOSTILE)] * 20)
    daemon.ask("198.18.0.1")
    seen = terminal("top", "--every", "0.1s", "--map", daemon.map)
    until(lambda: len(seen.frames()) > 2, "three screens")
    seen.press(b"xq")
    assert seen.wait() == 0
    assert seen.shown.count(ENTER) == seen.shown.count(LEAVE) == 1
    assert seen.shown.rindex(b"\x1b[?25l") < seen.shown.rindex(b"\x1b[?25h")  # the cursor is back
    for frame in seen.frames():
        assert len(frame) == 24
        assert all(text.isprintable() and cell_len(text) <= 80 for text in frame)
        assert frame[0].startswith("pbs-watch ")
        assert any(text.startswith("lookups found") for text in frame)
        assert r"new=\x1b[2J" in "".join(frame)


def test_top_follows_the_size_of_the_terminal(start: Start, terminal: Open) -> None:
    daemon = start()
    # It would look again in an hour only: what comes is shown because of the size.
    seen = terminal("top", "--every", "1h", "--map", daemon.map)
    seen.shows(b"lookups")
    for wide, high in ((40, 10), (120, 50), (1, 1), (80, 24)):
        before = len(seen.frames())
        seen.resize(wide, high, seen.pid)
        until(lambda before=before: len(seen.frames()) > before, "another screen")  # type: ignore[misc]
        until(lambda high=high: len(_last(seen)) == high, "as high")  # type: ignore[misc]
        assert max(map(cell_len, _last(seen))) <= wide
    seen.press(b"\x03")
    assert seen.wait() == 0


def _last(seen: Terminal) -> list[str]:
    text = STYLE.sub(b"", seen.shown).rpartition(b"\x1b[H")[2]
    return text.decode().replace("\r", "").split("\n")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_top_and_restores_the_terminal(
    start: Start, terminal: Open, number: signal.Signals, status: int
) -> None:
    daemon = start()
    seen = terminal("top", "--map", daemon.map)
    seen.shows(b"lookups")
    os.kill(seen.pid, number)
    assert seen.wait() == status
    assert LEAVE in seen.shown
    assert b"Traceback" not in seen.shown


def test_top_on_a_terminal_says_that_the_daemon_was_restarted(start: Start, terminal: Open) -> None:
    daemon = start()
    seen = terminal("top", "--every", "0.1s", "--map", daemon.map)
    seen.shows(b"lookups")
    daemon.stop()
    seen.shows(b"no daemon answers since ")
    daemon.start()
    seen.shows(b"the daemon was restarted once, last ")
    seen.press(b"q")
    assert seen.wait() == 0


def test_a_terminal_that_can_nothing_gets_columns(start: Start, terminal: Open) -> None:
    daemon = start()
    seen = terminal("top", "--every", "0.1s", "--count", "2", "--map", daemon.map, TERM="dumb")
    assert seen.wait() == 0
    assert b"\x1b" not in seen.shown
    assert seen.shown.count(b"\n") == 3


def test_top_ends_after_so_many_screens(start: Start, terminal: Open) -> None:
    daemon = start()
    seen = terminal("top", "--every", "0.1s", "--count", "2", "--map", daemon.map)
    assert seen.wait() == 0
    assert LEAVE in seen.shown


# What is shown, without a daemon

EXAMPLE: dict[str, Any] = {
    "version": "1.2",
    "pid": 7,
    "started": 1e9,
    "now": 1e9 + 3700,
    "uptime": 3700.0,
    "map": {"path": "/m", "schema": "3", "grants": 5, "logins": 6, "sessions": 1, "orders": 2},
    "settings": {
        "window": 1800.0, "session_limit": 5400.0, "cuts": "next", "witness": "off",
        "shadow": True,
    },
    "sources": [
        {
            "name": f"/log/{n}", "lines": 10, "bytes": 1000, "rate": 2.5, "waiting": n,
            "lag": 1.0, "latest": None, "readable": n != 3, "searching": n == 4,
        }
        for n in range(9)
    ],
    "lookups": {"found": 3},
    "refused": {"suspect": 2, "never": 0, "new-reason": 1},
}  # fmt: skip


def page(raw: dict[str, Any], wide: int, high: int, *, live: bool) -> list[str]:
    """The lines of the page on a screen of that size."""
    console = Console(width=wide, height=high, color_system=None, force_terminal=True)
    with console.capture() as captured:
        console.print(Page(Step(taken(raw)), live=live))
    return captured.get().splitlines()


texts = st.text(max_size=500)
numbers = st.integers(0, 10**18)
states = st.fixed_dictionaries(
    {},
    optional={
        "version": texts,
        "map": st.fixed_dictionaries({"path": texts, "error": texts}),
        "settings": st.fixed_dictionaries({"cuts": texts, "window": st.floats(0, 1e9)}),
        "sources": st.lists(
            st.fixed_dictionaries(
                {"name": texts, "lines": numbers, "waiting": numbers, "lag": st.floats(0, 1e12)}
            ),
            max_size=5,
        ),
        "formats": st.dictionaries(texts, numbers, max_size=3),
        "refused": st.dictionaries(texts, numbers, max_size=3),
        "near_misses": st.lists(
            st.fixed_dictionaries({"time": st.none() | st.floats(0, 1e13), "tag": texts,
                                   "message": texts}), max_size=10
        ),
        "last_warning": texts,
    },
)  # fmt: skip


@given(states, st.integers(1, 200), st.booleans())
def test_nothing_in_a_state_steers_a_terminal(raw: dict[str, Any], wide: int, live: bool) -> None:  # noqa: FBT001
    for name, value in facts(taken(raw)):
        assert f"{name}: {value}".isprintable()
        assert len(f"{name}: {value}") < 1000
    for text in page(raw, wide, 24, live=live):
        assert text.isprintable()
        assert cell_len(text) <= wide


@given(texts, st.integers(4, 100))
def test_a_text_is_bounded_and_printable(text: str, longest: int) -> None:
    assert safe_text(text, longest).isprintable()
    assert len(safe_text(text, longest)) <= longest


def test_what_matters_most_stands_at_the_top() -> None:
    lines = page(EXAMPLE, 80, 24, live=True)
    assert lines[0].startswith("pbs-watch 1.2  pid 7  running since ")
    assert lines[0].rstrip().endswith("(1h 1m)")
    assert lines[1] == "window 30m  session limit 90m  cuts next  witness off"
    assert lines[2] == "grants 5  sessions 1  orders 2  map /m"
    assert lines[3] == 'SHADOW on: every lookup is answered "not found"'
    assert lines[5].split() == ["SOURCE", "LINES/S", "BYTES/S", "WAITING", "LAG", "LATEST"]
    assert lines[6].split()[0] == "/log/3"
    assert lines[6].rstrip().endswith("cannot be read")
    assert lines[7].rstrip().endswith("searching")
    assert lines[10].strip() == "and 5 more"
    assert len(lines) <= 24


def test_status_shows_all_sources_and_reasons() -> None:
    text = "\n".join(page(EXAMPLE, 80, 24, live=False))
    assert all(f"/log/{n}" in text for n in range(9))
    assert "2 suspect, after a cut line; 1 new-reason" in text
    assert "never granted" not in text


def test_the_end_of_a_long_name_is_shown() -> None:
    long = {"sources": [{"name": "/very/long/path" * 10 + "/mail.log"}]}
    assert any(
        text.startswith("...") and "mail.log " in text for text in page(long, 80, 24, live=True)
    )


def test_a_name_has_all_the_room_that_there_is() -> None:
    name = "/var/log/mail/mail-of-the-first-host.example.com.log"
    source = {"name": name, "lines": 5, "rate": 1.0, "waiting": 0, "latest": 1e9 + 3600}
    for live in (False, True):
        shown = page({**EXAMPLE, "sources": [source]}, 100, 24, live=live)
        assert any(text.startswith(f"{name} ") for text in shown), shown
        # Never wider than the screen, and what the number columns do not need is the name's.
        narrow = page({**EXAMPLE, "sources": [source]}, 80, 24, live=live)
        (row,) = [text for text in narrow if "example.com.log " in text]
        assert len(row) <= 80
        assert len(row.split()[0]) >= 35


def test_the_latest_warning_tells_how_many() -> None:
    notices = Notices()
    notices.count("cuts", 3, "cut lines")
    assert (notices.last, notices.total) == ("3 cut lines", 1)
    notices.count("cuts", 4, "cut lines")
    notices.count("cuts", 5, "cut lines")
    assert notices.last == "9 cut lines"


def test_rates_are_of_one_daemon() -> None:
    before = taken({**EXAMPLE, "logins": 10})
    after = taken({**EXAMPLE, "logins": 30, "uptime": 3702.0})
    other = taken({**EXAMPLE, "logins": 30, "started": 2e9})
    assert step(after, before).rate("logins") == 10.0
    assert step(after, before).lookups("found") == 0.0
    assert step(after, before).of(after.sources[0], "lines") == 0.0
    assert step(other, before).rate("logins") is None
    assert step(after, None).rate("logins") is None
    assert columns("12:00:00", Step(other)).split()[1:6] == ["-"] * 5
    assert len(columns("12:00:00", None)) == len(HEADING)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (60, "1m 0s"), (3700, "1h 1m"), (90000, "1d 1h"), (-5, "0s")],
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (1.5, "1.5s"), (90, "90s"), (1800, "30m"), (14400, "4h"), (604800, "7d")],
)
def test_durations(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9960, "10 kB"), (999_600, "1.0 MB"),
     (123_456_789, "123 MB"), (5e12, "5000 GB")],
)  # fmt: skip
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text
