"""Who may relay, for programs that cannot ask: a Postfix table's rows, a list of addresses.  Pure.

Postfix looks an address up in an indexed table (hash, btree, cdb, lmdb) whole, and then cuts the
last octet, or in IPv6 the last group, off its text until something is found (access(5),
``check_addr_access`` in smtpd_check.c).  So a network is said by the beginning that its addresses
have as text.  A network between two octets becomes the next longer ones, at most 256 of them.  A
block inside an allowed network is a longer beginning whose value ``DUNNO`` ends the search.

IPv6 addresses are cut as they are written, which hides where zeros were: ``2001:db8::5:6`` becomes
``2001:db8::5``, ``2001:db8:`` and ``2001:db8``.  A network whose own last group, or last two, are
0 needs a second key, ``2001:db8:``.  Some cannot be said without letting strangers in: these are
left out, and are named in ``unsaid``.

For the same reason an IPv6 address in such a table lets in others: the key ``2001:db8:1:2::5`` is
found for ``2001:db8:1:2::5:6`` too.  As long as these lie in the same /64, which is one customer's,
it is taken; an address of which that cannot be said is left out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from pbs_watch.exchange.jsonl import Row
from pbs_watch.grants import rows
from pbs_watch.grants.address import prefix
from pbs_watch.grants.orders import Allow, Bar

DUNNO = b"DUNNO"

_MOST_BITS = 8
"""A network is spelled out as at most two to the power of this many longer ones: an IPv4 network
never needs more, a /56 of IPv6 is 256 customers' networks."""

_GROUPS = 8
"""Groups of an IPv6 address."""

Order: TypeAlias = Allow | Bar


