"""``rebuild``: a new map out of the logs, where the old one is damaged."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pbs_watch.commands.settings import chain_of, settings
from pbs_watch.errors import MapError, SourceError
from pbs_watch.grants import hand
from pbs_watch.grants.copy import read_copy
from pbs_watch.grants.listing import granted
from pbs_watch.grants.orders import Allow, Bar
from pbs_watch.grants.owner import Owner
from pbs_watch.grants.probe import DATA
from pbs_watch.grants.store import Map
from pbs_watch.log.cuts import Cuts
from pbs_watch.log.journal import PREFIX
from pbs_watch.log.places import rotated
from pbs_watch.replay import replay


def run(arguments: argparse.Namespace) -> int:
    """Move the old map aside and read the logs again, as far back as anything can matter."""
    config = settings(arguments)
    now = time.time()
    # Before anything is touched: a pattern, or the name of a log, may be wrong.
    chain = chain_of(config)
    files = _files(config.log, now - max(config.longest_window, config.session_limit))
    if config.witness == "require":
        print('witness is "require": what is read again has no witness, and grants nothing')
    owner = Owner(config.map)
    try:
        orders = _orders(config.map)
        kept = _move_aside(config.map)
        grants = Map(config.map, "daemon", config.retention)
        hand.restore(grants, orders)
        for parts in files:
            try:
                cuts = Cuts(config.cuts)
                replay(parts, chain, cuts, grants, now=now, until=now, witness=_Nobody())
            except SourceError as error:
                print(f"left out: {error}")
        relaying = len(granted(grants, now))
        grants.close()
        _hand_back(config.map)
    finally:
        owner.release()
    print(f"{chain.counts.judged.logins:,} logins read again, {relaying:,} addresses may relay now")
    if kept is not None:
        print(f"the old map is kept as {kept}; remove it when nothing is missing")
    return 0


class _Nobody:
    """The kernel does not remember the connections of what is read again."""

    def connected(self, _address: bytes, _port: bytes) -> bool:
        """Not known: with ``witness = "require"`` no login can be granted by the log alone."""
        return False


def _orders(path: Path) -> list[Allow | Bar]:
    """The operator's orders, which no log can bring back: out of the map, or of their copy."""
    try:
        grants = Map(path, "read")
        try:
            found = grants.obey()
        finally:
            grants.close()
    except MapError as error:
        orders = read_copy(path)
        if orders:
            print(f"{len(orders):,} orders read from their copy, since the map cannot be: {error}")
        return orders
    return [*found.allows, *found.bars]


def _hand_back(path: Path) -> None:
    """Give what root has made to the map's owner: the daemon runs as a user of its own."""
    owner = path.stat()
    for file in path.iterdir():
        with suppress(OSError):
            if file.stat().st_uid == os.geteuid() != owner.st_uid:
                os.chown(file, owner.st_uid, owner.st_gid)


def _files(logs: Sequence[str], since: float) -> list[list[str]]:
    """The files of each log that can be read again.

    Raises :class:`SourceError` where there is a log to read, but none of them can be.
    """
    found: list[list[str]] = []
    missing = ""
    for log in logs:
        parts: list[str] = []
        if log == "-":
            print("left out: -: what came from standard input cannot be read again")
        elif log.startswith(PREFIX):
            print(f"left out: {log}: the daemon reads it back when it starts")
        else:
            try:
                parts = rotated(log, since)
                reason = "" if parts else "no such file, and none rotated from it lately"
            except OSError as error:
                reason = error.strerror or str(error)
            except SourceError as error:
                reason = str(error).removeprefix(f"{log}: ")
            if reason:
                missing = f"{log}: {reason}"
                print(f"left out: {missing}")
        found.append(parts)
    if missing and not any(found):
        raise SourceError(f"{missing}; name the log with --log; the map was left as it is")
    return found


def _move_aside(path: Path) -> Path | None:
    """Rename the map's file, if there is one, so that nothing is lost that could be read yet."""
    data = path / DATA
    if not data.exists():
        return None
    base = f"{DATA}.{time.strftime('%Y%m%dT%H%M%S')}"
    kept, number = data.with_name(base), 1
    while kept.exists():
        number += 1
        kept = data.with_name(f"{base}-{number}")
    try:
        data.rename(kept)
        (path / "lock.mdb").unlink(missing_ok=True)
    except OSError as error:
        raise MapError(f"{data}: cannot be moved aside ({error.strerror})") from None
    return kept
