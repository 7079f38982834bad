"""A walk over all logins of the map, to offer them to an engine that may lack some.

It is over when nothing came meanwhile that it may have missed: what was imported or restored
during it stands anywhere in the map, and is told to nobody else.  Whoever puts such into the map
takes away the mark that stands there during a walk (:func:`pbs_watch.grants.outbox.tell_again`).
"""

from __future__ import annotations

from secrets import token_bytes
from time import time

from pbs_watch.grants import rows
from pbs_watch.grants.store import Map
from pbs_watch.shared import learn
from pbs_watch.shared.engine import Mark, Shared


class Offer:
    """Offers to the data of ``mark``, ``most`` logins at a time; raises :class:`MapError`."""

    def __init__(self, grants: Map, mark: Mark, most: int) -> None:
        self._map = grants
        self._name = mark.name()
        self._token = token_bytes(8)
        with grants.changing() as tables:
            tables.put(b"meta", rows.OFFERING, self._token)
        self._logins = learn.logins(grants, time(), most)

    def goes_on(self, mark: Mark, token: bytes | None) -> bool:
        """Whether it is still of use; ``token``: what stands in the map of a walk."""
        return mark.is_same(self._name) and token == self._token

    def some(self) -> list[Shared]:
        """The next logins; none: it is at its end, or has to begin anew."""
        found = next(self._logins, None)
        if found is None:
            self._end()
        return found or []

    def _end(self) -> None:
        with self._map.changing() as tables:
            if tables.get(b"meta", rows.OFFERING) == self._token:
                tables.delete(b"meta", rows.OFFERING)
                tables.put(b"meta", rows.OFFERED, self._name)
