"""The pattern language cannot express an unsafe rule, and says what to write instead."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbs_watch.errors import PatternError
from pbs_watch.log.header import SYSLOG_HEADER
from pbs_watch.pattern.compile import compile_formats
from pbs_watch.pattern.explain import fits
from pbs_watch.pattern.expression import message_regex
from pbs_watch.pattern.format import Cut, Format, Join, Kind, Near
from pbs_watch.pattern.grammar import parse
from pbs_watch.pattern.library import load_file, shipped
from pbs_watch.pattern.syntax import Choice, Element, Field, Literal, Maybe, Sequence, Source

EXPRESSIBLE = Path(__file__).parents[1] / "fixtures" / "patterns" / "expressible.pattern"


def compiled(text: str) -> tuple[Format, ...]:
    source = Source("some.pattern", text)
    return compile_formats(source, parse(source))


def with_rule(*statements: str, header: str = "tag t") -> str:
    return "\n    ".join(("format f", header, *statements))


def test_a_format_is_compiled_with_all_it_says() -> None:
    (fmt,) = compiled(
        """# a comment
        format f  # another
            header syslog
            tag    one two
                   login-3
            cut    504 then 4096 bytes or 1s
            cut    "FAILED " without " from " address "#"
            near   "ser "
            near   "word"
            join   pid within 2m
            open   "from " address
            login  "user " user
            fail   "failed"
            end    norenew "bye, " user " at " address " after " seconds
        """
    )
    assert (fmt.name, fmt.header, fmt.join) == ("f", SYSLOG_HEADER, Join("pid", 120.0))
    assert fmt.tags == {b"one", b"two", b"login-3"}
    assert isinstance(fmt.cut, Cut)
    assert (fmt.cut.length, fmt.cut.bytes, fmt.cut.seconds) == (504, 4096, 1.0)
    assert [(rule.kind, rule.renew, rule.line) for rule in fmt.rules] == [
        (Kind.OPEN, True, 11),
        (Kind.LOGIN, True, 12),
        (Kind.FAIL, True, 13),
        (Kind.END, False, 14),
    ]
    assert fmt.near == (Near(b"ser ", 8), Near(b"word", 9))
    assert set(fmt.rules[3].groups) == {"user", "address", "seconds"}


def test_strings_stand_for_bytes() -> None:
    (fmt,) = compiled(with_rule(r'login "\"\\\t\xff\x41é#" user " " address'))
    assert fmt.rules[0].regex.match(b'"\\\t' + b"\xffA" + "é#bob 192.0.2.1".encode())


LOGIN = '"LOGIN " user " from " address'

UNSAFE = {
    "free text after the address": ('login "LOGIN " address " as " user "."', "after the address"),
    "text after the address": ('login "LOGIN " user " " address " " text "."', "word or number"),
    "free text after it in options": (
        'login "LOGIN " [ "x" ] address [ " as " user "." ]',
        "after the address",
    ),
    "free text without an end": ('login "LOGIN " user [ "," ] " " address', "followed by a string"),
    "free text at the end": ('login "LOGIN " address [ text ]', "followed by a string"),
    "free text at the beginning": (
        'login [ "x" ] text " user " user " " address',
        "must not begin",
    ),
    "two addresses": ('login "LOGIN " user " from " address " or " address', "address twice"),
    "two users": ('login "LOGIN " name " as " user " from " address', "user twice"),
    "addresses in alternatives": (
        'login "LOGIN " user " " ( "a" address | "b" address )',
        "address twice",
    ),
    "an optional address": ('login "LOGIN " user " " [ address ]', "must have its address"),
    "a login without address": ('login "LOGIN " user "."', "has no address"),
    "a login without user": ('login "LOGIN from " address', "has no user"),
    "an end without user": ('end "LOGOUT from " address', "has no user"),
    "a field that swallows": ('login "LOGIN " user " " address [ ":" port ]', "would take"),
    "two fields in a row": ('login "LOGIN " user " from " word address', "would take"),
    "an unknown field": ('login "LOGIN " usr " from " address', "did you mean user?"),
    "an empty string": ('login "LOGIN " user " from " address [ "" ]', "is empty"),
    "a newline": (r'login "LOGIN\x0a" user " from " address', "newline"),
    "open without join": ('open "from " address\n login ' + LOGIN, "write join"),
    "fail without join": ('fail "failed"\n login ' + LOGIN, "write join"),
    "a needless join": ("join pid within 1s\n login " + LOGIN, "leave the join out"),
    "a join without open": ('join pid within 1s\n login "LOGIN " user', "no rule that this one"),
    "a join without key": (
        'join session within 1s\n open "from " address\n login "by " user " " session',
        "no session",
    ),
    "two joins": ("join pid within 1s\n join pid within 1s\n login " + LOGIN, "only once"),
    "no rule": ("cut 504 then 1 bytes or 1s", "recognizes nothing"),
    "cuts without suspicion": ('cut "ID "\n login ' + LOGIN, "cut 504 then"),
    "a short start of a cut": ('cut then 1 bytes or 1s\n cut "I"\n login ' + LOGIN, "too short"),
    "an empty near": ('near ""\n login ' + LOGIN, "is empty; leave"),
    "a short near": ('near "IN"\n login ' + LOGIN, "too short"),
    "a near with a newline": (r'near "LOGIN\x0a"' + "\n login " + LOGIN, "newline"),
    "a tail that may be empty": (
        'cut then 1 bytes or 1s\n cut "ID " without [ "x" ]\n login ' + LOGIN,
        "every message has this tail",
    ),
    "a tail of free text": (
        'cut then 1 bytes or 1s\n cut "ID " without text "x"\n login ' + LOGIN,
        "no free text",
    ),
}


@pytest.mark.parametrize(("rule", "complaint"), UNSAFE.values(), ids=UNSAFE.keys())
def test_an_unsafe_rule_is_refused_with_the_place_and_the_remedy(rule: str, complaint: str) -> None:
    with pytest.raises(PatternError) as refused:
        compiled(with_rule(rule))
    first, *more = str(refused.value).split("\n")
    assert complaint in first
    assert "; " in first
    assert not more
    path, line, column, _ = first.split(":", 3)
    shown, caret = refused.value.excerpt.split("\n")
    assert path == "some.pattern"
    assert with_rule(rule).split("\n")[int(line) - 1] == shown
    assert caret == " " * (int(column) - 1) + "^"


UNSAFE_HEADERS = {
    "no stamp": ('header host " "', "exactly one stamp"),
    "two stamps": ('header bsd " " slash', "exactly one stamp"),
    "an optional stamp": ("header [ bsd ]", "exactly one stamp"),
    "a tag statement without a tag": ('header bsd " "\n tag t', "carries no tag"),
    "a tag without a tag statement": ('header bsd " " tag ": "', "write tag"),
    "an optional tag": ('header bsd [ tag ": " ]\n tag t', "always be there"),
    "a captured field": ('header bsd " " address', "a header has no field address"),
    "two hosts": ('header bsd " " host " " host', "one host"),
    "a tag that is none": ("header syslog\n tag pop3d:", "expected"),
    "a tag that is too long": ("header syslog\n tag " + "t" * 65, "at most 64"),
}


@pytest.mark.parametrize(("header", "complaint"), UNSAFE_HEADERS.values(), ids=UNSAFE_HEADERS)
def test_a_header_has_one_stamp_and_a_tag_if_and_only_if_tags_are_named(
    header: str, complaint: str
) -> None:
    with pytest.raises(PatternError, match=complaint):
        compiled(with_rule("login " + LOGIN, header=header))


def test_alternatives_of_stamps_are_one_stamp() -> None:
    (fmt,) = compiled(
        with_rule("login " + LOGIN, header='header ( bsd | rfc3339 ) " " tag ": "\ntag t')
    )
    assert fmt.header.regex.match(b"Nov 22 08:00:00 t: x")
    assert fmt.header.regex.match(b"2026-11-22T08:00:00Z t: x")


def test_a_name_is_given_to_one_format_of_a_file() -> None:
    with pytest.raises(PatternError, match=r"4:1: there is a format f above"):
        compiled(with_rule("login " + LOGIN) + "\n" + with_rule("login " + LOGIN))


SYNTAX = {
    "format f\n    tag t\n    login }": "3:11: expected a string, a field",
    'format f\n    login "abc': "2:11: this string has no end",
    'format f\n    login "a\\q"': "2:11: this string has no end, or an escape",
    'format f\n    login "a" [ "b" ( "c" ]': "2:27: expected ')', but found ]",
    "format f\n    join foo within 3s": "2:10: expected pid or session, but found foo",
    "format f\n    join pid within 3x": "2:21: expected a duration such as 90s, but found 3x",
    'format f\n    example win "x"': "2:13: expected login, end, cut, near or nothing, but",
    "format f\n    near user": "2:10: expected a string in double quotes, but found user",
    'format f\n    near "a" "b"': "2:14: expected a string, a field, or a statement",
    "header syslog": "1:1: expected format at the beginning of a line, but found header",
    "": "1:1: expected format at the beginning of a line, but found the end of the file",
    "format f\n    login " + "[" * 9999: "nested too deeply",
}


@pytest.mark.parametrize(("text", "complaint"), SYNTAX.items(), ids=SYNTAX.values())
def test_a_syntax_error_says_where_and_what_was_expected(text: str, complaint: str) -> None:
    with pytest.raises(PatternError) as refused:
        compiled(text)
    assert complaint in str(refused.value)


def test_the_user_ends_at_the_first_occurrence_of_what_follows_it() -> None:
    (fmt,) = compiled(with_rule("login " + LOGIN))
    regex = fmt.rules[0].regex
    assert regex.match(b"LOGIN al ice from 192.0.2.1")
    assert not regex.match(b"LOGIN al from 192.0.2.66 from 192.0.2.1")
    assert not regex.match(b"LOGIN  from 192.0.2.66 from 192.0.2.1")


@pytest.mark.parametrize("byte", [b"\0", b"\r", b"\n", b"\t", b"\x1f", b"\x7f"])
def test_no_field_holds_a_control_byte(byte: bytes) -> None:
    (fmt,) = compiled(with_rule("login " + LOGIN))
    assert not fmt.rules[0].regex.match(b"LOGIN al" + byte + b"ice from 192.0.2.1")
    assert not fmt.rules[0].regex.match(b"LOGIN alice from 192.0.2.1" + byte)


def test_a_field_leaves_the_string_after_it_where_it_could_take_it() -> None:
    (fmt,) = compiled(with_rule('login "LOGIN " user " " address ":" port'))
    found = fmt.rules[0].regex.match(b"LOGIN bob 2001:db8::1:110")
    assert found
    assert (found["address"], found["port"]) == (b"2001:db8::1", b"110")


def test_the_rules_of_a_format_share_a_literal_where_they_can() -> None:
    (fmt,) = compiled(
        with_rule(
            'login "LOGIN, user=" user ", ip=[" address "]"',
            'end ( "OUT" | "GONE" ) ", user=" user ", ip=[" address "]"',
            'end ( "quit " | "gone " ) name " " address',
            'end name " " address',
        )
    )
    assert [rule.literals for rule in fmt.rules] == [
        (b", user=",),
        (b", user=",),
        (b"gone ", b"quit "),
        (b"t:", b"t["),
    ]


def test_a_rule_without_anything_to_search_for_is_refused_where_there_is_no_tag() -> None:
    with pytest.raises(PatternError, match="nothing to search for"):
        compiled(with_rule('login name " " address', header='header bsd " "'))


# Matching


TEXTS = st.sampled_from([b"a", b"b", b"1", b" ", b"ab", b", ", b"a1"])
FIELDS = st.sampled_from(["number", "word", "text", "ip", "host", "pid"])


def sequences(elements: st.SearchStrategy[Element]) -> st.SearchStrategy[Sequence]:
    return st.lists(elements, min_size=1, max_size=4).map(tuple)


ELEMENTS: st.SearchStrategy[Element] = st.recursive(
    TEXTS.map(lambda text: Literal(text, 0)) | FIELDS.map(lambda name: Field(name, 0)),
    lambda inner: (
        sequences(inner).map(lambda body: Maybe(body, 0))
        | st.lists(sequences(inner), min_size=2, max_size=3).map(
            lambda all_: Choice(tuple(all_), 0)
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(sequences(ELEMENTS), st.lists(TEXTS, max_size=10).map(b"".join))
def test_a_rule_takes_what_its_elements_take_one_after_the_other(
    body: Sequence, message: bytes
) -> None:
    assert bool(message_regex(body).match(message)) == fits(body, message)


def best_of_three(run: Callable[[list[bytes]], None], messages: list[bytes]) -> float:
    """Seconds."""

    def once() -> float:
        begun = time.perf_counter()
        run(messages)
        return time.perf_counter() - begun

    return min(once() for _ in range(3))


def hostile(fmt: Format) -> list[bytes]:
    """Texts whose repetition makes a rule hope for long: its own lines and their pieces."""
    texts = {b"A", b" ", b"1", b", ip=[", b", user=", b"ip=[1", b"ip=[1.2.3.4], port=[1"}
    for example in fmt.examples:
        for line in example.lines:
            head = fmt.header.regex.match(line)
            message = line[head.end() if head else 0 :]
            places = [
                0,
                *(found for found in range(1, len(message)) if message[found : found + 1] == b" "),
            ]
            texts |= {message} | {message[a:b] for a, b in pairwise(places)}
    return sorted(texts)


@pytest.mark.parametrize(
    "fmt",
    [
        fmt
        for path in (*sorted(shipped().glob("*.pattern")), EXPRESSIBLE)
        for fmt in load_file(path)
    ],
    ids=lambda fmt: fmt.name,
)
def test_matching_takes_linear_time(fmt: Format) -> None:
    cuts = fmt.cut.rules if fmt.cut else ()

    def match_all(messages: list[bytes]) -> None:
        for message in messages:
            for rule in fmt.rules:
                rule.regex.match(message)
            for cut in cuts:
                if cut.tail and message.startswith(cut.starts):
                    cut.tail.search(message)

    for text in hostile(fmt):
        short, long = (
            [start + text * (size // len(text)) for start in (b"", *(cut.starts for cut in cuts))]
            for size in (20_000, 200_000)
        )
        once, tenfold = best_of_three(match_all, short), best_of_three(match_all, long)
        assert tenfold < 20 * once + 0.01, text
