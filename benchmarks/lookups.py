"""Measures lookups: how many a second, and how long one takes.

``python benchmarks/lookups.py`` starts a server that knows 198.18.0.0/16, whose misses wait as
they do in the daemon, and asks it over 1, 10, 100 and 1000 connections, half of the keys misses.
``--at ADDRESS:PORT`` asks a server that runs already.  Builds ``load.c`` with ``cc`` in a scratch
directory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pbs_watch.answer.server import Server
from pbs_watch.answer.verdict import Verdict
from pbs_watch.answer.wire import Answers


def serve() -> None:
    """Answers until it is killed; prints its port.  Each poll's misses are settled at once."""
    known = dict.fromkeys(
        (f"198.18.{third}.{last}".encode() for third in range(256) for last in range(256)),
        Verdict.FOUND,
    )
    server = Server(known.get, Answers())
    print(server.listen_tcp_table("127.0.0.1:0"), flush=True)
    while True:
        server.poll(None)
        if server.waiting:
            server.settle(server.take_waiting(), lambda _key: Verdict.ABSENT)


@contextmanager
def server_of_our_own() -> Iterator[str]:
    """The address of a server in a process of its own."""
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - for mypy: PIPE opens it
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def build(scratch: Path) -> Path:
    """The load generator, built."""
    load = scratch / "load"
    source = Path(__file__).with_name("load.c")
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", load, source], check=True)
    return load


def measure(load: Path, where: str, connections: int, arguments: list[str]) -> dict[str, Any]:
    """One run of the load generator: its JSON object."""
    address, _, port = where.rpartition(":")
    command = [str(load), "-h", address.strip("[]"), "-c", str(connections), *arguments, port]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    result: dict[str, Any] = json.loads(output)
    return result


def print_table(load: Path, where: str, arguments: list[str]) -> None:
    """A row for each number of connections."""
    print("connections   lookups/s   p50 µs   p90 µs   p99 µs    max µs  replies")
    for connections in (1, 10, 100, 1000):
        row = measure(load, where, connections, arguments)
        replies = " ".join(f"{first}xx={count}" for first, count in row["replies"].items())
        print(
            f"{connections:11} {row['per_second']:11,.0f} {row['p50']:8,.0f} {row['p90']:8,.0f}"
            f" {row['p99']:8,.0f} {row['max']:9,.0f}  {replies}"
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--at", metavar="ADDRESS:PORT", help="ask a server that runs already")
    parser.add_argument("--seconds", default="3", help="how long each row takes (default: 3)")
    parser.add_argument("--misses", default="50", help="percent of the keys (default: 50)")
    parser.add_argument("--keys", metavar="FILE", help="ask for these keys, one a line")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
    arguments = ["-t", options.seconds, "-m", options.misses]
    if options.keys:
        arguments += ["-k", options.keys]
    with tempfile.TemporaryDirectory() as scratch:
        load = build(Path(scratch))
        if options.at:
            print_table(load, options.at, arguments)
            return
        with server_of_our_own() as where:
            print_table(load, where, arguments)


if __name__ == "__main__":
    main()
