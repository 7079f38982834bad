r"""Sequences of elements as regular expressions.

The language is a parsing expression grammar: an optional part is taken whenever it fits, of
several alternatives the first that fits is taken, a field takes all it may, and nothing of this is
ever reconsidered.  Therefore every group here is atomic or possessive (Python 3.11), each element
is tried at most once at the place where its predecessors end, and matching takes time linear in
the length of the message, whatever the pattern and the message.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pbs_watch.pattern.fields import HEADER_GROUPS, HEADER_WORDS, RULE_FIELDS
from pbs_watch.pattern.syntax import Choice, Field, Literal, Maybe, Sequence


def message_regex(sequence: Sequence) -> re.Pattern[bytes]:
    r"""A whole message, anchored with ``\Z``; captured fields are groups of their name."""
    return re.compile(_regex(sequence, rule_field) + rb"\Z")


def header_regex(sequence: Sequence) -> re.Pattern[bytes]:
    """A header, to be matched at the start of a line."""
    return re.compile(_regex(sequence, _header_field))


def rule_field(field: Field, following: bytes) -> bytes:
    """A field of a message as a regular expression; the literal ``following`` comes next."""
    return RULE_FIELDS[field.name].regex(following)


def _header_field(field: Field, following: bytes) -> bytes:
    if field.name in HEADER_GROUPS:
        return b"(?P<%s>%s)" % (field.name.encode(), HEADER_GROUPS[field.name])
    return HEADER_WORDS[field.name].regex(following)


def following_literal(sequence: Sequence, index: int) -> bytes:
    """The literal right after the element at ``index``, or nothing."""
    after = sequence[index + 1] if index + 1 < len(sequence) else None
    return after.value if isinstance(after, Literal) else b""


def _regex(sequence: Sequence, field: Callable[[Field, bytes], bytes]) -> bytes:
    parts = []
    for index, element in enumerate(sequence):
        match element:
            case Literal():
                parts.append(re.escape(element.value))
            case Field():
                parts.append(field(element, following_literal(sequence, index)))
            case Maybe():
                parts.append(b"(?>%s|)" % _regex(element.body, field))
            case Choice():
                alternatives = (_regex(one, field) for one in element.alternatives)
                parts.append(b"(?>%s)" % b"|".join(alternatives))
    return b"".join(parts)


def bounds(sequence: Sequence) -> tuple[int, int]:
    """The lengths of the shortest and of the longest message, in bytes."""
    least = most = 0
    for element in sequence:
        low, high = _element_bounds(element)
        least, most = least + low, most + high
    return least, most


def _element_bounds(element: Literal | Field | Maybe | Choice) -> tuple[int, int]:
    match element:
        case Literal():
            return len(element.value), len(element.value)
        case Field():
            kind = RULE_FIELDS[element.name]
            return kind.least, kind.most
        case Maybe():
            return 0, bounds(element.body)[1]
        case Choice():
            each = [bounds(alternative) for alternative in element.alternatives]
            return min(low for low, _ in each), max(high for _, high in each)


def first_bytes(sequence: Sequence, follow: frozenset[int]) -> frozenset[int]:
    """The bytes that may come first where ``sequence`` and then one of ``follow`` is expected."""
    for element in reversed(sequence):
        match element:
            case Literal():
                follow = frozenset(element.value[:1])
            case Field():
                follow = RULE_FIELDS[element.name].allowed
            case Maybe():
                follow |= first_bytes(element.body, follow)
            case Choice():
                follow = frozenset().union(
                    *(first_bytes(one, follow) for one in element.alternatives)
                )
    return follow
