"""Running the rules of a format on single lines, and on the lines of one join.

Slow and simple; what examples, forgeries and explanations are judged by.  The scanner does the
same over whole blocks (:mod:`pbs_watch.pattern.scan`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC

from pbs_watch.escape import shown
from pbs_watch.grants.address import literal
from pbs_watch.grants.events import Part
from pbs_watch.grants.joins import Joins
from pbs_watch.log.clock import Clock
from pbs_watch.pattern.cutting import is_cut, looks_like_login
from pbs_watch.pattern.format import Format, Kind, Rule

_NOW = 2e9
"""Epoch seconds of the present for stamps without a year: only what lies between two counts."""


@dataclass(frozen=True, slots=True)
class Classified:
    """What one line is to one format.

    ``kind`` and ``rule`` are ``None`` where no rule fits; ``cut`` lines are never more than cut.
    ``near``: a near miss, which looks like a login; one that a rule fits but for its address, which
    is none, has no ``rule`` either.
    ``tag`` is ``None`` where the line is not one of this format's.  The other fields are as they
    stand in the line, ``None`` where the line lacks them.
    """

    kind: Kind | None = None
    cut: bool = False
    near: bool = False
    rule: Rule | None = None
    tag: bytes | None = None
    pid: bytes | None = None
    user: bytes | None = None
    address: bytes | None = None
    port: bytes | None = None
    session: bytes | None = None
    seconds: bytes | None = None

    def __str__(self) -> str:
        """For people: ``login, user bob, address 192.0.2.1``."""
        if self.cut:
            return "cut"
        if self.near:
            return "near miss"
        if self.kind is None:
            return "nothing" if self.tag is not None else "nothing (not a line of this format)"
        names = ("user", "address", "port", "session", "seconds")
        captured = ((name, getattr(self, name)) for name in names)
        parts = (f"{name} {shown(value)}" for name, value in captured if value is not None)
        return ", ".join((self.kind.value, *parts))


def header(fmt: Format, line: bytes) -> re.Match[bytes] | None:
    """The header of a line of this format, ``None`` where header or tag are others."""
    found = fmt.header.regex.match(line)
    if found is None or (fmt.tags and found["tag"] not in fmt.tags):
        return None
    return found


def first_rule(fmt: Format, line: bytes, start: int) -> tuple[Rule, re.Match[bytes]] | None:
    """The first rule that fits the message at ``start``, be it cut or not."""
    for rule in fmt.rules:
        found = rule.regex.match(line, start)
        if found is not None:
            return rule, found
    return None


def classify(fmt: Format, line: bytes) -> Classified:
    """What a whole line, without its newline, is to a format."""
    head = header(fmt, line)
    if head is None:
        return Classified()
    groups = head.groupdict()
    base = Classified(tag=groups.get("tag") or b"", pid=groups.get("pid"))
    if fmt.cut is not None and is_cut(line, head.end(), len(line), fmt.cut):
        return replace(base, cut=True)
    fit = first_rule(fmt, line, head.end())
    if fit is None:
        near = [(near.literal, fmt.name) for near in fmt.near]
        name = looks_like_login(line, head.end(), len(line), near, fmt.cut)
        return replace(base, near=name is not None)
    if false_address(*fit):
        return replace(base, near=True)
    return _captured(base, *fit)


def false_address(rule: Rule, found: re.Match[bytes]) -> bool:
    """Whether a login's address is none, though it is made of the bytes of one."""
    address = found.groupdict().get("address")
    return rule.kind is Kind.LOGIN and address is not None and literal(address) is None


def _captured(base: Classified, rule: Rule, found: re.Match[bytes]) -> Classified:
    names: dict[str, bytes | None] = found.groupdict()
    return replace(
        base,
        kind=rule.kind,
        rule=rule,
        user=names.get("user"),
        address=names.get("address"),
        port=names.get("port"),
        session=names.get("session"),
        seconds=names.get("seconds"),
    )


def join(fmt: Format, lines: Sequence[bytes]) -> Classified:
    """What the last of some lines is, with what it lacks from the lines it joins.

    A login or end that is still without user or without a real address is nothing.
    """
    joins, clock = Joins(), Clock(UTC)
    last, event = Classified(), None
    for line in lines:
        last = classify(fmt, line)
        head = header(fmt, line)
        part = _part(fmt, last, head, clock) if head is not None else None
        events, _ = joins.take([part] if part is not None else [])
        event = events[0] if events else None
    if fmt.join is None or last.kind not in {Kind.LOGIN, Kind.END}:
        return last
    if event is None:
        return Classified(tag=last.tag, pid=last.pid, rule=last.rule)
    # As it stands in the line where it does.
    return replace(last, user=event.user, address=last.address or event.address)


def _part(fmt: Format, line: Classified, head: re.Match[bytes], clock: Clock) -> Part | None:
    if fmt.join is None or (line.kind is None and not (line.cut and fmt.join.by == "pid")):
        return None
    address = literal(line.address) if line.address is not None else b""
    key = line.session if fmt.join.by == "session" else line.pid
    kind = Kind.FAIL if line.kind is None or address is None else line.kind
    return Part(
        kind=kind.value,
        time=clock.of(head.groupdict(), _NOW),
        ahead=0.0,
        address=address or b"",
        user=line.user or b"",
        port=line.port or b"",
        seconds=int(line.seconds) if line.seconds else None,
        key=key or b"",
        service=line.tag or b"",
        format=fmt.name,
        host=head.groupdict().get("host") or b"",
        flag=False,
        held=fmt.holds,
        within=fmt.join.seconds,
        kept=fmt.ends_lack,
        suspect=False,
        offset=0,
    )
