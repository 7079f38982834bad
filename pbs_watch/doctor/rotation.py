"""In which way a log is rotated, read from logrotate's configuration.  Pure.

Rests on logrotate(8): names and directives of a block hold for the files that it lists; directives
outside of blocks hold for the blocks after them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from pbs_watch.doctor.finding import Finding, fine, look, unseen

_SCRIPTS = {"postrotate", "prerotate", "firstaction", "lastaction", "preremove"}


@dataclass(frozen=True, slots=True)
class Block:
    """A block: the names that it lists, and what holds for them."""

    names: tuple[str, ...]
    copies: bool
    olddir: str
    tells: bool
    """Whether a script may tell the log's writer."""


def blocks(text: str, copies: bool = False) -> tuple[list[Block], bool]:  # noqa: FBT001, FBT002
    """The blocks of one file, and whether copytruncate holds after it; ``copies``: before it."""
    found: list[Block] = []
    names: list[str] = []
    inside = script = tells = False
    inner, olddir, outer = copies, "", ""
    for raw in text.splitlines():
        line = raw.strip()
        if script:
            script = line != "endscript"
            continue
        if not line or line.startswith("#"):
            continue
        if not inside and (line.startswith(("/", '"', "'")) or line == "{"):
            listed, brace, _ = line.partition("{")
            names += [one.strip("\"'") for one in re.findall(r"\"[^\"]*\"|'[^']*'|\S+", listed)]
            if brace:
                inside, tells, inner, olddir = True, False, copies, outer
            continue
        words = line.split()
        if inside and words[0].startswith("}"):
            found.append(Block(tuple(names), inner, olddir, tells))
            names, inside = [], False
        elif words[0] in _SCRIPTS:
            script, tells = True, tells or words[0] in {"postrotate", "lastaction"}
        elif words[0] in {"copytruncate", "nocopytruncate"}:
            if inside:
                inner = words[0] == "copytruncate"
            else:
                copies = words[0] == "copytruncate"
        elif words[0] in {"olddir", "noolddir"}:
            where = words[1] if words[0] == "olddir" and len(words) > 1 else ""
            if inside:
                olddir = where
            else:
                outer = where
    return found, copies


def judge(log: str, files: Mapping[str, str], hidden: Mapping[str, str]) -> Iterator[Finding]:
    """How ``log`` is rotated; ``files``: logrotate's texts by their paths, in its order."""
    check = "log-rotation"
    for path, why in hidden.items():
        yield unseen(check, f"{path} cannot be seen: {why}", "ask as root")
    copies = False
    for path, text in files.items():
        found, copies = blocks(text, copies)
        for block in found:
            if any(_names(pattern, log) for pattern in block.names):
                yield from _judged(check, log, path, block)
                return
    if not hidden:
        yield look(
            check,
            f"{log}: no file of logrotate rotates it" if files else f"{log}: there is no logrotate",
            "rotate it by renaming: write a block for it with create",
        )


def _names(pattern: str, log: str) -> bool:
    """Whether a name of a block is the log's; no ``*`` reaches across a slash (glob(7))."""
    named, path = PurePosixPath(pattern), PurePosixPath(log)
    return named.parent == path.parent and fnmatchcase(path.name, named.name)


def _judged(check: str, log: str, path: str, block: Block) -> Iterator[Finding]:
    if block.copies:
        yield look(
            check,
            f"{log}: {path} says copytruncate: what is logged during the copy is lost",
            f"write create instead of copytruncate in {path}",
        )
    elif not block.tells:
        yield look(
            check,
            f"{log}: {path} renames it and tells nobody: its writer may go on in the old file",
            f"add a postrotate script to {path}: /usr/lib/rsyslog/rsyslog-rotate",
        )
    else:
        yield fine(check, f"{log}: {path} rotates it by renaming")
    if block.olddir:
        yield look(
            check,
            f"{log}: {path} moves old files to {block.olddir}: after a restart reading cannot go "
            "on in one of them",
            f"take olddir out of {path}",
        )
