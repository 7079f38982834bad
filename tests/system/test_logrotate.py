"""The real logrotate, in both of its modes, against the real daemon and a process that logs.

The process that logs does as rsyslog does: it keeps its file open, and opens it again at a SIGHUP.
Started as a program, this module is that process.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.daemon import (
    NO,
    OK,
    PATIENCE,
    ROOT,
    Daemon,
    Log,
    addresses,
    command,
    environment,
    line,
    login,
    until,
)
from tests.promise_3_exactly_once.followed import Writer
from tests.promise_3_exactly_once.history import History

Start = Callable[..., Daemon]

STRANGERS = addresses(500, start=60_000)
"""Addresses that fail to log in."""

SOME = 40
"""Logins between two events: some hundredths of a second."""

PACE = 0.001
"""Seconds between two writes."""

SEEDS = range(40)


def write_until_told_to_end(path: Path, reopened: Path) -> None:
    """Logs a login and a failure again and again, and prints the address that is in the log now."""
    told = {signal.SIGHUP, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, told)
    log = Log(path)
    for number, address in enumerate(addresses(60_000)):
        stranger = STRANGERS[number % len(STRANGERS)]
        failed = line(f"LOGIN FAILED, user=bob, ip=[::ffff:{stranger}], port=[1]")
        log.write(login(f"::ffff:{address}") + failed)
        print(address, flush=True)
        said = signal.sigtimedwait(told, PACE)
        if said is not None and said.si_signo == signal.SIGTERM:
            return
        if said is not None:
            log.open()
            reopened.touch()


class Traffic:
    """The process that logs; ``logged`` are the addresses whose logins are in the log."""

    def __init__(self, home: Path) -> None:
        self.reopened = home / "reopened"
        self.logged: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, home / "mail.log", self.reopened],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(),
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._listen)
        self._reader.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for address in output:
                self.logged.append(address.rstrip("\n"))

    def goes_on(self) -> None:
        """Waits until some more has been logged."""
        wanted = len(self.logged) + SOME
        until(lambda: len(self.logged) >= wanted, "more logins")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stands still between two writes."""
        self._process.send_signal(signal.SIGSTOP)
        until(lambda: self._state() == "T", "the process stands still")
        yield
        self._process.send_signal(signal.SIGCONT)

    def _state(self) -> str:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def end(self) -> list[str]:
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        assert self._process.wait(PATIENCE) == 0
        self._reader.join(PATIENCE)
        return self.logged


@dataclass(frozen=True, slots=True)
class Mode:
    """How logrotate is told to rotate."""

    truncates: bool = False
    program: str = ""
    delayed: bool = False
    dates: bool = False
    keep: int = 100

    @property
    def suffix(self) -> str:
        return {"": "", "gzip": ".gz", "xz": ".xz", "zstd": ".zst"}[self.program]

    def directives(self) -> list[str]:
        told = [f"rotate {self.keep}", "copytruncate" if self.truncates else "create 0640"]
        if self.program:
            program = shutil.which(self.program)
            assert program is not None, f"{self.program} is missing: .ci/run installs it"
            told += ["compress", f"compresscmd {program}", f"compressext {self.suffix}"]
        if self.delayed:
            told.append("delaycompress")
        if self.dates:
            # A rotation a day has the date for a name; here there are several in a minute.
            told += ["dateext", "dateformat -%Y%m%d-%s"]
        return told

    def __str__(self) -> str:
        words = ["copytruncate" if self.truncates else "create", self.program]
        words += ["delayed" if self.delayed else "", "dates" if self.dates else ""]
        return " ".join(filter(None, words))


