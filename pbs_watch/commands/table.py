"""``export --table``: a table of Postfix, written once or kept up to date.

For sites that cannot ask over tcp_table.  A process of its own: nothing of this happens in the
daemon, and a table stays as good as it was while either of them is away, but for what expires.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from pbs_watch.commands.exchange import read_relaying, warn
from pbs_watch.config import Config
from pbs_watch.durations import seconds
from pbs_watch.errors import MapError, PbsWatchError, UsageError
from pbs_watch.exchange.postmap import EndedError, Target, hold_signals, target, wait, write
from pbs_watch.exchange.relaying import Table, table
from pbs_watch.grants.probe import DATA
from pbs_watch.grants.store import Map


def keep(config: Config, text: str, every: str, *, follow: bool) -> int:
    """Write the table that ``text`` names; with ``follow`` whenever it changes, until a signal.

    The first time has to succeed.  Later the last good table stays where something fails.
    """
    pause = seconds(every)
    if pause <= 0:
        raise UsageError(f"--every: {every!r} is no time at all; write a duration like 5s")
    to = target(text)
    hold_signals()
    keeper = _Keeper(config, to)
    try:
        began = time.monotonic()
        keeper.round()
        while follow:
            # Where it takes long, a time of rest as long as that of work.
            took = time.monotonic() - began
            wait(max(took, min(pause, keeper.rest())))
            began = time.monotonic()
            keeper.round_or_complaint()
    except EndedError as ended:
        return 0 if follow else 128 + ended.number
    finally:
        keeper.close()
    return 0


class _Keeper:
    """Keeps one table like the map."""

    def __init__(self, config: Config, to: Target) -> None:
        self._config = config
        self._to = to
        self._map: Map | None = None
        self._file: tuple[int, int] | None = None
        """The map's file that is open, by device and inode: rebuild makes a new one."""
        self._seen = -1
        self._until: float | None = None
        self._written: Table | None = None
        self._places: list[Path] = []
        """The files of the table, which may be removed behind our back."""
        self._warned: list[bytes] = []
        self._complaint = ""

    def rest(self) -> float:
        """Seconds until time alone may change the table."""
        if self._complaint or self._until is None:
            return float("inf")
        return max(self._until - time.time(), 0.0)

    def round_or_complaint(self) -> None:
        """A round that says what fails, once, and leaves the table as it is."""
        complaint = ""
        try:
            self.round()
        except PbsWatchError as error:
            self.close()
            complaint = str(error)
            if complaint != self._complaint:
                print(
                    f"pbs-watch: {complaint}; the last table stays, trying again",
                    file=sys.stderr,
                    flush=True,
                )
        self._complaint = complaint

    def round(self) -> None:
        """Write the table if it has to change; raises an error of ours, or :class:`EndedError`."""
        grants = self._opened()
        # Before it is read: what is committed meanwhile is seen the next time.
        number, now = grants.changed(), time.time()
        there = bool(self._places) and all(place.exists() for place in self._places)
        if there and number == self._seen and (self._until is None or now < self._until):
            return
        found = read_relaying(grants, now)
        made = table(found, self._config.answer.encode())
        if not there or self._written is None or made.rows != self._written.rows:
            self._places = write(self._to, made.source())
            self._written = made
        if made.unsaid != self._warned:
            warn(made.unsaid)
            self._warned = made.unsaid
        self._seen, self._until = number, found.until

    def _opened(self) -> Map:
        path = self._config.map
        file = _identity(path / DATA)
        if self._map is not None and file != self._file:
            self.close()
        if self._map is None:
            self._map, self._file, self._seen = Map(path, "read"), file, -1
        return self._map

    def close(self) -> None:
        """Close the map."""
        if self._map is not None:
            self._map.close()
            self._map = None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MapError(f"{path}: cannot be looked at ({error.strerror})") from None
    return found.st_dev, found.st_ino
