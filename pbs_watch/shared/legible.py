"""The records that an engine holds, as far as they can be read.

Whoever can write there may write anything.  One record that is none of ours is told of and passed
over: it must not keep a host from learning the others, or from giving orders of its own.  An order
about the same subject takes its place.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from pbs_watch.escape import printable
from pbs_watch.grants.records import Record, unpack
from pbs_watch.notices import Seldom

log = logging.getLogger("pbs_watch")


class Legible:
    """Reads records, and says of each that cannot be read once a minute at most."""

    def __init__(self) -> None:
        self._odd = Seldom()

    def read(self, place: object, found: Iterable[tuple[bytes, bytes]]) -> dict[bytes, Record]:
        """The records by their keys; ``place``: the engine, for people."""
        records: dict[bytes, Record] = {}
        for key, value in found:
            try:
                records[key] = unpack(key, value)
            except Exception as error:  # noqa: BLE001 - the one bad row must not cost the others
                if self._odd.due(key):
                    said = printable(f"{key!r} there is no order ({error})")
                    log.warning("%s: %s; it does not count: remove it", place, said)
        return records
