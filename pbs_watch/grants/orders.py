"""What the operator orders by hand: addresses allowed, logins barred.

Pure: rows of the map in, answers out.

* An *allow* lets a network relay, for a time or permanently, whoever logs in.
* A *bar* voids all logins up to a time: of a network, of a user or of everybody.  A revocation is
  a bar up to the moment it was given, a block one up to a moment to come.

Of the allows and the blocks that hold an address the one with the longest prefix counts.  A bar is
a row with a time, not a deletion, so that neither the end of an open session nor reading the log
again undoes it (design.md, Judge).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from pbs_watch.grants.address import prefix

_Order = TypeVar("_Order")

MEMORY = 31 * 86400.0
"""Seconds after which a bar cannot matter any more: no end of a session that began longer ago
proves a login."""

WIDEST = {32: 16, 128: 48}
"""The shortest prefixes that are allowed without force, by the size of the address in bits."""

LONGEST_NOTE = 500
"""Bytes of a note: a sentence or two, for whoever comes after."""

Subject = Literal["network", "user", "everybody"]


@dataclass(frozen=True, slots=True)
class Allow:
    """A network that may relay; ``until`` in epoch seconds, ``None``: permanently."""

    network: bytes
    since: float
    until: float | None
    note: str = ""

    def holds(self, now: float) -> bool:
        """Whether it counts at ``now``."""
        return self.until is None or self.until > now


@dataclass(frozen=True, slots=True)
class Bar:
    """Logins up to ``until`` (epoch seconds) grant nothing.

    ``name``: a network, a user, or empty for everybody.  ``since``: when the operator said so.
    """

    subject: Subject
    name: bytes
    since: float
    until: float
    note: str = ""


class Orders:
    """All orders, ready to be asked; ``version`` grows with each of them."""

    def __init__(
        self, version: int = 0, allows: Iterable[Allow] = (), bars: Iterable[Bar] = ()
    ) -> None:
        self.version = version
        self.allows = tuple(allows)
        self.bars = tuple(bars)
        self._users = {bar.name: bar for bar in self.bars if bar.subject == "user"}
        self._everybody = max(
            (bar for bar in self.bars if bar.subject == "everybody"),
            key=lambda bar: bar.until,
            default=None,
        )
        self._barred = _Table({bar.name: bar for bar in self.bars if bar.subject == "network"})
        self._allowed = _Table({allow.network: allow for allow in self.allows})

    def __bool__(self) -> bool:
        return bool(self.allows or self.bars)

    def allowed(self, address: bytes, now: float) -> Allow | None:
        """The allow by which a canonical ``address`` may relay, if there is one."""
        if not self.allows:
            return None
        longest = next((one for one in self._allowed.holding(address) if one.holds(now)), None)
        if longest is None:
            return None
        block = self.blocked(address, now)
        if block is not None and prefix(block.name)[1] > prefix(longest.network)[1]:
            return None
        return longest

    def bar(self, address: bytes, user: bytes, began: float) -> Bar | None:
        """The bar that voids a login of ``user`` from ``address`` at ``began``, if there is one."""
        if not self.bars:
            return None
        everybody, bar = self._everybody, self._users.get(user)
        if everybody is not None and began <= everybody.until:
            return everybody
        if bar is not None and began <= bar.until:
            return bar
        found = (bar for bar in self._barred.holding(address) if began <= bar.until)
        return next(found, None)

    def blocked(self, address: bytes, now: float) -> Bar | None:
        """The narrowest block that holds ``address`` at ``now``, if there is one."""
        if not self.bars:
            return None
        return next((bar for bar in self._barred.holding(address) if bar.until > now), None)


class _Table(Generic[_Order]):
    """Orders by network, to find those that hold an address, the longest prefix first."""

    def __init__(self, orders: Mapping[bytes, _Order]) -> None:
        self._by_length: dict[tuple[int, int], dict[int, _Order]] = {}
        for network, order in orders.items():
            size, length, first = prefix(network)
            self._by_length.setdefault((size, length), {})[first >> (size - length)] = order
        self._lengths = sorted(self._by_length, reverse=True)

    def holding(self, address: bytes) -> Iterator[_Order]:
        """The orders whose networks hold a canonical address, or overlap with its network."""
        if not self._by_length:
            return
        size, own, value = prefix(address)
        for kind, length in self._lengths:
            if kind != size:
                continue
            orders = self._by_length[kind, length]
            if length <= own:
                order = orders.get(value >> (size - length))
                if order is not None:
                    yield order
            else:
                # Where IPv6 networks are granted, one may hold an address that was barred.
                yield from (
                    order
                    for first, order in orders.items()
                    if first >> (length - own) == value >> (size - own)
                )
