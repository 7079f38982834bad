"""What grows with the number of grants or the length of the log, and what must not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.measure import Memory, memory, timed
from benchmarks.result import OURS, Row, Target, series
from benchmarks.scan import replay
from benchmarks.servers import PROGRAM, Found, ask, daemon, fill, some_keys

CONNECTIONS = 10

MEBIBYTE = 1 << 20


def rows(bench: Bench) -> Iterator[Row]:
    """Grants first, then the log."""
    yield from _grants(bench)
    yield from _log(bench)


def _grants(bench: Bench) -> Iterator[Row]:
    speeds: dict[int, list[Found]] = {}
    memories: dict[int, list[Memory]] = {}
    for count in bench.scale.grants:
        bench.say(f"{count:,} grants: lookups, memory, starts")
        home = bench.directory(f"grants-{count}")
        fill(home / "map", count)
        keys = some_keys(home / "keys", count)
        speeds[count], memories[count] = [], []
        for _ in range(bench.scale.runs):
            with daemon(home) as ours:
                load, seconds = bench.program("load"), bench.scale.seconds
                speeds[count].append(ask(load, ours.asked, CONNECTIONS, seconds, keys=keys))
                memories[count].append(memory(ours.pid, home / "map" / "data.mdb"))
        if count == bench.scale.many or count == bench.scale.grants[-1]:
            yield from _get(bench, count)
        shutil.rmtree(home)
    first = bench.scale.grants[0]
    base = f"{first:,}"
    for count in bench.scale.grants:
        others = {} if count == first else {base: series([one.per_second for one in speeds[first]])}
        yield Row(
            f"grants-{count}-lookups",
            f"lookups with {count:,} grants",
            "lookups/s",
            {OURS: series([one.per_second for one in speeds[count]]), **others},
            (Target(1 / 1.5, base, least=True),) if others else (),
        )
    for count in bench.scale.grants:
        others = (
            {}
            if count == first
            else {base: series([one.own / MEBIBYTE for one in memories[first]])}
        )
        targets = [Target(1.5, base)] if others else []
        yield Row(
            f"grants-{count}-memory",
            f"private memory with {count:,} grants, without the map's pages",
            "MiB",
            {
                OURS: series([one.own / MEBIBYTE for one in memories[count]]),
                **others,
                "with the map's pages": series([one.private / MEBIBYTE for one in memories[count]]),
            },
            (*targets, Target(60.0)) if count >= bench.scale.many else tuple(targets),
        )


def _get(bench: Bench, count: int) -> Iterator[Row]:
    path = bench.home / f"grants-{count}" / "map"
    command = (*PROGRAM, "get", "198.18.1.2", "--config", "/dev/null", "--map", path)
    found = [timed(command).wall * 1e3 for _ in range(bench.scale.starts)]
    python = [timed((PROGRAM[0], "-c", "")).wall * 1e3 for _ in range(bench.scale.starts)]
    yield Row(
        f"get-{count}",
        f"pbs-watch get, start to exit, {count:,} grants",
        "ms",
        {OURS: series(found), "python -c ''": series(python)},
        (Target(100.0),),
    )


def _log(bench: Bench) -> Iterator[Row]:
    first, *others = bench.scale.gigabytes
    log = bench.log("growth", round(first * 8e6), "--logins", "0.001", "--ends", "0.001")
    base = f"{first:g} GB"
    found = {}
    for size in (first, *others):
        times = round(size / first)
        bench.say(f"replay of {size:g} GB")
        # The largest takes minutes: once tells as much as five times.
        runs = bench.scale.runs if times < 100 else 1
        found[size] = [timed(replay(*[log] * times)) for _ in range(runs)]
        base_rate = series([run.wall for run in found[first]])
        base_peak = series([run.peak / MEBIBYTE for run in found[first]])
        yield Row(
            f"log-{size:g}",
            f"replay of {size:g} GB, seconds a GB",
            "s/GB",
            {
                OURS: series([run.wall / size for run in found[size]]),
                base: series([run / first for run in base_rate.runs]),
            },
            (Target(1.2, base),) if times > 1 else (),
        )
        yield Row(
            f"log-{size:g}-memory",
            f"replay of {size:g} GB, peak of the largest process",
            "MiB",
            {OURS: series([run.peak / MEBIBYTE for run in found[size]]), base: base_peak},
            (Target(1.2, base),) if times > 1 else (),
        )
