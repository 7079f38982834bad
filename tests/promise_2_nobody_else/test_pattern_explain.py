"""Whoever asks why a line does not match is told the byte and what was expected there."""

from __future__ import annotations

import pytest

from pbs_watch.pattern.explain import explain, render
from pbs_watch.pattern.format import Kind
from pbs_watch.pattern.library import load, load_file, shipped
from pbs_watch.pattern.matching import classify

COURIER = load(["courier"], [])
POP3, IMAP, *_ = COURIER
HEAD = b"Nov 22 08:44:00 mail pop3d: "
LOGIN = HEAD + b"LOGIN, user=bob, ip=[::ffff:198.18.1.2], port=[4]"


def test_a_line_that_matches_shows_what_it_captured() -> None:
    (pop3,) = explain([POP3], LOGIN)
    assert (pop3.classified.kind, pop3.classified.user) == (Kind.LOGIN, b"bob")
    assert not pop3.stops
    assert render([pop3], LOGIN).startswith(
        "courier-pop3: login, user bob, address ::ffff:198.18.1.2, port 4 ("
    )


@pytest.mark.parametrize(
    ("line", "at", "expected"),
    [
        (LOGIN + b" ", len(LOGIN), ('", protocol="', '", stls=1"', "the end of the line")),
        (LOGIN + b", tls=1", len(LOGIN) + 2, ('", protocol="', '", stls=1"')),
        (LOGIN[:-1], len(LOGIN) - 1, ('"]"',)),
        (HEAD + b"LOGIN, user=bob", len(HEAD) + 12, ('user before ", ip=["',)),
        (HEAD + b"LOGIN FAILED", len(HEAD) + 5, ('"LOGIN, user="',)),
        (HEAD + b"LOGIN, user=b, ip=[x]", len(HEAD) + 19, ("address",)),
        (HEAD + b"LOGIN, user=b, ip=[192.0.2.256]", len(HEAD) + 19, ("address",)),
    ],
)
def test_a_line_that_does_not_match_shows_where_and_what_was_expected(
    line: bytes, at: int, expected: tuple[str, ...]
) -> None:
    (pop3,) = explain([POP3], line)
    login = pop3.stops[0]
    assert login.rule.kind is Kind.LOGIN
    assert login.at == at
    assert login.expected == expected
    text = render([pop3], line).split("\n")
    near = ", but it looks like a login: a near miss" if b"LOGIN, " in line else ""
    assert text[0] == f"courier-pop3: no rule fits{near}"
    assert text[2].index("N") + at == text[3].index("^")


def test_a_foreign_header_and_a_foreign_tag_are_told() -> None:
    assert render(explain([POP3], b"hello"), b"hello") == "courier-pop3: the header is not syslog"
    (imap,) = explain([IMAP], LOGIN)
    assert imap.tag == b"pop3d"
    assert "the tag pop3d is not one of courierimapd" in render([imap], LOGIN)


def test_a_cut_is_told() -> None:
    line = HEAD + b"LOGIN FAILED, user=AAAA"
    assert render(explain([POP3], line), line).startswith("courier-pop3: cut")


def test_bytes_that_are_no_text_do_not_shift_the_caret() -> None:
    line = HEAD + b"LOGIN, user=\xff\xc3\xa9, ip=[x]"
    text = render(explain([POP3], line), line).split("\n")
    assert text[2].isascii()
    assert text[2][text[3].index("^") :] == "x]"


def test_explaining_and_matching_agree_on_every_example() -> None:
    for fmt in load_file(shipped() / "courier.pattern"):
        for example in fmt.examples:
            for line in example.lines:
                (one,) = explain([fmt], line)
                assert one.classified == classify(fmt, line)
                assert bool(one.stops) == (str(one.classified) in {"nothing", "near miss"})
