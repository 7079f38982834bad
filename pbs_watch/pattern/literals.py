"""Choosing the literals that the scanner searches for.

A block of the log is searched for a literal first, and a rule runs only around the hits; so the
fewer and the rarer the literals of a format, the faster its scan.  The choice is greedy: the text
that most rules contain outside of their options, then the longest.  For Courier that is
``, user=``, one search for all its rules.
"""

from __future__ import annotations

from collections.abc import Sequence as Listing

from pbs_watch.pattern.syntax import Choice, Literal, Sequence

SHORTEST = 3
"""Bytes; a shorter literal is found on too many lines to be worth a search."""
_SHORTEST_SHARED = 6
"""Bytes of a literal for which a rule gives up a longer one of its own."""


def choose(rules: Listing[Sequence], otherwise: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], ...]:
    """For each rule, literals of which every one of its messages contains at least one.

    ``otherwise`` serves the rules that have no literal of :data:`SHORTEST` bytes; where it is
    empty, their result is empty too.
    """
    chosen: dict[int, tuple[bytes, ...]] = {}
    while shared := _most_shared(
        {index: _always(rule) for index, rule in enumerate(rules) if index not in chosen}
    ):
        chosen.update(
            (i, (shared,))
            for i, rule in enumerate(rules)
            if i not in chosen and any(shared in text for text in _always(rule))
        )
    return tuple(chosen.get(i) or _own(rule) or otherwise for i, rule in enumerate(rules))


def _always(rule: Sequence) -> list[bytes]:
    """The literals that stand in every message of the rule."""
    return [element.value for element in rule if isinstance(element, Literal)]


def _most_shared(rules: dict[int, list[bytes]]) -> bytes:
    """The text that stands in most of the rules, and in two at least; empty: there is none."""
    count: dict[bytes, int] = {}
    for texts in rules.values():
        for part in {part for text in texts for part in _parts(text)}:
            count[part] = count.get(part, 0) + 1
    shared = [part for part, rules_with_it in count.items() if rules_with_it > 1]
    return max(shared, key=lambda part: (count[part], len(part), part), default=b"")


def _parts(text: bytes) -> set[bytes]:
    size = len(text)
    return {
        text[start:end]
        for start in range(size)
        for end in range(start + _SHORTEST_SHARED, size + 1)
    }


def _own(rule: Sequence) -> tuple[bytes, ...]:
    """The rule's longest literal, else one of each alternative of the best ``( | )``."""
    sets: list[tuple[bytes, ...]] = [(text,) for text in _always(rule)]
    for element in rule:
        if isinstance(element, Choice):
            each = [_own(alternative) for alternative in element.alternatives]
            sets.append(
                tuple(sorted({text for texts in each for text in texts})) if all(each) else ()
            )
    usable = [texts for texts in sets if texts and min(map(len, texts)) >= SHORTEST]
    return max(usable, key=lambda texts: (-len(texts), min(map(len, texts))), default=())
