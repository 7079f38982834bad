"""Whether a router's address stands for many clients, and would be granted.  Pure.

Behind NAT, and in a container whose runtime forwards ports, connections may seem to come from the
gateway: one login would then let everybody relay (design.md, Judge).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pbs_watch.doctor.finding import Finding, fine, look, many, wrong
from pbs_watch.grants.address import Network, Networks, canonical

_SETTING = 'set never = ["own", "gateway"]'


@dataclass(frozen=True, slots=True)
class Facts:
    """``own``: this host's addresses.  ``gateways``: of its default routes.  ``container``: of
    which kind it is, or empty.  ``logins``: in the logs' ends, by address.  ``relaying``: Postfix's
    ``mynetworks``.
    """

    own: Sequence[Network] = ()
    gateways: Sequence[Network] = ()
    container: str = ""
    logins: Mapping[bytes, int] = field(default_factory=dict)
    relaying: Sequence[Network] = ()


def judge(facts: Facts, never: Networks, only: Networks) -> Iterator[Finding]:
    """``never``, ``only``: what the settings mean here."""
    yield _gateway(facts, never, only)
    yield _own(facts, never, only)
    yield from _relaying(facts)


def _open(networks: Sequence[Network], never: Networks, only: Networks) -> list[str]:
    """Which of the addresses could be granted."""
    others = Networks([one for one in networks if one.num_addresses > 1])
    found = [
        canonical(one)
        for one in networks
        if one.num_addresses > 1 or not others.contains(canonical(one))
    ]
    return [
        one.decode()
        for one in found
        if not never.contains(one) and (not only or only.overlaps(one))
    ]


def _gateway(facts: Facts, never: Networks, only: Networks) -> Finding:
    names = ", ".join(canonical(one).decode() for one in facts.gateways)
    inside = f" in a container ({facts.container})" if facts.container else ""
    grantable = _open(facts.gateways, never, only)
    came = sum(facts.logins.get(canonical(one), 0) for one in facts.gateways)
    private = _all_private(facts.own)
    if grantable and (came or private or facts.container):
        seen = f", and {many(came, 'login')} came from there" if came else ""
        return wrong(
            "host-gateway",
            f"this host stands behind {', '.join(grantable)}{inside}{seen}: once granted, "
            "everybody behind it may relay",
            _SETTING,
        )
    if grantable:
        return look(
            "host-gateway", f"the gateway {', '.join(grantable)} could be granted", _SETTING
        )
    if came:
        return look(
            "host-gateway",
            f"{many(came, 'login')} came from the gateway {names}{inside}, which hides the "
            "clients: they are refused",
            "let the mail server see its clients' addresses: forward without NAT, or run it on "
            "the host's network",
        )
    if not facts.gateways:
        return fine("host-gateway", "this host has no default route")
    return fine("host-gateway", f"the gateway {names} is never granted{inside}")


def _own(facts: Facts, never: Networks, only: Networks) -> Finding:
    grantable = _open(facts.own, never, only)
    if grantable:
        return look(
            "host-own",
            f"this host's own {', '.join(grantable[:4])} could be granted: webmail and other "
            "programs here would open relaying for each other",
            _SETTING,
        )
    return fine("host-own", "this host's own addresses are never granted")


def _relaying(facts: Facts) -> Iterator[Finding]:
    """Whether Postfix lets the gateway relay without asking anybody."""
    networks = Networks(facts.relaying)
    inside = [
        canonical(one).decode() for one in facts.gateways if networks.contains(canonical(one))
    ]
    if inside and facts.container:
        yield wrong(
            "host-mynetworks",
            f"Postfix's mynetworks holds the gateway {', '.join(inside)} of this container "
            f"({facts.container}): whoever comes through it relays without any login",
            "write in main.cf: mynetworks = 127.0.0.0/8, [::1]/128, and hosts of your own",
        )
    elif inside:
        yield look(
            "host-mynetworks",
            f"Postfix's mynetworks holds the gateway {', '.join(inside)}: does it hide clients "
            "behind its own address?",
        )


def _all_private(own: Sequence[Network]) -> bool:
    """Whether no address of this host can be reached from outside but by NAT."""
    outer = [one for one in own if one.version == 4 and not one.is_loopback]
    return bool(outer) and all(one.is_private or one.is_link_local for one in outer)
