"""Measuring: programs run to their end, what the kernel says of processes, contenders in turn."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent

PATIENCE = 60.0
"""Seconds until a condition that never comes true ends the benchmark."""

_Result = TypeVar("_Result")


class BenchmarkError(Exception):
    """Nothing can be measured; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A program that ran to its end: seconds of wall clock, peak memory in bytes, output."""

    wall: float
    peak: int
    output: bytes


def timed(command: Sequence[str | Path], given: Path | None = None) -> Ended:
    """Run a program, start to exit; ``given`` is its standard input.

    A failure raises :class:`BenchmarkError`, as a time of something that failed is worth nothing.
    The peak is that of its largest process, and this one's at least: the kernel lets a program
    begin with the peak of whoever started it.
    """
    words = [str(word) for word in command]
    with (given or Path(os.devnull)).open("rb") as stdin:
        began = time.perf_counter()
        with subprocess.Popen(
            words,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            cwd=ROOT,
        ) as process:
            assert process.stdout is not None  # noqa: S101 - for mypy: PIPE was asked for
            output = process.stdout.read()
            # wait4 gives this child's usage; RUSAGE_CHILDREN keeps the largest of all so far.
            _pid, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
    if process.returncode:
        raise BenchmarkError(f"{' '.join(words)}: exit {process.returncode}; run it by hand")
    # Linux counts ru_maxrss in units of 1024 bytes.
    return Ended(wall, usage.ru_maxrss * 1024, output)


def environment() -> dict[str, str]:
    """The environment of all that is measured; some of it is written in Python too."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "LC_ALL": "C"}


def in_turn(runs: int, contenders: Mapping[str, Callable[[], _Result]]) -> dict[str, list[_Result]]:
    """Let the contenders take turns, so that a busy moment of the machine meets all of them."""
    results: dict[str, list[_Result]] = {name: [] for name in contenders}
    for _ in range(runs):
        for name, contender in contenders.items():
            results[name].append(contender())
    return results


def until(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Return as soon as the condition holds; :class:`BenchmarkError` where it never does."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"waited {patience:.0f} s in vain: {what}")
        time.sleep(0.01)


def processor_time(pid: int) -> float:
    """Seconds of processor time that all threads of a process have taken so far."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((one / "schedstat").read_text().split()[0]) for one in threads) / 1e9


@dataclass(frozen=True, slots=True)
class Memory:
    """Private memory of a process in bytes, and what of it are clean pages of a mapped file.

    ``mapped`` are pages of the map that no other process has looked at: the kernel's cache, which
    it takes back when it needs memory.
    """

    private: int
    mapped: int

    @property
    def own(self) -> int:
        """What the process itself takes."""
        return self.private - self.mapped


def memory(pid: int, mapped: Path) -> Memory:
    """The private memory of a process, and what of it are pages of the file ``mapped``."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    of_file, ours = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text(errors="replace").splitlines():
        name = line.split(maxsplit=1)[0]
        if not name.endswith(":"):
            ours = line.endswith(f" {mapped}")
        elif ours and name.startswith("Private_"):
            of_file += _kibibytes(line)
    whole = sum(_kibibytes(line) for line in rollup if line.startswith("Private_"))
    return Memory(whole, of_file)


def _kibibytes(line: str) -> int:
    return int(line.split()[1]) * 1024
