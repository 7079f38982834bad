"""The scanner looks only at some lines: each that says something is among them, whatever it says.

What it passes over, complete lines of failed logins above all, is compared with reading every line.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbs_watch.pattern.format import Format
from pbs_watch.pattern.library import load, load_text
from pbs_watch.pattern.matching import classify
from pbs_watch.pattern.search import Search
from tests.logs import COURIER

HEAD = b"Nov 22 08:44:00 mail pop3d: "
TAIL = b", ip=[198.18.0.1], port=[1]"

MIXED = load(["courier", "dovecot", "uw", "sqwebmail"], [])

BEHIND_TEXT = load_text(
    "f.pattern",
    """format f
    tag pop3d
    login "AUTH " text ", user=" user ", ip=[" address "], port=[1]"
    example login "Nov 22 08:44:00 mail pop3d: AUTH x, user=bob, ip=[198.18.0.1], port=[1]"
            user bob
    login "LOGIN FAILED, " "user=" user ", ip=[" address "], port=[2]"
    example login "Nov 22 08:44:00 mail pop3d: LOGIN FAILED, user=bob, ip=[198.18.0.1], port=[2]"
            user bob
""",
)
"""Logins that look like failed ones: here whole lines of failed logins may say something."""

PIECES = [
    b"LOGIN FAILED, ",
    b"LOGIN FAILED",
    b"LOGIN, ",
    b"LOGIN",
    b", user=",
    b"user=x",
    b"user=",
    b"LOGIN, user=x",
    b"LOGOUT, user=x",
    b"ID, ",
    b"INFO: ",
    b": ",
    b", ",
    b" ",
    b"x",
    TAIL,
    TAIL[:-1],
    TAIL + b"]",
    b", ip=[198.18.0.1]",
    b", port=[2]",
    b", protocol=IMAP",
    b", top=0, retr=0",
    b"AUTH ",
    b"message repeated 3 times: [ ",
    b"message repeated 3 times: [",
    b"]",
    b"[ID 702911 mail.info] ",
    HEAD,
    b"A" * 300,
    b"A" * 520,
]


def says(formats: tuple[Format, ...], line: bytes) -> bool:
    """Whether the line is anything to one of the formats."""
    each = [classify(fmt, line) for fmt in formats]
    return any(one.kind is not None or one.cut or one.near for one in each)


def passed_over(formats: tuple[Format, ...], lines: list[bytes], *, whole: bool) -> list[bytes]:
    """The lines that are no hits."""
    block = b"".join(line + b"\n" for line in lines)
    tags = {tag for fmt in formats for tag in fmt.tags or [b""]}
    hits = Search(formats, tags).hits(block, 0, len(block), whole=whole)
    hit = {block.count(b"\n", 0, at) for at in hits}
    return [line for number, line in enumerate(lines) if number not in hit]


lines = st.lists(
    st.tuples(
        st.sampled_from([HEAD, HEAD, HEAD, HEAD.replace(b"pop3d", b"imapd-ssl[7]")]),
        st.lists(st.sampled_from(PIECES), max_size=7),
        st.sampled_from([b"", TAIL, TAIL]),
    ).map(lambda parts: b"".join((parts[0], *parts[1], parts[2]))),
    min_size=1,
    max_size=20,
)


FORMATS = {
    "courier": COURIER,
    "mixed": MIXED,
    "text": BEHIND_TEXT,
    "courier and text": (*COURIER, *BEHIND_TEXT),
}


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=300, deadline=None)
@given(lines=lines)
def test_what_is_passed_over_says_nothing(name: str, lines: list[bytes]) -> None:
    for line in passed_over(FORMATS[name], lines, whole=False):
        assert not says(FORMATS[name], line), line


FAILED = HEAD + b"LOGIN FAILED, user=bob" + TAIL


def test_complete_lines_of_failed_logins_cost_nothing() -> None:
    lines = [FAILED, HEAD + b"LOGIN FAILED, method=PLAIN, ip=[198.18.0.1]"]
    assert passed_over(COURIER, lines, whole=False) == lines
    assert passed_over(COURIER, lines, whole=True) == []


@pytest.mark.parametrize(
    "line",
    [
        FAILED[:-1],
        FAILED + b" ",
        HEAD + b"LOGIN FAILED, user=" + b"A" * 480,
        # rsyslog's own end is missing: what it wrapped was cut.
        HEAD + b"message repeated 3 times: [ LOGIN FAILED, user=bob" + TAIL,
        HEAD + b"message repeated 3 times: [LOGIN FAILED, method=PLAIN" + TAIL,
        HEAD + b"message repeated 3 times: [ LOGIN FAILED, user=x: LOGIN FAILED, user=b" + TAIL,
    ],
)
def test_a_failed_login_that_may_be_cut_is_looked_at(line: bytes) -> None:
    assert says(COURIER, line)
    assert passed_over(COURIER, [FAILED, line, FAILED], whole=False) == [FAILED, FAILED]


@pytest.mark.parametrize(
    "message",
    [
        b"AUTH x: LOGIN FAILED, user=bob, ip=[198.18.0.1], port=[1]",
        b"LOGIN FAILED, user=bob, ip=[198.18.0.1], port=[2]",
    ],
)
def test_a_rule_that_takes_the_text_of_a_failed_login_is_not_passed_over(message: bytes) -> None:
    formats = (*BEHIND_TEXT, *COURIER)
    assert says(formats, HEAD + message)
    assert passed_over(formats, [HEAD + message], whole=False) == []
