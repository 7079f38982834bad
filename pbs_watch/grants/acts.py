"""What the operator did by hand, as rows of the map: the daemon tells them in its audit trail.

Pure.  The number of the last act is the version of the orders (:mod:`pbs_watch.grants.orders`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

from pbs_watch.grants.rows import LAST_ACT, TOLD_ACT, pack_time
from pbs_watch.grants.tables import Tables


@dataclass(frozen=True, slots=True)
class Act:
    """One act: ``what`` is a command's name, ``on`` what it was done to, as text.

    ``time``, ``until``: epoch seconds; ``until`` ``None``: permanently, or of no meaning.
    ``by``: the operator's account.  ``number``: 0 until it is written.
    """

    time: float
    what: str
    on: str
    by: str
    until: float | None = None
    note: str = ""
    number: int = 0


def written(tables: Tables, act: Act, due: float) -> Act:
    """Write an act down, to be remembered until ``due``; with its number."""
    number = bump(tables)
    key = number.to_bytes(8, "big")
    row = asdict(act)
    del row["number"]
    tables.put_due(b"acts", [(key, pack_time(due) + json.dumps(row).encode())])
    return replace(act, number=number)


def bump(tables: Tables) -> int:
    """Let everybody read the orders anew, without an act; the number, which no act will have."""
    number = last_number(tables) + 1
    tables.put(b"meta", LAST_ACT, number.to_bytes(8, "big"))
    return number


def last_number(tables: Tables) -> int:
    """The number of the last act, 0 where there was none."""
    return int.from_bytes(tables.get(b"meta", LAST_ACT) or b"", "big")


def last_told(tables: Tables) -> int:
    """The number of the last act that the audit trail has told."""
    return int.from_bytes(tables.get(b"meta", TOLD_ACT) or b"", "big")


def acts_after(tables: Tables, number: int) -> list[Act]:
    """The acts after that with ``number``, as far as they are remembered, in order."""
    return [
        unpack(key, value) for key, value in tables.rows(b"acts", after=number.to_bytes(8, "big"))
    ]


def unpack(key: bytes, value: bytes) -> Act:
    """An act out of its row; raises ValueError on other bytes."""
    try:
        return Act(number=int.from_bytes(key, "big"), **json.loads(value[8:]))
    except TypeError as error:
        raise ValueError(f"an act of no kind: {error}") from None
