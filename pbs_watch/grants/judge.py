"""From logins and ends to grants (design.md, Judge and Time).

Pure: events, ``now`` and what is known already in, changes out.  Why an event is refused is said by
:mod:`pbs_watch.grants.screens`.

* A login grants its address until its own time plus the window; a stamp in the future counts as
  now as far as ``ahead`` allows, beyond that the line grants nothing.
* A line older than the window grants nothing, unless its session can still be open.
* An end that is not suspect proves a login by itself.  One that renews starts the window anew; one
  that does not (TIMEOUT) grants what the login would have, where it says how long ago that was.
* A session that holds keeps its address allowed for at most ``session_limit`` after its login.
* Only lines of the configured hosts count.  What the policy or an order of the operator refuses is
  counted by its reason; an end closes its session all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from pbs_watch.grants.address import IPV6_BITS
from pbs_watch.grants.changes import (
    Changes,
    Hold,
    Refusal,
    RefusalKey,
    SessionKey,
    grant,
)
from pbs_watch.grants.events import End, Event, Login
from pbs_watch.grants.orders import MEMORY
from pbs_watch.grants.policy import Policy
from pbs_watch.grants.screens import NOTHING, Standing, Tell, screens


@dataclass(slots=True)
class Judged:
    """How many events were accepted, and how many refused for which reason.

    ``never``: the address is never granted, ``only``: not among those that alone are.
    ``ignored``: the user grants nothing.  ``stale``: older than the window.  ``future``: dated too
    far ahead.  ``host``: written by a host that does not count.  ``barred``: before a revocation
    or during a block.  ``users``, ``addresses``: too many of one address or of one user.
    ``witness``: the kernel never saw the connection.
    """

    logins: int = 0
    ends: int = 0
    never: int = 0
    only: int = 0
    ignored: int = 0
    stale: int = 0
    future: int = 0
    host: int = 0
    barred: int = 0
    users: int = 0
    addresses: int = 0
    witness: int = 0
    alarms: int = 0

    def add(self, other: Judged) -> None:
        """Add the counts of ``other``."""
        for name in self.__slots__:
            if more := getattr(other, name):  # hardly ever
                setattr(self, name, getattr(self, name) + more)

    @property
    def refused(self) -> dict[str, int]:
        """The counts of what was refused, by reason."""
        return {name: getattr(self, name) for name in REASONS}


REASONS = tuple(name for name in Judged.__slots__ if name not in {"logins", "ends", "alarms"})
"""The reasons for which the judge refuses a login or an end."""

ALL_REASONS = frozenset({*REASONS, "suspect", "relay_limit"})
"""Those, and the two for which others refuse: the scanner a line, the lookup a relay."""


def judge(
    events: Iterable[Event],
    policy: Policy,
    now: float | None,
    into: Changes,
    *,
    standing: Standing | None = None,
    place: tuple[int, int] = (0, 0),
    tell: Tell | None = None,
    horizon: float = 0.0,
) -> Judged:
    """Judge ``events`` in the order of the log and collect what they change in ``into``.

    ``now``: epoch seconds; ``None`` judges each line as it was judged when it was new (replay).
    ``place``: the source and the file of the lines, as for :class:`~grants.changes.Grant`.
    ``horizon``: nobody asks before that time, so that what is over by then is not collected.
    """
    counts = dict.fromkeys(Judged.__slots__, 0)
    tests = screens(policy, standing or NOTHING, counts, tell)
    court = _Court(policy, into, place, horizon)
    hosts = policy.hosts
    for event in events:
        clock = event.time if now is None else now
        login = type(event) is Login
        if event.time > clock + event.ahead:
            verdict = "future"
        elif hosts and event.host not in hosts:
            verdict = "host"
        else:
            if not login:
                _close(cast("End", event), court)
            verdict = ""
            for refusal in tests:
                if verdict := refusal(event, clock):
                    break
            if not verdict:
                if login:
                    verdict = _login(cast("Login", event), clock, court)
                else:
                    verdict = _end(cast("End", event), clock, court)
        counts[verdict] += 1
        if verdict not in _ACCEPTED:
            refuse(into, event, verdict, place, now)
        if tell is not None:
            tell(event, verdict)
    return Judged(**counts)


@dataclass(frozen=True, slots=True)
class _Court:
    """What all events of one judging share, as for :func:`judge`."""

    policy: Policy
    into: Changes
    place: tuple[int, int]
    horizon: float


_DAY = 86400.0

_ACCEPTED = frozenset({"logins", "ends"})


def refuse(
    into: Changes, event: Event, reason: str, place: tuple[int, int], now: float | None
) -> None:
    """Remember that the line of ``event`` granted nothing, and why.

    A stamp in the future counts as ``now``: it would be remembered for ever.
    """
    time = event.time if now is None else min(event.time, now)
    into.refuse(
        RefusalKey(event.address, reason, event.user),
        Refusal(time, time, 1, event.service, *place, event.offset),
    )


# What an event grants


def _login(event: Login, now: float, court: _Court) -> str:
    # A tuple's items by their places, and what is mostly not there first: a busy log makes a
    # hundred thousand of them a second.
    policy, horizon = court.policy, court.horizon
    logged, _, address, user, port, service, _, _, hold, offset = event
    time = min(now, logged)
    expires = time + (policy.window_of(event) if policy.windows else policy.window)
    until = time + policy.session_limit if hold else 0.0
    if expires <= now and until <= now:
        return "stale"
    if expires <= horizon and until <= horizon:
        return "logins"
    if policy.prefix != IPV6_BITS:
        address = policy.granted(address)
    court.into.login(address, grant(expires, time, user, service, (*court.place, offset)))
    if hold:
        court.into.session(address, SessionKey(service, user, port), Hold(until, time))
    return "logins"


def _close(event: End, court: _Court) -> None:
    """The session is over, whatever else is to be said of the line.

    One that began later by its stamp, since the clock was set back, did so within a day.
    """
    policy = court.policy
    if event.held and event.time + policy.session_limit + _DAY > court.horizon:
        key = SessionKey(event.service, event.user, event.port)
        court.into.session(policy.granted(event.address), key, None)


def _end(event: End, now: float, court: _Court) -> str:
    policy = court.policy
    logged, _, address, user, _, service, _, _, _, _, seconds, offset = event
    lasted = seconds or 0
    if lasted > MEMORY:
        return "stale"
    expires = policy.until(event, now)
    if expires > now and expires > court.horizon:
        if policy.prefix != IPV6_BITS:
            address = policy.granted(address)
        began = min(logged, now) - lasted
        court.into.login(address, grant(expires, began, user, service, (*court.place, offset)))
    return "ends"
