"""How long after a line was written its lookup says so, the lookup sent right after the write."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.measure import BenchmarkError
from benchmarks.result import OURS, Row, Target, series
from benchmarks.servers import KEYS, daemon, fill, known


def rows(bench: Bench) -> Iterator[Row]:
    """Freshness against plain hits in between, and how many logins were missed."""
    bench.say("lines written and asked for at once")
    home = bench.directory("freshness")
    fill(home / "map", KEYS)
    with daemon(home) as ours:
        found = []
        times = bench.scale.logins
        for run in range(bench.scale.runs):
            words = (ours.log, ours.asked.port, run * times, times, known(1).decode())
            command = [str(word) for word in (bench.program("fresh"), *words)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
            if done.returncode:
                raise BenchmarkError("fresh: failed, as it says above")
            found.append(json.loads(done.stdout))
    for what, percentile in (("median", "p50"), ("p99", "p99")):
        yield Row(
            f"fresh-{percentile}",
            f"line written to 200 received, {what}",
            "us",
            {
                OURS: series([run[f"fresh_{percentile}"] for run in found]),
                "hits": series([run[f"hit_{percentile}"] for run in found]),
            },
            (Target(2.0, "hits"),) if percentile == "p50" else (),
        )
    yield Row(
        "fresh-missed",
        f"logins not seen by the lookup after them, of {bench.scale.logins:,}",
        "logins",
        {OURS: series([max(run["missed"] for run in found)])},
        (Target(0.0),),
    )
