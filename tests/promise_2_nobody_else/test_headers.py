"""Lines count in every header form that syslog daemons write, and under Courier's own tags only."""

from __future__ import annotations

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbs_watch.grants.events import Event, Part
from pbs_watch.log.clock import Clock
from pbs_watch.log.cuts import Cuts
from pbs_watch.log.header import SYSLOG_HEADER
from pbs_watch.pattern.scan import Scanner
from tests.logs import COURIER, at

NOW = at("2026-11-22 09:00:00")
GENUINE = "LOGIN, user=bob, ip=[::ffff:198.18.1.2], port=[4242]"

FORMS = {
    "padded day": ("Nov  4 17:36:36 mail pop3d: ", "2026-11-04 17:36:36", b"mail"),
    "one space before the day": ("Nov 4 17:36:36 mail pop3d: ", "2026-11-04 17:36:36", b"mail"),
    "two digits": ("Nov 22 08:44:00 mail pop3d: ", "2026-11-22 08:44:00", b"mail"),
    "with a pid": ("Nov 22 08:44:00 mail pop3d[812]: ", "2026-11-22 08:44:00", b"mail"),
    "raw datagram": ("<22>Nov 22 08:44:00 mail pop3d: ", "2026-11-22 08:44:00", b"mail"),
    "raw datagram without host": ("<22>Nov 22 08:44:00 pop3d: ", "2026-11-22 08:44:00", b""),
    "no host": ("Nov 22 08:44:00 pop3d: ", "2026-11-22 08:44:00", b""),
    "host (none)": ("Nov 22 08:44:00 (none) pop3d: ", "2026-11-22 08:44:00", b"(none)"),
    "host is IPv4": ("Nov 22 08:44:00 10.0.0.7 pop3d: ", "2026-11-22 08:44:00", b"10.0.0.7"),
    "host is IPv6": ("Nov 22 08:44:00 2001:db8::7 pop3d: ", "2026-11-22 08:44:00", b"2001:db8::7"),
    "Solaris": (
        "Nov 22 08:44:00 mail pop3d: [ID 702911 mail.info] ",
        "2026-11-22 08:44:00",
        b"mail",
    ),
    "FreeBSD, level first": (
        "Nov 22 08:44:00 <mail.info> mail pop3d[9]: ",
        "2026-11-22 08:44:00",
        b"mail",
    ),
    "FreeBSD, host first": (
        "Nov 22 08:44:00 mail <mail.info> pop3d: ",
        "2026-11-22 08:44:00",
        b"mail",
    ),
    "RFC 3339": ("2026-11-22T08:44:00+00:00 mail pop3d: ", "2026-11-22 08:44:00", b"mail"),
    "RFC 3339, Z": ("2026-11-22T08:44:00Z mail pop3d: ", "2026-11-22 08:44:00", b"mail"),
    "RFC 3339, offset": ("2026-11-22T14:14:00+05:30 mail pop3d: ", "2026-11-22 08:44:00", b"mail"),
    "RFC 3339, west": ("2026-11-22T00:44:00-08:00 mail pop3d: ", "2026-11-22 08:44:00", b"mail"),
    "RFC 3339, priority, pid": (
        "<22>2026-11-22T08:44:00.5Z mail pop3d[812]: ",
        "2026-11-22 08:44:00.5",
        b"mail",
    ),
}


def read(line: str, *before: str) -> Event | Part | None:
    """What the last of some lines is; a scanner remembers what it has seen before."""
    block = "".join(f"{one}\n" for one in (*before, line)).encode()
    scanner = Scanner(COURIER, Clock(UTC))
    events = scanner.scan(block, 0, len(block), Cuts(), NOW).events
    begin = len(block) - len(line) - 1
    found = [event for event in events if event.offset == begin and not isinstance(event, Part)]
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.parametrize("form", FORMS)
def test_every_header_form_is_read(form: str) -> None:
    header, when, host = FORMS[form]
    event = read(header + GENUINE)
    assert event is not None
    assert event.time == pytest.approx(at(when), abs=1e-6)
    assert (event.host, event.service, event.address) == (host, b"pop3d", b"198.18.1.2")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("other", FORMS)
def test_a_header_form_is_read_alike_after_any_other(form: str, other: str) -> None:
    alone = read(FORMS[form][0] + GENUINE)
    before = FORMS[other][0] + GENUINE
    after = read(FORMS[form][0] + GENUINE, before, before)
    assert alone is not None
    assert after is not None
    assert after._replace(offset=0) == alone._replace(offset=0)


@given(digits=st.text("0123456789", max_size=9))
def test_fractions_have_up_to_nine_digits(digits: str) -> None:
    fraction = f".{digits}" if digits else ""
    for line in (
        f"2026-11-22T08:44:07{fraction}{zone} mail pop3d: {GENUINE}" for zone in ("Z", "+00:00")
    ):
        # The second time from what was remembered of the first.
        for event in (read(line), read(line, line)):
            assert event is not None
            assert event.time == pytest.approx(
                at("2026-11-22 08:44:07") + float(f"0{fraction}"), abs=1e-6
            )


