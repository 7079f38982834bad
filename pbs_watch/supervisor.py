"""Telling systemd, or whatever supervises the daemon in its way, how the daemon is.

The contract is that of sd_notify(3): datagrams of ``NAME=VALUE`` lines to the socket NOTIFY_SOCKET.
Without that variable everything here does nothing.  No library is needed for a datagram, and
python3-systemd would bring libsystemd into every installation.

Only at the start and at the end of the daemon is the supervisor waited for, and that for two
seconds at most.  What cannot be told is not: a supervisor that is interested notices
by its watchdog.
"""

from __future__ import annotations

import array
import os
import select
import socket
import struct
from collections.abc import Iterable, MutableMapping
from contextlib import suppress
from time import CLOCK_MONOTONIC, clock_gettime_ns

_TOGETHER = 200
"""Descriptors in one datagram; Linux takes 253 (SCM_MAX_FD, unix(7))."""

_PATIENCE = 2.0
"""Seconds for the supervisor to take what matters, connections above all."""

_STATUS_LIMIT = 500
"""Characters of a status, which is a line for people."""


class Supervisor:
    """Whoever started the daemon and wants to know how it is; ``address`` empty: nobody.

    ``watchdog``: seconds within which it must hear that the daemon is alive, 0 for never.
    """

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.feeds_every = watchdog / 4
        """Seconds between two signs of life; 0: none is wanted."""
        self._feed_at = 0.0
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            limit = struct.pack("ll", int(_PATIENCE), 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    @property
    def there(self) -> bool:
        """Whether somebody supervises the daemon."""
        return self._socket is not None

    def ready(self, status: str) -> None:
        """The daemon serves, or serves again after :meth:`reloading`; ``status`` is for people."""
        self._tell("READY=1", _status(status), waiting=True)

    def reloading(self) -> None:
        """New settings are being looked at; :meth:`ready` tells that this is over."""
        # systemd 253 and later want to know when (Type=notify-reload); others pass it over.
        at = clock_gettime_ns(CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={at}")

    def stopping(self) -> None:
        """The daemon is about to end."""
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """How the daemon is, in a line for people."""
        self._tell(_status(text))

    def feed(self, now: float) -> None:
        """The loop turns; ``now`` in monotonic seconds.  To be called as often as one likes."""
        if self.feeds_every and now >= self._feed_at:
            self._feed_at = now + self.feeds_every
            self._tell("WATCHDOG=1")

    def keep(self, name: str, connections: Iterable[socket.socket]) -> None:
        """Give it connections to hand to the next daemon under ``name``; ours are to be closed.

        A supervisor that keeps none, or that this daemon is not started again by, closes them.
        """
        left = list(connections)
        while left and self.there:
            some, left = left[:_TOGETHER], left[_TOGETHER:]
            descriptors = array.array("i", [one.fileno() for one in some])
            self._tell("FDSTORE=1", f"FDNAME={name}", descriptors=descriptors, waiting=True)
        self._barrier()

    def took(self, name: str) -> None:
        """It need not keep any longer what was kept under ``name``.

        It holds on to what it has handed out: a connection that we close would stay open.
        """
        self._tell("FDSTOREREMOVE=1", f"FDNAME={name}", waiting=True)

    def _barrier(self) -> None:
        """Wait until it has taken all that it was told: a dead process's words are not heard.

        It closes the pipe that it is given (sd_notify_barrier(3)).
        """
        if not self.there:
            return
        ours, its = os.pipe()
        try:
            self._tell("BARRIER=1", descriptors=array.array("i", [its]), waiting=True)
        finally:
            os.close(its)
        waiting = select.poll()
        waiting.register(ours, 0)  # POLLHUP is always told
        waiting.poll(_PATIENCE * 1000)
        os.close(ours)

    def _tell(
        self,
        *lines: str,
        descriptors: array.array[int] | None = None,
        waiting: bool = False,
    ) -> None:
        if self._socket is None:
            return
        rights = []
        flags = 0 if waiting else socket.MSG_DONTWAIT
        if descriptors is not None:
            rights.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors))
        with suppress(OSError):  # nobody listens, or does not keep up
            self._socket.sendmsg(["\n".join(lines).encode()], rights, flags, self._address)

    def close(self) -> None:
        """Tell nothing any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def supervisor_of(environ: MutableMapping[str, str]) -> Supervisor:
    """Who supervises this process; the variables are removed, as what it starts is not meant."""
    address, microseconds, pid = (
        environ.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
    )
    if not address.startswith(("/", "@")):
        return Supervisor()
    meant = microseconds.isdecimal() and pid in {"", str(os.getpid())}
    return Supervisor(address, int(microseconds) / 1e6 if meant else 0.0)


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split())[:_STATUS_LIMIT]