class Logrotate:
    """Rotates the log at ``path`` with logrotate, as often as it is called."""

    def __init__(self, path: Path, mode: Mode, after: str = "") -> None:
        self.rotations = 0
        self._path = path
        self._mode = mode
        self._settings = path.with_name("logrotate.conf")
        told = mode.directives()
        if after:
            told += ["postrotate", after, "endscript"]
        self._settings.write_text("\n".join([f"{path} {{", *told, "}", ""]))
        self._settings.chmod(0o600)  # logrotate ignores settings that others may write
        self._last = 0
        self._held: list[int] = []
        """Of each file one descriptor, so that no new file gets the inode of one that is gone.

        After a restart that would look as if the file had been truncated, and put it under doubt.
        """

    def close(self) -> None:
        while self._held:
            os.close(self._held.pop())

    def __call__(self) -> None:
        if self._mode.dates:
            # Some milliseconds more: logrotate's clock is the coarse one.
            until(lambda: time.time() > self._last + 1.02, "another second")
        self._held.append(os.open(self._path, os.O_RDONLY))
        done = subprocess.run(
            ["logrotate", "--force", "--state", self._path.with_name("state"), self._settings],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        self._last = int(time.time())
        self.rotations += 1

    def did(self) -> None:
        """Each rotation left a file, compressed as the settings want it."""
        rotated = [
            one.name
            for one in self._path.parent.iterdir()
            if one.name.startswith((f"{self._path.name}.", f"{self._path.name}-"))
        ]
        assert len(rotated) == min(self.rotations, self._mode.keep)
        compressed = [name for name in rotated if name.endswith((".gz", ".xz", ".zst"))]
        assert all(name.endswith(self._mode.suffix) for name in compressed)
        plain = 1 if self._mode.delayed else 0
        assert len(compressed) == (len(rotated) - plain if self._mode.program else 0)


class Story:
    """A daemon, a process that logs, and logrotate between them."""

    def __init__(self, start: Start, home: Path, mode: Mode) -> None:
        self._mode = mode
        self._home = home
        # After each truncation a login could be a piece of a cut line; that is another test's.
        self._options = ["--cuts", "off"] if mode.truncates else []
        self.traffic = Traffic(home)
        self.traffic.goes_on()
        self.daemon = start(*self._options)
        self.logrotate = Logrotate(home / "mail.log", mode, self._after())

    def _after(self) -> str:
        """What makes the process open its log again.

        Debian's script for rsyslog does not wait until that is done, and has logrotate compress
        with the next rotation therefore.
        """
        if self._mode.truncates:
            return ""
        reopen = f"kill -HUP {self.traffic.pid}"
        if self._mode.delayed or not self._mode.program:
            return reopen
        reopened = self.traffic.reopened
        return f"rm -f {reopened}; {reopen}; until [ -e {reopened} ]; do sleep 0.01; done"

    def rotate(self, times: int = 1) -> None:
        """What is logged between copying and truncating is lost by logrotate: nothing is."""
        for _ in range(times):
            if self._mode.truncates and self.daemon.process.running:
                # That a file was truncated twice between two looks cannot be seen.
                self.catches_up()
            self.traffic.goes_on()
            with self.traffic.paused() if self._mode.truncates else contextlib.nullcontext():
                self.logrotate()
        self.traffic.goes_on()

    def catches_up(self) -> None:
        """A stranger's lookup can be answered only when the whole log is known."""
        until(lambda: self.daemon.ask(STRANGERS[0]) == NO, "the log has been read")

    def nothing_twice(self) -> None:
        """No login took effect twice in the life of this daemon."""
        said = Counter(re.findall(r"event=granted address=(\S+) ", self.daemon.said))
        assert [address for address, count in said.items() if count > 1] == []

    def notices(self) -> list[str]:
        """What the daemon said, but for each login."""
        return [one for one in self.daemon.said.splitlines() if not one.startswith("time=")]

    def stop(self) -> None:
        self.daemon.stop()
        self.nothing_twice()

    def kill(self) -> None:
        self.daemon.kill()
        self.nothing_twice()

    def ends_well(self) -> None:
        logged = self.traffic.end()
        self.logrotate.did()
        self.catches_up()
        assert Counter(map(self.daemon.ask, logged)) == {OK: len(logged)}, self.notices()
        assert {self.daemon.ask(stranger) for stranger in STRANGERS} == {NO}
        assert "not found again" not in self.daemon.said
        self.stop()
        assert granted(self.daemon) == set(logged)


def granted(daemon: Daemon) -> set[str]:
    """What is committed in the map."""
    ended = command("list", "--json", "--map", daemon.map)
    assert ended.status == 0
    return {row["address"] for row in json.loads(ended.out)}


Tell = Callable[[Mode], Story]


@pytest.fixture
def story(start: Start, tmp_path: Path) -> Iterator[Tell]:
    """Starts a story; the process that logs ends with the test."""
    told: list[Story] = []

    def tell(mode: Mode) -> Story:
        told.append(Story(start, tmp_path, mode))
        return told[-1]

    yield tell
    for one in told:
        one.traffic.end()
        one.logrotate.close()


MODES = [
    Mode(),
    Mode(program="gzip"),
    Mode(program="xz", delayed=True),
    Mode(program="zstd", dates=True),
    Mode(truncates=True),
    Mode(truncates=True, program="gzip", delayed=True),
    Mode(truncates=True, program="zstd", dates=True),
]
every_mode = pytest.mark.parametrize("mode", MODES, ids=str)


@every_mode
def test_rotated_while_it_runs(story: Tell, mode: Mode) -> None:
    told = story(mode)
    told.rotate(times=4)
    told.ends_well()


@every_mode
def test_rotated_several_times_while_it_was_stopped(story: Tell, mode: Mode) -> None:
    told = story(mode)
    told.rotate()
    told.stop()
    told.rotate(times=3)
    told.daemon.start()
    told.rotate()
    told.ends_well()


@every_mode
def test_killed_and_rotated_before_it_starts_again(story: Tell, mode: Mode) -> None:
    told = story(mode)
    for times in (1, 2, 0):
        told.rotate()
        told.kill()
        told.rotate(times)
        told.daemon.start()
    told.ends_well()


def test_rotated_files_are_removed_while_it_runs(story: Tell) -> None:
    told = story(Mode(keep=2))
    told.rotate(times=6)
    told.ends_well()


def test_lines_are_logged_while_the_log_is_copied_and_truncated(story: Tell) -> None:
    """logrotate loses some of them: what it leaves counts once, and nothing else does."""
    told = story(Mode(truncates=True))
    told.stop()
    daemon = told.daemon = Daemon(told.daemon.map.parent)
    try:
        for _ in range(5):
            told.traffic.goes_on()
            told.logrotate()
        # More than what is suspect after a truncation.
        told.traffic.goes_on()
        told.traffic.goes_on()
        logged = told.traffic.end()
        assert daemon.ask(logged[-1]) == OK
        assert {daemon.ask(stranger) for stranger in STRANGERS} == {NO}
        told.stop()
        assert granted(daemon) <= set(logged)
    finally:
        daemon.end()


class Rotated(Writer):
    """A writer whose log is rotated by logrotate."""

    def __init__(self, path: Path, mode: Mode) -> None:
        super().__init__(path)
        self.logrotate = Logrotate(path, mode)

    def tick(self) -> None:
        """Here the real clock is good enough: a run of logrotate takes longer than one tick."""

    def rename(self) -> None:
        self.logrotate()

    def copytruncate(self) -> None:
        self.logrotate()


class RotatedHistory(History):
    """Random steps, with logrotate for all that becomes of the files."""

    def __init__(self, directory: Path, seed: int, mode: Mode) -> None:
        super().__init__(directory, seed, renames=not mode.truncates, truncates=mode.truncates)
        self.writer.file.close()
        self.writer = self.rotated_by = Rotated(self.writer.path, mode)
        self.steps = [self.write] * 5 + [self.write_half] * 3 + [self.look] * 4 + [self.commit] * 2
        self.steps += [self.stop, self.kill, self.begin, self.begin, self.delay]
        self.steps += (
            [self.copytruncate, self.copytruncate_regrown]
            if mode.truncates
            else [self.rotate, self.rename_first]
        )


PROGRAMS = ["", "gzip", "xz", "zstd"]


@pytest.mark.parametrize("truncates", [False, True], ids=["create", "copytruncate"])
def test_any_history_gives_exactly_the_lines_that_were_written(
    truncates: bool,  # noqa: FBT001
) -> None:
    total: Counter[str] = Counter()
    for seed in SEEDS:
        # A renamed file is written to for a while, so that compressing it must be delayed.
        mode = Mode(truncates, PROGRAMS[seed % 4], delayed=seed % 4 > 0, keep=1000)
        with tempfile.TemporaryDirectory() as directory:
            history = RotatedHistory(Path(directory), seed, mode)
            try:
                history.run()
            finally:
                history.close()
                history.rotated_by.logrotate.close()
            history.rotated_by.logrotate.did()
        assert history.log.lines == history.written, f"seed {seed}, {mode}"
        if not truncates:
            assert history.log.gaps == 0, f"seed {seed}, {mode}"
        total += history.happened
        total["lines"] += len(history.written)
        total["logrotate"] += history.rotated_by.logrotate.rotations
    assert total["logrotate"] > 3 * len(SEEDS)
    assert total["kill"] > len(SEEDS)
    assert total["stop"] > len(SEEDS)
    assert total["lines"] > 20 * len(SEEDS)


if __name__ == "__main__":
    write_until_told_to_end(*map(Path, sys.argv[1:]))
