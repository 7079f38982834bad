"""What may be granted, to whom and for how long: the operator's settings, as values.

Pure.  The settings stand in ``pbs-watch.toml``; :mod:`pbs_watch.config` reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pbs_watch.grants.address import IPV6_BITS, Networks, widened
from pbs_watch.grants.events import End, Event

OverLimit = Literal["alarm", "refuse"]
Witness = Literal["off", "hold", "alarm", "require"]

_EVERYWHERE = Networks([])


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be granted, and for how long; durations in seconds.

    ``windows``: other windows, by the name of a format, or by ``@`` and a domain in lower case for
    users of it, which wins.  ``only``: networks that alone are granted, empty for all.
    ``hosts``: the log's hosts that count, empty for all.  ``ignored``: users, or ``@`` and a
    domain, whose logins grant nothing.  ``most_users`` of one address, ``most_addresses`` of one
    user: 0 for any number; ``over_limit`` says what becomes of more.  ``prefix``: bits of an IPv6
    address that are granted together.  ``fold``: the case of ASCII letters in a user's name does
    not matter.
    """

    window: float
    session_limit: float
    never: Networks = _EVERYWHERE
    hosts: frozenset[bytes] = frozenset()
    windows: Mapping[str, float] = field(default_factory=dict)
    only: Networks = _EVERYWHERE
    ignored: frozenset[bytes] = frozenset()
    most_users: int = 0
    most_addresses: int = 0
    over_limit: OverLimit = "alarm"
    prefix: int = IPV6_BITS
    fold: bool = False
    witness: Witness = "off"

    def window_of(self, event: Event) -> float:
        """How long ``event`` grants."""
        if not self.windows:
            return self.window
        domain = domain_of(event.user)
        if domain is not None:
            window = self.windows.get(domain.decode("utf-8", "surrogateescape"))
            if window is not None:
                return window
        return self.windows.get(event.format, self.window)

    @staticmethod
    def folded(events: Iterable[Event]) -> list[Event]:
        """The events, of the users by the one name that each has where case does not matter."""
        return [
            event if (user := event.user.lower()) == event.user else event._replace(user=user)
            for event in events
        ]

    def until(self, event: Event, now: float) -> float:
        """When the window ends that ``event`` grants at ``now``; 0.0: it grants none."""
        time = min(event.time, now)
        if isinstance(event, End) and not event.renew:
            # It proves the login, where it tells when that was.
            if event.seconds is None:
                return 0.0
            time -= event.seconds
        return time + (self.window_of(event) if self.windows else self.window)

    @property
    def remembers(self) -> bool:
        """Whether what becomes of an event depends on the events before it."""
        limits = self.most_users or self.most_addresses
        return bool(limits) or self.witness in {"alarm", "require"}

    @property
    def alarms(self) -> bool:
        """Whether an event may be granted and be told of as alarming."""
        limits = self.over_limit == "alarm" and (self.most_users or self.most_addresses)
        return bool(limits or self.witness == "alarm")

    def ignores(self, user: bytes) -> bool:
        """Whether logins of ``user`` grant nothing."""
        return user in self.ignored or domain_of(user) in self.ignored

    def granted(self, address: bytes) -> bytes:
        """What is granted where ``address`` logs in: itself, or its network."""
        return address if self.prefix == IPV6_BITS else widened(address, self.prefix)


def domain_of(user: bytes) -> bytes | None:
    """The domain of a user's name, in lower case and with the ``@`` in front; ``None``: none."""
    at = user.rfind(b"@")
    return user[at:].lower() if at >= 0 else None
