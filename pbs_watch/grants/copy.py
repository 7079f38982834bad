"""The operator's orders as text beside the map, for the day when the map cannot be read.

They are the one thing in the map that no log can bring back.  The map is what counts; the copy is
written after each order.  It is read where there is a copy that the map never knew, since it was
made when the one before could not be read or had been removed: whoever comes first, the daemon,
``rebuild`` or a command, takes over its orders before they give way to others.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from fcntl import LOCK_EX, flock
from pathlib import Path
from time import time

from pbs_watch.errors import MapError, UsageError
from pbs_watch.files import replace
from pbs_watch.grants import hand, rows
from pbs_watch.grants.orders import MEMORY, Allow, Bar
from pbs_watch.grants.owner import carrying_out
from pbs_watch.grants.store import Map

NAME = "orders.jsonl"
"""The file in the map's directory: a line of JSON for each order."""


@contextmanager
def ordering(path: Path, retention: float) -> Iterator[Map]:
    """The map at ``path``, to give orders; afterwards its copy is written.

    Raises :class:`MapError`.
    """
    with carrying_out(path):
        grants = Map(path, "write", retention)
        try:
            adopt(grants, time())
            yield grants
            keep_copy(grants)
        finally:
            grants.close()


def adopt(grants: Map, now: float, directory: Path | None = None) -> int:
    """Take over the orders of a copy that the map never knew; how many there were.

    ``directory``: where the copy is, if not beside the map.

    Done again where it was cut short.  Raises :class:`MapError`, also for a copy that cannot be
    read: without its orders the map would grant what they forbid.
    """
    with grants.reading() as tables:
        if tables.get(b"meta", rows.COPIED) is not None:
            return 0
        known = {key for key, _ in tables.rows(b"orders")}
    orders = [
        order
        for order in read_copy(directory or grants.path)
        if rows.order_key(order) not in known and _matters(order, now)
    ]
    hand.restore(grants, orders)
    with grants.changing() as tables:
        tables.put(b"meta", rows.COPIED, b"")
    return len(orders)


def _matters(order: Allow | Bar, now: float) -> bool:
    return order.holds(now) if isinstance(order, Allow) else order.until + MEMORY > now


def keep_copy(grants: Map) -> None:
    """Write the orders that there are, in a map that knows its copy; raises :class:`MapError`.

    One command after the other, or an older copy could be the last.
    """
    path = grants.path / NAME
    try:
        with _alone(grants.path):
            with grants.reading() as tables:
                lines = [_line(rows.unpack_order(*row)) for row in tables.rows(b"orders")]
            replace(path, [line.encode("ascii") for line in lines], 0o640, like_its_folder=True)
    except UsageError as error:
        what = str(error).partition(";")[0]
        raise MapError(f"{what}; the order counts, but its copy is old: make room") from None


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """While nobody else writes the copy: the directory itself is locked."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"{directory}: {error.strerror}") from None
    try:
        flock(descriptor, LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_copy(directory: Path) -> list[Allow | Bar]:
    """The orders that were kept last; none where there is no copy.  Raises :class:`MapError`."""
    path = directory / NAME
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise MapError(f"{path}: cannot be read ({error}); move it away") from None
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(_order(line))
        except (ValueError, TypeError, KeyError) as error:
            raise MapError(f"{path}:{number}: not an order ({error}); mend the line") from None
    return found


def _line(order: Allow | Bar) -> str:
    row = asdict(order)
    name = "network" if isinstance(order, Allow) else "name"
    row[name] = rows.text_of(row[name])
    return json.dumps(row) + "\n"


def _order(line: str) -> Allow | Bar:
    row = json.loads(line)
    if "network" in row:
        return Allow(rows.bytes_of(row.pop("network")), **row)
    return Bar(name=rows.bytes_of(row.pop("name")), **row)
