"""What the scanner hands to the judge: one value for each login and each end found in a log.

Named tuples, not dataclasses: a busy log makes hundreds of thousands of them a second, and a
frozen dataclass costs three times as much to build.
"""

from __future__ import annotations

from typing import NamedTuple


class Login(NamedTuple):
    """Somebody authenticated.

    ``time``: epoch seconds by the line's own stamp.  ``ahead``: seconds the stamp may lie in the
    future and still counts as now.  ``address``: canonical (:func:`grants.address.literal`).
    ``port``: empty where the format has none.  ``service``: the tag.  ``hold``: opens a session
    that keeps its address allowed.  ``offset``: bytes from the start of the block to the line.
    """

    time: float
    ahead: float
    address: bytes
    user: bytes
    port: bytes
    service: bytes
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
    host: bytes
    renew: bool
    held: bool
    seconds: int | None
    offset: int


Event = Login | End


class Scanned(NamedTuple):
    """What a block of whole lines held.

    ``lines``: how many.  ``events``: in the order of the log.  ``suspects``: logins and ends that
    stood where a piece of a cut line may stand; they are not among the events.  ``cuts``: host
    and tag of each cut message.  ``latest``: epoch seconds of the latest stamp seen among the lines
    that were looked at and the last one, ``None`` where no line had a stamp.
    """

    lines: int
    events: list[Event]
    suspects: list[Event]
    cuts: list[tuple[bytes, bytes]]
    latest: float | None
