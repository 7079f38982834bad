"""Asking an address on which Postfix asks, as Postfix would, once and with a limit.

The key is 0.0.0.0: nobody's address, so that the answer is "no" wherever all is well.  It is an
address nevertheless, so that the daemon looks into log and map before it answers.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from pbs_watch.answer.listen import UNIX, parse_tcp
from pbs_watch.answer.socketmap import MAP, netstring

NOBODY = b"0.0.0.0"
"""An address that no client has."""

_PATIENCE = 3.0
"""Seconds for an answer that comes within one."""

_LONGEST = 4096
"""Bytes of a reply, as Postfix limits it (facts/postfix.md)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``verdict``: ``found``, ``absent``, ``trouble``, or empty: ``said`` was said instead, or
    nothing was, for the reason ``why``.  ``seconds`` it took.
    """

    verdict: str
    said: str = ""
    why: str = ""
    seconds: float = 0.0


def ask(where: str, key: bytes = NOBODY, *, socketmap: bool) -> Answer:
    """Ask ``where`` (``ADDRESS:PORT`` or ``unix:PATH``) for ``key``; never raises."""
    began = time.monotonic()
    request = netstring(MAP + b" " + key) if socketmap else b"get " + key + b"\n"
    try:
        heard = _exchange(where, request, b"," if socketmap else b"\n")
    except OSError as error:
        return Answer("", why=error.strerror or str(error), seconds=time.monotonic() - began)
    seconds = time.monotonic() - began
    verdict = _of_socketmap(heard) if socketmap else _of_tcp_table(heard)
    if verdict:
        return Answer(verdict, heard.decode("ascii", "replace").strip(), seconds=seconds)
    if not heard:
        return Answer("", why="it hung up", seconds=seconds)
    return Answer("", heard[:60].decode("ascii", "backslashreplace"), seconds=seconds)


def _exchange(where: str, request: bytes, end: bytes) -> bytes:
    deadline = time.monotonic() + _PATIENCE
    with _connected(where) as client:
        client.sendall(request)
        heard = b""
        # A peer that sends byte by byte must not hold us up either.
        while not heard.endswith(end) and len(heard) < _LONGEST:
            client.settimeout(max(deadline - time.monotonic(), 0.01))
            data = client.recv(_LONGEST)
            if not data:
                break
            heard += data
        return heard


def _connected(where: str) -> socket.socket:
    if where.startswith(UNIX):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            client.settimeout(_PATIENCE)
            client.connect(where.removeprefix(UNIX))
        except BaseException:
            client.close()
            raise
        return client
    address, port = parse_tcp(where)
    return socket.create_connection((str(address), port), _PATIENCE)


def _of_tcp_table(heard: bytes) -> str:
    if not heard.endswith(b"\n") or heard[3:4] != b" ":
        return ""
    return {b"2": "found", b"5": "absent", b"4": "trouble"}.get(heard[:1], "")


def _of_socketmap(heard: bytes) -> str:
    _, colon, rest = heard.partition(b":")
    if not colon or not rest.endswith(b","):
        return ""
    word = rest[:-1].partition(b" ")[0]
    return {b"OK": "found", b"NOTFOUND": "absent", b"TEMP": "trouble", b"TIMEOUT": "trouble"}.get(
        word, ""
    )
