"""A daemon of our own, on a log and a map of its own in a temporary folder: needs no rights.

It runs the very program that was called, and ends with the test.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pbs_watch.errors import PbsWatchError

_PATIENCE = 10.0
"""Seconds until it listens; it takes half of one."""

_LISTENING = re.compile(r"(?m)^pbs-watch: listening: tcp_table (\S+)$")


@dataclass(frozen=True, slots=True)
class Scratch:
    """A running daemon: its log, its map, and where it answers."""

    log: Path
    map: Path
    where: str


@contextmanager
def scratch(window: float, options: Sequence[str]) -> Iterator[Scratch]:
    """Start a daemon with that window (seconds); ``options``: more of the command line.

    Raises :class:`PbsWatchError` with what it said where it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="pbs-watch-selftest-") as name:
        home = Path(name)
        log, map_, said = home / "mail.log", home / "map", home / "said"
        log.touch()
        (home / "empty.toml").touch()
        words = [sys.executable, "-m", "pbs_watch", "run", "--config", str(home / "empty.toml")]
        words += ["--log", str(log), "--map", str(map_), "--tcp-table", "127.0.0.1:0", "-v"]
        words += ["--window", f"{window:.0f}s", *options]
        with said.open("wb") as errors:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
            )
        try:
            yield Scratch(log, map_, _where(process, said))
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _where(process: subprocess.Popen[bytes], said: Path) -> str:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        text = said.read_text(errors="replace")
        found = _LISTENING.search(text)
        if found is not None:
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.02)
    reason = said.read_text(errors="replace").strip().rpartition("\n")[2]
    raise PbsWatchError(f"the scratch daemon does not start: {reason.removeprefix('pbs-watch: ')}")
