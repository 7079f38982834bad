r"""From the syntax tree to the values of :mod:`pbs_watch.pattern.format`.

Whatever compiles here is safe by construction: the message is anchored at both ends, every field
is bounded, matching takes linear time (:mod:`pbs_watch.pattern.expression`), and no text of a
client stands where it could pass for the address (:mod:`pbs_watch.pattern.checks`).  Everything
else is a :class:`PatternError` with file, line, column, a caret and what to write instead.

Pure.  Examples are compiled, not run; that is :mod:`pbs_watch.pattern.forge`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar

from pbs_watch.log.header import STAMPS, SYSLOG_HEADER, TAG, Header
from pbs_watch.pattern import checks
from pbs_watch.pattern.expression import bounds, header_regex, message_regex
from pbs_watch.pattern.fields import HEADER_FIELDS, HEADER_GROUPS, RULE_FIELDS
from pbs_watch.pattern.format import Cut, CutRule, Example, Format, Join, Kind, Near, Rule
from pbs_watch.pattern.literals import always, choose, leads
from pbs_watch.pattern.rare import SHORTEST
from pbs_watch.pattern.syntax import (
    Choice,
    CutLengthStatement,
    CutStartStatement,
    ExampleStatement,
    Field,
    FormatStatement,
    HeaderStatement,
    JoinStatement,
    Maybe,
    NearStatement,
    RuleStatement,
    Sequence,
    Source,
    Statement,
    TagStatement,
    fields,
    notation,
)

_S = TypeVar("_S", bound=Statement)

_NEEDED = frozenset({"address", "user"})
"""What a login or an end says, by itself or with the lines it is joined to."""
_JOINED_TO = {"login": ("open",), "end": ("open", "login")}
"""The kinds of rules from which a joined rule takes what it lacks."""


def compile_formats(source: Source, parsed: Iterable[FormatStatement]) -> tuple[Format, ...]:
    """The formats of one file; raises :class:`PatternError`."""
    formats: dict[str, Format] = {}
    for statement in parsed:
        if statement.name in formats:
            raise source.error(
                statement.at, f"there is a format {statement.name} above; give it another name"
            )
        formats[statement.name] = _format(source, statement)
    return tuple(formats.values())


def _format(source: Source, parsed: FormatStatement) -> Format:
    header, tagged = _header(source, _one(source, parsed, HeaderStatement))
    tags = _tags(source, parsed, tagged=tagged)
    statement = _one(source, parsed, JoinStatement)
    join = Join(statement.by, statement.seconds) if statement else None
    return Format(
        name=parsed.name,
        path=source.path,
        header=header,
        tags=frozenset(tags),
        rules=_rules(source, parsed, header, tags, join),
        cut=_cut(source, parsed),
        near=tuple(_near(source, near) for near in _all(parsed, NearStatement)),
        join=join,
        examples=tuple(_example(source, example) for example in _all(parsed, ExampleStatement)),
    )


def _all(parsed: FormatStatement, kind: type[_S]) -> list[_S]:
    return [statement for statement in parsed.statements if isinstance(statement, kind)]


def _one(source: Source, parsed: FormatStatement, kind: type[_S]) -> _S | None:
    found = _all(parsed, kind)
    if len(found) > 1:
        raise source.error(found[1].at, "a format says this only once; remove one of the two")
    return found[0] if found else None


# Header and tags


def _header(source: Source, statement: HeaderStatement | None) -> tuple[Header, bool]:
    """The header, and whether it carries a tag."""
    if statement is None or not statement.elements:
        return SYSLOG_HEADER, True
    elements = statement.elements
    checks.check_words(source, elements, HEADER_FIELDS, "a header")
    seen = set()
    for field in fields(elements):
        if field.name in HEADER_GROUPS and field.name in seen:
            raise source.error(field.at, f"a header has one {field.name}; use word or number")
        seen.add(field.name)
    if _stamps(elements) != (1, 1):
        raise source.error(
            statement.at,
            f"a header has exactly one stamp; write one of {', '.join(STAMPS)}, or several as "
            "( bsd | rfc3339 )",
        )
    tagged = any(isinstance(one, Field) and one.name == "tag" for one in elements)
    if "tag" in seen and not tagged:
        raise source.error(
            statement.at, "the tag must always be there; write it outside of [ ] and ( | )"
        )
    return Header(notation(elements), header_regex(elements)), tagged


def _stamps(sequence: Sequence) -> tuple[int, int]:
    """How many stamps a header has at least and at most."""
    least = most = 0
    for element in sequence:
        match element:
            case Field() if element.name in STAMPS:
                least, most = least + 1, most + 1
            case Maybe():
                most += _stamps(element.body)[1]
            case Choice():
                each = [_stamps(alternative) for alternative in element.alternatives]
                least += min(low for low, _ in each)
                most += max(high for _, high in each)
    return least, most


def _tags(source: Source, parsed: FormatStatement, *, tagged: bool) -> list[bytes]:
    """The tags, sorted."""
    statement = _one(source, parsed, TagStatement)
    if statement is None:
        if tagged:
            raise source.error(
                parsed.at, "this header carries a tag; write tag and the names to accept"
            )
        return []
    if not tagged:
        raise source.error(statement.at, "this header carries no tag; leave the tags out")
    for name in statement.names:
        if not re.fullmatch(TAG, name.value):
            raise source.error(name.at, "a tag has at most 64 letters, digits and _ . / -")
    return sorted({name.value for name in statement.names})


# Cuts


def _cut(source: Source, parsed: FormatStatement) -> Cut | None:
    length = _one(source, parsed, CutLengthStatement)
    starts = _all(parsed, CutStartStatement)
    if length is None:
        if starts:
            raise source.error(
                starts[0].at,
                "say for how long a cut makes what follows suspect; write cut 504 then 4096 bytes "
                "or 1s (without a number before then if no length counts as cut)",
            )
        return None
    rules = tuple(_cut_rule(source, statement) for statement in starts)
    return Cut(length.length, length.bytes, length.seconds, rules)


def _cut_rule(source: Source, statement: CutStartStatement) -> CutRule:
    checks.check_literal(source, statement.starts)
    if len(statement.starts.value) < SHORTEST:
        raise source.error(
            statement.at, f"this start is too short; write {SHORTEST} bytes at least"
        )
    tail = statement.tail
    if not tail:
        return CutRule(statement.starts.value, None)
    checks.check_words(source, tail, RULE_FIELDS, "a rule")
    checks.check_once(source, tail)
    checks.check_swallowing(source, tail)
    if free := [field for field in fields(tail) if RULE_FIELDS[field.name].free]:
        raise source.error(free[0].at, "the tail of a whole line holds no free text; use word")
    if bounds(tail)[0] == 0:
        raise source.error(
            statement.at, "every message has this tail; write something outside of [ ]"
        )
    return CutRule(statement.starts.value, message_regex(tail))


# Near misses


def _near(source: Source, statement: NearStatement) -> Near:
    literal = statement.literal
    checks.check_literal(source, literal)
    if len(literal.value) < SHORTEST:
        raise source.error(literal.at, f"this is too short; write {SHORTEST} bytes at least")
    return Near(literal.value, source.line(statement.at))


# Rules


def _rules(
    source: Source, parsed: FormatStatement, header: Header, tags: list[bytes], join: Join | None
) -> tuple[Rule, ...]:
    statements = _all(parsed, RuleStatement)
    if not any(statement.kind in {"login", "end"} for statement in statements):
        raise source.error(parsed.at, "this format recognizes nothing; write a login or end rule")
    for statement in statements:
        _check_rule(source, statement, joined=join is not None)
    if join is not None:
        _check_join(source, parsed, header, join)
    # What is joined by the pid has one.
    ends = [b"["] if join is not None and join.by == "pid" else [b":", b"["]
    by_tag = tuple(
        tag + end for tag in tags for end in (ends if header is SYSLOG_HEADER else [b""])
    )
    literals = choose([statement.body for statement in statements], by_tag)
    return tuple(
        _rule(source, statement, texts)
        for statement, texts in zip(statements, literals, strict=True)
    )


def _rule(source: Source, statement: RuleStatement, literals: tuple[bytes, ...]) -> Rule:
    if not literals:
        raise source.error(
            statement.at,
            f"there is nothing to search for; write a string of at least {SHORTEST} bytes outside "
            "of [ ], or in every alternative of a ( | )",
        )
    regex = message_regex(statement.body)
    return Rule(
        kind=Kind(statement.kind),
        hold=statement.flag == "hold",
        renew=statement.flag != "norenew",
        pattern=regex.pattern,
        groups=dict(regex.groupindex),
        literals=literals,
        texts=always(statement.body),
        leads=leads(statement.body),
        longest=bounds(statement.body)[1],
        line=source.line(statement.at),
        body=statement.body,
    )


def _check_rule(source: Source, statement: RuleStatement, *, joined: bool) -> None:
    if statement.kind in {"open", "fail"} and not joined:
        raise source.error(
            statement.at,
            f"{statement.kind} means something only where two lines make a login; write join",
        )
    body = statement.body
    checks.check_words(source, body, RULE_FIELDS, "a rule")
    checks.check_once(source, body)
    names = {RULE_FIELDS[field.name].captured for field in fields(body)}
    checks.check_free_text(source, body, last="address" not in names)
    checks.check_beginning(source, body)
    checks.check_no_free_text_after_address(source, body)
    checks.check_swallowing(source, body)
    given = checks.always(body)
    for needed in ("address", "user", "session"):
        if needed in names and needed not in given:
            raise source.error(
                statement.at,
                f"every message of a rule must have its {needed}; write it outside of [ ] and "
                "( | ), or write two rules",
            )
        if needed != "session" and needed not in given and not joined:
            raise source.error(
                statement.at,
                f"this rule has no {needed}; write the field, or join and the rule of the line "
                "that has it",
            )


def _check_join(source: Source, parsed: FormatStatement, header: Header, join: Join) -> None:
    """Whatever a rule of a joined format lacks, another line has, and a key to find it by.

    Where nothing lacks, sessions may have names nevertheless, which tell those of one user apart.
    """
    at = _all(parsed, JoinStatement)[0].at
    if join.by == "pid" and "pid" not in header.regex.groupindex:
        raise source.error(at, "this header has no pid to join by; write join session")
    rules = _all(parsed, RuleStatement)
    given = {rule.at: checks.always(rule.body) for rule in rules}
    lacking = [rule for rule in rules if _NEEDED - given[rule.at]]
    named = all("session" in given[rule.at] for rule in rules if rule.kind == "end")
    if not lacking and not (join.by == "session" and named):
        raise source.error(at, "every rule is complete by itself; leave the join out")
    for rule in lacking:
        if join.by == "session" and "session" not in given[rule.at]:
            raise source.error(rule.at, "this rule has no session to join by; write the field")
        kinds = _JOINED_TO.get(rule.kind, ())
        others = [given[other.at] for other in rules if other.kind in kinds]
        keyed = [names for names in others if join.by == "pid" or "session" in names]
        missing = sorted(_NEEDED - given[rule.at].union(*keyed))
        if kinds and missing:
            raise source.error(
                rule.at,
                f"no rule that this one could be joined with has {' and '.join(missing)}; write "
                f"a rule of kind {' or '.join(kinds)} that has it",
            )


# Examples


def _example(source: Source, statement: ExampleStatement) -> Example:
    for line in statement.lines:
        checks.check_literal(source, line)
    return Example(
        lines=tuple(line.value for line in statement.lines),
        expect=statement.expect,
        user=statement.user,
        address=statement.address,
        line=source.line(statement.at),
    )
