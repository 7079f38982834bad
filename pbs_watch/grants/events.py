"""What the scanner hands to the judge: one value for each login and each end found in a log, and
for each line that makes one only together with another.

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
    ``port``: empty where the format has none; where sessions have names, ``#`` and the name stands
    there, which tells those of one user apart as well.  ``service``: the tag.  ``format``: the name
    of the format whose rule took the line, such as ``courier-imap``.  ``hold``: opens a session
    that keeps its address allowed.  ``offset``: bytes from the beginning of the log file to the
    line (as far as the caller knows where the block stands).
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


class Part(NamedTuple):
    """A line of a format that joins two: alone it may say too little.

    ``kind``: ``open``, ``login``, ``end`` or ``fail``, as the rule that takes it, or ``gap``: lines
    may be lost here.  What is cut, and what has an address that is none, is a ``fail``.  ``time``
    is ``None`` where the stamp cannot be read.  ``address`` and ``user`` are empty where the line
    lacks them.  ``key``: the pid or the session.  ``flag``: ``hold`` of a login, ``renew`` of an
    end.  ``within``: seconds by which the two lines may lie apart.  ``kept``: ends of its format
    take from its logins what they lack.  ``suspect``: stands where a piece of a cut line may stand.
    The other fields are those of :class:`Login` and :class:`End`.
    """

    kind: str
    time: float | None
    ahead: float
    address: bytes
    user: bytes
    port: bytes
    seconds: int | None
    key: bytes
    service: bytes
    format: str
    host: bytes
    flag: bool
    held: bool
    within: float
    kept: bool
    suspect: bool
    offset: int


class JoinKey(NamedTuple):
    """By what the second of two lines finds the first; ``key`` is a pid or a session."""

    format: str
    host: bytes
    service: bytes
    key: bytes


class Half(NamedTuple):
    """What the first of two lines said, an ``open`` or a ``login``, and when (epoch seconds)."""

    kind: str
    time: float
    address: bytes
    user: bytes
    port: bytes


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

    ``lines``: how many.  ``events``: in the order of the log; where a format joins lines, parts of
    events are among them, for :mod:`pbs_watch.grants.joins` to complete.  ``suspects``: logins and
    ends that stood where a piece of a cut line may stand; they are not among the events (a part
    says itself whether it is suspect).  ``cuts``: host and tag of each cut message.  ``latest``:
    epoch seconds of the latest stamp seen among the lines that were looked at and the last one,
    ``None`` where no line had a stamp.  ``near``: the first :data:`NEAR_MISSES` near misses, in the
    order of the log.  ``nears``: how many there were.
    """

    lines: int
    events: list[Event | Part]
    suspects: list[Event]
    cuts: list[tuple[bytes, bytes]]
    latest: float | None
    near: Sequence[NearMiss] = ()
    nears: int = 0
