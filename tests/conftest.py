"""What the tests that start the real program share."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon import Daemon, Log, Process

# A shell lets what it runs in the background ignore SIGINT, and so all that is started here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Starts a daemon with the options given; it ends with the test."""
    daemons: list[Daemon] = []

    def started(
        *words: str | Path,
        logs: tuple[str | Path, ...] = (),
        quiet: bool = False,
        stdin: int = subprocess.DEVNULL,
    ) -> Daemon:
        daemon = Daemon(tmp_path, *words, logs=logs, quiet=quiet, stdin=stdin)
        daemons.append(daemon)
        return daemon

    yield started
    for daemon in daemons:
        daemon.end()


@pytest.fixture
def launch() -> Iterator[Callable[..., Process]]:
    """Starts any command that does not end by itself."""
    processes: list[Process] = []

    def launched(*words: str | Path) -> Process:
        processes.append(Process(words))
        return processes[-1]

    yield launched
    for process in processes:
        process.end()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """The mail log that a daemon follows when it is not told otherwise."""
    opened = Log(tmp_path / "mail.log")
    yield opened
    opened.close()
