"""``replay``: log files through the same chain."""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pbs_watch.commands.forms import counted
from pbs_watch.commands.reasons import REASONS
from pbs_watch.commands.settings import chain_of, settings
from pbs_watch.config import Config
from pbs_watch.durations import epoch, local
from pbs_watch.errors import UsageError
from pbs_watch.escape import shown
from pbs_watch.grants.listing import granted
from pbs_watch.grants.store import Map
from pbs_watch.log.archive import size_of
from pbs_watch.log.cuts import Cuts
from pbs_watch.replay import Replayed, opened_map, replay

if TYPE_CHECKING:
    from pbs_watch.answer.server import Server

_FIRST_YEAR, _LAST_YEAR = 1970, 9998

_NAME = 20
"""Characters of a file's name beside the progress bar, so that 80 columns hold it."""


def run(arguments: argparse.Namespace) -> int:
    """Replay the files, print what was asked for, and serve if asked to."""
    # Nothing of a replay refers to itself in a circle, and looking for that costs a tenth of it.
    gc.disable()
    config = settings(arguments)
    now = time.time()
    until = _until(arguments.at, now)
    year: int | None = arguments.year
    if year is not None and not _FIRST_YEAR <= year <= _LAST_YEAR:
        raise UsageError(f"--year {year}: write the year of the first line, such as 2026")
    chain = chain_of(config, year)
    path = config.map if arguments.map is not None else None
    with opened_map(path) as grants:
        with _progress(arguments.files) as progress:
            replayed = replay(
                arguments.files,
                chain,
                Cuts(config.cuts),
                grants,
                now=now,
                until=until,
                # Years that follow the stamps need one reader for all of them.
                processes=1 if year is not None else len(os.sched_getaffinity(0)),
                progress=progress,
            )
        _report(arguments, replayed, grants)
        if arguments.serve:
            running = arguments.at == "now"
            _serve(config, grants, time.time if running else lambda: replayed.at, arguments)
    return 0


def _until(at: str, now: float) -> float | None:
    if at == "end":
        return None
    try:
        return now if at == "now" else epoch(at)
    except UsageError as error:
        raise UsageError(f"--at: {error}, end or now") from None


def _report(arguments: argparse.Namespace, replayed: Replayed, grants: Map) -> None:
    found = granted(grants, replayed.at)
    counts = replayed.counts
    if arguments.grants:
        for row in found:
            print(row.address.decode())
    elif arguments.json:
        print(
            json.dumps(
                {
                    "lines": counts.lines,
                    "bytes": replayed.bytes,
                    "logins": counts.judged.logins,
                    "suspect": counts.suspect,
                    "cuts": counts.cuts,
                    "ends": counts.judged.ends,
                    "grants": len(found),
                    "seconds": round(replayed.seconds, 6),
                }
            )
        )
    else:
        _summary(replayed, len(found))
    sys.stdout.flush()


def _summary(replayed: Replayed, granted: int) -> None:
    counts, judged = replayed.counts, replayed.counts.judged
    speed = replayed.bytes / 1e6 / max(replayed.seconds, 1e-6)
    print(
        f"{counted(counts.lines, 'line')}, {counted(replayed.bytes, 'byte')} "
        f"in {replayed.seconds:.2f} s ({speed:.0f} MB/s)"
    )
    print(f"{counted(judged.logins, 'login')}, {counted(judged.ends, 'session end')}")
    refused = {**judged.refused, "suspect": counts.suspect}
    for reason, count in refused.items():
        if count:
            print(f"{count:,} refused: {REASONS[reason].many}")
    if judged.alarms:
        print(f"{counted(judged.alarms, 'login')} granted though they exceed a limit")
    if counts.near:
        told = counted(counts.near, "near miss", "es")
        print(f"{told}: like a login, but no rule fits; pbs-watch match tells why:")
        for miss in counts.misses:
            print(f"  {shown(miss.tag)}: {shown(miss.message)}")
    if counts.cuts:
        print(f"{counted(counts.cuts, 'cut line')}: somebody may have tried to forge logins")
    seen = judged.logins or judged.ends or counts.near or any(refused.values())
    if counts.lines and not seen:
        print("no line fits the patterns; pbs-watch match tells why a line does not")
    print(f"{counted(granted, 'address', 'es')} may relay at {local(replayed.at)}")


@contextmanager
def _progress(files: Sequence[str]) -> Iterator[Callable[[str, int], None]]:
    """A progress bar on standard error where that is a terminal; nothing otherwise."""
    if not sys.stderr.isatty():
        yield lambda _path, _done: None
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, for terminals only
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        # Refreshed when something was read: without a thread of its own, processes can be forked.
        auto_refresh=False,
    )
    with bar:
        tasks = {
            path: bar.add_task(Path(path).name[-_NAME:], total=size_of(path), start=False)
            for path in files
        }

        def show(path: str, done: int) -> None:
            bar.start_task(tasks[path])
            bar.update(tasks[path], completed=done)
            bar.refresh()

        yield show


def _serve(
    config: Config, grants: Map, clock: Callable[[], float], arguments: argparse.Namespace
) -> None:
    from pbs_watch.answer.lookup import Lookup  # noqa: PLC0415 - only with --serve
    from pbs_watch.answer.server import Server  # noqa: PLC0415
    from pbs_watch.answer.wire import Answers  # noqa: PLC0415
    from pbs_watch.grants.pending import Pending  # noqa: PLC0415

    def say(text: str) -> None:
        # Standard output holds nothing but what --grants or --json print.
        print(
            text, file=sys.stderr if arguments.grants or arguments.json else sys.stdout, flush=True
        )

    lookup = Lookup(grants, Pending(), clock, lambda error: print(error, file=sys.stderr))
    server = Server(
        lookup.decide,
        Answers(config.answer, config.trouble),
        allow_remote=config.allow_remote,
        report=lambda text: print(f"pbs-watch: {text}", file=sys.stderr),
    )
    try:
        for where in config.listening():
            say(f"listening: tcp_table {server.listen_tcp_table(where)}")
        for where in config.socketmap:
            say(f"listening: socketmap {server.listen_socketmap(where)}")
        _until_interrupted(server)
    finally:
        server.close()


def _until_interrupted(server: Server) -> None:
    """Answer until SIGINT or SIGTERM, which wait until no connection is half made."""
    caught: list[int] = []

    def catch(number: int, _frame: object) -> None:
        caught.append(number)
        server.wake()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, catch)
    while not caught:
        server.poll(None)
    if signal.SIGINT in caught:
        raise KeyboardInterrupt
