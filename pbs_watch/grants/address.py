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
_LONGEST = 45
"""Bytes of the longest spelling of an IPv6 address (INET6_ADDRSTRLEN without the NUL)."""


_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(_OCTET + rb"(?:\." + _OCTET + rb"){3}").fullmatch


def literal(text: bytes) -> bytes | None:
    """The canonical form of an IPv4 or IPv6 literal, ``None`` for anything else.

    No zone ids, no brackets, no shorthand such as ``127.1``.
    """
    # Nearly every lookup, and there is only one spelling.
    return text if _IPV4(text) else _ipv6(text)


@lru_cache(maxsize=65536)
def _ipv6(text: bytes) -> bytes | None:
    if len(text) > _LONGEST or not text.isascii() or b"\0" in text:
        return None
    try:
        packed = inet_pton(AF_INET6, text.decode())
    except OSError:
        return None
    if packed.startswith(_MAPPED):
        return inet_ntop(AF_INET, packed[12:]).encode()
    return inet_ntop(AF_INET6, packed).encode()


class Networks:
    """A set of networks to test addresses against."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)
        self.holds = lru_cache(maxsize=65536)(self._holds)
        """``holds(address)``: whether a canonical address lies in one of the networks."""

    def _holds(self, address: bytes) -> bool:
        parsed = ipaddress.ip_address(address.decode())
        return any(parsed in network for network in self._networks)

    def __bool__(self) -> bool:
        return bool(self._networks)


def network(text: str) -> Network:
    """Read ``192.0.2.0/24``, ``2001:db8::/32`` or a single address; raises :class:`UsageError`."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is not an address or network ({error}); write 192.0.2.0/24 or 2001:db8::/32"
        ) from None
