"""The kernel as second witness of logins, asked as rarely as can be.

``alarm`` and ``require`` ask when a login is judged: at most once for each slice of the log that
is read.  ``hold`` looks from a thread of its own for sessions whose connection is gone.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import Literal

from pbs_watch.errors import SourceError
from pbs_watch.grants.address import NETWORK_BITS, widened
from pbs_watch.grants.changes import Hold, SessionKey
from pbs_watch.kernel import Connections, Kernel
from pbs_watch.notices import Notices

LOOK_EVERY = 10.0
"""Seconds between two looks for sessions that are gone: two must agree."""

MOST_GONE = 200
"""Sessions that are ended in one turn of the loop: some milliseconds."""

_YOUNG = 5.0
"""Seconds that a login's line may be older or younger than its connection."""


class Witness:
    """Tells whether the kernel knows a connection.

    ``believed`` is what is said where the kernel does not answer.
    """

    def __init__(self, kernel: Kernel, notices: Notices, *, believed: bool) -> None:
        self._kernel = kernel
        self._notices = notices
        self._believed = believed
        self._seen: Connections | None = None
        self._addresses: frozenset[bytes] = frozenset()
        self._asked = False

    def refresh(self) -> None:
        """Ask the kernel anew when it is needed next."""
        self._seen, self._asked = None, False

    def connected(self, address: bytes, port: bytes) -> bool:
        """Whether ``address`` is connected from ``port``, or was a moment ago."""
        if not self._asked:
            self._asked = True
            try:
                self._seen = self._kernel.look()
                self._addresses = frozenset(address for address, _ in self._seen.known)
            except SourceError as error:
                self._notices.warn("witness", str(error))
        if self._seen is None:
            return self._believed
        if not port.isdigit():
            return address in self._addresses
        return (address, port) in self._seen.known

    def close(self) -> None:
        """Ask no more."""
        self._kernel.close()


def witness_of(
    how: Literal["off", "hold", "alarm", "require"], ports: Sequence[int], notices: Notices
) -> Witness | None:
    """Who is to be asked about each login; ``None``: nobody.  Raises ConfigError."""
    if how in {"off", "hold"}:
        return None
    return Witness(Kernel(ports), notices, believed=how == "alarm")


Session = tuple[bytes, SessionKey]


@dataclass(frozen=True, slots=True)
class Gone:
    """An open session whose connection the kernel knows no more."""

    address: bytes
    key: SessionKey
    hold: Hold


class Holding:
    """Looks every few seconds, in its own thread, for open sessions whose connection is gone.

    ``sessions`` reads those that are open; ``wake`` is called when :meth:`gone` has something.
    """

    def __init__(
        self,
        kernel: Kernel,
        sessions: Callable[[], Mapping[Session, Hold]],
        wake: Callable[[], None],
        notices: Notices,
    ) -> None:
        self._kernel = kernel
        self._sessions = sessions
        self._wake = wake
        self._notices = notices
        self._missed: dict[Session, Hold] = {}
        self._gone: deque[Gone] = deque()
        self._errors: deque[str] = deque(maxlen=1)
        self.reading = threading.Lock()
        """Held while the sessions are read: the map must not be opened again meanwhile."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="witness", daemon=True)

    def begin(self) -> None:
        """Start looking."""
        self._thread.start()

    def gone(self, most: int = MOST_GONE) -> list[Gone]:
        """Sessions found to be gone, at most so many: the rest comes with the next call."""
        found: list[Gone] = []
        while self._gone and len(found) < most:
            found.append(self._gone.popleft())
        if self._errors:
            self._notices.warn("witness", self._errors.popleft())
        return found

    @property
    def waiting(self) -> bool:
        """Whether :meth:`gone` has more."""
        return bool(self._gone)

    def close(self) -> None:
        """Look no more."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(LOOK_EVERY)
        self._kernel.close()

    def _work(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            try:
                self.look(time())
            except Exception as error:  # noqa: BLE001 - or this thread ends, and nobody learns of it
                # Without an answer nothing is gone, and two looks in a row must agree.
                self._missed = {}
                self._errors.append(str(error) or repr(error))

    def look(self, now: float) -> None:
        """Look once, at ``now`` (epoch seconds); what was missed twice is gone."""
        # The connections first: whose session begins in between is too young to be missed.
        alive = self._kernel.look().alive
        with self.reading:
            sessions = self._sessions()
        missed = {
            session: hold
            for session, hold in missing(sessions, alive).items()
            if now - hold.began > _YOUNG
        }
        gone = [
            Gone(*session, hold)
            for session, hold in missed.items()
            if self._missed.get(session) == hold
        ]
        self._missed = missed
        if gone:
            self._gone += gone
            self._wake()


def missing(
    sessions: Mapping[Session, Hold], alive: Iterable[tuple[bytes, bytes]]
) -> dict[Session, Hold]:
    """The sessions without a connection.  Pure.

    One whose login told no port counts while its address has any connection; where IPv6 networks
    are granted, any address of the network counts.
    """
    remotes = set(alive)
    for address, port in list(remotes):
        remotes |= {
            (address, b""),
            (network := widened(address, NETWORK_BITS), port),
            (network, b""),
        }
    return {
        (address, key): hold
        for (address, key), hold in sessions.items()
        if (address, key.port if key.port.isdigit() else b"") not in remotes
    }
