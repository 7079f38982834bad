"""What makes a rule unsafe or meaningless: each check raises a :class:`PatternError`.

The dangers are those of facts/courier.md, "Text a client controls": a client that can choose part
of a line must not be able to choose where the address is read.  Hence free text ends at the first
occurrence of the literal after it, never comes after the address, and never begins a message.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from pbs_watch.pattern.expression import bounds, first_bytes, following_literal
from pbs_watch.pattern.fields import RULE_FIELDS
from pbs_watch.pattern.syntax import Choice, Field, Literal, Maybe, Sequence, Source, fields


def did_you_mean(word: str, known: Collection[str]) -> str:
    """``did you mean x?`` or, where nothing is near, everything there is."""
    near = get_close_matches(word, known, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"


def check_words(source: Source, sequence: Sequence, known: Collection[str], where: str) -> None:
    """Every field exists and every literal says something."""
    for element in sequence:
        match element:
            case Field() if element.name not in known:
                raise source.error(
                    element.at,
                    f"{where} has no field {element.name}; {did_you_mean(element.name, known)}",
                )
            case Literal():
                check_literal(source, element)
            case Maybe():
                check_words(source, element.body, known, where)
            case Choice():
                for alternative in element.alternatives:
                    check_words(source, alternative, known, where)


def check_literal(source: Source, literal: Literal) -> None:
    """It is not empty and has no newline, which no line contains."""
    if not literal.value:
        raise source.error(literal.at, "this string is empty; leave it out")
    if b"\n" in literal.value:
        raise source.error(literal.at, "no line contains a newline; leave \\x0a out")


def check_once(source: Source, sequence: Sequence) -> None:
    """Each captured field occurs once, so that nobody has to ask which of them counts."""
    seen: dict[str, Field] = {}
    for field in fields(sequence):
        group = RULE_FIELDS[field.name].captured
        if group and group in seen:
            raise source.error(
                field.at,
                f"this rule captures {group} twice; write two rules, or use ip, word, number or "
                "text, which capture nothing",
            )
        seen[group] = field


def check_free_text(source: Source, sequence: Sequence, *, last: bool) -> None:
    """Free text is ended by a literal; at the very end of a message only where ``last`` allows."""
    for index, element in enumerate(sequence):
        match element:
            case Field() if RULE_FIELDS[element.name].free:
                ended = following_literal(sequence, index) or (last and element is sequence[-1])
                if not ended:
                    raise source.error(
                        element.at,
                        f"{element.name} is free text and must be followed by a string that ends "
                        "it; write the string in the same brackets, or use name or word",
                    )
            case Maybe():
                check_free_text(source, element.body, last=False)
            case Choice():
                for alternative in element.alternatives:
                    check_free_text(source, alternative, last=False)


def check_no_free_text_after_address(source: Source, sequence: Sequence) -> None:
    """What a client may write freely stands before the address, never after it."""
    _free_text_after_address(source, sequence, after=False)


def _free_text_after_address(source: Source, sequence: Sequence, *, after: bool) -> bool:
    for element in sequence:
        match element:
            case Field():
                if after and RULE_FIELDS[element.name].free:
                    raise source.error(
                        element.at,
                        f"{element.name} is free text and must not come after the address; use "
                        f"{'name' if element.name == 'user' else 'word or number'}",
                    )
                after = after or element.name == "address"
            case Maybe():
                after = _free_text_after_address(source, element.body, after=after)
            case Choice():
                each = [
                    _free_text_after_address(source, alternative, after=after)
                    for alternative in element.alternatives
                ]
                after = any(each)
    return after


def check_beginning(source: Source, sequence: Sequence) -> None:
    """Free text does not begin the message: that would be no anchor at all."""
    for element in sequence:
        match element:
            case Field() if RULE_FIELDS[element.name].free:
                raise source.error(
                    element.at,
                    f"a message must not begin with {element.name}, which is free text; begin "
                    "with a string, or use name or word",
                )
            case Maybe():
                check_beginning(source, element.body)
            case Choice():
                for alternative in element.alternatives:
                    check_beginning(source, alternative)
        if bounds((element,))[0]:
            return


def check_swallowing(
    source: Source, sequence: Sequence, follow: frozenset[int] = frozenset()
) -> None:
    """No field takes the first byte of what is expected after it, since it gives nothing back."""
    for index in range(len(sequence) - 1, -1, -1):
        element = sequence[index]
        match element:
            case Field() if not following_literal(sequence, index):
                kind = RULE_FIELDS[element.name]
                swallowed = kind.allowed & follow
                if swallowed and not kind.free:
                    example = chr(min(swallowed))
                    raise source.error(
                        element.at,
                        f"{element.name} would take what may follow it (such as {example!r}); put "
                        "a string right after it, or write two rules",
                    )
            case Maybe():
                check_swallowing(source, element.body, follow)
            case Choice():
                for alternative in element.alternatives:
                    check_swallowing(source, alternative, follow)
        follow = first_bytes((element,), follow)


def always(sequence: Sequence) -> frozenset[str]:
    """What every message of a rule captures: the fields outside of ``[ ]`` and ``( | )``."""
    names = (element.name for element in sequence if isinstance(element, Field))
    return frozenset(RULE_FIELDS[name].captured for name in names) - {""}
