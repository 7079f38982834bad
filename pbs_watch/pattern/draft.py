"""A first pattern out of one line of a login, to be completed by somebody who knows the server.

Pure.  What a client may write and what the server does cannot be seen in one line, so the draft
says what is to be checked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pbs_watch.errors import UsageError
from pbs_watch.grants.address import literal
from pbs_watch.log.header import STAMPS, SYSLOG_HEADER
from pbs_watch.pattern.syntax import quoted

_ADDRESS = re.compile(rb"(?<![\w.:])[0-9A-Fa-f:.]{2,45}(?![\w.])")
_NUMBER = re.compile(rb"(?<![A-Za-z0-9.:-])\d{1,20}(?![A-Za-z0-9.:-])")
_ENDPOINT = re.compile(rb"(?<![\w.:])\d{1,3}(?:\.\d{1,3}){3}:\d{1,5}(?![\w.:])")
_NAMED = re.compile(rb"[0-9A-Za-z+/_.-]{8,}={0,2}")
_LETTERS_AND_DIGIT = re.compile(rb"[A-Za-z]{2}.*\d|\d.*[A-Za-z]{2}")
"""What may be the name of a session or a host: long, and with letters and digits."""

_USERS = (
    rb"user=<([^<>]+)>",
    rb'(?:user|login|name|id|account)[=: ]+"([^"]+)"',
    rb"(?:user|login|name|account)=([^\s,;<>\"]+)",
    rb"\[([^\s\[\]@]+@[^\s\[\]@]+)\]",
    rb"(?:[Uu]ser|[Ll]ogin for|[Ll]ogin of|for) ([^\s,;:<>\"]+)",
    rb"([\w.+-]+@[\w.-]+\.\w+)",
)
"""Where mail servers write the user, the surest first."""

_CLIENTS = (b"rip=", b"client: ", b"client=", b"from ", b"ip=[", b"remote ")
"""What stands before the client's address, where a line has several."""

_NAME = re.compile(rb"[^\x00-\x20\x7f\"'`<>()\[\]{},;=\\]{1,255}")


@dataclass(frozen=True, slots=True)
class Draft:
    """The text of a pattern file, and what was read out of the line."""

    text: str
    user: bytes
    address: bytes


def draft(name: str, line: bytes, user: bytes | None, address: bytes | None) -> Draft:
    """A pattern ``name`` for logins that look like ``line``.

    ``user`` and ``address``: as they stand in it; ``None``: to be found.  Raises
    :class:`UsageError` where they cannot be.
    """
    header, tag, start = _header(line)
    where = _address(line, start, address)
    who = _user(line, start, where, user)
    elements = _elements(line, start, {where: "address", who: _kind(line, who, where)})
    tags = f"    tag     {tag.decode()}\n" if tag else ""
    text = f"""\
# Written from one line of a login.  Before it is used, look at real lines and see to it that
#
# * the rule takes whoever logged in, by each protocol, with and without TLS, and with IPv6;
# * it takes nobody else: add the line of a failed login, and one of a client that puts
#   {quoted(line[start:])[:60]}...
#   into its user name, as examples of nothing;
# * what differs from line to line is a field ("word", "number", "ip", "host"), not a string.
#
# docs/patterns.rst is the reference of this language.

format {name}
    header  {header}
{tags}    login   {" ".join(elements)}

    example login {quoted(line)}
            user {quoted(line[slice(*who)])} address {quoted(line[slice(*where)])}
    # Fill in what the server writes when a login fails, and take the # away:
    # example nothing "..."
"""
    return Draft(text, line[slice(*who)], line[slice(*where)])


def _header(line: bytes) -> tuple[str, bytes, int]:
    """The header as it is written in a pattern, the tag, and where the message begins."""
    found = SYSLOG_HEADER.regex.match(line)
    if found is not None:
        return "syslog", found["tag"], found.end()
    for name, stamp in STAMPS.items():
        found = re.match(stamp + rb" ", line)
        if found is not None:
            return f'{name} " "', b"", found.end()
    raise UsageError(
        "this line does not begin with a stamp that is known; give a whole line of the log, such "
        "as Nov 22 08:41:27 mail popd: ..."
    )


def _address(line: bytes, start: int, said: bytes | None) -> tuple[int, int]:
    if said is not None:
        at = line.find(said, start)
        if at < 0 or literal(said) is None:
            raise UsageError(
                f"--address: the line holds no address {said.decode(errors='replace')}"
            )
        return at, at + len(said)
    found = [one.span() for one in _ADDRESS.finditer(line, start) if literal(one[0]) is not None]
    if not found:
        raise UsageError("there is no address in this line; without one a login grants nothing")
    return next(
        (one for before in _CLIENTS for one in found if line[: one[0]].endswith(before)), found[0]
    )


def _user(line: bytes, start: int, address: tuple[int, int], said: bytes | None) -> tuple[int, int]:
    if said is not None:
        at = line.find(said, start)
        if at < 0:
            raise UsageError("--user: the line holds no such text")
        return at, at + len(said)
    for pattern in _USERS:
        for found in re.compile(pattern).finditer(line, start):
            first, last = found.span(1)
            if last <= address[0] or first >= address[1]:
                return first, last
    raise UsageError("it is not clear which word of this line is the user; say --user NAME")


def _kind(line: bytes, who: tuple[int, int], where: tuple[int, int]) -> str:
    """Free text only before the address and where a string ends it."""
    free = who[1] < where[0] and line[who[1] : who[1] + 1] not in {b" ", b""}
    return "user" if free or not _NAME.fullmatch(line[slice(*who)]) else "name"


def _elements(line: bytes, start: int, captured: dict[tuple[int, int], str]) -> list[str]:
    elements = []
    for (first, last), field in sorted(captured.items()):
        elements += _between(line[start:first])
        elements.append(field)
        start = last
    return [*elements, *_between(line[start:])]


def _between(text: bytes) -> list[str]:
    """Strings, and fields for what certainly differs from line to line."""
    found = [
        *((one, "ip") for one in _ADDRESS.finditer(text) if literal(one[0]) is not None),
        *((one, "host") for one in _ENDPOINT.finditer(text)),
        *((one, "word") for one in _NAMED.finditer(text) if _LETTERS_AND_DIGIT.search(one[0])),
        *((one, "number") for one in _NUMBER.finditer(text)),
    ]
    varying = sorted((*one.span(), field) for one, field in found)
    elements, at = [], 0
    for first, last, field in varying:
        if first < at:
            continue
        if first > at:
            elements.append(quoted(text[at:first]))
        # Two fields need a string between them.
        elements.append(field if first > at or not at else quoted(text[first:last]))
        at = last
    return [*elements, *([quoted(text[at:])] if at < len(text) else [])]
