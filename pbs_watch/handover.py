"""Sockets that a supervisor hands over at the start: where to listen, and open connections.

The contract is that of sd_listen_fds(3): the descriptors from 3 on, whose number is LISTEN_FDS and
whose names are LISTEN_FDNAMES, are ours where LISTEN_PID names this process.  Which protocol a
socket speaks its name says, ``tcp_table`` or ``socketmap`` (``FileDescriptorName=``); under any
other name, such as the default one of a socket unit, a TCP socket speaks tcp_table and a unix
socket speaks socketmap.

Connections were open when the daemon before this one ended, which gave them to the supervisor to
keep (:mod:`pbs_watch.supervisor`): Postfix never learns of the restart.

What cannot be used is told of and closed, and keeps the daemon from nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass
from fcntl import F_SETFD, FD_CLOEXEC, fcntl

from pbs_watch.answer.server import Protocol

_FIRST = 3
"""The first descriptor that is handed over (SD_LISTEN_FDS_START)."""

_STREAMS = {socket.AF_INET, socket.AF_INET6, socket.AF_UNIX}

_BY_NAME: dict[str, Protocol] = {"tcp_table": "tcp_table", "socketmap": "socketmap"}


@dataclass(frozen=True, slots=True)
class Handed:
    """What was handed over; ``unfit``: a line for each descriptor that cannot be used."""

    listeners: tuple[tuple[socket.socket, Protocol], ...] = ()
    connections: tuple[tuple[socket.socket, Protocol], ...] = ()
    unfit: tuple[str, ...] = ()


def handed_over(environ: MutableMapping[str, str]) -> Handed:
    """The sockets that were handed to this process, which owns them from now on.

    The variables are removed: what the daemon starts, journalctl say, is not meant.
    """
    pid, count, names = (
        environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    )
    if pid != str(os.getpid()) or not count.isdecimal():
        return Handed()
    listeners: list[tuple[socket.socket, Protocol]] = []
    connections: list[tuple[socket.socket, Protocol]] = []
    unfit: list[str] = []
    named = names.split(":")
    for number in range(int(count)):
        descriptor = _FIRST + number
        name = named[number] if number < len(named) else ""
        found = _taken(descriptor)
        if isinstance(found, str):
            unfit.append(f"descriptor {descriptor} ({name!a}) that was handed over: {found}")
            continue
        protocol = _BY_NAME.get(name) or _usual(found)
        listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        (listeners if listens else connections).append((found, protocol))
    return Handed(tuple(listeners), tuple(connections), tuple(unfit))


def _taken(descriptor: int) -> socket.socket | str:
    """The socket of a descriptor, or why it cannot be used; it is closed then."""
    try:
        fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    except OSError as error:
        return f"{error.strerror}; look at the unit that starts the daemon"
    try:
        found = socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        return "no socket; look at the socket unit"
    if found.family not in _STREAMS or found.type != socket.SOCK_STREAM:
        found.close()
        return "no stream of TCP or unix; write ListenStream= in the socket unit"
    return found


def _usual(found: socket.socket) -> Protocol:
    return "socketmap" if found.family == socket.AF_UNIX else "tcp_table"
