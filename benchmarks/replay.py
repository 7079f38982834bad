"""Time ``pbs-watch replay --json`` on a log against ``grep -c 'LOGIN, user='``, in the same run.

    python benchmarks/generate.py --lines 2000000 --ends 0.04 --output mail.log
    python benchmarks/replay.py mail.log

The two take turns, so that a busy machine slows both; each reads the file once beforehand.  What
counts is the ratio of the medians: it travels between machines, seconds do not.  The peak of
memory is that of the largest run; a flat one does not grow with the file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

GREP = ("grep", "-c", "LOGIN, user=")
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command: wall and processor time in seconds, peak memory in bytes."""

    wall: float
    processor: float
    peak: int
    output: bytes


def run(command: list[str]) -> Run:
    """Run ``command`` to its end; a failure ends the benchmark."""
    env = {**os.environ, "LC_ALL": "C"}
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, cwd=ROOT) as process:
        assert process.stdout is not None  # noqa: S101 - PIPE was asked for
        output = process.stdout.read()
        # wait4 gives this child's usage; RUSAGE_CHILDREN keeps the largest of all so far.
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - begin
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}")
    # Linux counts ru_maxrss in units of 1024 bytes.
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, output)


def row(name: str, runs: list[Run], size: int) -> str:
    """Return one line of the table."""
    wall = statistics.median(one.wall for one in runs)
    processor = statistics.median(one.processor for one in runs)
    peak = max(one.peak for one in runs)
    return f"{name:<8}{wall:9.3f}{processor:9.3f}{size / wall / 1e6:10.0f}{peak / 1e6:11.0f}"


def main(argv: list[str] | None = None) -> None:
    """Run the comparison that the command line asks for and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--runs", type=int, default=5, help="runs of each (5)")
    parser.add_argument("--patterns", default="courier")
    told = parser.parse_args(argv)
    path = told.file.resolve()
    size = path.stat().st_size
    replay = [sys.executable, "-m", "pbs_watch", "replay", "--json"]
    replay += ["--patterns", told.patterns, str(path)]
    grep = [*GREP, str(path)]
    for command in (grep, replay):
        run(command)
    greps, replays = [], []
    for _ in range(told.runs):
        greps.append(run(grep))
        replays.append(run(replay))
    found = json.loads(replays[-1].output)
    ratio = statistics.median(one.wall for one in replays) / statistics.median(
        one.wall for one in greps
    )
    print(f"{path.name}: {size / 1e6:.0f} MB, {found['lines']} lines, median of {told.runs}")
    print(f"{'':8}{'wall s':>9}{'cpu s':>9}{'MB/s':>10}{'peak MB':>11}")
    print(row("grep", greps, size))
    print(row("replay", replays, size))
    print(f"ratio {ratio:.1f}; logins: grep {int(greps[-1].output)}, replay {found['logins']}")


if __name__ == "__main__":
    main()
