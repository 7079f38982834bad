"""Running the rules of a format on single lines, and on the lines of one join.

Slow and simple; what examples, forgeries and explanations are judged by.  The scanner does the
same over whole blocks (:mod:`pbs_watch.pattern.scan`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pbs_watch.escape import shown
from pbs_watch.grants.address import literal
from pbs_watch.pattern.cutting import is_cut, looks_like_login
from pbs_watch.pattern.format import Format, Kind, Rule


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
    held: dict[bytes | None, Classified] = {}
    last = Classified()
    for line in lines:
        last = classify(fmt, line)
        key = last.session if fmt.join and fmt.join.by == "session" else last.pid
        before = held.get(key) if fmt.join and key is not None else None
        if last.kind is Kind.FAIL:
            held.pop(key, None)
        elif last.kind is Kind.OPEN:
            held[key] = last
        elif last.kind is not None:
            if before is not None:
                user, address = last.user or before.user, last.address or before.address
                last = replace(last, user=user, address=address)
            if last.user is None or literal(last.address or b"") is None:
                last = Classified(tag=last.tag, pid=last.pid, rule=last.rule)
            else:
                held[key] = last
    return last
