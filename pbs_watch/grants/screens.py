"""Why a login or an end is refused by the policy or by an order of the operator.

Pure: each screen gets an event and the clock and gives the reason, a name of
:class:`~pbs_watch.grants.judge.Judged`, or nothing.  Where IPv6 networks are granted, what is said
of one address of a network holds for all of it: it would be granted with the others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from pbs_watch.grants.address import IPV6_BITS
from pbs_watch.grants.events import End, Event
from pbs_watch.grants.orders import Orders
from pbs_watch.grants.policy import Policy

Tell = Callable[[Event, str], None]
"""Is told each event and the name of the count that it went into; :data:`ALARM` stands in front of
the reason where it was granted nevertheless."""

ALARM = "alarm:"

_REMEMBERED = 60.0
"""Seconds for which the kernel remembers a connection that has ended (TIME_WAIT)."""

_SLACK = 1.0
"""Seconds by which the length of a session, which Courier logs in whole ones, may be short."""

Screen = Callable[[Event, float], str]
"""Tells why an event is refused, if it is; the clock in epoch seconds."""


class Standing(Protocol):
    """What is known when an event is judged."""

    @property
    def orders(self) -> Orders:
        """What the operator ordered by hand."""

    def logged_in(self, address: bytes, user: bytes, now: float) -> bool:
        """Whether ``user`` may relay from ``address`` by a login of his."""

    def crowded(self, address: bytes, most: int, now: float) -> bool:
        """Whether so many users, or more, may relay from ``address``."""

    def spread(self, user: bytes, most: int, now: float) -> bool:
        """Whether ``user`` may relay from so many addresses, or more."""

    def connected(self, address: bytes, port: bytes) -> bool:
        """Whether the kernel knows the connection, or cannot be asked."""


class Nothing:
    """A standing where nothing is known: a replay into a map of its own."""

    orders = Orders()

    def logged_in(self, _address: bytes, _user: bytes, _now: float) -> bool:
        """Nobody is known."""
        return False

    def crowded(self, _address: bytes, _most: int, _now: float) -> bool:
        """Nobody is known."""
        return False

    def spread(self, _user: bytes, _most: int, _now: float) -> bool:
        """Nobody is known."""
        return False

    def connected(self, _address: bytes, _port: bytes) -> bool:
        """Nobody can tell."""
        return True


NOTHING = Nothing()


def screens(
    policy: Policy, standing: Standing, counts: dict[str, int], tell: Tell | None
) -> list[Screen]:
    """Those tests of an event that are configured; ``counts`` has the number of ``alarms``."""
    found: list[Screen] = []
    if policy.never:
        never = policy.never.overlaps if policy.prefix < IPV6_BITS else policy.never.holds
        found.append(lambda event, _: "never" if never(policy.granted(event.address)) else "")
    if policy.only:
        only = policy.only.contains if policy.prefix < IPV6_BITS else policy.only.holds
        found.append(lambda event, _: "" if only(policy.granted(event.address)) else "only")
    if policy.ignored:
        found.append(lambda event, _: "ignored" if policy.ignores(event.user) else "")
    if standing.orders.bars:
        found.append(partial(_barred, policy, standing.orders))
    over, witness = policy.over_limit == "alarm", policy.witness == "alarm"
    limits: list[tuple[bool, Screen]] = []
    if policy.most_users:
        limits.append((over, partial(_too_many_users, policy, standing)))
    if policy.most_addresses:
        limits.append((over, partial(_too_many_addresses, policy, standing)))
    if policy.witness in {"alarm", "require"}:
        limits.append((witness, partial(_unwitnessed, policy, standing)))
    # What refuses comes first: nobody is alarmed by what grants nothing.
    found += [screen for alarms, screen in limits if not alarms]
    return found + [partial(_alarm, screen, counts, tell) for alarms, screen in limits if alarms]


def _alarm(
    screen: Screen, counts: dict[str, int], tell: Tell | None, event: Event, clock: float
) -> str:
    """What ``screen`` would refuse is told, and granted."""
    if reason := screen(event, clock):
        counts["alarms"] += 1
        if tell is not None:
            tell(event, ALARM + reason)
    return ""


def _barred(policy: Policy, orders: Orders, event: Event, clock: float) -> str:
    """A login before a bar's time, or an end whose session began before it."""
    began = min(event.time, clock)
    if isinstance(event, End):
        # Where nobody knows when it began, it may have been before.
        began = 0.0 if event.seconds is None else began - event.seconds - _SLACK
    return "" if orders.bar(policy.granted(event.address), event.user, began) is None else "barred"


def _too_many_users(policy: Policy, standing: Standing, event: Event, clock: float) -> str:
    address = policy.granted(event.address)
    if standing.logged_in(address, event.user, clock):
        return ""
    return "users" if standing.crowded(address, policy.most_users, clock) else ""


def _too_many_addresses(policy: Policy, standing: Standing, event: Event, clock: float) -> str:
    if standing.logged_in(policy.granted(event.address), event.user, clock):
        return ""
    return "addresses" if standing.spread(event.user, policy.most_addresses, clock) else ""


def _unwitnessed(policy: Policy, standing: Standing, event: Event, clock: float) -> str:
    """A login whose connection the kernel does not know, and never did for all we can tell."""
    if policy.witness == "alarm" and clock - event.time > _REMEMBERED:
        return ""
    if standing.connected(event.address, event.port):
        return ""
    if isinstance(event, End):
        # The login was witnessed; its connection may well be forgotten by now.
        known = standing.logged_in(policy.granted(event.address), event.user, clock)
        return "" if known else "witness"
    return "witness"
