"""What an engine keeps, and the one interface that both engines have.  Pure.

An engine holds of each address the logins that last longest, and a record for each order
(:mod:`pbs_watch.grants.records`).  Writing is idempotent and of any order: the later expiry wins,
and the later record, so that what may have arrived is simply sent again.

On trouble every method raises :class:`~pbs_watch.errors.SharedError`, one line that says what and
where, and the next call tries to connect again, where several servers are named to the next one.
No call takes longer than :data:`PATIENCE` for each server.  An engine belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from pbs_watch.grants.changes import Grant
from pbs_watch.grants.records import Record
from pbs_watch.grants.rows import LATEST, parse_login_key

PATIENCE = 1.0
"""Seconds that a server may take to accept a connection or to answer."""

TOGETHER = 500
"""Logins or addresses in one round trip: some milliseconds of work for the engine."""

_STARTS_APART = 5.0
"""Seconds between two starts of a server, which says only for how many seconds it has been up."""

USERS_KEPT = 16
"""Logins of one address that are kept or asked for: those that last longest.  Behind a company's
NAT there may be thousands, and any of them lets the address relay."""


class Shared(NamedTuple):
    """A login as the engine keeps it; times in epoch seconds, ``expires`` None: permanently."""

    address: bytes
    user: bytes
    service: bytes
    login: float
    expires: float | None


def login_of(key: bytes, grant: Grant) -> Shared:
    """A login of the map, by its key there."""
    address, user = parse_login_key(key)
    return Shared(address, user, grant.service, grant.login, grant.expires)


@dataclass(frozen=True, slots=True)
class Mark:
    """Which data this is, and how far its orders go.

    ``identity`` changes where the engine may have lost something: another server answers, or the
    same one after a restart; where the name alone does not tell that, ``started`` does (epoch
    seconds, to a second or two).  ``version`` grows with each change of the orders.
    """

    identity: str
    version: int
    started: float = 0.0

    def name(self) -> bytes:
        """What to remember of the data."""
        return f"{self.started:.0f} {self.identity}".encode()

    def is_same(self, name: bytes | None) -> bool:
        """Whether these are the data of which that was remembered."""
        started, _, identity = (name or b"").decode("utf-8", "replace").partition(" ")
        if identity != self.identity or not started.isdigit():
            return False
        return abs(int(started) - self.started) < _STARTS_APART


@dataclass(frozen=True, slots=True)
class Found:
    """What the engine knows of some addresses; those it does not know are absent.

    ``version``: that of the orders, to be compared with what is known of them here.
    """

    version: int
    logins: Mapping[bytes, Sequence[Shared]] = field(default_factory=dict)


class Engine(Protocol):
    """Where grants are shared."""

    def mark(self) -> Mark:
        """Which data this is, in one round trip: it also tells that the engine can be reached."""

    def put(self, logins: Sequence[Shared]) -> None:
        """Keep logins; what is kept when this returns survives the end of this process."""

    def find(self, addresses: Sequence[bytes], now: float) -> Found:
        """The logins of addresses that expire after ``now``, in one round trip."""

    def remove(self, record: Record) -> None:
        """Remove the logins that a bar makes void, as far as the engine can tell them."""

    def records(self) -> list[Record]:
        """All records of orders."""

    def put_records(self, records: Sequence[Record], now: float) -> None:
        """Merge records with those that there are; drops what is over at ``now``."""

    def forget(self, user: bytes) -> None:
        """Remove all that names a user."""

    def all(self, now: float) -> Iterator[Shared]:
        """All logins that expire after ``now``."""

    def expire(self, now: float) -> int:
        """Remove what expired before ``now``, where the server does not do so itself; how many."""

    def close(self) -> None:
        """Close the connection; never raises."""


def seconds(number: object, unit: float = 1e6) -> float:
    """Epoch seconds of a number as an engine keeps it; raises ValueError where it is no time.

    ``unit``: how many make a second.
    """
    found = int(number if isinstance(number, bytes) else str(number)) / unit
    if not 0.0 <= found < LATEST:
        raise ValueError("no time")
    return found


def by_address(logins: Iterable[Shared]) -> dict[bytes, list[Shared]]:
    """Logins by their addresses."""
    found: dict[bytes, list[Shared]] = {}
    for login in logins:
        found.setdefault(login.address, []).append(login)
    return found
