"""``match FILE``: which formats the lines of a log fit, and what only looks like a login.

For a newcomer who does not know what to write into ``patterns``, and for whoever upgraded a mail
server.  Nothing is granted; lines that stand behind a cut count for nothing.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pbs_watch.commands.forms import counted
from pbs_watch.config import Config
from pbs_watch.escape import shown
from pbs_watch.grants.events import Event, Login
from pbs_watch.grants.joins import Joins
from pbs_watch.log.archive import chunks
from pbs_watch.log.clock import Clock
from pbs_watch.log.cuts import Cuts
from pbs_watch.log.lines import Block, take
from pbs_watch.pattern import library
from pbs_watch.pattern.format import Format
from pbs_watch.pattern.scan import Scanner

_BLOCK = 8192
"""Bytes scanned at once: no more near misses than one scan shows, in lines of 80 bytes."""

_SHAPES = 10
"""Shapes of near misses that are shown."""

_KEPT = 10_000
"""Shapes that are counted: a client may make up any number."""

_ASKED_FOR = frozenset({"dovecot-submission", "sqwebmail"})
"""Patterns that are not suggested: their logins need no grant (see their files)."""

_VARIES = (
    (re.compile(rb'"[^"]*"'), b'"*"'),
    (re.compile(rb"<[^<>]*>"), b"<*>"),
    (re.compile(rb"\[[^\[\]]*\]"), b"[*]"),
    (re.compile(rb"=[^\s,;=]+"), b"=*"),
    (re.compile(rb"(?<![\w.:])[0-9A-Fa-f]*[.:][0-9A-Fa-f.:]+"), b"*"),
    (re.compile(rb"\d+"), b"*"),
)
"""What differs from line to line, and what is shown instead."""


@dataclass(slots=True)
class Survey:
    """What a log was found to hold; logins and ends by the names of their formats."""

    lines: int = 0
    suspect: int = 0
    cuts: int = 0
    logins: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    near: int = 0
    shapes: Counter[tuple[str, bytes]] = field(default_factory=Counter)
    samples: dict[tuple[str, bytes], bytes] = field(default_factory=dict)

    def count(self, events: Sequence[Event]) -> None:
        """Add whole logins and ends."""
        for event in events:
            (self.logins if isinstance(event, Login) else self.ends)[event.format] += 1

    def miss(self, name: str, message: bytes) -> None:
        """Add a near miss of the format ``name``."""
        key = (name, shape(message))
        if key in self.shapes or len(self.shapes) < _KEPT:
            self.shapes[key] += 1
            self.samples.setdefault(key, message)


def shape(message: bytes) -> bytes:
    """A message with ``*`` for what differs from line to line."""
    for varies, instead in _VARIES:
        message = varies.sub(instead, message)
    return message


def survey(path: str, formats: Sequence[Format], config: Config) -> Survey:
    """Read a log through all formats; raises :class:`SourceError`."""
    scanner, cuts, joins = Scanner(formats, Clock(config.zone)), Cuts(config.cuts), Joins()
    found, now = Survey(), time.time()
    rest, skipping = b"", False
    for piece in chunks(path, lambda _done: None):
        data = rest + piece
        taken = take(data, 0, skipping=skipping)
        for block in _small(data, taken.start, taken.end):
            scanned = scanner.scan(block.data, block.start, block.end, cuts, now)
            events, suspects = joins.take(scanned.events)
            found.lines += scanned.lines
            found.cuts += len(scanned.cuts)
            found.suspect += len(scanned.suspects) + len(suspects)
            found.count(events)
            found.near += scanned.nears
            for miss in scanned.near:
                found.miss(miss.format, miss.message)
        rest, skipping = data[taken.rest :], taken.skipping
    return found


def _small(data: bytes, start: int, end: int) -> list[Block]:
    blocks = []
    while start < end:
        newline = data.rfind(b"\n", start, min(start + _BLOCK, end))
        if newline < 0:
            newline = data.find(b"\n", start, end)
        blocks.append(Block(data, start, newline + 1))
        start = newline + 1
    return blocks


def run(path: str, config: Config) -> int:
    """Print what the log at ``path`` holds; 1 where it has no login."""
    names = {
        fmt.name: name
        for name in library.names(config.patterns_dir)
        for fmt in library.load([name], config.patterns_dir)
    }
    formats = library.load(sorted(set(names.values())), config.patterns_dir)
    found = survey(path, formats, config)
    print(f"{path}: {counted(found.lines, 'line')}")
    for name in sorted({*found.logins, *found.ends}, key=lambda one: -found.logins[one]):
        logins, ends = (
            counted(found.logins[name], "login"),
            counted(found.ends[name], "session end"),
        )
        print(f"  {name}: {logins}, {ends}")
    if found.suspect or found.cuts:
        cuts, suspect = counted(found.cuts, "cut line"), counted(found.suspect, "login")
        print(f"  {cuts}; {suspect} behind one, which may be forged, not counted")
    _suggest({names[name] for name in found.logins}, config)
    _near(found)
    return 0 if found.logins else 1


def _suggest(files: set[str], config: Config) -> None:
    suggested = sorted(files - _ASKED_FOR)
    if suggested:
        said = ", ".join(f'"{name}"' for name in suggested)
        print(f"to grant these: patterns = [{said}]")
        if set(suggested) <= {Path(name).stem for name in config.patterns}:
            print("which is what the settings say, or less")
    elif not files:
        print("no line is a login in any format; pbs-watch new-pattern begins one from a line")
    for name in sorted(files & _ASKED_FOR):
        print(f"not suggested: {name}; its file says why")


def _near(found: Survey) -> None:
    if not found.near:
        return
    told = counted(found.near, "near miss", "es")
    print(f"{told}: like a login, but no rule fits.  The most frequent, an example below each:")
    for key, count in found.shapes.most_common(_SHAPES):
        name, form = key
        print(f"  {count:,} x {name}: {shown(form)}")
        print(f"      {shown(found.samples[key])}")


def is_log(argument: str) -> bool:
    """Whether what stands where a line may stand is the path of a log: no line is one."""
    try:
        return Path(argument).is_file() or Path(argument).is_fifo()
    except (OSError, ValueError):
        return False
