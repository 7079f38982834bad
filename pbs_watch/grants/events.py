"""What the scanner hands to the judge: one value for each login and each end found in a log.

Named tuples, not dataclasses: a busy log makes hundreds of thousands of them a second, and a
frozen dataclass costs three times as much to build.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Login(NamedTuple):
    """Somebody authenticated.

    ``time``: epoch seconds by the line's own stamp.  ``ahead``: seconds the stamp may lie in the
    future and still counts as now.  ``address``: canonical (:func:`grants.address.literal`).
    ``port``: empty where the format has none.  ``service``: the tag.  ``format``: the name of the
    format whose rule took the line, such as ``courier-imap``.  ``hold``: opens a session that keeps
    its address allowed.  ``offset``: bytes from the beginning of the log file to the line (as far
    as the caller knows where the block stands).
    """

    time: float
    ahead: float
    address: bytes
    user: bytes
    port: bytes
    service: bytes
    format: str
    host: bytes
    hold: bool
    offset: int


class End(NamedTuple):
    """An authenticated session ended.

    ``renew``: starts the window anew.  ``held``: the session may have held its address.
    ``seconds``: how long the session lasted, ``None`` where the line does not say.  The other
    fields are those of :class:`Login`.
    """

    time: float
    ahead: float
    address: bytes
    user: bytes
    port: bytes
    service: bytes
    format: str
    host: bytes
    renew: bool
    held: bool
    seconds: int | None
    offset: int


Event = Login | End


NEAR_MISSES = 100
"""Near misses that one scan shows; the others it only counts.  Enough to see what is new, and few
enough that a log full of them costs no memory."""

NEAR_BYTES = 200
"""Bytes of a near miss's message that are kept: Courier's longest login has about 130."""


class NearMiss(NamedTuple):
    """A message that looks like a login and grants nothing, since no rule takes it.

    Its mail server may write logins in a new way; it is nothing that stands behind a cut, where
    clients write what they like.  ``time``: epoch seconds, ``None`` where the stamp cannot be read.
    ``format``: the format whose ``near`` it contains, or whose login rule it fits but for its
    address or stamp.  ``message``: its first :data:`NEAR_BYTES` bytes, as they stand in the log.
    The other fields are those of :class:`Login`.
    """

    time: float | None
    host: bytes
    tag: bytes
    format: str
    offset: int
    message: bytes


class Scanned(NamedTuple):
    """What a block of whole lines held.

    ``lines``: how many.  ``events``: in the order of the log.  ``suspects``: logins and ends that
    stood where a piece of a cut line may stand; they are not among the events.  ``cuts``: host
    and tag of each cut message.  ``latest``: epoch seconds of the latest stamp seen among the lines
    that were looked at and the last one, ``None`` where no line had a stamp.  ``near``: the first
    :data:`NEAR_MISSES` near misses, in the order of the log.  ``nears``: how many there were.
    """

    lines: int
    events: list[Event]
    suspects: list[Event]
    cuts: list[tuple[bytes, bytes]]
    latest: float | None
    near: Sequence[NearMiss] = ()
    nears: int = 0
