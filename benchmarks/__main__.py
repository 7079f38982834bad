"""Run the comparisons and tell how they went.

    python -m benchmarks [--quick] [--only NAME]... [--runs N] [--output DIR]

Prints a table, and writes it as results.json, results.rst and results.svg into DIR.  Exits with 0
where everything was measured, whether or not the targets were reached, which the table tells;
with 2 where something could not be measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import machine, report
from benchmarks.bench import FULL, QUICK, Bench
from benchmarks.measure import BenchmarkError
from benchmarks.result import Row
from pbs_watch.errors import PbsWatchError

COMPARISONS = ("scan", "match", "lookups", "freshness", "growth", "quiet")
"""The modules, in the order in which they are run."""


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes, to see that it works")
    parser.add_argument("--only", action="append", choices=COMPARISONS, help="one comparison")
    parser.add_argument("--runs", type=int, help="runs of each contender")
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="folder")
    told = parser.parse_args(argv)
    if told.runs is not None and told.runs < 1:
        parser.error("--runs: at least 1")
    return told


def measured(bench: Bench, names: tuple[str, ...]) -> tuple[list[Row], list[str]]:
    """All rows of the comparisons, and why some could not be made: hours are not thrown away."""
    found: list[Row] = []
    failures = []
    for name in names:
        rows: Callable[[Bench], Iterator[Row]] = importlib.import_module(f"benchmarks.{name}").rows
        try:
            for row in rows(bench):
                found.append(row)  # noqa: PERF402 - what there was before a failure is kept
        except (BenchmarkError, PbsWatchError) as error:
            failures.append(f"{name}: {error}")
            print(f"benchmarks: {failures[-1]}", file=sys.stderr)
    return found, failures


def tell(rows: list[Row], output: Path, scale: str, where: machine.Machine) -> None:
    """Print the table and write the files."""
    from rich.console import Console  # noqa: PLC0415 - for terminals only

    console = Console(width=None if sys.stdout.isatty() else 180)
    console.print(report.table(rows))
    for line in where.lines():
        console.print(line, highlight=False)
    (output / "results.json").write_text(report.as_json(rows, where, scale), encoding="utf-8")
    (output / "results.rst").write_text(report.rst(rows, where), encoding="utf-8")
    try:
        from benchmarks import picture  # noqa: PLC0415 - matplotlib may be missing

        picture.draw(rows, output / "results.svg")
    except ModuleNotFoundError as error:
        console.print(f"no picture: {error}; install python3-matplotlib, or the extra bench")
    console.print(f"also in {output}/results.json, .rst and .svg")


def main(argv: list[str] | None = None) -> int:
    """Run what the command line asks for."""
    told = arguments(argv)
    # So that no server is left running, and no gigabytes are left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # postsrsd and redis-server stand where only root looks.
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    if missing := machine.missing():
        print(f"benchmarks: apt-get install {' '.join(missing)}", file=sys.stderr)
        return 2
    scale = QUICK if told.quick else FULL
    if told.runs is not None:
        scale = dataclasses.replace(scale, runs=told.runs)
    output = told.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(dir=output, prefix="scratch-"))
    try:
        rows, failures = measured(Bench(scale, home), tuple(told.only or COMPARISONS))
        tell(rows, output, "quick" if told.quick else "full", machine.this(home))
    finally:
        shutil.rmtree(home)
    for failure in failures:
        print(f"benchmarks: not measured: {failure}", file=sys.stderr)
    return 2 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
