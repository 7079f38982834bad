"""What the kernel tells of processes and of who listens, in /proc; rests on proc(5).

Other users' processes show their files to root alone: what is not known is ``None``.
"""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from pbs_watch.answer.listen import UNIX, parse_tcp
from pbs_watch.doctor.look import Account

_PROC = Path("/proc")
_LISTEN = "0A"
"""TCP_LISTEN, as /proc/net/tcp has it."""

_CONTAINERS = {
    ".dockerenv": "docker",
    "run/.containerenv": "podman",
    "run/systemd/container": "systemd-nspawn",
}


@dataclass(frozen=True, slots=True)
class Listening:
    """A socket that listens: its inode and its user; ``uid`` is ``None`` where nothing tells."""

    inode: int
    uid: int | None


def listening(where: str) -> Listening | None:
    """Who listens on ``ADDRESS:PORT`` or ``unix:PATH``; ``None``: nobody.  Raises OSError."""
    if where.startswith(UNIX):
        return _unix(where.removeprefix(UNIX))
    address, port = parse_tcp(where)
    table = "tcp6" if address.version == 6 else "tcp"
    packed = address.packed
    words = [packed[at : at + 4][::-1] for at in range(0, len(packed), 4)]
    wanted = {b"".join(words).hex().upper(), "0" * 2 * len(packed)}
    for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
        fields = line.split()
        host, _, number = fields[1].partition(":")
        if fields[3] == _LISTEN and int(number, 16) == port and host in wanted:
            return Listening(int(fields[9]), int(fields[7]))
    return None


def _unix(path: str) -> Listening | None:
    for line in (_PROC / "net" / "unix").read_text().splitlines()[1:]:
        fields = line.split(maxsplit=7)
        # Flags 00010000: the socket accepts connections (__SO_ACCEPTCON).
        if len(fields) == 8 and fields[7] == path and fields[3] == "00010000":
            return Listening(int(fields[6]), None)
    return None


def ports() -> frozenset[int] | None:
    """The TCP ports on which somebody listens here; ``None``: unknown."""
    found = set()
    try:
        for table in ("tcp", "tcp6"):
            for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN:
                    found.add(int(fields[1].rpartition(":")[2], 16))
    except OSError:
        return None
    return frozenset(found)


def holder(inode: int, first: int | None) -> int | None:
    """A process that has the socket open, ``first`` if it does; ``None``: none can be seen."""
    candidates = [] if first is None else [str(first)]
    for name in chain(candidates, (one.name for one in _PROC.iterdir() if one.name.isdigit())):
        if _holds(_PROC / name / "fd", f"socket:[{inode}]"):
            return int(name)
    return None


def _holds(folder: Path, name: str) -> bool:
    try:
        descriptors = list(folder.iterdir())
    except OSError:
        return False
    for descriptor in descriptors:
        try:
            if str(descriptor.readlink()) == name:
                return True
        except OSError:
            continue
    return False


def command(pid: int) -> str:
    """What a process is called, for people."""
    try:
        return (_PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return "unknown"


def account_of(pid: int) -> Account | None:
    """As whom a process runs; ``None``: unknown."""
    try:
        status = (_PROC / str(pid) / "status").read_text()
    except OSError:
        return None
    found = {}
    for name in ("Uid", "Gid", "Groups"):
        match = re.search(rf"(?m)^{name}:[ \t]*(.*)$", status)
        found[name] = [int(word) for word in match[1].split()] if match else []
    if len(found["Uid"]) < 2 or len(found["Gid"]) < 2:
        return None
    uid, gid = found["Uid"][1], found["Gid"][1]
    return Account(uid, gid, tuple(found["Groups"]), _name(uid))


def account_named(name: str) -> Account | None:
    """A user of this host, by name or number."""
    try:
        entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        return None
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Account(entry.pw_uid, entry.pw_gid, groups, entry.pw_name)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def container() -> str:
    """Which kind of container this is; empty: none that can be told."""
    for path, kind in _CONTAINERS.items():
        if (Path("/") / path).exists():
            return kind
    try:
        environment = (_PROC / "1" / "environ").read_bytes()
    except OSError:
        return ""
    match = re.search(rb"(?:^|\0)container=([\w.-]+)", environment)
    return match[1].decode() if match else ""
