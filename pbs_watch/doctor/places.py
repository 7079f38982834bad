"""Where the configuration of the other programs lies, and its texts.

``root`` is put before all of it: the file system of a container, or a copy to be looked at.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pbs_watch.doctor import courier, syslog
from pbs_watch.doctor.look import Text, read

_DEPTH = 5
"""Includes within includes."""

_FILES = 200
"""Files of one program's configuration."""

_RSYSLOG = re.compile(r'(?im)^\s*\$IncludeConfig\s+(\S+)|^\s*include\s*\([^)]*file="([^"]+)"')
_SYSLOG_NG = re.compile(r'(?m)^\s*@?include\s+"([^"]+)"()')
_LOGROTATE = re.compile(r"(?m)^\s*include\s+(\S+)()")


@dataclass(frozen=True, slots=True)
class Places:
    """``None`` stands for Debian's place below ``root``."""

    root: Path = Path("/")
    postfix: Path | None = None
    courier: Path | None = None
    syslog: Path | None = None
    logrotate: Path | None = None

    def below(self, path: str) -> Path:
        """A path of the host that is looked at, as it is called here."""
        return self.root / path.lstrip("/")


@dataclass(slots=True)
class _Texts:
    """Texts by path, and why others cannot be seen."""

    found: dict[str, str] = field(default_factory=dict)
    hidden: dict[str, str] = field(default_factory=dict)

    def take(self, text: Text, name: str) -> bool:
        """Keep a text; whether there is one."""
        if text.text is not None:
            self.found[name] = text.text
            return True
        if text.why:
            self.hidden[name] = text.why
        return False


def courier_facts(places: Places) -> courier.Facts:
    """Courier's files."""
    where = places.courier or places.below("/etc/courier")
    texts = _Texts()
    for name in (*courier.SERVICES, "authdaemonrc"):
        texts.take(read(where / name), name)
    # Passwords of databases may stand beside it: that it is closed is no reason to worry.
    texts.hidden.pop("authdaemonrc", None)
    return courier.Facts(str(where), texts.found, texts.hidden)


def syslog_facts(places: Places) -> syslog.Facts:
    """The configuration of rsyslog, or of syslog-ng where that is the one."""
    ng = places.below("/etc/syslog-ng/syslog-ng.conf")
    first = places.syslog or places.below("/etc/rsyslog.conf")
    if places.syslog is None and ng.exists() and not syslogd(places, "rsyslogd"):
        first = ng
    kind = "syslog-ng" if "syslog-ng" in str(first) else "rsyslog"
    texts = _Texts()
    _read_all(first, places, _SYSLOG_NG if kind == "syslog-ng" else _RSYSLOG, texts)
    return syslog.Facts(kind, texts.found, texts.hidden)


def syslogd(places: Places, *names: str) -> bool:
    """Whether one of the syslog daemons is installed there."""
    folders = ("/usr/sbin", "/usr/bin", "/usr/local/sbin", "/sbin")
    return any(places.below(f"{folder}/{name}").exists() for folder in folders for name in names)


def logrotate_texts(places: Places) -> tuple[dict[str, str], dict[str, str]]:
    """Logrotate's files by their paths, in the order in which it reads them, and the hidden."""
    texts = _Texts()
    _read_all(places.logrotate or places.below("/etc/logrotate.conf"), places, _LOGROTATE, texts)
    return texts.found, texts.hidden


def _read_all(
    path: Path, places: Places, include: re.Pattern[str], texts: _Texts, depth: int = 0
) -> None:
    """A file and those that it includes."""
    name = str(path)
    if name in texts.found or len(texts.found) >= _FILES or depth > _DEPTH:
        return
    if not texts.take(read(path), name):
        return
    for match in include.finditer(texts.found[name]):
        for one in _included(match[1] or match[2], path, places):
            _read_all(one, places, include, texts, depth + 1)


def _included(pattern: str, path: Path, places: Places) -> Iterator[Path]:
    """The files that an include names: by a pattern, a folder or a path."""
    whole = places.below(pattern) if pattern.startswith("/") else path.parent / pattern
    for name in sorted(glob.glob(str(whole))):  # noqa: PTH207 - the pattern may be absolute
        one = Path(name)
        try:
            yield from sorted(one.iterdir()) if one.is_dir() else [one]
        except OSError:
            continue
