"""``rebuild``: a new map out of the logs, where the old one is damaged."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from pbs_watch.chain import Chain
from pbs_watch.commands.settings import chain_of, settings
from pbs_watch.config import Config
from pbs_watch.errors import MapError, SourceError
from pbs_watch.grants.anew import beside, carry, put_in_place
from pbs_watch.grants.copy import adopt
from pbs_watch.grants.listing import granted
from pbs_watch.grants.owner import Owner
from pbs_watch.grants.store import Map
from pbs_watch.log.cuts import Cuts
from pbs_watch.log.journal import PREFIX
from pbs_watch.log.places import rotated
from pbs_watch.replay import replay


def run(arguments: argparse.Namespace) -> int:
    """Make a new map, read the logs again as far back as anything can matter, and take it.

    Until that is done the old map stays where it is.
    """
    config = settings(arguments)
    now = time.time()
    # Before anything is touched: a pattern, or the name of a log, may be wrong.
    chain = chain_of(config)
    files = _files(config.log, now - max(config.longest_window, config.session_limit))
    if config.witness == "require":
        print('witness is "require": what is read again has no witness, and grants nothing')
    with ExitStack() as ending:
        ending.callback(Owner(config.map).release)
        kept, relaying = _made_anew(config, chain, files, now)
        _hand_back(config.map)
    print(f"{chain.counts.judged.logins:,} logins read again, {relaying:,} addresses may relay now")
    if kept is not None:
        print(f"the old map is kept as {kept}; remove it when nothing is missing")
    return 0


def _made_anew(
    config: Config, chain: Chain, files: Iterable[list[str]], now: float
) -> tuple[Path | None, int]:
    """Where the old map is kept, and how many addresses may relay by the new one."""
    with ExitStack() as ending:
        try:
            grants = ending.enter_context(beside(config.map, config.retention))
            old, version = _with_orders(config.map, grants, ending)
            for parts in files:
                try:
                    cuts = Cuts(config.cuts)
                    replay(parts, chain, cuts, grants, now=now, until=now, witness=_Nobody())
                except SourceError as error:
                    print(f"left out: {error}")
            relaying = len(granted(grants, now))
            return put_in_place(config.map, grants, old, version), relaying
        except MapError as error:
            raise MapError(f"{error}; {config.map} is as it was") from None


class _Nobody:
    """The kernel does not remember the connections of what is read again."""

    def connected(self, _address: bytes, _port: bytes) -> bool:
        """Not known: with ``witness = "require"`` no login can be granted by the log alone."""
        return False


def _with_orders(path: Path, new: Map, ending: ExitStack) -> tuple[Map | None, int]:
    """Give the new map the operator's orders, which no log can bring back.

    The old map, where they could be read in it, and their version; else they come from their copy.
    """
    try:
        old = Map(path, "read")
        ending.callback(old.close)
        return old, carry(old, new)
    except MapError as error:
        if number := adopt(new, time.time(), path):
            print(f"{number:,} orders read from their copy, since the map cannot be: {error}")
        return None, 0


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
