"""Opening the sockets that Postfix connects to.

Promises a non-blocking listening socket, or a ListenError of one line that says what to do.

- Loopback only, unless the operator allows more: a tcp_table has no authentication.
- No SO_REUSEPORT: another process of this user could share the port and answer in our place.
  SO_REUSEADDR, so that a restart does not wait for old connections to time out.
- The socket file of a dead server is replaced, that of a live one is not.

Rests on facts/postfix.md, tcp(7), unix(7).
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
from pathlib import Path

from pbs_watch.errors import ListenError

UNIX = "unix:"
"""What an address begins with that names a socket file."""

# Every smtpd of a busy host connects at once after a restart; the kernel lowers the number to
# net.core.somaxconn by itself.
_BACKLOG = 4096

_CURES = {
    errno.EADDRINUSE: "stop the program that listens there (see `ss -lntp`), or choose another",
    errno.EADDRNOTAVAIL: "this host does not have the address, choose one that it has",
    errno.EACCES: "choose a port above 1023, or grant CAP_NET_BIND_SERVICE",
}


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse(where: str) -> None:
    """Look whether ``where`` is ``ADDRESS:PORT`` or ``unix:/PATH``; raises ListenError."""
    if where.startswith(UNIX):
        _parse_unix(where)
    else:
        parse_tcp(where)


def parse_tcp(where: str) -> tuple[Address, int]:
    """The address and port of ``ADDRESS:PORT`` or ``[ADDRESS]:PORT``; raises ListenError."""
    host, _, port = where.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        address = None
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else -1
    if address is None or bracketed != (address.version == 6) or not 0 <= number <= 65535:
        raise ListenError(f"{where}: not an address; write 127.0.0.1:10041 or [::1]:10041")
    return address, number


def _parse_unix(where: str) -> Path:
    path = Path(where.removeprefix(UNIX))
    if not path.is_absolute():
        raise ListenError(f"{where}: not an absolute path; write unix:/run/pbs-watch/socketmap")
    return path


def canonical(where: str) -> str:
    """The one way to write an address, for comparing; raises ListenError."""
    if where.startswith(UNIX):
        return UNIX + os.path.normpath(_parse_unix(where))
    address, port = parse_tcp(where)
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def tcp(where: str, *, allow_remote: bool) -> socket.socket:
    """A socket that listens on ``ADDRESS:PORT`` or ``[ADDRESS]:PORT``; port 0 means any."""
    address, number = parse_tcp(where)
    refuse_remote(where, str(address), allow_remote=allow_remote)
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ListenError(f"{where}: {error.strerror}; choose another address") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _prepare(listener)
        listener.bind((str(address), number))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        cure = _CURES.get(error.errno or 0, "choose another address")
        raise ListenError(f"{where}: {error.strerror}; {cure}") from error
    return listener


def unix(where: str, mode: int) -> socket.socket:
    """A socket that listens on ``unix:/PATH``; its file gets the permissions ``mode``."""
    path = _parse_unix(where)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _prepare(listener)
        _remove_stale(where, path)
        listener.bind(str(path))
        # Nobody can connect before listen(), so nobody connects with other permissions.
        path.chmod(mode)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        # A path that is too long is an OSError without a number.
        text = error.strerror or str(error)
        raise ListenError(
            f"{where}: {text}; name a path below 108 bytes where this user may write"
        ) from error
    except ListenError:
        listener.close()
        raise
    return listener


def beside(path: Path, mode: int) -> socket.socket:
    """A socket that listens on ``path``, however long that is, below an existing directory.

    A socket's address has 108 bytes; /proc has a short name for every open directory.
    """
    try:
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ListenError(f"{path}: {error.strerror}; name an existing directory") from None
    try:
        return unix(f"{UNIX}/proc/self/fd/{directory}/{path.name}", mode)
    except ListenError as error:
        raise ListenError(f"{UNIX}{path}: {str(error).partition(': ')[2]}") from None
    finally:
        os.close(directory)


def adopt(listener: socket.socket, *, allow_remote: bool) -> None:
    """Make a socket that somebody else has opened like those that are opened here.

    Raises ListenError where it is not loopback: systemd's ``ListenStream=10041`` is every address
    of the host.
    """
    if listener.family != socket.AF_UNIX:
        host = listener.getsockname()[0]
        refuse_remote(address(listener), host, allow_remote=allow_remote)
    _prepare(listener)


def address(listener: socket.socket) -> str:
    """Where a socket listens, in the form that :func:`tcp` and :func:`unix` take."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return UNIX + os.fsdecode(name)
    host, port = name[:2]
    return f"[{host}]:{port}" if listener.family == socket.AF_INET6 else f"{host}:{port}"


def _prepare(listener: socket.socket) -> None:
    """Set what every connection inherits from the socket that accepts it (Linux, tcp(7))."""
    listener.settimeout(0)
    if listener.family != socket.AF_UNIX:
        # A reply is one segment and the client waits for it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Idle connections stay open, but a remote host that went away must not hold one for ever.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def refuse_remote(where: str, host: str, *, allow_remote: bool) -> None:
    """Raise ListenError where ``host`` is not loopback and must be."""
    if not allow_remote and not ipaddress.ip_address(host).is_loopback:
        raise ListenError(
            f"{where}: not a loopback address, and the protocol has no authentication; "
            "listen on 127.0.0.1 or [::1], or set allow_remote"
        )


def _remove_stale(where: str, path: Path) -> None:
    """Remove the socket file of a server that is gone; raise ListenError for anything else."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise ListenError(f"{where}: exists and is not a socket; remove it or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        refused = probe.connect_ex(str(path))
    if refused in {0, errno.EAGAIN}:
        raise ListenError(f"{where}: another server listens there; stop it or choose another path")
    if refused != errno.ECONNREFUSED:
        raise OSError(refused, os.strerror(refused))
    path.unlink(missing_ok=True)
