"""What a file holds that is to be imported, whatever its format.  Pure.

Times are epoch seconds, addresses canonical.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pbs_watch.errors import UsageError
from pbs_watch.grants.address import canonical, literal, network, prefix
from pbs_watch.grants.changes import Grant, Hold, Refusal, RefusalKey, SessionKey
from pbs_watch.grants.orders import WIDEST, Allow, Bar

LATEST = 1 << 32
"""The first second that is no time of ours (in 2106): from there on a float cannot hold each
microsecond exactly."""

AHEAD = 300.0
"""Seconds by which a time may lie in the future, and then counts as now (design.md, Time)."""

SERVICE = b"import"
"""The service of logins of which nobody knows it."""

NOTE = "imported"
"""The note of orders that had none."""


@dataclass(slots=True)
class Parcel:
    """What was read.

    ``logins`` by address NUL user, as in the map.  ``grants``: those that are not what the logins
    of their address make together.  ``past`` by address and end.  ``names`` of the sources, by
    their ids.  ``left_out``: how many rows were, by the reason.
    """

    allows: list[Allow] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    logins: dict[bytes, Grant] = field(default_factory=dict)
    grants: dict[bytes, Grant] = field(default_factory=dict)
    sessions: dict[tuple[bytes, SessionKey], Hold] = field(default_factory=dict)
    past: dict[tuple[bytes, float], Grant] = field(default_factory=dict)
    refusals: dict[RefusalKey, Refusal] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def without(self, refusal: Callable[[bytes], str]) -> None:
        """Leave out the logins and grants of addresses for which ``refusal`` has a reason."""
        reasons = {key[: key.index(b"\0")] for key in self.logins} | set(self.grants)
        refused = {one: why for one in reasons if (why := refusal(one))}
        for key in [key for key in self.logins if key[: key.index(b"\0")] in refused]:
            self.left_out[refused[key[: key.index(b"\0")]]] += 1
            del self.logins[key]
        for address in refused:
            self.grants.pop(address, None)
        for session in [session for session in self.sessions if session[0] in refused]:
            del self.sessions[session]

    def login(self, address: bytes, login: Grant) -> None:
        """A login; one that is there already is joined."""
        key = address + b"\0" + login.user
        old = self.logins.get(key)
        self.logins[key] = login if old is None else old.joined(login)

    def seen(self, address: bytes, login: float, now: float, window: float) -> None:
        """Somebody, nobody knows who, logged in then; counts as a line of a log would."""
        if login > now + AHEAD:
            self.left_out["in the future"] += 1
        elif login + window <= now:
            self.left_out["older than the window"] += 1
        else:
            when = min(login, now)
            self.login(address, Grant(when + window, when, when, b"", SERVICE))


def bad_line(name: str, number: int, what: str) -> UsageError:
    """The error about a line of a file; ``number`` counts from 1."""
    return UsageError(f"{name}:{number}: {what}; nothing was imported")


def quoted(raw: bytes) -> str:
    """The beginning of some bytes of a file, for an error."""
    text = raw[:60].decode("utf-8", "backslashreplace")
    return repr(text + ("..." if len(raw) > 60 else ""))


def relaying_network(raw: bytes, *, force: bool) -> bytes:
    """A network that is to be allowed, canonical; raises ValueError with what is wrong."""
    single = literal(raw)
    if single is not None:
        return single
    try:
        found = canonical(network(raw.decode("ascii")))
    except (UsageError, UnicodeDecodeError):
        raise ValueError(f"{quoted(raw)} is not an address or network") from None
    size, length, _ = prefix(found)
    if length < WIDEST[size] and not force:
        raise ValueError(
            f"{found.decode()} is wider than /{WIDEST[size]}: everybody in it could relay; "
            "take it out, or say --force"
        )
    return found
