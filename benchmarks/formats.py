"""Time ``pbs-watch replay`` of a log with all shipped patterns against Courier's alone.

    python benchmarks/generate.py --lines 2000000 --ends 0.04 --output mail.log
    python benchmarks/formats.py mail.log

The two take turns, so that a busy machine slows both; what counts is the ratio of the medians,
which is to be at most 1.5.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALL = sorted(path.stem for path in (ROOT / "patterns").glob("*.pattern"))


def seconds(log: Path, patterns: list[str]) -> float:
    """Run one replay; a failure ends the benchmark."""
    named = [word for name in patterns for word in ("--patterns", name)]
    command = [sys.executable, "-m", "pbs_watch", "replay", "--json", *named, str(log.resolve())]
    done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    return float(json.loads(done.stdout)["seconds"])


def main() -> None:
    """Print both medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("log", type=Path)
    told = parser.parse_args()
    alone, together = [], []
    for _ in range(told.repeats):
        alone.append(seconds(told.log, ["courier"]))
        together.append(seconds(told.log, ALL))
    one, all_ = statistics.median(alone), statistics.median(together)
    print(f"courier {one:.2f} s, {len(ALL)} patterns {all_:.2f} s, ratio {all_ / one:.2f}")


if __name__ == "__main__":
    main()
