"""Running a format's examples, and the forgeries derived from them.

Compiling makes a format safe in general; this makes sure of it with the lines at hand.  Whoever
can choose a user name, or the text before or after a message, or the tag of a line, must not get
an address of his choice granted.  So each line of a ``login`` or ``end`` example is changed in all
these ways, and a format that takes one of the results for genuine does not load.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pbs_watch.errors import PatternError
from pbs_watch.escape import shown
from pbs_watch.grants.address import literal
from pbs_watch.pattern.format import Example, Format, Kind, Near
from pbs_watch.pattern.matching import Classified, classify, first_rule, header, join
from pbs_watch.pattern.syntax import Source, quoted

FORGED = (b"192.0.2.66", b"2001:db8:bad::66")
"""The addresses that forgeries try to get granted."""

_HARMLESS = re.compile(rb"[^\x00-\x20\x7f\"'`<>()\[\]{},;]*+")
"""Text that a field for words at the end of a message may take: a longer word, no forgery."""


@dataclass(frozen=True, slots=True)
class Forgery:
    """A line nobody's login wrote.

    ``in_user``: the change lies inside the user, so the line may be genuine, but its address must
    not be one of :data:`FORGED`.  Any other forgery must not match at all.
    """

    line: bytes
    in_user: bool = False


def verify(source: Source, fmt: Format) -> None:
    """Run all examples and forgeries; raises :class:`PatternError` at the first that fails."""
    exercised: set[int] = set()
    for example in fmt.examples:
        exercised |= _run(source, fmt, example)
    for rule in fmt.rules:
        if rule.line not in exercised:
            raise source.error(
                source.at_line(rule.line),
                f"no example shows this rule; write example {_shown_by(rule.kind)}",
            )
    for near in fmt.near:
        _check_near(source, fmt, near)
    for example in fmt.examples:
        if example.expect in {"login", "end"}:
            for line in example.lines:
                _resist(source, fmt, example, line)


def _shown_by(kind: Kind) -> str:
    match kind:
        case Kind.LOGIN | Kind.END:
            return f'{kind.value} "a whole line of the log" user ... address ...'
        case Kind.OPEN:
            return 'login with both lines: "the open line" "the login line"'
        case Kind.FAIL:
            return 'nothing with both lines: "the open line" "the fail line"'


def _check_near(source: Source, fmt: Format, near: Near) -> None:
    """What is to look like a login occurs in a real one, or else it was mistyped."""
    for example in fmt.examples:
        if example.expect == "login":
            heads = ((header(fmt, line), line) for line in example.lines)
            if any(head and near.literal in line[head.end() :] for head, line in heads):
                return
    raise source.error(
        source.at_line(near.line),
        f"no message of an example of a login contains {quoted(near.literal)}; write what a login "
        "has and other lines have not",
    )


def _run(source: Source, fmt: Format, example: Example) -> set[int]:
    """Check one example; the lines of the rules it exercises."""
    if len(example.lines) > 1 and fmt.join is None:
        raise _failed(source, example, "only a format with join takes several lines")
    if example.expect == "nothing":
        # No rule may fit, whether or not the line counts as cut.
        fmt = replace(fmt, cut=None)
    each = [classify(fmt, line) for line in example.lines]
    if example.expect == "near":
        got = each[-1]
    elif example.expect == "cut":
        got = next((one for one in each if not one.cut), each[0])
    elif example.expect == "nothing" and fmt.join is None:
        got = each[0]
    else:
        got = join(fmt, example.lines)
    # What is near grants nothing, which is all that an example of nothing says.
    if _name(got) != example.expect and (_name(got), example.expect) != ("near", "nothing"):
        raise _failed(source, example, f"expected {example.expect}, got {got}")
    for what in ("user", "address"):
        expected, captured = getattr(example, what), getattr(got, what)
        same = expected == captured or (
            what == "address" and literal(expected or b"?") == literal(captured or b"!")
        )
        if expected is not None and not same:
            raise _failed(source, example, f"expected {what} {shown(expected)}, got {got}")
    return {one.rule.line for one in each if one.rule is not None}


def _name(got: Classified) -> str:
    if got.cut:
        return "cut"
    if got.near:
        return "near"
    return got.kind.value if got.kind is Kind.LOGIN or got.kind is Kind.END else "nothing"


def _failed(source: Source, example: Example, what: str) -> PatternError:
    return source.error(source.at_line(example.line), f"this example fails: {what}")


def _resist(source: Source, fmt: Format, example: Example, line: bytes) -> None:
    for forgery in forgeries(fmt, line):
        head = header(fmt, forgery.line)
        fit = first_rule(fmt, forgery.line, head.end()) if head else None
        if fit is None:
            continue
        rule, found = fit
        if not forgery.in_user or found.groupdict().get("address") in FORGED:
            raise source.error(
                source.at_line(rule.line),
                f"this rule takes a forged line for a genuine {rule.kind.value}: "
                f"{shown(forgery.line)} (derived from the example of line {example.line}); "
                "make the fields narrower and the strings longer",
            )


def forgeries(fmt: Format, line: bytes) -> Iterator[Forgery]:
    """The forgeries derived from one genuine line of the format."""
    head = header(fmt, line)
    fit = first_rule(fmt, line, head.end()) if head else None
    if head is None or fit is None:
        return
    found = fit[1]
    names = found.groupdict()
    if names.get("user") is not None:
        yield from _in_user(line, head.end(), found)
    if names.get("address") is not None:
        yield from _second_address(line, head.end(), found)
    yield from _around(line, head.end(), found)
    yield from _elsewhere(fmt, line, head)


def _in_user(line: bytes, start: int, found: re.Match[bytes]) -> Iterator[Forgery]:
    """The address, and everything around it, inside the user."""
    first, last = found.span("user")
    user = found["user"]
    for forged in FORGED:
        texts = {forged}
        if "address" in found.groupdict():
            before, after = found.span("address")
            nearer = line[last:before] if last <= before else line[start:before]
            beyond = line[after:] if last <= before else line[after:first]
            message = line[start:before] + forged + line[after:]
            texts |= {nearer + forged, nearer + forged + beyond, message, beyond + forged}
        for text in sorted(texts):
            for inside in (text, user + text, text + user):
                yield Forgery(line[:first] + inside + line[last:], in_user=True)


def _second_address(line: bytes, start: int, found: re.Match[bytes]) -> Iterator[Forgery]:
    """An address, alone and with the text that leads to it, beside the genuine one."""
    before, after = found.span("address")
    user_end = found.end("user") if found.groupdict().get("user") is not None else start
    leading = line[user_end if user_end <= before else start : before]
    for forged in FORGED:
        for between in (b" ", b", ", leading):
            yield Forgery(line[:before] + forged + between + line[before:])
            yield Forgery(line[:after] + between + forged + line[after:])


def _around(line: bytes, start: int, found: re.Match[bytes]) -> Iterator[Forgery]:
    """Text before and after the message, its own parts and white space among them."""
    message = line[start:]
    in_user = found.groupdict().get("user") is not None
    for text in (b" ", b"\r", b"\0", b"\t", b"x ", b"x: "):
        yield Forgery(line[:start] + text + message)
    tails = {message}
    for name in ("user", "address"):
        if found.groupdict().get(name) is not None:
            tails.add(line[found.end(name) :])
    open_end = in_user and found.end("user") == len(line)
    for text in (b" ", b"\r", b"\0", b"\t", b" x", *sorted(tails)):
        for after in (text, b" " + text):
            if not _HARMLESS.fullmatch(after):
                yield Forgery(line + after, in_user=open_end)


def _elsewhere(fmt: Format, line: bytes, head: re.Match[bytes]) -> Iterator[Forgery]:
    """The line under other tags, and inside the line of another program."""
    if not fmt.tags:
        yield Forgery(line[: head.end()] + line)
        return
    first, last = head.span("tag")
    tag = head["tag"]
    for other in (b"x" + tag, b"x/" + tag, b"x-" + tag, tag + b"x", tag + b"/x", tag[:-1], tag[1:]):
        if other not in fmt.tags:
            yield Forgery(line[:first] + other + line[last:])
    starts = {line[:first], line[:first] + b"host "}
    if head.groupdict().get("host") is not None:
        starts.add(line[: head.start("host")])
    for start in sorted(starts):
        for program in (b"other: ", b"other[7]: ", b"other:"):
            yield Forgery(start + program + line)
            yield Forgery(start + program + line[first:])
