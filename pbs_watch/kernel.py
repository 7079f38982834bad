"""Which connections to the mail ports there are, as the kernel tells (sock_diag).

The second witness beside the log: whoever writes a line into the log cannot make the kernel name a
connection that was never established.  Only remote addresses and ports leave this room.

What counts (``include/net/tcp_states.h``):

* alive: ESTABLISHED and CLOSE_WAIT.  In the latter the client has said its last byte, but the
  server has not hung up, so the session's end is still to come in the log.
* ended: FIN_WAIT1, FIN_WAIT2, CLOSING, LAST_ACK, TIME_WAIT.  The server can say nothing any more,
  so there is no session, but the kernel remembers the connection: for a minute where the server
  closed first, for a moment where the client did, not at all after a reset.
* neither: SYN_RECV and what has no peer.  Whoever sends a SYN may name any address as its own;
  only the end of the handshake proves that it can be reached there.

What it cannot see: other network namespaces (a mail server in a container), and the client behind
a proxy.  A connection that lives can be missing from one look, though hardly ever: the kernel
counts sockets along a hash chain, and one that ends between two parts of a long answer shifts the
next.  Who ends something because of a single look should look twice.

It speaks netlink by itself since pyroute2 decodes every field of every socket of the host: over a
second for 15,000 sockets, of which 5,000 are ours, where this takes 12 milliseconds.  Rests on
sock_diag(7), netlink(7) and the kernel's ``net/ipv4/inet_diag.c``.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pbs_watch.errors import ConfigError, SourceError
from pbs_watch.grants.address import literal

PORTS = (110, 143, 993, 995)
"""POP3 and IMAP, without and with TLS from the start."""

_NETLINK_SOCK_DIAG = 4
_NLMSG_ERROR, _NLMSG_DONE, _SOCK_DIAG_BY_FAMILY = 2, 3, 20
_NLM_F_REQUEST, _NLM_F_DUMP_INTR, _NLM_F_DUMP = 0x1, 0x10, 0x300
_INET_DIAG_REQ_BYTECODE = 1
_JUMP, _PORT_AT_LEAST, _PORT_AT_MOST = 1, 2, 3  # INET_DIAG_BC_JMP, S_GE, S_LE

_ESTABLISHED, _FIN_WAIT1, _FIN_WAIT2, _TIME_WAIT = 1, 4, 5, 6
_CLOSE_WAIT, _LAST_ACK, _CLOSING = 8, 9, 11
_ALIVE = frozenset({_ESTABLISHED, _CLOSE_WAIT})
_ENDED = frozenset({_FIN_WAIT1, _FIN_WAIT2, _TIME_WAIT, _LAST_ACK, _CLOSING})

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port id
_ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
_REQUEST = struct.Struct("=BBBxI48x")  # inet_diag_req_v2: family, protocol, ext, states, no socket
_OPERATION = struct.Struct("=BBH")  # inet_diag_bc_op: code, jump if true, jump if false
_ERROR = struct.Struct("=i")
# inet_diag_msg: family, state, remote port (big-endian), remote address; the rest is not looked at.
_SOCKET = struct.Struct("=BB4x2s16x16s32x")

_PART = 65536
"""Bytes of the longest part of an answer; the kernel makes none longer than 32 KiB."""
_PATIENCE = 0.2
"""Seconds for a whole look, which takes milliseconds: the daemon's loop stands still meanwhile."""

Remote = tuple[bytes, bytes]
"""A canonical address and a port in decimal, as a login line tells them."""


@dataclass(frozen=True, slots=True)
class Connections:
    """The remote ends of the connections to the mail ports, at one moment."""

    alive: frozenset[Remote]
    """Those that a session can still use."""
    known: frozenset[Remote]
    """Those and the ones that ended a moment ago."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one part of an answer says."""

    alive: list[Remote]
    ended: list[Remote]
    last: bool
    interrupted: bool
    """Whether the kernel says that its list changed under its hands."""
    error: int
    """An errno, 0 for none."""


def request(family: int, ports: Sequence[int]) -> bytes:
    """The message that asks for the TCP sockets of a family with one of the local ports."""
    states = sum(1 << state for state in _ALIVE | _ENDED)
    code = _bytecode(ports)
    body = (
        _REQUEST.pack(family, socket.IPPROTO_TCP, 0, states)
        + _ATTRIBUTE.pack(_ATTRIBUTE.size + len(code), _INET_DIAG_REQ_BYTECODE)
        + code
    )
    flags = _NLM_F_REQUEST | _NLM_F_DUMP
    return _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, flags, 0, 0) + body


