"""Where in Postfix's ``smtpd_relay_restrictions`` pbs-watch is asked, as text.

What is inserted is one word, ``$pbs_watch_relay``; the parameter of that name in main.cf says the
rest.  So it can be taken out exactly, without a record of what was there, however the
administrator changed the list meanwhile.

The order is that of facts/postfix.md, "main.cf to recommend": ``permit_auth_destination`` before
the check, so that inbound mail never waits for us (promise 4), and both right before the
restriction that refuses strangers.  Where that would change what else the list does, nothing is
inserted, and :class:`UsageError` says why.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pbs_watch.errors import UsageError

LIST = "smtpd_relay_restrictions"
NAME = "pbs_watch_relay"
"""The parameter that we define in main.cf."""

_ENDS = ("reject_unauth_destination", "defer_unauth_destination")
_END = re.compile(rf"(?<![^\s,{{])(?:{'|'.join(_ENDS)})(?![^\s,}}])")
_OURS = rf"\$(?:{NAME}\b|\{{{NAME}\}}|\({NAME}\))"
_BY_HAND = "see README, Set it up"


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be written: the value of :data:`NAME`, and that of :data:`LIST` with it inside."""

    check: str
    restrictions: str


def words(value: str) -> list[str]:
    """The words of a list; what stands in braces is one."""
    found, depth, start = [], 0, None
    for place, char in enumerate(value):
        if depth == 0 and (char.isspace() or char == ","):
            if start is not None:
                found.append(value[start:place])
            start = None
            continue
        if start is None:
            start = place
        depth = max(0, depth + (char == "{") - (char == "}"))
    return found if start is None else [*found, value[start:]]


def asks(effective: str, table: str) -> bool:
    """Whether a list, its parameters expanded, asks a table for the client."""
    listed = words(effective)
    return ("check_client_access", table) in pairwise(listed)


def mentions(value: str) -> bool:
    """Whether a value holds what we insert."""
    return re.search(_OURS, value) is not None


def insert(value: str, effective: str, table: str) -> Change:
    """Put our check into a list.

    ``value``: the list as main.cf says it, or Postfix's default, in which :func:`mentions` finds
    nothing; ``effective``: the same with its parameters expanded.  Raises :class:`UsageError`.
    """
    listed = words(effective)
    end = next((place for place, word in enumerate(listed) if word in _ENDS), None)
    found = _END.search(value)
    if end is None or found is None:
        raise UsageError(
            f"{LIST}: neither {' nor '.join(_ENDS)} stands in it, before which to ask; {_BY_HAND}"
        )
    if end and listed[end - 1] == "warn_if_reject":
        raise UsageError(
            f"{LIST}: warn_if_reject before {listed[end]} lets strangers relay; {_BY_HAND}"
        )
    check = f"check_client_access {table}"
    if "permit_auth_destination" not in listed[:end]:
        behind = [word for word in listed[end + 1 :] if word not in (*_ENDS, "permit", "reject")]
        if behind:
            raise UsageError(
                f"{LIST}: mail for your own domains would no longer come to {behind[0]}, which "
                f"stands behind {listed[end]}; move it to smtpd_recipient_restrictions first"
            )
        check = f"permit_auth_destination, {check}"
    separator = ", " if "," in value else " "
    return Change(check, f"{value[: found.start()]}${NAME}{separator}{value[found.start() :]}")


def stands(before: str, after: str, check: str) -> bool:
    """Whether of two expanded lists the later is the earlier with our check before its end."""
    old, new, ours = words(before), words(after), words(check)
    end = next((place for place, word in enumerate(old) if word in _ENDS), len(old))
    return new == [*old[:end], *ours, *old[end:]]


def take_out(value: str) -> str:
    """A list without what :func:`insert` put in."""
    value = re.sub(_OURS + r"(?:\s*,\s*|\s+)", "", value)
    return re.sub(r"(?:\s*,\s*|\s+|(?<=\{)|^)" + _OURS, "", value)


def others(names: Sequence[str]) -> str:
    """What is said where other parameters hold what we insert."""
    return f"{', '.join(names)}: ${NAME} stands there too; take it out by hand"
