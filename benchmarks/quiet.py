"""A daemon that has nothing to do, and one whose grants all expire in the same moment."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import lmdb

from benchmarks.bench import Bench
from benchmarks.measure import BenchmarkError, processor_time, until
from benchmarks.result import OURS, Row, Target, series
from benchmarks.servers import KEYS, Daemon, ask, daemon, fill

FILLING = 40e-6
"""Seconds that making a grant takes at most: they are to expire after all have been made."""

CONNECTIONS = 10


def rows(bench: Bench) -> Iterator[Row]:
    """Idle first, then expiry."""
    yield _idle(bench)
    yield _expiry(bench)


def _idle(bench: Bench) -> Row:
    bench.say("an idle daemon")
    home = bench.directory("idle")
    fill(home / "map", KEYS)
    found = []
    with daemon(home) as ours:
        time.sleep(3.0)  # it polls faster in its first seconds
        for _ in range(bench.scale.runs):
            before, began = processor_time(ours.pid), time.monotonic()
            time.sleep(bench.scale.idle)
            used = processor_time(ours.pid) - before
            found.append(1e3 * used / (time.monotonic() - began))
    return Row(
        "idle", "processor time of an idle daemon", "ms/s", {OURS: series(found)}, (Target(1.0),)
    )


def _expiry(bench: Bench) -> Row:
    count = bench.scale.many
    found = []
    for number in range(bench.scale.runs):
        bench.say(f"{count:,} grants that expire together, {number + 1} of {bench.scale.runs}")
        home = bench.directory("expiry")
        expires = time.time() + 5.0 + count * FILLING
        fill(home / "map", count, expires)
        if time.time() > expires - 2.0:
            raise BenchmarkError("making the grants took too long for them to expire together")
        with daemon(home) as ours:
            found.append(_slowest_while_expiring(bench, ours, expires))
        shutil.rmtree(home)
    return Row(
        "expiry",
        f"slowest lookup while {count:,} grants expire together and are removed",
        "ms",
        {OURS: series(found)},
        (Target(10.0),),
    )


def _slowest_while_expiring(bench: Bench, ours: Daemon, expires: float) -> float:
    """The slowest lookup from before the grants expire until all are removed, in ms."""
    until(lambda: time.time() > expires - 1.0, "the grants are about to expire", 120.0)
    slowest, load = 0.0, bench.program("load")
    deadline = time.time() + 120.0
    while time.time() < expires + 1.0 or _grants(ours):
        if time.time() > deadline:
            raise BenchmarkError("the grants have not been removed two minutes after they expired")
        slowest = max(slowest, ask(load, ours.asked, CONNECTIONS, 1.0, sure=False).max / 1e3)
    return slowest


def _grants(ours: Daemon) -> int:
    """How many grants the map has, expired or not."""
    with lmdb.open(str(ours.map), readonly=True, max_dbs=16) as env, env.begin() as txn:
        entries: int = txn.stat(env.open_db(b"grants", create=False, txn=txn))["entries"]
        return entries
