"""Whether the map can be kept: room, rights, file system, and that it is whole.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pbs_watch.doctor.finding import Finding, fine, look, unseen, wrong

_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "fuse.sshfs", "fuse.glusterfs"}
"""File systems on which LMDB's locks and memory maps do not hold (lmdb.h, "Caveats")."""

_TOO_LITTLE, _LITTLE = 64 << 20, 512 << 20
"""Bytes: a million grants take some 300 MB, an evening's log rows a few."""

_OTHERS = 0o007


@dataclass(frozen=True, slots=True)
class Facts:
    """``path``: the map's folder.  ``hidden``: why it cannot be seen.  ``mode``: of the folder.
    ``strangers``: files in it that are not of the folder's owner, ``owner``.  ``writable``: by the
    daemon's user ``account``; ``None``: nobody can tell.  ``damage``: what is wrong with the data;
    ``closed``: this user cannot read them.
    ``free``, ``inodes``: bytes and files that fit; ``None`` for any number of files.
    """

    path: str
    exists: bool = True
    hidden: str = ""
    holds_map: bool = True
    closed: bool = False
    mode: int = 0o750
    owner: str = ""
    strangers: tuple[str, ...] = ()
    writable: bool | None = None
    account: str = ""
    filesystem: str = ""
    read_only: bool = False
    free: int = _LITTLE
    inodes: int | None = None
    damage: str = ""


def judge(facts: Facts) -> Iterator[Finding]:
    """All that is to be said of the map."""
    path = facts.path
    if facts.hidden:
        yield unseen("map-there", f"{path} cannot be seen: {facts.hidden}", "run doctor as root")
        return
    if not facts.exists:
        yield wrong(
            "map-there",
            f"{path}: there is no such folder",
            f"install -d -o {facts.account or 'pbs-watch'} -m 750 {path}",
        )
        return
    yield from _rights(facts)
    yield from _room(facts)
    if facts.damage:
        yield wrong("map-whole", facts.damage, "systemctl stop pbs-watch; pbs-watch rebuild")
    elif facts.holds_map and facts.closed:
        yield unseen("map-whole", f"{path}: this user may not read the map", "run doctor as root")
    elif facts.holds_map:
        yield fine("map-whole", f"{path}: the map can be read")
    else:
        yield look(
            "map-whole", f"{path}: there is no map yet", "the daemon makes it when it starts"
        )


def _rights(facts: Facts) -> Iterator[Finding]:
    path = facts.path
    if facts.read_only:
        yield wrong(
            "map-writable", f"{path}: its file system is read-only", f"mount -o remount,rw {path}"
        )
    elif facts.writable is None:
        yield unseen(
            "map-writable",
            f"{path}: whether {facts.account or 'the daemon'} may write there",
            "run doctor as root",
        )
    elif not facts.writable:
        yield wrong(
            "map-writable",
            f"{path}: {facts.account} may not write there",
            f"chown -R {facts.account} {path}",
        )
    else:
        yield fine("map-writable", f"{path}: {facts.account} may write there")
    if facts.mode & _OTHERS:
        yield wrong(
            "map-mode",
            f"{path}: everybody may look into it (mode {facts.mode:o}), and it names users",
            f"chmod o= {path}",
        )
    else:
        yield fine("map-mode", f"{path}: mode {facts.mode:o}")
    if facts.strangers:
        names = ", ".join(facts.strangers)
        yield wrong(
            "map-owner",
            f"{path}: {names} {'is' if len(facts.strangers) == 1 else 'are'} not {facts.owner}'s",
            f"chown -R {facts.owner} {path}",
        )


def _room(facts: Facts) -> Iterator[Finding]:
    path = facts.path
    if facts.filesystem in _NETWORK:
        yield wrong(
            "map-filesystem",
            f"{path}: lies on {facts.filesystem}, where LMDB cannot lock",
            "name a folder on a local disk: map = ...",
        )
    elif facts.filesystem == "tmpfs":
        yield look(
            "map-filesystem",
            f"{path}: lies in memory (tmpfs): orders and allows do not survive a boot",
            "name a folder on a disk: map = ...",
        )
    left = f"{path}: {facts.free / 1e6:,.0f} MB free"
    if facts.inodes == 0:
        yield wrong("map-space", f"{path}: no inode is free", "remove files on that file system")
    elif facts.free < _TOO_LITTLE:
        yield wrong("map-space", left, "make room on that file system")
    elif facts.free < _LITTLE:
        yield look("map-space", left, "make room before it is full")
    else:
        yield fine("map-space", left)
