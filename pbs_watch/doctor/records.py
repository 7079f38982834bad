"""Gathering what is to be known of the followed logs and of the map.  Changes nothing."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Sequence
from pathlib import Path

from pbs_watch.config import Config
from pbs_watch.doctor import journal, log
from pbs_watch.doctor import map as map_
from pbs_watch.doctor.look import Account, may, read, run
from pbs_watch.doctor.places import Places, syslogd
from pbs_watch.doctor.processes import account_named, account_of
from pbs_watch.errors import MapError, SourceError
from pbs_watch.grants.probe import DATA, probe
from pbs_watch.log.clock import Clock
from pbs_watch.log.file import opener
from pbs_watch.log.packed import ENDINGS
from pbs_watch.log.places import rotated
from pbs_watch.pattern.format import Format

_TAIL = 4 << 20
"""Bytes of a log's end that are scanned: some 40,000 lines, in a tenth of a second or two."""

_FEW = 64 << 10
"""Bytes: a log that is shorter was rotated lately, and its predecessor's end is scanned too."""


_MOUNTS = Path("/proc/self/mounts")


def log_facts(
    name: str,
    config: Config,
    formats: Sequence[Format],
    *,
    now: float,
    account: Account | None,
    places: Places,
) -> log.Facts:
    """A followed file; ``now``: epoch seconds."""
    path = Path(name)
    who = account.name if account else ""
    journald = places.below("/run/systemd/journal").exists()
    writer = syslogd(places, "rsyslogd", "syslog-ng", "syslogd", "metalog")
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return log.Facts(name, exists=False, journald=journald, syslogd=writer)
    except OSError as error:
        return log.Facts(name, unread=error.strerror or str(error), account=who)
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "not a regular file"
        return log.Facts(name, trouble=f"is {what}")
    modified, tail, unread = found.st_mtime, None, ""
    try:
        data, modified = _end_of(name, found)
        if formats:
            tail = log.survey(data, formats, Clock(config.zone), now, config.cuts)
        else:
            unread = "there are no patterns to read it with"
    except (OSError, SourceError) as error:
        unread = getattr(error, "strerror", None) or str(error)
    return log.Facts(
        name,
        readable=may(account, path, os.R_OK),
        account=who,
        size=found.st_size,
        modified=modified,
        emptied=found.st_size == 0,
        journald=journald,
        syslogd=writer,
        tail=tail,
        unread=unread,
    )


def _end_of(name: str, found: os.stat_result) -> tuple[bytes, float]:
    """Whole lines from the end of a log, and when the last of them was written."""
    data, modified = _last_lines(name), found.st_mtime
    if len(data) < _FEW:
        older = [one for one in rotated(name, 0) if one != name and not one.endswith(ENDINGS)]
        if older:
            if not data:
                modified = Path(older[-1]).stat().st_mtime
            data = _last_lines(older[-1]) + data
    return data, modified


def _last_lines(name: str) -> bytes:
    with open(name, "rb", opener=opener) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return b""
        size = file.seek(0, os.SEEK_END)
        start = max(size - _TAIL, 0)
        file.seek(start)
        data = file.read(size - start)
    first = data.find(b"\n") + 1 if start else 0
    return data[first : data.rfind(b"\n") + 1]


def journal_facts(
    name: str, trust: Sequence[str], tags: Sequence[str], account: Account | None
) -> journal.Facts:
    """The journal, or a folder of journal files."""
    folder = name.partition(":")[2]
    base = ["journalctl", "--quiet", "--no-pager", "--output=cat", "--output-fields=PRIORITY"]
    base += ["--since=-1d", "--lines=1000", *([f"--directory={folder}"] if folder else [])]
    trusted = run([*base, *trust])
    if trusted.status is None or trusted.status > 1:
        return journal.Facts(name, trusted.why or trusted.err.strip().partition("\n")[0])
    tagged = run([*base, *(f"SYSLOG_IDENTIFIER={tag}" for tag in tags)])
    return journal.Facts(
        name,
        entries=len(trusted.out.splitlines()),
        others=len(tagged.out.splitlines()),
        permitted=_in_group(account, ("systemd-journal", "adm")),
        account=account.name if account else "",
    )


def _in_group(account: Account | None, names: Sequence[str]) -> bool | None:
    if account is None:
        return None
    wanted = {one.gr_gid for one in grp.getgrall() if one.gr_name in names}
    return account.uid == 0 or bool(wanted & {account.gid, *account.groups})


def map_facts(path: Path, account: Account | None) -> map_.Facts:
    """The map's folder, and whether the map in it is whole."""
    name, who = str(path), account.name if account else ""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return map_.Facts(name, exists=False, account=who)
    except OSError as error:
        return map_.Facts(name, hidden=error.strerror or str(error))
    try:
        files = {one: one.stat() for one in path.iterdir()}
    except OSError as error:
        return map_.Facts(name, hidden=error.strerror or str(error))
    strangers = sorted(
        one.name for one, seen in files.items() if seen.st_uid != found.st_uid and found.st_uid
    )
    room = os.statvfs(path)
    data = path / DATA
    damage = ""
    closed = not os.access(data, os.R_OK)
    if not closed:
        try:
            probe(path)
        except MapError as error:
            damage = str(error)
    return map_.Facts(
        name,
        holds_map=data in files,
        closed=closed,
        mode=stat.S_IMODE(found.st_mode),
        owner=owner_of(found.st_uid),
        strangers=tuple(strangers),
        writable=may(account, path, os.W_OK | os.X_OK),
        account=who,
        filesystem=_filesystem(path),
        read_only=bool(room.f_flag & os.ST_RDONLY),
        free=room.f_bavail * room.f_frsize,
        inodes=room.f_favail if room.f_files else None,
        damage=damage,
    )


def owner_of(uid: int) -> str:
    """A user's name, for people."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _filesystem(path: Path) -> str:
    """The kind of file system that ``path`` lies on; empty: unknown."""
    whole = os.path.realpath(path)
    best, kind = "", ""
    for line in (read(_MOUNTS).text or "").splitlines():
        fields = line.split()
        point = fields[1].replace("\\040", " ")
        inside = whole == point or whole.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def account_for(pid: int | None, path: Path) -> Account | None:
    """As whom the daemon runs, or is to run: its process, the map's owner, or ``pbs-watch``."""
    if pid is not None and (found := account_of(pid)) is not None:
        return found
    try:
        owner = path.stat().st_uid
    except OSError:
        owner = 0
    if owner and (found := account_named(str(owner))) is not None:
        return found
    return account_named("pbs-watch")
