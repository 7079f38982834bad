"""Replay against finding a string: GNU grep and ripgrep read the same log.

All of replay is measured, start of the process to its exit, its fresh map included.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.measure import BenchmarkError, in_turn, timed
from benchmarks.result import OURS, Row, Target, series
from benchmarks.servers import PROGRAM

WANTED = "LOGIN, user="

SHARES = {
    "5 % logins, 5 % ends": ("0.05", "0.05", Target(12, "grep -c", stretch=6)),
    "0.1 % logins": ("0.001", "0.001", Target(4, "grep -c", stretch=2)),
}
"""The logs, with the shares of logins and ends and the target."""


def replay(*logs: Path) -> tuple[str | Path, ...]:
    """The command that replays logs and prints counts."""
    return (*PROGRAM, "replay", "--config", "/dev/null", "--json", *logs)


def rows(bench: Bench) -> Iterator[Row]:
    """The logs with many and with few logins."""
    for name, (logins, ends, target) in SHARES.items():
        log = bench.log(f"scan-{logins}", bench.scale.lines, "--logins", logins, "--ends", ends)
        bench.say(f"replay against grep and ripgrep: {name}")
        found = in_turn(
            bench.scale.runs,
            {
                OURS: lambda log=log: timed(replay(log)),  # type: ignore[misc]
                "grep -c": lambda log=log: timed(("grep", "-c", WANTED, log)),  # type: ignore[misc]
                "rg -c": lambda log=log: timed(("rg", "-c", WANTED, log)),  # type: ignore[misc]
            },
        )
        if found["grep -c"][0].output != found["rg -c"][0].output:
            raise BenchmarkError(f"{log}: grep and ripgrep do not agree")
        walls = {who: series([run.wall for run in runs]) for who, runs in found.items()}
        size = log.stat().st_size / 1e6
        yield Row(
            f"scan-{logins}",
            f"replay of {bench.scale.lines:,} lines, {size:.0f} MB, {name}",
            "s",
            walls,
            (target,),
        )
