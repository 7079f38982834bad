r"""The grammar of pattern files: text in, syntax tree out.

Line ends are white space, with one exception.  A statement begins with a keyword that is the first
word of its line, and a keyword in that place always begins a statement; so ``tag`` is a statement
at the beginning of a line and a field elsewhere.  Every other line continues the one before.

Strings know the escapes ``\"``, ``\\``, ``\t`` and ``\xHH``; all else stands for its UTF-8
encoding.  What the grammar cannot express is an error here; what it can express but is unsafe or
makes no sense is an error in :mod:`pbs_watch.pattern.compile`.

Importing this module imports pyparsing, which takes longer than all the rest of a short command:
import it where a pattern file is really read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

import pyparsing as pp

from pbs_watch.pattern.syntax import (
    Choice,
    CutLengthStatement,
    CutStartStatement,
    Element,
    ExampleStatement,
    Field,
    FormatStatement,
    HeaderStatement,
    JoinStatement,
    Literal,
    Maybe,
    NearStatement,
    RuleStatement,
    Sequence,
    Source,
    TagStatement,
)

STATEMENTS = (
    *("format", "header", "tag", "cut", "near"),
    *("login", "end", "open", "fail", "join", "example"),
)
"""The keywords that begin a statement."""

_STRING = r'"(?:[^"\\\x00-\x1f\x7f]|\\["\\t]|\\x[0-9A-Fa-f]{2})*"'
_ESCAPE = re.compile(rb'\\(["\\t]|x[0-9A-Fa-f]{2})')
_COMMENT = re.compile(rf"({_STRING})|#[^\n]*")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse(source: Source) -> tuple[FormatStatement, ...]:
    """The formats of a pattern file.

    Raises :class:`pbs_watch.errors.PatternError` where the text is not in the language.
    """
    try:
        return tuple(_file().parse_string(_without_comments(source.text)))
    except pp.ParseBaseException as error:
        raise _explained(source, error) from None
    except RecursionError:
        raise source.error(0, "brackets are nested too deeply; write it flatter") from None


def _without_comments(text: str) -> str:
    """The text with comments blanked; offsets stay.  pyparsing's ignore() doubles the time."""
    return _COMMENT.sub(lambda found: found[1] or " " * len(found[0]), text)


def _explained(source: Source, error: pp.ParseBaseException) -> Exception:
    at = len(source.text) - len(source.text[error.loc :].lstrip())
    rest = source.text[at:]
    if rest.startswith('"') and not re.match(_STRING, rest):
        return source.error(at, r"this string has no end, or an escape other than \" \\ \t \xHH")
    found = re.match(r"\S+", rest)
    what = error.msg[:1].lower() + error.msg[1:]
    return source.error(at, f"{what}, but found {found[0] if found else 'the end of the file'}")


def _unescaped(text: str) -> bytes:
    """The bytes that a string in double quotes stands for."""

    def byte(match: re.Match[bytes]) -> bytes:
        code = match[1]
        return bytes.fromhex(code[1:].decode()) if len(code) == 3 else code.replace(b"t", b"\t")

    return _ESCAPE.sub(byte, text[1:-1].encode())


def _duration(text: str) -> float:
    unit = text.lstrip("0123456789.")
    return float(text.removesuffix(unit)) * _SECONDS[unit]


def _flat(elements: Iterable[Element]) -> Sequence:
    """The elements with adjacent literals made one and without brackets that only group."""
    flat: list[Element] = []
    for element in elements:
        if isinstance(element, Choice) and len(element.alternatives) == 1:
            inner = element.alternatives[0]
        else:
            inner = (element,)
        for one in inner:
            last = flat[-1] if flat else None
            if isinstance(one, Literal) and isinstance(last, Literal) and one.value and last.value:
                flat[-1] = Literal(last.value + one.value, last.at)
            else:
                flat.append(one)
    return tuple(flat)


def _first_on_line(text: str, at: int, _: pp.ParseResults) -> bool:
    return not text[text.rfind("\n", 0, at) + 1 : at].strip()


def _no_statement(text: str, at: int, tokens: pp.ParseResults) -> bool:
    return tokens[0] not in STATEMENTS or not _first_on_line(text, at, tokens)


def _begin(keyword: str) -> pp.ParserElement:
    """The keyword of a statement, first on its line."""
    token = pp.Regex(rf"{keyword}(?![\w./-])").set_name(f"{keyword} at the beginning of a line")
    return token.add_condition(_first_on_line).suppress()


def _word(regex: str, what: str) -> pp.ParserElement:
    """A word that is not the keyword of the next statement."""
    return pp.Regex(regex).add_condition(_no_statement, message=f"Expected {what}").set_name(what)


def _keyword(word: str) -> pp.ParserElement:
    return pp.Keyword(word).set_name(word).suppress()


def _one_of(words: str) -> pp.ParserElement:
    *others, last = words.split()
    return pp.one_of(words, as_keyword=True).set_name(f"{', '.join(others)} or {last}")


