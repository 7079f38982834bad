"""Addresses in one canonical form: what inet_ntop writes, IPv4-mapped addresses as IPv4.

Postfix asks for IPv6 in lower case and compressed and for IPv4-mapped addresses as dotted quads
(facts/postfix.md), which is this form; the log may hold any other.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from pbs_watch.errors import UsageError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED = bytes(10) + b"\xff\xff"
LONGEST = 45
"""Bytes of the longest spelling of an IPv6 address (INET6_ADDRSTRLEN without the NUL)."""


IPV6_BITS = 128
"""Bits of a whole IPv6 address."""

NETWORK_BITS = 64
"""The network in which IPv6 addresses may be granted together: what one customer has at least."""

_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(_OCTET + rb"(?:\." + _OCTET + rb"){3}").fullmatch


@lru_cache(maxsize=65536)
def literal(text: bytes) -> bytes | None:
    """The canonical form of an IPv4 or IPv6 literal, ``None`` for anything else.

    No zone ids, no brackets, no shorthand such as ``127.1``.
    """
    # Remembered, as who logs in once does so again.
    if b":" in text:
        return _ipv6(text)
    return text if _IPV4(text) else None  # there is only one spelling


def _ipv6(text: bytes) -> bytes | None:
    if len(text) > LONGEST or not text.isascii() or b"\0" in text:
        return None
    try:
        packed = inet_pton(AF_INET6, text.decode())
    except OSError:
        return None
    if packed.startswith(_MAPPED):
        return inet_ntop(AF_INET, packed[12:]).encode()
    return inet_ntop(AF_INET6, packed).encode()


def number(address: bytes) -> tuple[int, int]:
    """A canonical address as its size in bits, 32 or 128, and a number."""
    if b":" in address:
        return 128, int.from_bytes(inet_pton(AF_INET6, address.decode()), "big")
    return 32, int.from_bytes(inet_pton(AF_INET, address.decode()), "big")


def prefix(network: bytes) -> tuple[int, int, int]:
    """A canonical network as its size in bits, its prefix length, and its first address."""
    address, _, length = network.partition(b"/")
    size, first = number(address)
    return size, int(length) if length else size, first


def canonical(network: Network) -> bytes:
    """A network in the one form in which it is kept: a single address has no length.

    IPv4-mapped networks are IPv4, and addresses are written as :func:`literal` does.
    """
    size, length, first = prefix(str(network).encode())
    if size == 128 and length >= 96 and first >> 32 == 0xFFFF:
        size, length, first = 32, length - 96, first & 0xFFFFFFFF
    family = AF_INET if size == 32 else AF_INET6
    address = inet_ntop(family, first.to_bytes(size // 8, "big")).encode()
    return address if length == size else address + b"/%d" % length


def overlap(network: bytes, other: bytes) -> bool:
    """Whether one of two canonical networks, or addresses, holds the other."""
    size, length, first = prefix(network)
    other_size, other_length, other_first = prefix(other)
    shift = size - min(length, other_length)
    return size == other_size and first >> shift == other_first >> shift


@lru_cache(maxsize=65536)
def widened(address: bytes, length: int) -> bytes:
    """The network of ``length`` bits that holds a canonical IPv6 address; IPv4 stays as it is."""
    if b":" not in address or length >= 128:
        return address
    value = number(address)[1] >> (128 - length) << (128 - length)
    return inet_ntop(AF_INET6, value.to_bytes(16, "big")).encode() + b"/%d" % length


def granted_as(address: bytes) -> tuple[bytes, ...]:
    """The keys under which a canonical address may be granted: itself, and its IPv6 network."""
    return (address, widened(address, NETWORK_BITS)) if b":" in address else (address,)


class Networks:
    """A set of networks to test addresses against."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self.items = tuple(networks)
        self.holds = lru_cache(maxsize=65536)(self._holds)
        """``holds(address)``: whether a canonical address lies in one of the networks."""
        self.overlaps = lru_cache(maxsize=65536)(self._overlaps)
        """``overlaps(network)``: whether a canonical network, or address, touches one of them."""
        self.contains = lru_cache(maxsize=65536)(self._contains)
        """``contains(network)``: whether a canonical network lies wholly in one of them."""

    def _holds(self, address: bytes) -> bool:
        parsed = ipaddress.ip_address(address.decode())
        return any(parsed in network for network in self.items)

    def __bool__(self) -> bool:
        return bool(self.items)

    def _overlaps(self, other: bytes) -> bool:
        return any(overlap(canonical(one), other) for one in self.items)

    def _contains(self, other: bytes) -> bool:
        length = prefix(other)[1]
        return any(one.prefixlen <= length and overlap(canonical(one), other) for one in self.items)


def network(text: str) -> Network:
    """Read ``192.0.2.0/24``, ``2001:db8::/32`` or a single address; raises :class:`UsageError`."""
    if "%" in text:
        raise UsageError(f"{text!r} has a zone, which no address of a client has; leave it out")
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is not an address or network ({error}); write 192.0.2.0/24 or 2001:db8::/32"
        ) from None
