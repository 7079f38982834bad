"""What sharing grants costs: the time of lookups, and the processor time of each part.

    python benchmarks/shared.py URL [--shared-password-file FILE] [--pid ENGINE]

Starts a host that logs everybody in and one that is asked, both sharing through URL, and prints

* how long after it stood in the first host's log a login was known to the second one,
* local hits per second, with sharing and without,
* how long hits and misses took at 1,000 lookups a second of which 90 % are misses,
* the processor time that a login and a miss take of each process (``--pid``: of the engine too),
  which tells more on a busy machine than how long they took.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.daemon import OK, addresses, until
from tests.hosts import Host

HITS = 5000
TICKS = os.sysconf("SC_CLK_TCK")


def seconds(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def spent(pids: dict[str, int], what: Callable[[], int]) -> None:
    """Print the microseconds of each process for each of what ``what`` counts."""
    before = {name: seconds(pid) for name, pid in pids.items()}
    count = what()
    for name, pid in pids.items():
        print(f"    {name}: {(seconds(pid) - before[name]) / count * 1e6:.0f} us of processor time")


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


def many(host: Host, rates: list[float]) -> int:
    """Local hits, in five goes: the fastest was disturbed least."""
    rates += [hits(host, "198.18.255.1") for _ in range(5)]
    return 5 * HITS


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


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--shared-password-file", default="")
    parser.add_argument("--pid", type=int)
    parser.add_argument("--lookups", type=int, default=10_000)
    parser.add_argument("--logins", type=int, default=20_000)
    parser.add_argument("--linger", default="0s", help="shared_linger of the hosts (0s)")
    asked = parser.parse_args()
    words = [word for pair in [("--shared-password-file", asked.shared_password_file)]
             if pair[1] for word in pair]  # fmt: skip
    with tempfile.TemporaryDirectory() as home:
        hosts = []
        for name, url in (("a", asked.url), ("b", asked.url), ("c", "none")):
            path = Path(home, name)
            path.mkdir()
            hosts.append(Host(path, name, url, "--shared-linger", asked.linger, *words))
        first, second, alone = hosts
        try:
            first.is_in_step()
            second.is_in_step()
            print(asked.url)
            travel(first, second)
            for host in (second, alone):
                host.logs_in("198.18.255.1")
                until(partial(host.knows, "198.18.255.1"), "a local grant")
            for name, host in (("with sharing", second), ("without", alone)):
                rates: list[float] = []
                print(f"  local hits {name}:")
                spent({"host": host.daemon.process.pid}, partial(many, host, rates))
                print(f"    {max(rates):.0f} a second")
            pids = {"asked host": second.daemon.process.pid}
            if asked.pid:
                pids["engine"] = asked.pid
            print("  a miss:")
            spent(pids, lambda: mixed(second, "198.18.255.1", asked.lookups))
            pids = {**pids, "logging host": first.daemon.process.pid}
            del pids["asked host"]
            print("  a login:")
            spent(pids, lambda: logins(first, asked.logins))
        finally:
            for host in hosts:
                host.end()


if __name__ == "__main__":
    main()
