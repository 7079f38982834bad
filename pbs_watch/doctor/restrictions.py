"""Postfix's restriction lists, and the tables that name us.  Pure.

A list is words between commas or spaces; braces hold a word together that has some inside
(postconf(5)).  What follows a restriction that takes an argument is its argument.  Restriction
classes are written out.  Rests on postconf(5), access(5) and facts/postfix.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_WITH_ARGUMENT = re.compile(
    r"check_\w+|reject_rbl_client|reject_rhsbl_\w+|permit_dnswl_client|permit_rhswl_client|sleep"
)
"""Restrictions that take the next word."""

SCREENS = re.compile(
    r"reject_rbl_client|reject_rhsbl_\w+|check_policy_service"
    r"|reject_unknown_(client|reverse_client|client_hostname|reverse_client_hostname)(_hostname)?"
    r"|reject_(invalid|non_fqdn|unknown)_(helo_)?hostname"
)
"""What clients of dynamic addresses, with names of their own making, mostly do not pass."""

_DEPTH = 10
"""Classes within classes; Postfix itself ends at 100."""


@dataclass(frozen=True, slots=True)
class Step:
    """One restriction, with the table or domain that it takes; ``warned``: by warn_if_reject."""

    name: str
    argument: str = ""
    warned: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.argument}".strip()


def words(text: str) -> list[str]:
    """The words of a list; one in braces without them."""
    found: list[str] = []
    word, depth = "", 0
    for char in text + ",":
        if depth == 0 and (char.isspace() or char == ","):
            if word:
                found.append(word)
            word = ""
            continue
        depth += {"{": 1, "}": -1}.get(char, 0)
        word += char
    return [
        one[1:-1].strip() if one.startswith("{") and one.endswith("}") else one for one in found
    ]


def steps(text: str, classes: Mapping[str, str] | None = None, depth: int = 0) -> list[Step]:
    """The restrictions of a list, in its order; ``classes``: lists by the name of a class."""
    found: list[Step] = []
    items = words(text)
    at, warned = 0, False
    while at < len(items):
        name = items[at]
        at += 1
        if name == "warn_if_reject":
            warned = True
            continue
        if classes and name in classes and depth < _DEPTH:
            inside = steps(classes[name], classes, depth + 1)
            found += [Step(one.name, one.argument, warned or one.warned) for one in inside]
        elif _table(name):
            # A table alone stands for check_client_access or its like (postconf(5)).
            found.append(Step("", name, warned))
        else:
            takes = _WITH_ARGUMENT.fullmatch(name) is not None and at < len(items)
            found.append(Step(name, items[at] if takes else "", warned))
            at += takes
        warned = False
    return found


def _table(word: str) -> bool:
    return re.match(r"[a-z]+:\S", word) is not None


@dataclass(frozen=True, slots=True)
class Table:
    """A table that asks us.  ``text``: as Postfix has it.  ``kind``: ``tcp`` or ``socketmap``.
    ``where``: ``127.0.0.1:10041`` or ``unix:/PATH``.  ``name``: the map's, of a socketmap.
    """

    text: str
    kind: str
    where: str
    proxied: bool
    name: str = ""

    @property
    def host(self) -> str:
        """The host, of one that is no unix socket."""
        return self.where.rpartition(":")[0].strip("[]")


def table(text: str) -> Table | None:
    """A ``tcp:`` or ``socketmap:`` table, with or without ``proxy:``; ``None`` for any other."""
    bare = text.removeprefix("proxy:")
    proxied = bare != text
    kind, _, rest = bare.partition(":")
    if kind == "tcp":
        return Table(text, kind, rest.removeprefix("inet:"), proxied)
    if kind == "socketmap":
        transport, _, rest = rest.partition(":")
        where, _, name = rest.rpartition(":")
        if transport in {"inet", "unix"}:
            where = f"unix:{where}" if transport == "unix" else where
            return Table(text, kind, where, proxied, name)
    return None


@dataclass(frozen=True, slots=True)
class Ours:
    """Where we are asked: ``tcp`` and ``socketmap`` hold ADDRESS:PORT, ``paths`` unix sockets."""

    tcp: Sequence[str]
    socketmap: Sequence[str]

    def holds(self, found: Table, queue: str) -> bool:
        """Whether the table asks us; ``queue``: Postfix's queue directory, its chroot."""
        if found.where.startswith("unix:"):
            path = found.where.removeprefix("unix:")
            paths = [one.removeprefix("unix:") for one in self.socketmap]
            return path in paths or queue.rstrip("/") + path in paths
        listed = self.tcp if found.kind == "tcp" else self.socketmap
        # The same port by another name of the loopback address is meant for us as well.
        local = {"localhost", "127.0.0.1", "::1"}
        port = found.where.rpartition(":")[2]
        return found.where in listed or (
            found.host in local and any(one.rpartition(":")[2] == port for one in listed)
        )
