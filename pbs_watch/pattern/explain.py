"""Why a line matches, or how far each rule gets and what it expects there.

For the command ``match``.  The rules are walked element by element, which is slower than their
regular expressions and takes exactly the same lines: the language never reconsiders a choice.

Pure: formats and a line in, values or text out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence as Listing
from dataclasses import dataclass, field
from functools import lru_cache

from pbs_watch.escape import in_columns, shown
from pbs_watch.pattern.expression import following_literal, rule_field
from pbs_watch.pattern.fields import RULE_FIELDS
from pbs_watch.pattern.format import Format, Rule
from pbs_watch.pattern.matching import Classified, classify, false_address
from pbs_watch.pattern.syntax import Choice, Field, Literal, Maybe, Sequence, quoted

_END = "the end of the line"


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a rule stops fitting: ``at`` is an offset in the line, in bytes.

    ``expected`` are the elements that could have come there, in the pattern's own notation.
    """

    rule: Rule
    at: int
    expected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a line is to one format.

    ``message`` is the offset of the message, ``None`` where the header does not fit; ``tag`` is
    the tag in the line, of this format or not.  ``stops`` is empty where a rule fits, where the
    message is cut, and where header or tag are not the format's.
    """

    format: Format
    classified: Classified
    message: int | None
    tag: bytes | None
    stops: tuple[Stop, ...]


def explain(formats: Listing[Format], line: bytes) -> tuple[Explanation, ...]:
    """What a line, without its newline, is to each of the formats, in their order."""
    return tuple(_explain(fmt, line) for fmt in formats)


def _explain(fmt: Format, line: bytes) -> Explanation:
    head = fmt.header.regex.match(line)
    if head is None:
        return Explanation(fmt, Classified(), None, None, ())
    classified = classify(fmt, line)
    stops: tuple[Stop, ...] = ()
    if classified.tag is not None and classified.rule is None and not classified.cut:
        stops = tuple(stop(rule, line, head.end()) for rule in fmt.rules)
    return Explanation(fmt, classified, head.end(), head.groupdict().get("tag"), stops)


def stop(rule: Rule, line: bytes, start: int) -> Stop:
    """How far a rule fits the message at ``start`` that it does not match.

    A login whose address is none fits up to that.
    """
    found = rule.regex.match(line, start)
    if found is not None and false_address(rule, found):
        return Stop(rule, found.start("address"), ("address",))
    walk = _Walk(line, start)
    end = walk.sequence(rule.body, start)
    if end is not None:
        walk.miss(end, _END)
    return Stop(rule, walk.furthest, tuple(dict.fromkeys(walk.expected)))


def fits(body: Sequence, message: bytes) -> bool:
    """Whether the elements take the whole message; the same as the rule's regular expression."""
    return _Walk(message, 0).sequence(body, 0) == len(message)


@dataclass(slots=True)
class _Walk:
    """Walking one line, and the furthest place where something else was expected."""

    line: bytes
    furthest: int
    expected: list[str] = field(default_factory=list)

    def miss(self, at: int, expected: str) -> None:
        if at > self.furthest:
            self.furthest = at
            self.expected.clear()
        if at == self.furthest:
            self.expected.append(expected)

    def sequence(self, sequence: Sequence, at: int) -> int | None:
        """Where the sequence ends that begins at ``at``; ``None`` where it does not fit."""
        for index, element in enumerate(sequence):
            end: int | None
            match element:
                case Literal():
                    end = self._literal(element, at)
                case Field():
                    end = self._field(element, following_literal(sequence, index), at)
                case Maybe():
                    inside = self.sequence(element.body, at)
                    end = at if inside is None else inside
                case Choice():
                    ends = (self.sequence(one, at) for one in element.alternatives)
                    end = next((one for one in ends if one is not None), None)
            if end is None:
                return None
            at = end
        return at

    def _literal(self, literal: Literal, at: int) -> int | None:
        if self.line.startswith(literal.value, at):
            return at + len(literal.value)
        pairs = zip(self.line[at:], literal.value, strict=False)
        same = next((i for i, (have, want) in enumerate(pairs) if have != want), None)
        self.miss(len(self.line) if same is None else at + same, str(literal))
        return None

    def _field(self, wanted: Field, following: bytes, at: int) -> int | None:
        found = _compiled(wanted.name, following).match(self.line, at)
        if found is None:
            ahead = RULE_FIELDS[wanted.name].looks_ahead(following)
            self.miss(at, f"{wanted} before {quoted(following)}" if ahead else str(wanted))
            return None
        return found.end()


@lru_cache(maxsize=256)
def _compiled(name: str, following: bytes) -> re.Pattern[bytes]:
    return re.compile(rule_field(Field(name, 0), following))


def render(explanations: Listing[Explanation], line: bytes) -> str:
    """The explanations as plain text, one paragraph a format, without a newline at the end."""
    return "\n".join(text for one in explanations for text in _paragraph(one, line))


def _paragraph(one: Explanation, line: bytes) -> list[str]:
    fmt, name = one.format, one.format.name
    if one.message is None:
        return [f"{name}: the header is not {fmt.header.name}"]
    if one.classified.tag is None:
        tags = b" ".join(sorted(fmt.tags)).decode()
        return [f"{name}: the tag {shown(one.tag or b'')} is not one of {tags}"]
    if one.classified.rule is not None:
        return [f"{name}: {one.classified} ({fmt.path}:{one.classified.rule.line})"]
    if one.classified.cut:
        return [f"{name}: cut; what follows under this tag is suspect"]
    near = ", but it looks like a login: a near miss" if one.classified.near else ""
    lines = [f"{name}: no rule fits{near}"]
    for stop in sorted(one.stops, key=lambda stop: -stop.at):
        lines.append(
            f"  {stop.rule.kind.value} ({fmt.path}:{stop.rule.line}) fits up to byte {stop.at}; "
            f"expected {' or '.join(stop.expected)}"
        )
        lines.append(f"    {in_columns(line)}")
        lines.append("    " + " " * len(in_columns(line[: stop.at])) + "^")
    return lines