def _bytecode(ports: Sequence[int]) -> bytes:
    """``at least A and at most A, or at least B and ...`` in the kernel's filter language.

    Jumps count bytes forward; exactly to the end accepts a socket, four bytes beyond refuses it.
    A comparison is two operations long, the port standing where the second has its jump.
    """
    size = _OPERATION.size
    test, block = 2 * size, 5 * size
    code = b""
    for after in range(len(ports) - 1, -1, -1):
        port = ports[len(ports) - 1 - after]
        # From the first test to the next block, or beyond the end where there is none.
        otherwise = block if after else block + size
        code += _OPERATION.pack(_PORT_AT_LEAST, test, otherwise) + _OPERATION.pack(0, 0, port)
        code += _OPERATION.pack(_PORT_AT_MOST, test, otherwise - test) + _OPERATION.pack(0, 0, port)
        code += _OPERATION.pack(_JUMP, size, size + after * block)
    return code


def part(data: bytes) -> Part:
    """Reads one part of an answer; what is malformed has the error EBADMSG."""
    alive: list[Remote] = []
    ended: list[Remote] = []
    last = interrupted = False
    error = 0
    try:
        for kind, flags, body in _messages(data):
            if flags & _NLM_F_DUMP_INTR:
                interrupted = True
            if kind == _SOCK_DIAG_BY_FAMILY:
                family, state, port, packed = _SOCKET.unpack_from(body)
                if state in _ALIVE:
                    alive.append((_address(family, packed), _port(port)))
                elif state in _ENDED:
                    ended.append((_address(family, packed), _port(port)))
            elif kind in (_NLMSG_ERROR, _NLMSG_DONE):
                # A list that fails half-way ends with its error in NLMSG_DONE.
                error = -_ERROR.unpack_from(body)[0]
                last = True
                break
    except (struct.error, ValueError, OSError):  # the last two from inet_ntop: a strange family
        error = errno.EBADMSG
    return Part(alive, ended, last, interrupted, error)


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and body of each message; raises ``ValueError`` or ``struct.error``."""
    at = 0
    while at < len(data):
        length, kind, flags, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size or at + length > len(data):
            raise ValueError(length)
        yield kind, flags, data[at + _HEADER.size : at + length]
        at += length + 3 & ~3


@lru_cache(maxsize=65536)
def _address(family: int, packed: bytes) -> bytes:
    if family == socket.AF_INET:
        packed = packed[:4]
    text = socket.inet_ntop(family, packed).encode()
    return literal(text) or text


@lru_cache(maxsize=65536)
def _port(packed: bytes) -> bytes:
    return b"%d" % int.from_bytes(packed, "big")


class Kernel:
    """The kernel's answers about connections to ``ports`` of this host, one look at a time.

    Nothing in it is locked: one thread at a time.  Needs no privileges.  Raises
    :class:`ConfigError` where the kernel does not answer such questions.
    """

    def __init__(self, ports: Sequence[int] = PORTS) -> None:
        # A filter without a port would let every socket pass.
        if not ports:
            raise ConfigError('there are no ports to watch; name some, or say witness = "off"')
        self._requests = [request(family, ports) for family in (socket.AF_INET, socket.AF_INET6)]
        self._socket: socket.socket | None = None
        try:
            self.look()
        except SourceError as error:
            raise ConfigError(
                f"{error}; allow AF_NETLINK (systemd: RestrictAddressFamilies) and load the kernel "
                'module tcp_diag, or say witness = "off"'
            ) from None

    def look(self) -> Connections:
        """The connections at this moment, over IPv4 and IPv6.

        Raises :class:`SourceError` where the kernel does not answer within a second or answers
        with an error; the next look begins afresh.
        """
        try:
            return self._look()
        except OSError as error:
            self.close()
            raise SourceError(
                "the kernel does not tell which connections there are "
                f"(sock_diag: {error.strerror or error})"
            ) from None

    def close(self) -> None:
        """Closes the socket; a later look opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _look(self) -> Connections:
        deadline = time.monotonic() + _PATIENCE
        for _ in range(2):
            parts = [one for asked in self._requests for one in self._ask(asked, deadline)]
            if not any(one.interrupted for one in parts):
                alive = frozenset(remote for one in parts for remote in one.alive)
                return Connections(alive, alive.union(*(one.ended for one in parts)))
        raise OSError(errno.EAGAIN, "its list changed while it was read, twice")

    def _ask(self, asked: bytes, deadline: float) -> list[Part]:
        """All parts of one answer."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
        self._socket.sendto(asked, (0, 0))
        parts: list[Part] = []
        while not parts or not parts[-1].last:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self._socket.settimeout(left)
            data, _, flags, sender = self._socket.recvmsg(_PART)
            if sender[0] != 0:
                continue  # From a privileged process, and not from the kernel.
            if flags & socket.MSG_TRUNC:
                raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
            parts.append(part(data))
            if parts[-1].error:
                raise OSError(parts[-1].error, os.strerror(parts[-1].error))
        return parts
