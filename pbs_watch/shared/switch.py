"""Whether grants are shared, as it stands in the map: commands go by it.

Written at the start, and after a reload by whoever can first: the writer's thread, which tries
again with each commit, and the sending thread, which looks before each turn.  What is kept for
others goes in portions, so that a full outbox holds up no commit; where that is cut short the next
start goes on.
"""

from __future__ import annotations

from collections.abc import Callable

from pbs_watch.grants import outbox
from pbs_watch.grants.environment import CHANGED_ROWS
from pbs_watch.grants.store import Map


def switch(grants: Map, host: str, unless: Callable[[], bool] = lambda: False) -> None:
    """Write whether grants are shared, and as whom (empty: not); raises :class:`MapError`.

    ``unless`` is asked while nobody else can write it, whether it is to be left as it is.
    """
    with grants.reading() as tables:
        done = outbox.shares_as(tables, host)
        left = tables.count(b"outbox") or tables.count(b"shared")
    if not done and not host:
        with grants.changing() as tables:
            outbox.end(tables)
    more = bool(left)
    while more:
        with grants.changing() as tables:
            more = outbox.clear(tables, CHANGED_ROWS)
    if not done and host:
        with grants.changing() as tables:
            if not unless():
                outbox.begin(tables, host)
