"""A pattern proves itself when it is loaded: its examples hold, and forgeries of them do not."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbs_watch.errors import PatternError
from pbs_watch.grants.address import literal
from pbs_watch.log.header import Header
from pbs_watch.pattern.forge import FORGED, forgeries, verify
from pbs_watch.pattern.format import Format, Kind
from pbs_watch.pattern.library import load_file, load_text, shipped
from pbs_watch.pattern.matching import classify
from pbs_watch.pattern.syntax import Source

EXPRESSIBLE = Path(__file__).parents[1] / "fixtures" / "patterns" / "expressible.pattern"

SHIPPED = [fmt for path in sorted(shipped().glob("*.pattern")) for fmt in load_file(path)]

FORMAT = """format f
    tag pop
    cut 504 then 4096 bytes or 1s
    cut "FAILED"
    login "LOGIN " user " from " address
    end "LOGOUT " user " from " address
"""
SHOWN = """
    example login "Nov 22 08:00:00 mail pop: LOGIN bob from 192.0.2.1" user bob address 192.0.2.1
    example end "Nov 22 08:00:00 mail pop: LOGOUT bob from 192.0.2.1" user bob address 192.0.2.1
"""


def refused(text: str) -> str:
    with pytest.raises(PatternError) as error:
        load_text("f.pattern", text)
    return str(error.value)


def test_a_rule_that_no_example_shows_does_not_load() -> None:
    login_only = "".join(SHOWN.splitlines(keepends=True)[:2])
    assert refused(FORMAT).startswith("f.pattern:5:5: no example shows this rule; write example")
    assert refused(FORMAT + login_only).startswith("f.pattern:6:5: no example shows this rule")
    load_text("f.pattern", FORMAT + SHOWN)


@pytest.mark.parametrize(
    ("example", "complaint"),
    [
        ('login "Nov 22 08:00:00 mail pop: LOGIN bob" user bob', "expected login, got nothing"),
        (
            'login "Nov 22 08:00:00 mail imap: LOGIN bob from 192.0.2.1"',
            "not a line of this format",
        ),
        (
            'login "Nov 22 08:00:00 mail pop: LOGIN bob from 192.0.2.1" user carol',
            "expected user carol, got login, user bob, address 192.0.2.1",
        ),
        (
            'login "Nov 22 08:00:00 mail pop: LOGIN bob from 192.0.2.1" address 192.0.2.2',
            "expected address 192.0.2.2, got",
        ),
        ('login "Nov 22 08:00:00 mail pop: LOGIN bob from 1.2"', "expected login, got near miss"),
        ('end "Nov 22 08:00:00 mail pop: LOGIN b from 192.0.2.1"', "expected end, got login"),
        ('cut "Nov 22 08:00:00 mail pop: LOGIN b from 192.0.2.1"', "expected cut, got login"),
        ('login "Nov 22 08:00:00 mail pop: FAILED"', "expected login, got cut"),
        ('nothing "Nov 22 08:00:00 mail pop: LOGIN b from 192.0.2.1"', "expected nothing, got"),
        ('near "Nov 22 08:00:00 mail pop: LOGIN b from 192.0.2.1"', "expected near, got login"),
        ('near "Nov 22 08:00:00 mail pop: LOGON b from 192.0.2.1"', "expected near, got nothing"),
        ('near "Nov 22 08:00:00 mail pop: FAILED"', "expected near, got cut"),
        ('nothing "one" "two"', "only a format with join"),
    ],
)
def test_an_example_that_fails_says_what_came_out(example: str, complaint: str) -> None:
    text = refused(f"{FORMAT}{SHOWN}    example {example}\n")
    assert text.startswith("f.pattern:10:5: this example fails: ")
    assert complaint in text


@pytest.mark.parametrize(
    ("logged", "meant"),
    [("::ffff:192.0.2.1", "192.0.2.1"), ("2001:DB8:0::1", "2001:db8::1")],
)
def test_an_example_may_give_the_address_in_any_form(logged: str, meant: str) -> None:
    line = f"Nov 22 08:00:00 mail pop: LOGIN bob from {logged}"
    load_text("f.pattern", f'{FORMAT}{SHOWN}    example login "{line}" address {meant}')


def test_a_cut_may_be_an_example_of_nothing() -> None:
    load_text(
        "f.pattern", FORMAT + SHOWN + '    example nothing "Nov 22 08:00:00 mail pop: FAILED"'
    )


def test_a_near_miss_may_be_an_example_of_nothing() -> None:
    line = '"Nov 22 08:00:00 mail pop: LOGIN bob at 192.0.2.1"'
    text = FORMAT + '    near "LOGIN "\n' + SHOWN
    load_text("f.pattern", f"{text}    example near {line}\n    example nothing {line}\n")


@pytest.mark.parametrize("literal", ["LOGON ", "LOGOUT ", "mail pop: ", "LOGIN carol"])
def test_what_no_example_of_a_login_contains_is_near_to_none(literal: str) -> None:
    with pytest.raises(PatternError) as error:
        load_text("f.pattern", f'{FORMAT}    near "{literal}"\n{SHOWN}')
    assert str(error.value) == (
        f'f.pattern:7:5: no message of an example of a login contains "{literal}"; write what a '
        "login has and other lines have not"
    )
    assert error.value.excerpt == f'    near "{literal}"\n    ^'


@pytest.mark.parametrize(
    "fmt",
    [*SHIPPED, *load_file(EXPRESSIBLE)],
    ids=lambda fmt: fmt.name,
)
def test_every_line_of_another_mail_server_can_be_expressed_and_resists(fmt: Format) -> None:
    lines = [line for one in fmt.examples if one.expect in {"login", "end"} for line in one.lines]
    derived = [forgery.line for line in lines for forgery in forgeries(fmt, line)]
    assert len(derived) > 20 * len(lines)
    for line in derived:
        assert classify(fmt, line).address not in FORGED


@pytest.mark.parametrize(
    "loose",
    [
        rb"LOGIN (?P<user>.+?) from (?P<address>[0-9a-f.:]+).*\Z",
        rb"LOGIN (?P<user>[a-z]+) from (?P<address>[0-9.]+)(?s:.*)\Z",
        rb"LOGIN (?P<user>[a-z]+) from (?P<address>[0-9.]+)\s*\Z",
        rb".*LOGIN (?P<user>[a-z]+) from (?P<address>[0-9.]+)\Z",
        rb"LOGIN (?P<user>[a-z]+)(?: from [0-9.]+)? from (?P<address>[0-9.]+)\Z",
    ],
)
def test_a_rule_that_a_forged_line_could_pass_does_not_load(loose: bytes) -> None:
    source = Source("f.pattern", FORMAT + SHOWN)
    (fmt,) = load_text(source.path, source.text)
    rule = replace(fmt.rules[0], pattern=loose)
    with pytest.raises(
        PatternError, match=r"5:5: this rule takes a forged line .*: Nov 22 .*line 8"
    ):
        verify(source, replace(fmt, rules=(rule, *fmt.rules[1:])))


def test_a_header_that_another_program_could_write_does_not_load() -> None:
    source = Source("f.pattern", FORMAT + SHOWN)
    (fmt,) = load_text(source.path, source.text)
    loose = Header("loose", re.compile(rb"(?P<bsd>.{15}) (?P<host>.*) (?P<tag>[a-z0-9]+): "))
    with pytest.raises(PatternError, match=r"other: pop: LOGIN|other: Nov 22 08:00:00 mail pop: "):
        verify(source, replace(fmt, header=loose))


PIECES = st.sampled_from(
    [
        *(b", ip=[", b"192.0.2.66", b"2001:db8:bad::66", b"]", b", port=[1]", b", protocol=IMAP"),
        *(
            b"LOGIN, user=",
            b" ",
            b",",
            b"x",
            b"\r",
            b"\0",
            b"INFO: ",
            b"Nov 22 08:44:00 mail pop3d: ",
        ),
    ]
)


@pytest.mark.parametrize("fmt", load_file(shipped() / "courier.pattern"), ids=lambda fmt: fmt.name)
@settings(deadline=None)
@given(pieces=st.lists(PIECES, max_size=12))
def test_no_user_name_changes_the_address_of_a_courier_line(
    fmt: Format, pieces: list[bytes]
) -> None:
    for example in fmt.examples:
        if example.expect in {"login", "end"}:
            forged = example.lines[0].replace(b"user=bob", b"user=" + b"".join(pieces))
            found = classify(fmt, forged).address
            assert found is None or literal(found) == example.address


def test_two_lines_make_a_login_only_with_the_same_key_and_without_a_failure_between() -> None:
    text = """format f
    tag pop
    join pid within 60s
    open "from " address
    login "passed for " user
    fail "failed"
    example login "Nov 22 08:00:00 mail pop[1]: from 192.0.2.1"
                  "Nov 22 08:00:00 mail pop[1]: passed for bob" user bob address 192.0.2.1
    example nothing "Nov 22 08:00:00 mail pop[1]: from 192.0.2.1"
                    "Nov 22 08:00:00 mail pop[2]: passed for bob"
    example nothing "Nov 22 08:00:00 mail pop: from 192.0.2.1"
                    "Nov 22 08:00:00 mail pop: passed for bob"
    example nothing "Nov 22 08:00:00 mail pop[1]: from 192.0.2.1"
                    "Nov 22 08:00:00 mail pop[1]: failed"
                    "Nov 22 08:00:00 mail pop[1]: passed for bob"
"""
    (fmt,) = load_text("f.pattern", text)
    assert [rule.kind for rule in fmt.rules] == [Kind.OPEN, Kind.LOGIN, Kind.FAIL]