@dataclass(frozen=True, slots=True)
class Relaying:
    """Who may relay at one moment.

    ``granted``: addresses and IPv6 networks, in order.  ``orders``: allows and blocks that count.
    ``until``: when time alone may change it, in epoch seconds; ``None``: never.
    """

    granted: list[bytes]
    orders: list[Order]
    until: float | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of a table of Postfix, and the networks that these do not say (wholly)."""

    rows: dict[bytes, bytes]
    unsaid: list[bytes]

    def source(self) -> bytes:
        """The text that ``postmap`` reads."""
        said = [key + b"\t" + value + b"\n" for key, value in sorted(self.rows.items())]
        missing = [b"# not wholly in this table: " + network + b"\n" for network in self.unsaid]
        return b"".join(missing + said)


def relaying(
    grants: Iterable[Row], sessions: Iterable[Row], orders: Iterable[Row], now: float
) -> Relaying:
    """Who may relay at ``now``, by the rows of a map; raises ``struct.error`` or ValueError."""
    present = rows.pack_time(now)
    ends = []
    held = set()
    for key, value in sessions:
        if value[:8] > present:
            held.add(key[: key.index(b"\0")])
            ends.append(value[:8])
    granted = []
    earliest = rows.NEVER
    for address, value in grants:
        if rows.counts(value, now):
            granted.append(address)
            earliest = min(earliest, value[:8])
        elif address in held:
            granted.append(address)
    counting = []
    for key, value in orders:
        order = rows.unpack_order(key, value)
        if _counts(order, now):
            counting.append(order)
            if order.until is not None:
                ends.append(rows.pack_time(order.until))
    first = min([earliest, *ends])
    until = None if first == rows.NEVER else rows.unpack_time(first)
    return Relaying(granted, counting, until)


def _counts(order: Order, now: float) -> bool:
    if isinstance(order, Allow):
        return order.holds(now)
    return order.subject == "network" and order.until > now


def _network(order: Order) -> bytes:
    return order.network if isinstance(order, Allow) else order.name


def _nested(orders: Iterable[Order]) -> Iterator[tuple[Order, list[Allow]]]:
    """Each order, and the wider allows in which it lies; wider ones before those inside."""

    def place(order: Order) -> tuple[int, int, int, bool]:
        size, length, first = prefix(_network(order))
        return size, first, length, isinstance(order, Allow)

    around: list[tuple[int, int, Allow]] = []
    for order in sorted(orders, key=place):
        size, first, length, _ = place(order)
        while around and not (around[-1][0] == size and first < around[-1][1]):
            around.pop()
        yield order, [allow for _, _, allow in around if prefix(allow.network)[1] < length]
        if isinstance(order, Allow):
            around.append((size, first + (1 << size - length), order))


# A table of Postfix


def table(found: Relaying, answer: bytes) -> Table:
    """The rows that say who may relay; ``answer`` is their value."""
    nested = list(_nested(found.orders))
    unsaid: set[bytes] = set()
    for order, around in nested:
        # A block that cannot be said takes all that lies around it along: nobody too many.
        if isinstance(order, Bar) and around and not keys(order.name)[1]:
            unsaid |= {allow.network for allow in around}
    said: dict[bytes, bytes] = {}
    for order, around in sorted(nested, key=lambda pair: prefix(_network(pair[0]))[1]):
        network = _network(order)
        if network in unsaid or (isinstance(order, Bar) and not around):
            continue
        found_keys, wholly = keys(network)
        if not wholly:
            unsaid.add(network)
        value = answer if isinstance(order, Allow) else DUNNO
        for key in found_keys:
            said[key] = value
    for address in found.granted:
        if b":" not in address:
            said[address] = answer
            continue
        found_keys, wholly = keys(address)
        if not wholly:
            unsaid.add(address)
        for key in found_keys:
            said[key] = answer
    return Table(said, sorted(unsaid))


def keys(network: bytes) -> tuple[list[bytes], bool]:
    """The keys for a canonical network or address, and whether they say all of it.

    No address outside of it is found by any of them, but for those of the same /64 as an IPv6
    address.
    """
    size, length, first = prefix(network)
    part = 8 if size == 32 else 16
    whole = max(part, -(-length // part) * part)
    if whole - length > _MOST_BITS:
        return [], False
    found: list[bytes] = []
    wholly = True
    for number in range(1 << whole - length):
        value = first + (number << size - whole)
        if size == 32:
            found.append(_octets(value, whole // 8))
        elif whole == size:
            text = _text(size, value)
            if _stays(text):
                found.append(text)
            else:
                wholly = False
        else:
            some, all_of_it = _groups(value, whole // 16)
            found += some
            wholly = wholly and all_of_it
    return found, wholly


def _text(size: int, value: int) -> bytes:
    """The canonical text of an address that is not an IPv4-mapped one."""
    address = ipaddress.IPv4Address(value) if size == 32 else ipaddress.IPv6Address(value)
    return str(address).encode()


def _octets(value: int, count: int) -> bytes:
    return b".".join(_text(32, value).split(b".")[:count])


def _stays(text: bytes) -> bool:
    """Whether all addresses that begin with this IPv6 address as text lie in its /64.

    What comes before ``::`` and two groups of 0 are the same in all of them.
    """
    before, hidden, after = text.partition(b"::")
    return not hidden or not after or (before.count(b":") >= 1)


def _groups(value: int, count: int) -> tuple[list[bytes], bool]:
    """The keys for the IPv6 network of ``count`` groups, and whether they say all of it."""
    groups = [value >> 16 * (_GROUPS - 1 - index) & 0xFFFF for index in range(count)]
    texts = [b"%x" % group for group in groups]
    # An address of it with no zeros hidden among these groups, or only behind them.
    found = [b":".join(texts)]
    zeros = next((index for index, group in enumerate(reversed(groups)) if group), count)
    before = groups[: count - zeros]
    if 0 < zeros <= 2 and before:
        # All that begins so has two groups of 0 there at least, and thus lies in the network.
        found.append(b":".join(texts[: count - zeros]) + b":")
    hidden = zeros > 2 or not before or (0, 0) in pairwise(before)
    return found, not hidden


# A list of addresses


def addresses(found: Relaying) -> list[bytes]:
    """The addresses and networks that may relay, blocks taken out, as ``LC_ALL=C sort`` has them.

    A network out of which a block is taken stands as the largest networks that remain.
    """
    blocks: dict[bytes, list[bytes]] = {}
    allows = []
    for order, around in _nested(found.orders):
        if isinstance(order, Allow):
            allows.append(order.network)
        else:
            for allow in around:
                blocks.setdefault(allow.network, []).append(order.name)
    listed = set(found.granted)
    for network in allows:
        inside = blocks.get(network)
        listed.update([network] if inside is None else _without(network, inside))
    return sorted(listed)


def _without(network: bytes, blocks: Sequence[bytes]) -> Iterator[bytes]:
    size, length, first = prefix(network)
    yield from _remaining(size, length, first, [prefix(block)[1:] for block in blocks])


def _remaining(
    size: int, length: int, first: int, blocks: Sequence[tuple[int, int]]
) -> Iterator[bytes]:
    """What is left of a network without blocks: halves of it, until none holds a block."""
    end = first + (1 << size - length)
    inside = [block for block in blocks if first <= block[1] < end]
    if not inside:
        text = _text(size, first)
        yield text if length == size else text + b"/%d" % length
    elif all(block[0] > length for block in inside):
        yield from _remaining(size, length + 1, first, inside)
        yield from _remaining(size, length + 1, first + (1 << size - length - 1), inside)
