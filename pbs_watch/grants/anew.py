"""A new map beside the old one, which takes its place when it is whole, and not before.

It is made in a folder of its own within the map's, and put in place by one rename: until then the
old map is what everybody has, whatever becomes of the new one.  What a killed run left in that
folder is removed by the next one.  The old map keeps its file, under another name.

Only who owns the map (:class:`pbs_watch.grants.owner.Owner`) may do this.  Commands by hand go on
with the old map meanwhile; what they order is carried over.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from pbs_watch.errors import MapError
from pbs_watch.files import sync_directory
from pbs_watch.grants import rows
from pbs_watch.grants.copy import adopt
from pbs_watch.grants.environment import LOCK
from pbs_watch.grants.orders import Bar
from pbs_watch.grants.owner import nobody_carries_out
from pbs_watch.grants.probe import DATA
from pbs_watch.grants.store import Map
from pbs_watch.grants.strike import strike

FOLDER = "rebuilding"
"""The folder, in the map's, in which a new one is made."""

_CARRIED = (rows.LAST_ACT, rows.TOLD_ACT, rows.COPIED, rows.SHARING)
"""What ``meta`` says of orders and acts, and of whether other hosts are told of them."""

_TOLD = (b"outbox", b"shared")
"""What other hosts are still to be told, and what they were told of orders."""


@contextmanager
def beside(path: Path, retention: float) -> Iterator[Map]:
    """A new map for the place of the one at ``path``; thrown away unless it was put there."""
    folder = path / FOLDER
    grants: Map | None = None
    try:
        shutil.rmtree(folder, ignore_errors=True)
        grants = Map(folder, "daemon", retention)
        yield grants
    finally:
        if grants is not None:
            grants.close()
        shutil.rmtree(folder, ignore_errors=True)


def carry(old: Map, new: Map) -> int:
    """Give a new map the orders and acts of an old one, and no others; their version.

    Those of a copy that the old one never knew are among them, and what is new makes void what the
    new map has by now.
    """
    with old.reading() as tables:
        orders, acts = tables.all(b"orders"), tables.all(b"acts")
        marks = [(name, tables.get(b"meta", name)) for name in _CARRIED]
        given = {key: rows.unpack_order(key, value) for key, value in orders}
        told = {table: tables.all(table) for table in _TOLD}
    with new.changing() as tables:
        known = dict(tables.all(b"orders"))
        for key in known.keys() - given.keys():
            tables.delete(b"orders", key)
        tables.put_due(b"orders", orders)
        tables.put_due(b"acts", acts)
        for table, found in told.items():
            tables.put_all(table, found)
        for name, value in marks:
            if value is not None:
                tables.put(b"meta", name, value)
    now = time.time()
    changed = [given[key] for key, value in orders if known.get(key) != value]
    strike(new, [order for order in changed if isinstance(order, Bar)], now)
    version = new.obey().version
    adopt(new, now, old.path)
    return version


def put_in_place(path: Path, new: Map, old: Map | None, version: int) -> Path | None:
    """Let the new map be the one at ``path``; where the old one is kept, if there was one.

    ``old``: the old map, where it can be read, and ``version`` the orders that were carried over
    from it.  Raises :class:`MapError`; the old map then stays.
    """
    data = path / DATA
    # Whoever gives an order now gives it to the old map, and his would be lost.
    with nobody_carries_out(path) if data.exists() else nullcontext():
        if old is not None and old.obey().version != version:
            carry(old, new)
        new.sync()
        new.close()
        try:
            return _renamed(path, new.path / DATA)
        except OSError as error:
            raise MapError(
                f"{data}: the new map cannot be put there ({error.strerror}); the old one stays"
            ) from None


def _renamed(path: Path, made: Path) -> Path | None:
    data, kept = path / DATA, None
    _give(made, path)
    if data.exists():
        kept = _free_name(data)
        os.link(data, kept)
    with nobody_carries_out(made.parent):
        # A lock file goes with its map.  One that a reader makes while there is none is of the old
        # map, or of nobody any more.
        (path / LOCK).unlink(missing_ok=True)
        made.replace(data)
        (path / LOCK).unlink(missing_ok=True)
    sync_directory(path)
    return kept


def _give(made: Path, path: Path) -> None:
    """Give what root has made to the map's owner: the daemon runs as a user of its own."""
    owner = path.stat()
    if made.stat().st_uid == os.geteuid() != owner.st_uid:
        with suppress(PermissionError):
            os.chown(made, owner.st_uid, owner.st_gid)


def old_maps(path: Path) -> list[Path]:
    """The maps before the one at ``path`` that are kept beside it."""
    return [*sorted(path.glob(f"{DATA}.*")), *path.glob(FOLDER)]


def _free_name(data: Path) -> Path:
    base = f"{DATA}.{time.strftime('%Y%m%dT%H%M%S')}"
    kept, number = data.with_name(base), 1
    while kept.exists():
        number += 1
        kept = data.with_name(f"{base}-{number}")
    return kept
