"""The operator's orders as text beside the map, for the day when the map cannot be read.

They are the one thing in the map that no log can bring back.  The map is what counts; the copy is
written after each order, and only ``rebuild`` reads it, where it cannot read the map.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from fcntl import LOCK_EX, flock
from pathlib import Path

from pbs_watch.errors import MapError, UsageError
from pbs_watch.files import replace
from pbs_watch.grants import rows
from pbs_watch.grants.orders import Allow, Bar
from pbs_watch.grants.store import Map

NAME = "orders.jsonl"
"""The file in the map's directory: a line of JSON for each order."""


def keep_copy(grants: Map) -> None:
    """Write the orders that there are; raises :class:`MapError`.

    One command after the other, or an older copy could be the last.
    """
    path = grants.path / NAME
    try:
        with _alone(grants.path):
            orders = grants.obey()
            lines = [*map(_line, orders.allows), *map(_line, orders.bars)]
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