def _number(what: str) -> pp.ParserElement:
    number = pp.Regex(r"\d{1,9}(?![\w.])").set_parse_action(lambda tokens: int(tokens[0]))
    return number.set_name(what)


def _string() -> pp.ParserElement:
    string = pp.Regex(_STRING).set_name("a string in double quotes")
    return string.set_parse_action(lambda _, at, tokens: Literal(_unescaped(tokens[0]), at))


def _time() -> pp.ParserElement:
    time = pp.Regex(r"\d{1,9}(?:\.\d{1,3})?(?:ms|s|m|h|d)\b").set_name("a duration such as 90s")
    return time.set_parse_action(lambda tokens: _duration(tokens[0]))


def _sequence() -> pp.ParserElement:
    """Elements in a row."""
    sequence = pp.Forward()
    field = _word(r"[A-Za-z][\w-]*", "a field")
    field.add_parse_action(lambda _, at, tokens: Field(tokens[0], at))
    maybe = pp.Suppress("[") - sequence - pp.Suppress("]")
    maybe.set_parse_action(lambda _, at, tokens: Maybe(tokens[0], at))
    alternatives = sequence + pp.ZeroOrMore(pp.Suppress("|") - sequence)
    choice = pp.Suppress("(") - alternatives - pp.Suppress(")")
    choice.set_parse_action(lambda _, at, tokens: Choice(tuple(tokens), at))
    element = (_string() | field | maybe | choice).set_name("a string, a field, [ or (")
    sequence <<= pp.OneOrMore(element).set_parse_action(lambda tokens: [_flat(tokens)])
    return sequence


def _cut(sequence: pp.ParserElement) -> pp.ParserElement:
    suspicion = (
        _number("how many bytes are suspect")
        - _keyword("bytes")
        - _keyword("or")
        - _time()
    )  # fmt: skip
    length = pp.Opt(_number("a length"), default=0) + _keyword("then") - suspicion
    length.set_parse_action(lambda _, at, t: CutLengthStatement(t[0], t[1], t[2], at))
    start = _string() + pp.Opt(_keyword("without") - sequence, default=())
    start.set_parse_action(lambda _, at, t: CutStartStatement(t[0], t[1], at))
    return _begin("cut") - (length | start).set_name("a length, then or a string")


def _example() -> pp.ParserElement:
    quoted = _string().add_parse_action(lambda tokens: tokens[0].value)
    bare = pp.Regex(r'[^\s"#]+').set_parse_action(lambda tokens: tokens[0].encode())
    value = (quoted | bare).set_name("a word or a string")
    lines = pp.OneOrMore(_string()).set_parse_action(lambda tokens: [tuple(tokens)])
    example = (
        _begin("example")
        - _one_of("login end cut near nothing")
        - lines
        - pp.Opt(_keyword("user") - value, default=None)
        - pp.Opt(_keyword("address") - value, default=None)
    )
    return example.set_parse_action(lambda _, at, t: ExampleStatement(t[0], t[1], t[2], t[3], at))


def _rule(kind: str, flag: str, sequence: pp.ParserElement) -> pp.ParserElement:
    marked = pp.Opt(pp.Keyword(flag), default="") - sequence if flag else sequence
    rule = _begin(kind) - marked
    return rule.set_parse_action(
        lambda _, at, t: RuleStatement(kind, t[0] if flag else "", t[-1], at)
    )


@cache
def _file() -> pp.ParserElement:
    """The grammar of a whole file."""
    sequence = _sequence()
    name = _word(r"[A-Za-z0-9_./-]+", "a name")
    header = _begin("header") - (_keyword("syslog") | sequence).set_name("syslog or elements")
    header.set_parse_action(lambda _, at, t: HeaderStatement(t[0] if t else (), at))
    value = name.copy().add_parse_action(lambda _, at, t: Literal(t[0].encode(), at))
    tag = _begin("tag") - pp.OneOrMore(value)
    tag.set_parse_action(lambda _, at, tokens: TagStatement(tuple(tokens), at))
    near = _begin("near") - _string()
    near.set_parse_action(lambda _, at, tokens: NearStatement(tokens[0], at))
    join = _begin("join") - _one_of("pid session") - _keyword("within") - _time()
    join.set_parse_action(lambda _, at, t: JoinStatement(t[0], t[1], at))
    rules = (
        _rule(kind, flag, sequence)
        for kind, flag in (("login", "hold"), ("end", "norenew"), ("open", ""), ("fail", ""))
    )
    statement = pp.MatchFirst([_example(), *rules, _cut(sequence), near, header, tag, join])
    one = _begin("format") - name - pp.Group(pp.ZeroOrMore(statement))
    one.set_parse_action(lambda _, at, t: FormatStatement(t[0], tuple(t[1]), at))
    end = pp.Regex(r"\Z").set_name("a string, a field, or a statement at the beginning of a line")
    return (pp.OneOrMore(one) + end.suppress()).parse_with_tabs()
