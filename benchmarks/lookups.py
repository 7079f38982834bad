"""Lookups against redis-server and postsrsd: the same closed-loop client asks all three.

131,072 keys, half of them found.  The daemon follows a log that gains a hundred logins a second, so
that its misses have something to look for and its commits go on, while the others are asked too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.bench import Bench
from benchmarks.measure import in_turn
from benchmarks.result import OURS, Row, Target, series
from benchmarks.servers import (
    KEYS,
    Asked,
    Daemon,
    Found,
    ask,
    daemon,
    fill,
    postsrsd,
    pouring,
    redis,
)

LOGINS = 100
"""Logins a second that arrive meanwhile."""

ALL_AT_ONCE = (10, 100)
"""Connections at which the targets are to be reached."""

FLOOD = 5000
"""Logins a second of a busy night."""

FEW = 10
"""Connections where their number is not what is measured."""


def rows(bench: Bench) -> Iterator[Row]:
    """Lookups a second and their latency, hits against misses, and a flood of logins."""
    home = bench.directory("lookups")
    fill(home / "map", KEYS)
    with daemon(home) as ours, redis() as theirs, postsrsd(bench.home) as sibling:
        with pouring(bench.program("pour"), ours.log, LOGINS):
            servers = {OURS: ours.asked, "redis-server": theirs, "postsrsd": sibling}
            for connections in bench.scale.connections:
                yield from _compared(bench, servers, connections)
            yield from _hits_and_misses(bench, ours.asked)
        yield from _in_a_flood(bench, ours)


def _load(bench: Bench, server: Asked, connections: int, misses: int = 50) -> Found:
    return ask(bench.program("load"), server, connections, bench.scale.seconds, misses=misses)


def _compared(bench: Bench, servers: dict[str, Asked], connections: int) -> Iterator[Row]:
    bench.say(f"lookups over {connections} connections")
    found = in_turn(
        bench.scale.runs,
        {who: partial(_load, bench, server, connections) for who, server in servers.items()},
    )
    aimed = connections in ALL_AT_ONCE
    over = f"over {connections} connection{'s' if connections > 1 else ''}"
    yield Row(
        f"lookups-{connections}",
        f"lookups {over}",
        "lookups/s",
        {who: series([run.per_second for run in runs]) for who, runs in found.items()},
        (
            Target(0.6, "redis-server", least=True, stretch=1.0),
            Target(1.8, "postsrsd", least=True),
        )
        if aimed
        else (),
    )
    yield Row(
        f"lookups-p50-{connections}",
        f"median latency {over}",
        "us",
        {who: series([run.p50 for run in runs]) for who, runs in found.items()},
    )
    yield Row(
        f"lookups-p99-{connections}",
        f"p99 latency {over}",
        "us",
        {who: series([run.p99 for run in runs]) for who, runs in found.items()},
        (Target(2.0, "redis-server", stretch=1.2),) if aimed else (),
    )


def _hits_and_misses(bench: Bench, ours: Asked) -> Iterator[Row]:
    bench.say("hits and misses")
    for connections in (1, FEW, 100):
        found = in_turn(
            bench.scale.runs,
            {
                OURS: partial(_load, bench, ours, connections, 100),
                "hits": partial(_load, bench, ours, connections, 0),
            },
        )
        over = f"over {connections} connection{'s' if connections > 1 else ''}"
        yield Row(
            f"misses-{connections}",
            f"time of a miss {over}, against a hit",
            "us",
            {who: series([1e6 / run.per_second for run in runs]) for who, runs in found.items()},
            (Target(1.3, "hits"),),
        )


def _in_a_flood(bench: Bench, ours: Daemon) -> Iterator[Row]:
    bench.say(f"lookups while {FLOOD} logins a second arrive")

    def flooded() -> Found:
        with pouring(bench.program("pour"), ours.log, FLOOD):
            return _load(bench, ours.asked, FEW)

    contenders: dict[str, Callable[[], Found]] = {
        OURS: flooded,
        "idle": partial(_load, bench, ours.asked, FEW),
    }
    found = in_turn(bench.scale.runs, contenders)
    while_ = f"of lookups while {FLOOD:,} logins/s arrive"
    yield Row(
        "flood-p99",
        f"p99 {while_}",
        "us",
        {who: series([run.p99 for run in runs]) for who, runs in found.items()},
        (Target(2.0, "idle"),),
    )
    yield Row(
        "flood-max",
        f"slowest {while_}",
        "ms",
        {who: series([run.max / 1e3 for run in runs]) for who, runs in found.items()},
        (Target(50.0),),
    )
