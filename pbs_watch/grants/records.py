"""What hosts tell each other about the operator's orders: one record for each subject.  Pure.

A record says what was done to a subject last, also that an order ended: a host that was cut off
learns that a permanent allow is gone, instead of bringing it back.  Of two records of one subject
the later counts.  A bar never shortens another one; only an unblock does.

Records are kept as long as they can matter: allows until they end, the others for
:data:`~pbs_watch.grants.orders.MEMORY` after their time.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, replace
from typing import Literal, get_args

from pbs_watch.grants import rows
from pbs_watch.grants.orders import MEMORY, Allow, Bar

Act = Literal["allow", "bar", "unblock", "end"]
"""``end``: there is no order about this subject any more."""

LONGEST_KEY = 420
"""Bytes of the longest key of an order: a user as long as the map keeps him, and some."""


@dataclass(frozen=True, slots=True)
class Record:
    """``key``: that of the order's row.  ``since``, ``until``: epoch seconds; ``None``: for ever.

    ``by``: the operator and his host.
    """

    key: bytes
    act: Act
    since: float
    until: float | None
    by: str = ""
    note: str = ""

    @property
    def due(self) -> float | None:
        """Until when it can matter; ``None``: for ever."""
        if self.act == "allow":
            return self.until
        return max(self.since, self.until or 0.0) + MEMORY

    def over(self, now: float) -> bool:
        """Whether it cannot matter any more."""
        return self.due is not None and self.due <= now

    def order(self) -> Allow | Bar | None:
        """The order that counts by it, if any; raises ValueError or struct.error."""
        if self.act == "end":
            return None
        end = rows.NEVER if self.until is None else rows.pack_time(self.until)
        value = bytes(8) + rows.pack_time(self.since) + end
        return rows.unpack_order(self.key, value + rows.bytes_of(self.note))


def record_of(order: Allow | Bar, by: str, act: Act | None = None) -> Record:
    """The record of an order that was given; ``act``: what it is, where it is not what it seems."""
    seems: Act = "allow" if isinstance(order, Allow) else "bar"
    return Record(rows.order_key(order), act or seems, order.since, order.until, by, order.note)


def said(record: Record) -> tuple[str, str]:
    """The name of what was done, as commands and the audit trail have it, and to what."""
    kind, name = record.key[:2], record.key[2:]
    what = {"bar": "revoke", "end": "revoke"}.get(record.act, record.act)
    if record.act == "bar" and (record.until or 0.0) > record.since:
        what = "block"
    if kind == b"BU":
        return what, f"user {rows.text_of(name)}"
    if kind == b"BE":
        return what, "everybody"
    return what, rows.text_of(name if kind == b"BN" else record.key[1:])


def merged(old: Record | None, new: Record) -> Record:
    """What counts of two records about one subject, whichever came first."""
    if old is None:
        return new
    first, last = sorted((old, new), key=lambda one: (one.since, pack(one)))
    if first.act == last.act == "bar":
        return replace(last, until=max(first.until or 0.0, last.until or 0.0))
    return last


def pack(record: Record) -> bytes:
    """A record without its key, as JSON in ASCII."""
    row = {
        "act": record.act,
        "since": record.since,
        "until": record.until,
        "by": record.by,
        "note": record.note,
    }
    return json.dumps(row, separators=(",", ":")).encode()


def unpack(key: bytes, value: bytes) -> Record:
    """What :func:`pack` packed; raises ValueError on anything else, whoever wrote it."""
    try:
        row = json.loads(value)
        act, since, until = row["act"], float(row["since"]), row["until"]
        record = Record(
            key, act, since, None if until is None else float(until), row["by"], row["note"]
        )
        _check(record)
    except (KeyError, TypeError, OverflowError, RecursionError, struct.error) as error:
        raise ValueError(f"no record of an order: {error!r}") from None
    return record


def _check(record: Record) -> None:
    """Raise where the map cannot hold a record, or the order that it makes."""
    key, act = record.key, record.act
    if act not in get_args(Act) or not all(
        isinstance(one, str) for one in (record.by, record.note)
    ):
        raise ValueError("a record of no kind of order")
    if not 1 < len(key) <= LONGEST_KEY or b"\0" in key:
        raise ValueError("a record of nothing that an order can name")
    if act != "end" and (act == "allow") != (key[:1] == b"A"):
        raise ValueError("a record of another kind than its order")
    if key[:1] == b"A" or key[:2] == b"BN":
        rows.check_network(key[1:] if key[:1] == b"A" else key[2:])
    elif key[:2] != b"BU" and key != b"BE":
        raise ValueError("a record of an order of no kind")
    if record.until is None and act in {"bar", "unblock"}:
        raise ValueError("a record of a bar without an end")
    times = [record.since] if record.until is None else [record.since, record.until]
    if not all(0.0 <= time < rows.LATEST for time in times):
        raise ValueError("a record of no time")
    for text in (record.by, record.note):
        rows.bytes_of(text)
