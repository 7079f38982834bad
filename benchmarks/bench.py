"""What all comparisons need: how much to measure, where, and the programs that measure."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import ROOT, BenchmarkError
from benchmarks.servers import build


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured.

    ``lines``: of the logs.  ``slow_lines``: of those for fail2ban-regex, which takes long.
    ``seconds``: of one run of the load generator.  ``grants``: sizes of maps.  ``many``: the grants
    that expire together, and whose memory is measured.  ``gigabytes``: logs to catch up with, the
    first a file, the others the same file again and again.  ``logins``: written and asked for.
    """

    runs: int
    lines: int
    slow_lines: int
    seconds: float
    connections: tuple[int, ...]
    grants: tuple[int, ...]
    many: int
    gigabytes: tuple[float, ...]
    logins: int
    starts: int
    idle: float


FULL = Scale(
    runs=5,
    lines=2_000_000,
    slow_lines=100_000,
    seconds=2.0,
    connections=(1, 10, 100, 1000),
    grants=(10_000, 100_000, 1_000_000, 10_000_000),
    many=1_000_000,
    gigabytes=(1.0, 10.0, 100.0),
    logins=10_000,
    starts=10,
    idle=10.0,
)

QUICK = Scale(
    runs=2,
    lines=100_000,
    slow_lines=2_000,
    seconds=0.3,
    connections=(1, 10, 100),
    grants=(10_000, 100_000),
    many=50_000,
    gigabytes=(0.01, 0.1),
    logins=500,
    starts=3,
    idle=1.0,
)
"""Shows that everything works, in two minutes; its numbers say little."""


@dataclass(slots=True)
class Bench:
    """One run of the benchmarks.  ``home`` is on the disk that maps and logs are to be on."""

    scale: Scale
    home: Path
    tell: bool = True
    _built: dict[str, Path] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """Tell who waits what goes on."""
        if self.tell:
            print(f"  {text}", file=sys.stderr, flush=True)

    def program(self, name: str) -> Path:
        """A program of ``c/``, built once."""
        if name not in self._built:
            self._built[name] = build(self.home, name)
        return self._built[name]

    def directory(self, name: str) -> Path:
        """A directory of that name for a map and a log."""
        path = self.home / name
        path.mkdir(exist_ok=True)
        return path

    def log(self, name: str, lines: int, *options: str) -> Path:
        """A generated log; ``options`` are those of generate.py.  Made once, and read once."""
        path = self.home / f"{name}-{lines}.log"
        if not path.exists():
            self.say(f"writing {path.name}")
            command: Sequence[str | Path] = (
                sys.executable, "-m", "benchmarks.generate", "--output", path.with_suffix(".part"),
                "--lines", str(lines), *options,
            )  # fmt: skip
            try:
                subprocess.run(command, check=True, cwd=ROOT)
            except subprocess.CalledProcessError:
                raise BenchmarkError(f"{path}: cannot be written, as it says above") from None
            path.with_suffix(".part").rename(path)
        with path.open("rb") as file:
            while file.read(1 << 20):
                pass
        return path
