"""From logins and ends to grants (design.md, Judge and Time).

Pure: events and ``now`` in, changes out.

* A login grants its address until its own time plus the window; a stamp in the future counts as
  now as far as ``ahead`` allows, beyond that the line grants nothing.
* A line older than the window grants nothing, unless its session can still be open.
* An end that is not suspect proves a login by itself.  One that renews starts the window anew; one
  that does not (TIMEOUT) grants what the login would have, where it says how long ago that was.
* A session that holds keeps its address allowed for at most ``session_limit`` after its login.
* Only lines of the configured hosts count, and an address in ``never`` is never granted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

from pbs_watch.grants.address import Networks
from pbs_watch.grants.changes import Changes, SessionKey, grant
from pbs_watch.grants.events import End, Event, Login


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be granted, and for how long; durations in seconds.

    ``hosts``: the log's hosts that count, empty for all.
    """

    window: float
    session_limit: float
    never: Networks
    hosts: frozenset[bytes] = frozenset()


@dataclass(slots=True)
class Judged:
    """How many events were accepted, and how many refused for which reason.

    ``never``: the address is never granted.  ``stale``: older than the window.  ``future``: dated
    too far ahead.  ``host``: written by a host that does not count.
    """

    logins: int = 0
    ends: int = 0
    never: int = 0
    stale: int = 0
    future: int = 0
    host: int = 0

    def add(self, other: Judged) -> None:
        """Add the counts of ``other``."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def judge(
    events: Iterable[Event],
    policy: Policy,
    now: float | None,
    into: Changes,
    witness: Callable[[Event, str], None] | None = None,
) -> Judged:
    """Judge ``events`` in the order of the log and collect what they change in ``into``.

    ``now``: epoch seconds; ``None`` judges each line as it was judged when it was new (replay).
    ``witness`` is called with each event and the name of the count it went into.
    """
    counts = dict.fromkeys(Judged.__slots__, 0)
    window, limit = policy.window, policy.session_limit
    foreign = _foreign(policy)
    for event in events:
        clock = event.time if now is None else now
        if event.time > clock + event.ahead:
            verdict = "future"
        elif foreign is not None and (refusal := foreign(event)):
            verdict = refusal
        elif type(event) is Login:
            verdict = "logins" if _login(event, window, limit, clock, into) else "stale"
        else:
            _end(cast("End", event), window, clock, into)
            verdict = "ends"
        counts[verdict] += 1
        if witness is not None:
            witness(event, verdict)
    return Judged(**counts)


def _foreign(policy: Policy) -> Callable[[Event], str] | None:
    """Tells why the host or the address of an event does not count; ``None``: all do."""
    hosts, never = policy.hosts, policy.never
    if not hosts and not never:
        return None

    def refusal(event: Event) -> str:
        if hosts and event.host not in hosts:
            return "host"
        return "never" if never.holds(event.address) else ""

    return refusal


def _login(event: Login, window: float, limit: float, now: float, into: Changes) -> bool:
    time = min(now, event.time)
    expires = time + window
    until = time + limit if event.hold else 0.0
    if expires <= now and until <= now:
        return False
    into.login(event.address, grant(expires, time, event.user, event.service))
    if until:
        into.session(event.address, SessionKey(event.service, event.user, event.port), until)
    return True


def _end(event: End, window: float, now: float, into: Changes) -> None:
    time = min(event.time, now)
    if event.held:
        into.session(event.address, SessionKey(event.service, event.user, event.port), None)
    if event.renew:
        began = time - (event.seconds or 0)
        expires = time + window
    elif event.seconds is not None:
        began = time - event.seconds
        expires = began + window
    else:
        return
    if expires > now:
        into.login(event.address, grant(expires, began, event.user, event.service))
