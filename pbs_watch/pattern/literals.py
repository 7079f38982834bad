"""Choosing the literals that the scanner searches for.

A block of the log is searched for a literal first, and a rule runs only around the hits.  The
choice is greedy: the text that most rules contain outside of their options, then the longest, but
none that ordinary lines of a mail log contain (:mod:`pbs_watch.pattern.rare`).  For Courier that is
``, user=``, one search for all its rules.
"""

from __future__ import annotations

from collections.abc import Sequence as Listing

from pbs_watch.pattern.rare import SHORTEST, containing, cover, rare
from pbs_watch.pattern.syntax import Choice, Literal, Maybe, Sequence

_SHORTEST_SHARED = 6
"""Bytes of a literal for which a rule gives up a longer one of its own."""


def choose(rules: Listing[Sequence], otherwise: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], ...]:
    """For each rule, literals of which every one of its messages contains at least one.

    ``otherwise`` serves the rules that have no rare one; where there is none, one that is not
    rare does.
    """
    standing = [rare(always(rule)) for rule in rules]
    shared = cover(standing, _SHORTEST_SHARED)
    chosen = (
        containing(shared, texts) or _own(rule) for rule, texts in zip(rules, standing, strict=True)
    )
    return tuple(
        texts or otherwise or _own(rule, common=True)
        for rule, texts in zip(rules, chosen, strict=True)
    )


def always(rule: Sequence) -> tuple[bytes, ...]:
    """The literals that stand in every message of the rule."""
    return tuple(element.value for element in rule if isinstance(element, Literal))


def leads(rule: Sequence) -> tuple[tuple[bytes, ...], ...]:
    """For each of these literals what may stand right before it; empty: anything."""
    return tuple(
        tuple(sorted(_endings({b""}, rule[:index])))
        for index, element in enumerate(rule)
        if isinstance(element, Literal)
    )


_MOST_ENDINGS = 64


def _endings(before: set[bytes], sequence: Sequence) -> set[bytes]:
    """How what comes before, and then the sequence, may end; empty: in any way."""
    for element in sequence:
        match element:
            case Literal():
                before = {end + element.value for end in before}
            case Maybe():
                before = before | _endings(before, element.body)
            case Choice():
                before = set().union(*(_endings(before, one) for one in element.alternatives))
            case _:
                before = {b""}
        if len(before) > _MOST_ENDINGS:
            before = {b""}
    return before


def _own(rule: Sequence, *, common: bool = False) -> tuple[bytes, ...]:
    """The rule's longest literal, else one of each alternative of the best ``( | )``.

    ``common``: one that is not rare will do.
    """
    texts = always(rule)
    sets: list[tuple[bytes, ...]] = [(text,) for text in (texts if common else rare(texts))]
    for element in rule:
        if isinstance(element, Choice):
            each = [_own(alternative, common=common) for alternative in element.alternatives]
            sets.append(
                tuple(sorted({text for texts in each for text in texts})) if all(each) else ()
            )
    usable = [texts for texts in sets if texts and min(map(len, texts)) >= SHORTEST]
    return max(usable, key=lambda texts: (-len(texts), min(map(len, texts))), default=())
