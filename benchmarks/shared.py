"""What sharing grants costs: the time of lookups, and the processor time of each part.

    python -m benchmarks.shared redis|mariadb|URL [--shared-password-file FILE] [--pid ENGINE]

Takes what the tests take, whose engines and hosts these are: ``pip install -e '.[test]'``.

Starts a host that logs everybody in and one that is asked, both sharing through an engine, which is
started too unless a URL names one, and prints

* of 1,000 addresses that have just logged in on the first host, how the very next lookup on the
  second one was answered, with the settings' defaults,
* how long after it stood in the first host's log a login was known to the second one,
* local hits per second, with sharing and without,
* how long hits and misses took at 1,000 lookups a second of which 90 % are misses,
* the processor time that a login and a miss take of each process (``--pid``: of the engine too),
  which tells more on a busy machine than how long they took; that of a host which does nothing;
* how much the engine needs to keep a login.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.measure import processor_time
from pbs_watch.config import Config
from pbs_watch.shared.engine import Engine, Shared
from pbs_watch.shared.open import engine
from pbs_watch.shared.redis_engine import RedisEngine
from pbs_watch.shared.sql_engine import SqlEngine
from pbs_watch.shared.where import where as where_of
from tests.cluster.conftest import one_mariadb, one_redis
from tests.daemon import OK, addresses, until
from tests.hosts import Host, next_replies

HITS = 5000


def spent(pids: dict[str, int], what: Callable[[], int]) -> None:
    """Print the microseconds of each process for each of what ``what`` counts."""
    before = {name: processor_time(pid) for name, pid in pids.items()}
    count = what()
    for name, pid in pids.items():
        took = (processor_time(pid) - before[name]) / count * 1e6
        print(f"    {name}: {took:.0f} us of processor time")


def told(name: str, took: list[float]) -> None:
    """Print how long something took."""
    took = sorted(took)
    tail = took[int(len(took) * 0.99)]
    print(f"  {name}: median {statistics.median(took) * 1e3:.2f} ms, 99 % {tail * 1e3:.2f} ms")


def travel(first: Host, second: Host) -> None:
    """Ask again and again until a login is known on the other host."""
    took = []
    for address in addresses(200, 100_000):
        began = time.perf_counter()
        first.logs_in(address)
        while second.ask(address) != OK:
            pass
        took.append(time.perf_counter() - began)
    told("a login is known elsewhere after", took)


def hits(host: Host, address: str) -> float:
    """Local hits per second of one connection."""
    began = time.perf_counter()
    for _ in range(HITS):
        if host.ask(address) != OK:
            raise SystemExit(f"{address} is no hit")
    return HITS / (time.perf_counter() - began)


def local(hosts: dict[str, Host]) -> None:
    """Local hits on each host by turns: of what disturbs them each has its share.

    The best of ten goes counts: it was disturbed least.
    """
    rates: dict[str, list[float]] = {name: [] for name in hosts}
    costs: dict[str, list[float]] = {name: [] for name in hosts}
    for _ in range(10):
        for name, host in hosts.items():
            before = processor_time(host.daemon.process.pid)
            rates[name].append(hits(host, "198.18.255.1"))
            costs[name].append((processor_time(host.daemon.process.pid) - before) / HITS)
    for name in hosts:
        print(f"  local hits {name}: {max(rates[name]):.0f} a second at best, of the host")
        print(f"    {statistics.median(costs[name]) * 1e6:.1f} us of processor time (median)")


def mixed(host: Host, known: str, number: int) -> int:
    """1,000 lookups a second, of which 90 % are misses, by 200 connections."""
    clients = 200
    each = number // clients
    found: list[tuple[bool, float]] = []

    def client(start: int) -> None:
        connection = host.daemon.connect()
        due = time.perf_counter() + start / 1000
        for turn in range(each):
            time.sleep(max(due - time.perf_counter(), 0))
            hit = turn % 10 == 0
            began = time.perf_counter()
            connection.ask(known if hit else f"203.0.{start}.{turn % 250}")
            found.append((hit, time.perf_counter() - began))
            due += clients / 1000

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    told("hits", [took for hit, took in found if hit])
    told("misses", [took for hit, took in found if not hit])
    return sum(not hit for hit, _ in found)


def logins(first: Host, number: int) -> int:
    """Logins as fast as they can be written."""
    before = first.state()["sent"]
    found = addresses(number)
    for start in range(0, number, 50):
        first.logs_in(*found[start : start + 50])
    until(lambda: first.state()["sent"] >= before + number, "all are sent")
    first.is_in_step()
    return number


@dataclass(frozen=True)
class Target:
    """Where the hosts share; ``pid``: of the engine, where it is known."""

    url: str
    words: tuple[str | Path, ...]
    pid: int | None


@contextmanager
def target(asked: argparse.Namespace, home: Path) -> Iterator[Target]:
    """The engine that was asked for."""
    made = {"redis": one_redis, "mariadb": one_mariadb}.get(asked.engine)
    if made is None:
        file = asked.shared_password_file
        words = ("--shared-password-file", file) if file else ()
        yield Target(asked.engine, words, asked.pid)
        return
    password = home / "password"
    password.write_text("a long one\n")
    password.chmod(0o600)
    started = made(home, password)
    try:
        yield Target(started.url, started.words, started.servers[0].pid)
    finally:
        started.end()


def next_lookups(home: Path, where: Target) -> None:
    """The very next lookup elsewhere, a thousand times by 16 clients, with the defaults."""
    first, second = (_host(home, name, where.url, where) for name in ("d", "e"))
    try:
        first.is_in_step()
        second.is_in_step()

        replies = next_replies(first, second, addresses(1000, 200_000), 16)
        words = ", ".join(f"{number} {reply.decode().strip()}" for reply, number in replies.items())
        print(f"  the very next lookups: {words}")
    finally:
        first.end()
        second.end()


def _host(home: Path, name: str, url: str, where: Target, *words: str) -> Host:
    path = home / name
    path.mkdir()
    return Host(path, name, url, *where.words, *words)


def kept(where: Target, number: int = 100_000) -> None:
    """How much the engine needs to keep a login."""
    file = where.words[1] if where.words else None
    config = Config(shared=where.url, shared_password_file=None if file is None else Path(file))
    place, now = where_of(config), time.time()
    logins = [
        Shared(address.encode(), b"user%06d@example.org" % n, b"pop3d", now, now + 1800)
        for n, address in enumerate(addresses(number, 300_000))
    ]
    made = engine(place, config.window)
    try:
        before = _size(made)
        for start in range(0, number, 500):
            made.put(logins[start : start + 500])
        print(f"  a login takes {(_size(made) - before) / number:.0f} bytes of the engine")
    finally:
        made.close()


def _size(made: Engine) -> int:
    if isinstance(made, SqlEngine):
        made.ask("ANALYZE TABLE pbs_watch_grants")
        rows = made.ask(
            "SELECT DATA_LENGTH + INDEX_LENGTH FROM information_schema.TABLES "
            "WHERE TABLE_NAME = 'pbs_watch_grants'"
        )
        return int(rows[0][0])
    assert isinstance(made, RedisEngine)  # noqa: S101 - there are two
    return int(str(made.section("memory")["used_memory"]))


def idle(host: Host, length: float = 10.0) -> None:
    """Processor time of a host on which nothing happens."""
    pid = host.daemon.process.pid
    before = processor_time(pid)
    time.sleep(length)
    print(f"  an idle host: {(processor_time(pid) - before) / length * 100:.1f} % of a core")


def measure(asked: argparse.Namespace, home: Path, where: Target) -> None:
    """All of it."""
    print(where.url)
    next_lookups(home, where)
    linger = ("--shared-linger", asked.linger)
    hosts = [_host(home, name, where.url, where, *linger) for name in ("a", "b")]
    hosts.append(_host(home, "c", "none", where))
    first, second, alone = hosts
    try:
        first.is_in_step()
        second.is_in_step()
        travel(first, second)
        for host in (second, alone):
            host.logs_in("198.18.255.1")
            until(partial(host.knows, "198.18.255.1"), "a local grant")
        local({"with sharing": second, "without": alone})
        pids = {"asked host": second.daemon.process.pid}
        if where.pid:
            pids["engine"] = where.pid
        print("  a miss:")
        spent(pids, lambda: mixed(second, "198.18.255.1", asked.lookups))
        pids = {**pids, "logging host": first.daemon.process.pid}
        del pids["asked host"]
        print("  a login:")
        spent(pids, lambda: logins(first, asked.logins))
        idle(second)
        kept(where)
    finally:
        for host in hosts:
            host.end()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("engine", help="redis or mariadb, which are then started, or a URL")
    parser.add_argument("--shared-password-file", default="")
    parser.add_argument("--pid", type=int)
    parser.add_argument("--lookups", type=int, default=10_000)
    parser.add_argument("--logins", type=int, default=20_000)
    parser.add_argument("--linger", default="0s", help="shared_linger of the hosts (0s)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        with target(asked, home) as where:
            measure(asked, home, where)


if __name__ == "__main__":
    main()
