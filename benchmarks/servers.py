"""The servers that answer lookups: pbs-watch's daemon, redis-server and postsrsd, on loopback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from random import Random

from benchmarks.measure import ROOT, BenchmarkError, environment, until
from pbs_watch.grants.changes import Changes, grant
from pbs_watch.grants.store import Map

PROGRAM = (sys.executable, "-P", "-m", "pbs_watch")
"""As it is installed (``-P``), not as it lies in this folder: an operator has it so."""

KEYS = 65_536
"""Keys that are found, 198.18.0.0/16; load.c asks for as many others."""

_BATCH = 50_000

_USERS = 20_000

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a run of the load generator found: lookups a second and latencies in microseconds."""

    per_second: float
    p50: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A server, and how it wants to be asked."""

    protocol: str
    port: int


def ask(
    load: Path,
    server: Asked,
    connections: int,
    seconds: float,
    *,
    misses: int = 50,
    keys: Path | None = None,
    sure: bool = True,
) -> Found:
    """One run of the load generator; ``misses`` is the share of the keys that miss, in percent.

    ``keys``: a file of keys that are to be asked for.  ``sure``: no other share of them may miss.
    """
    command: list[object] = [load, "-p", server.protocol, "-c", connections, "-t", seconds]
    command += ["-m", misses] if keys is None else ["-k", keys]
    done = subprocess.run(
        [*map(str, command), str(server.port)], stdout=subprocess.PIPE, check=False
    )
    if done.returncode:
        raise BenchmarkError(f"load: asking {server.protocol} failed, as it says above")
    result = json.loads(done.stdout)
    share = 100 * result["misses"] / result["requests"]
    # A server that finds what it has not, or does not find what it has, is not measured.
    if sure and result["requests"] > 1000 and abs(share - misses) > 5:
        raise BenchmarkError(f"{server.protocol}: {share:.0f} % misses instead of {misses} %")
    return Found(result["per_second"], result["p50"], result["p99"], result["max"])


def build(scratch: Path, name: str) -> Path:
    """A program of ``c/``, built."""
    program = scratch / name
    source = Path(__file__).with_name("c") / f"{name}.c"
    try:
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", program, source], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BenchmarkError(f"{source}: cannot be built ({error}); install gcc") from None
    return program


def free_port() -> int:
    """A port of the loopback address that nothing uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _started(command: Iterable[str | Path], port: int) -> Iterator[int]:
    """A program that listens on ``port``; its process id."""
    words = [str(word) for word in command]
    try:
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=environment(), cwd=ROOT
        )
    except OSError as error:
        raise BenchmarkError(f"{words[0]}: {error.strerror}; install it") from None
    with process:
        try:
            until(lambda: _listens(port) or process.poll() is not None, f"{words[0]} listens")
            _look_after(process)
            yield process.pid
        except BenchmarkError as error:
            _look_after(process, f"; {error}")
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _look_after(process: subprocess.Popen[bytes], why: str = "") -> None:
    """Raise where a server has ended: what is told of it then says little."""
    if process.poll() is not None:
        raise BenchmarkError(f"{process.args!r}: exit {process.returncode}{why}")


# pbs-watch


def known(number: int) -> bytes:
    """The key ``number`` of those that load.c asks for: first the ones that are found."""
    number += 198 << 24 | 18 << 16
    return b"%d.%d.%d.%d" % (number >> 24, number >> 16 & 255, number >> 8 & 255, number & 255)


def granted(number: int) -> bytes:
    """The address of the grant ``number``: first all that load.c asks for, none that it misses."""
    return known(number if number < KEYS else number + KEYS)


def fill(path: Path, count: int, expires: float | None = None) -> None:
    """Make a map of ``count`` grants, which expire at ``expires`` (epoch seconds; tomorrow).

    In a process of its own: what this one has ever held in memory, the kernel counts as the peak of
    each program that it starts.
    """
    filling = get_context("spawn").Process(target=_fill, args=(path, count, expires))
    filling.start()
    filling.join()
    if filling.exitcode:
        raise BenchmarkError(f"{path}: cannot be filled, as it says above")


def _fill(path: Path, count: int, expires: float | None) -> None:
    grants = Map(path, "scratch")
    now = time.time()
    until_then = now + _DAY if expires is None else expires
    for start in range(0, count, _BATCH):
        changes = Changes()
        for number in range(start, min(start + _BATCH, count)):
            user = b"user%d@example.org" % (number % _USERS)
            login = now - number % 1700
            changes.login(granted(number), grant(until_then, login, user, b"pop3d", (1, 2, 3)))
        grants.commit(changes)
    grants.close()


def some_keys(path: Path, count: int) -> Path:
    """Write keys to ask a map of ``count`` grants for: as many as load.c has, half of them hits."""
    rng = Random(1)
    keys = [granted(rng.randrange(count)) for _ in range(KEYS)]
    keys += [known(KEYS + number) for number in range(KEYS)]
    rng.shuffle(keys)
    path.write_bytes(b"".join(key + b"\n" for key in keys))
    return path


@dataclass(frozen=True, slots=True)
class Daemon:
    """The running daemon.  ``log`` is what it follows, ``map`` its map's directory."""

    asked: Asked
    pid: int
    log: Path
    map: Path


@contextmanager
def daemon(home: Path, *words: str) -> Iterator[Daemon]:
    """The daemon on ``home/map`` and the log ``home/mail.log``, which is made if it is missing."""
    port, log, config = free_port(), home / "mail.log", home / "empty.toml"
    log.touch()
    config.touch()
    told: tuple[str | Path, ...] = ("--config", config, "--map", home / "map", "--log", log)
    command = (*PROGRAM, "run", *told, "--tcp-table", f"127.0.0.1:{port}", *words)
    with _started(command, port) as pid:
        yield Daemon(Asked("tcp_table", port), pid, log, home / "map")


# What others use


@contextmanager
def redis() -> Iterator[Asked]:
    """redis-server with the keys that are found, each ``OK``; it keeps nothing on disk."""
    port = free_port()
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    with _started(("redis-server", *options), port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            for start in range(0, KEYS, 4096):
                keys = [known(number) for number in range(start, start + 4096)]
                client.sendall(b"".join(b"SET %b OK\r\n" % key for key in keys))
                heard = 0
                while heard < len(b"+OK\r\n") * len(keys):
                    heard += len(client.recv(65536))
        yield Asked("redis", port)


@contextmanager
def postsrsd(scratch: Path) -> Iterator[Asked]:
    """postsrsd, which rewrites addresses: each lookup that finds something costs it two hashes."""
    secret = scratch / "postsrsd.secret"
    secret.write_text("benchmark\n", encoding="ascii")
    forward, reverse = free_port(), free_port()
    options = (f"-s{secret}", "-dexample.org", "-4", f"-f{forward}", f"-r{reverse}")
    with _started(("postsrsd", *options), forward):
        yield Asked("postsrsd", forward)


@contextmanager
def pouring(pour: Path, log: Path, rate: int) -> Iterator[None]:
    """``rate`` logins a second arrive in ``log``."""
    process = subprocess.Popen(
        [pour, log, str(rate), "1e9"], stdout=subprocess.DEVNULL, env=dict(os.environ)
    )
    with process:
        try:
            yield
            if process.poll() is not None:
                raise BenchmarkError("pour: ended, as it says above")
        finally:
            process.terminate()
