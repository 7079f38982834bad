"""What this host's own addresses and its gateways are, as the kernel tells in /proc.

For ``never = own`` and ``gateway``: a login that seems to come from the host itself, or from the
router behind which it stands, would open relaying to everybody who is behind the same address.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from pbs_watch.grants.address import Network

_PROC = Path("/proc/net")
_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_DEFAULT_V6 = "0" * 32 + " 00 "


def own() -> list[Network]:
    """The addresses of this host's interfaces, and loopback."""
    found: list[Network] = list(_LOOPBACK)
    # fib_trie lists an address on the line before "/32 host LOCAL".
    for address in re.findall(r"-- (\S+)\n\s+/32 host LOCAL", _read("fib_trie")):
        found.append(ipaddress.ip_network(address))  # noqa: PERF401
    for line in _read("if_inet6").splitlines():
        found.append(_v6(line.split()[0]))  # noqa: PERF401
    return found


def gateway() -> list[Network]:
    """The routers of the default routes."""
    found: list[Network] = []
    for line in _read("route").splitlines()[1:]:
        fields = line.split()
        destination, router, mask = fields[1], fields[2], fields[7]
        if destination == mask == "00000000" and router != "00000000":
            packed = bytes.fromhex(router)[::-1]  # little-endian, as the kernel prints it
            found.append(ipaddress.ip_network(packed))
    for line in _read("ipv6_route").splitlines():
        fields = line.split()
        if line.startswith(_DEFAULT_V6) and fields[4] != "0" * 32:
            found.append(_v6(fields[4]))
    return found


def _v6(digits: str) -> Network:
    return ipaddress.ip_network(bytes.fromhex(digits))


def _read(name: str) -> str:
    """A table of /proc/net; empty where the kernel lacks the protocol."""
    try:
        return (_PROC / name).read_text()
    except FileNotFoundError:
        return ""