@pytest.mark.parametrize(
    "header",
    [
        "Nov 22 08:44:00 mail authdaemond: ",
        "Nov 22 08:44:00 mail courieresmtpd: ",
        "Nov 22 08:44:00 mail submit: ",
        "Nov 22 08:44:00 mail sqwebmaild: ",
        "Nov 22 08:44:00 mail xpop3d: ",
        "Nov 22 08:44:00 mail pop3d-: ",
        "Nov 22 08:44:00 mail pop3d/x: ",
        "Nov 22 08:44:00 mail POP3D: ",
        # The message of another program that looks like a header of ours.
        "Nov 22 08:44:00 mail foo: pop3d: ",
        "Nov 22 08:44:00 foo: pop3d: ",
        "Nov 22 08:44:00 fee: pop3d: ",
        "Nov 22 08:44:00 dead:beef: pop3d: ",
        "Nov 22 08:44:00 mail foo[7]: pop3d: ",
        "Nov 22 08:44:00 mail foo: Nov 22 08:44:00 mail pop3d: ",
        "2026-11-22T08:44:00Z mail foo: 2026-11-22T08:44:00Z mail pop3d: ",
        "Nov 22 08:44:00 mail foo: mail pop3d: ",
        "Nov 22 08:44:00 mail foo bar pop3d: ",
        # Not headers at all.
        "pop3d: ",
        "mail pop3d: ",
        " Nov 22 08:44:00 mail pop3d: ",
        "Nov 22 08:44:00  mail pop3d: ",
        "Nov 22 08:44:00 mail pop3d:",
        "Nov 22 08:44:00 mail pop3d ",
        "Nov 22 08:44:00 mail pop3d[]: ",
        # Begun and not ended: what may be missing may not be half there.
        "Nov 22 08:44:00 mail pop3d[: ",
        "Nov 22 08:44:00 mail pop3d[7: ",
        "Nov 22 08:44:00 <mail pop3d: ",
        "Nov 22 08:44:00 <mail.info mail pop3d: ",
        "Nov 22 08:44:00 mail pop3d: [",
        "Nov 22 08:44:00 mail pop3d: [ID 702911 ",
        "Nov 22 08:44:00 mail pop3d: [ID 702911 mail.info]",
        "<Nov 22 08:44:00 mail pop3d: ",
        "<22Nov 22 08:44:00 mail pop3d: ",
        "Nov 22 08:44:00 mail pop3d[x]: ",
        "Nov 22 08:44 mail pop3d: ",
        "nov 22 08:44:00 mail pop3d: ",
        "2026-11-22T08:44:00 mail pop3d: ",
        "2026-11-22T08:44:00.0123456789Z mail pop3d: ",
        "2026-11-22 08:44:00Z mail pop3d: ",
        "2026-11-22T08:44:00.Z mail pop3d: ",
        "2026-11-22T08:44:0+00:00 mail pop3d: ",
        "2026-11-22T08:44:00.+00:00 mail pop3d: ",
        "2026-11-22T08:44:00.0123456789+00:00 mail pop3d: ",
    ],
)
@pytest.mark.parametrize(
    "before",
    [
        (),
        # So that host, tag and minute have been seen.
        (
            f"Nov 22 08:44:00 mail pop3d: {GENUINE}",
            f"2026-11-22T08:44:00+00:00 mail pop3d: {GENUINE}",
        ),
    ],
    ids=["first", "after genuine lines"],
)
def test_no_other_header_counts(header: str, before: tuple[str, ...]) -> None:
    assert read(header + GENUINE, *before) is None


@given(line=st.binary(max_size=80))
def test_a_host_never_ends_in_a_colon(line: bytes) -> None:
    for text in (line, b"Nov 22 08:44:00 " + line + b" pop3d: x", line + b": pop3d: x"):
        found = SYSLOG_HEADER.regex.match(text)
        if found is not None and found["host"] is not None:
            assert not found["host"].endswith(b":")


@given(host=st.from_regex(r"\A[0-9a-f:]{1,12}:\Z"))
def test_hexadecimal_words_before_a_colon_are_no_hosts(host: str) -> None:
    assert read(f"Nov 22 08:44:00 {host} pop3d: {GENUINE}") is None


@given(tag=st.from_regex(r"\A[A-Za-z0-9_./-]{1,30}\Z"), pid=st.booleans())
def test_only_tags_of_the_pattern_count(tag: str, pid: bool) -> None:  # noqa: FBT001
    known = {name.decode() for fmt in COURIER for name in fmt.tags}
    found = read(f"Nov 22 08:44:00 mail {tag}{'[7]' if pid else ''}: {GENUINE}")
    assert (found is not None) <= (tag in known)


@pytest.mark.parametrize(
    "message",
    [
        "2026-02-30T08:44:00Z mail pop3d: ",
        "2026-13-01T08:44:00Z mail pop3d: ",
        "2026-11-22T24:44:00Z mail pop3d: ",
        "2026-11-22T08:60:00Z mail pop3d: ",
        "2026-11-22T08:44:61Z mail pop3d: ",
        "2026-11-22T08:44:99+00:00 mail pop3d: ",
        "0000-11-22T08:44:00Z mail pop3d: ",
        "2026-11-22T08:44:00+99:99 mail pop3d: ",
        "Feb 30 08:44:00 mail pop3d: ",
        "Nov 31 08:44:00 mail pop3d: ",
        "Nov 0 08:44:00 mail pop3d: ",
        "Nov 22 24:44:00 mail pop3d: ",
        "Nov 22 08:60:00 mail pop3d: ",
        "Nov 22 08:44:61 mail pop3d: ",
        "Foo 22 08:44:00 mail pop3d: ",
    ],
)
def test_a_line_whose_stamp_is_no_date_has_no_effect(message: str) -> None:
    seen = f"2026-11-22T08:44:00+00:00 mail pop3d: {GENUINE}"
    assert read(message + GENUINE) is None
    assert read(message + GENUINE, seen, seen) is None
