"""Asking a socketmap over a unix socket: how commands see the daemon's live state."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from pbs_watch.answer.socketmap import netstring
from pbs_watch.errors import PbsWatchError

PATIENCE = 5.0
"""Seconds for an answer, which takes the daemon milliseconds, on a busy machine more."""

_LONGEST = 1 << 20
"""Bytes of an answer: the state of a hundred sources."""


class NobodyAnswersError(PbsWatchError):
    """No daemon listens there, or this user may not ask it."""


def ask(path: Path, name: bytes, key: bytes, *, patience: float = PATIENCE) -> bytes | None:
    """What the map ``name`` has for ``key``; ``None``: nothing.  ``patience``: in seconds.

    Raises :class:`NobodyAnswersError`.  The path may be longer than a socket's address can be.
    """
    try:
        return _parse(path, _exchange(path, netstring(name + b" " + key), patience))
    except OSError as error:
        raise NobodyAnswersError(
            f"{path}: no running daemon answers ({error.strerror or error}); start it, or name its "
            "map with --map, and ask as root or as its user"
        ) from None


def _exchange(path: Path, request: bytes, patience: float) -> bytes:
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(patience)
            client.connect(f"/proc/self/fd/{directory}/{path.name}")
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            heard = b""
            while len(heard) < _LONGEST and (data := client.recv(65536)):
                heard += data
            return heard
    finally:
        os.close(directory)


def _parse(path: Path, heard: bytes) -> bytes | None:
    length, colon, rest = heard.partition(b":")
    if not colon or not length.isdigit() or rest[int(length) :] != b",":
        raise NobodyAnswersError(f"{path}: not a whole answer; look whether the daemon is well")
    status, _, data = rest[: int(length)].partition(b" ")
    if status == b"OK":
        return data
    if status == b"NOTFOUND":
        return None
    text = data.decode("ascii", "backslashreplace")
    raise NobodyAnswersError(f"{path}: the daemon does not know the question ({text})")
