"""A line that looks like a login and grants nothing is not passed over in silence: it is shown.

And nothing a client that never authenticated can write is among them.  Besides, every event says
which format it is of and where in the log it stands.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import UTC

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pbs_watch.grants.events import NEAR_BYTES, NEAR_MISSES, End, NearMiss, Scanned
from pbs_watch.log.clock import Clock
from pbs_watch.log.cuts import Cuts, Mode
from pbs_watch.pattern.compile import compile_formats
from pbs_watch.pattern.format import Format
from pbs_watch.pattern.grammar import parse
from pbs_watch.pattern.matching import classify
from pbs_watch.pattern.scan import Scanner
from pbs_watch.pattern.search import Search
from pbs_watch.pattern.syntax import Source
from tests.logs import AFTER_CAPTURES, COURIER, STAMPS, at, capture

LOGIN = "LOGIN, user=bob, ip=[::ffff:198.18.1.2], port=[4]"
CUT = "LOGIN FAILED, user=".ljust(505, "A")


def scan(
    log: bytes, cuts: Cuts | None = None, formats: tuple[Format, ...] = COURIER, base: int = 0
) -> Scanned:
    scanner = Scanner(formats, Clock(UTC))
    return scanner.scan(log, 0, len(log), cuts or Cuts(), AFTER_CAPTURES, base=base)


def line(message: str, tag: str = "pop3d", stamp: str = "Nov 22 08:44:00") -> bytes:
    return f"{stamp} mail {tag}: {message}\n".encode()


def near(*messages: str, tag: str = "pop3d") -> list[str]:
    """Which of the messages, logged one after another, are near misses."""
    found = scan(b"".join(line(message, tag) for message in messages))
    assert found.nears == len(found.near)
    return [one.message.decode() for one in found.near]


# What is near


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("pop3d", LOGIN + ", tls=TLSv1.3"),
        ("pop3d-ssl", LOGIN.replace("user=", "account=")),
        ("pop3d", "LOGIN, ip=[198.18.1.2], port=[4], user=bob"),
        ("pop3d", "LOGIN, user=bob, ip=[198.18.1.2], port=[4] "),
        ("pop3d", "LOGIN, "),
        ("pop3d", LOGIN + ", protocol=IMAP"),
        ("imapd", LOGIN),
        ("imapd", LOGIN + ", protocol=IMAP4rev2"),
        ("imapd", f"IMAP4 connect from @ [::ffff:198.18.1.2]INFO: {LOGIN}, protocol=IMAP"),
        ("couriertcpd", LOGIN + ", method=PLAIN"),
        # An account of this name exists; its owner alone can log in so.
        ("pop3d", "LOGIN, user=al ice, ip=[192.0.2.6], ip=[198.18.1.2], port=[4]"),
        # The first of them was granted, but this says when the last one was.
        ("pop3d", f"message repeated 3 times: [ {LOGIN}]"),
    ],
)
def test_a_login_written_in_another_way_is_near(tag: str, message: str) -> None:
    assert near(message, tag=tag) == [message]


@pytest.mark.parametrize(
    "message",
    [
        LOGIN,
        "INFO: " + LOGIN,
        LOGIN.replace("LOGIN,", "LOGIN FAILED,"),
        LOGIN.replace("LOGIN,", "LOCKED,"),
        "LOGOUT, ip=[198.18.1.2], port=[4]",
        "LOGOUT, user=LOGIN, x, ip=[198.18.1.2], port=[4], top=0, retr=0, time=1",
        "Connection, ip=[198.18.1.2], port=[4]",
        "Maximum connection limit reached for ::ffff:198.18.1.2",
        "",
    ],
)
def test_what_grants_or_is_known_to_be_no_login_is_not(message: str) -> None:
    assert near(message) == []


@pytest.mark.parametrize("tag", ["sqwebmaild", "submit", "xpop3d", "pop3d/x", "postfix/smtpd[7]"])
def test_other_programs_are_near_to_nothing(tag: str) -> None:
    assert near(LOGIN + ", new", tag=tag) == []


@pytest.mark.parametrize("written", ["1.2.3", "198.18.1.256", "2001:db8:::1", "...."])
def test_a_login_whose_address_is_none_is_near(written: str) -> None:
    message = f"LOGIN, user=bob, ip=[{written}], port=[4]"
    found = scan(line(message))
    assert ([one.message for one in found.near], found.events) == ([message.encode()], [])


def test_an_end_whose_address_is_none_is_not_a_login() -> None:
    assert near("LOGOUT, user=bob, ip=[1.2.3], port=[4], top=0, retr=0, time=1") == []


@pytest.mark.parametrize("message", [LOGIN, LOGIN + ", new"])
def test_a_login_whose_stamp_cannot_be_read_is_near_and_has_no_time(message: str) -> None:
    found = scan(line(message, stamp="Feb 30 08:44:00"))
    assert [(one.time, one.message) for one in found.near] == [(None, message.encode())]
    assert not found.events


def test_a_near_miss_says_who_wrote_it_when_and_where() -> None:
    before = line("Connection, ip=[198.18.1.2], port=[4]", "imapd")
    log = before + line(LOGIN, "imapd[42]", "2026-11-22T08:44:00.5+00:00")
    assert scan(log, base=1000).near == [
        NearMiss(
            time=at("2026-11-22 08:44:00") + 0.5,
            host=b"mail",
            tag=b"imapd",
            format="courier-imap",
            offset=1000 + len(before),
            message=LOGIN.encode(),
        )
    ]


def test_of_a_long_message_the_beginning_is_kept() -> None:
    message = LOGIN + ", new=" + "x" * 300
    assert near(message) == [message[:NEAR_BYTES]]


def test_all_are_counted_and_the_first_of_them_shown() -> None:
    log = [line(f"LOGIN, uid=u{number}") for number in range(NEAR_MISSES + 50)]
    found = scan(b"".join(log))
    assert found.nears == NEAR_MISSES + 50
    assert [line(one.message.decode()) for one in found.near] == log[:NEAR_MISSES]


# What a client can make up


@pytest.mark.parametrize(
    "message",
    [
        f"LOGIN FAILED, user={LOGIN}, ip=[198.18.1.3], port=[5]",
        "LOGIN FAILED, user=LOGIN, , ip=[198.18.1.3]",
        "LOGIN FAILED, user=LOGIN, x",
        "ID, user=bob, LOGIN, user=x, ip=[192.0.2.6], port=[1]",
        "message repeated 2 times: [ LOGIN FAILED, user=LOGIN, x, ip=[198.18.1.3], port=[5]]",
        "LOGIN, user=".ljust(504, "A"),
    ],
)
def test_text_of_a_client_that_never_authenticated_is_not_near(message: str) -> None:
    assert near(message) == []


@pytest.mark.parametrize(
    ("mode", "shown"), [("strict", []), ("next", ["second"]), ("off", ["first", "second"])]
)
def test_pieces_of_a_cut_line_are_not_near(mode: Mode, shown: list[str]) -> None:
    log = line(CUT) + line("LOGIN, user=first, ") + line("LOGIN, user=second, ")
    found = scan(log, Cuts(mode))
    assert [one.message.decode()[12:-2] for one in found.near] == shown
    assert found.nears == len(shown)


def test_after_a_gap_what_is_suspect_is_not_near() -> None:
    cuts = Cuts()
    cuts.gap()
    log = [line("LOGIN, ", stamp=f"Nov 22 08:{minute}:00") for minute in range(10, 15)]
    assert scan(b"".join(log), cuts).nears == 3


@pytest.mark.parametrize("stamps", STAMPS)
@pytest.mark.parametrize("name", ["courier-clean", "courier-odd", "courier-forged"])
@pytest.mark.parametrize("mode", ["strict", "next", "off"])
def test_no_captured_line_is_near_unless_pieces_of_cut_lines_are_let_through(
    name: str, stamps: str, mode: Mode
) -> None:
    found = scan(capture(name, stamps), Cuts(mode))
    pieces = [one.message for one in found.near]
    assert len(pieces) == (5 if (name, mode) == ("courier-forged", "off") else 0)
    assert all(piece.startswith(b"LOGIN, user=evil") for piece in pieces)


# However the log is read

MESSAGES = st.sampled_from(
    [
        *(LOGIN, LOGIN + " ", LOGIN + ", protocol=IMAP", LOGIN.replace("user", "uid")),
        *("LOGIN, ", "LOGIN,", "INFO: LOGIN, x", "xLOGIN, user=y", "LOGIN, LOGIN, user=z"),
        *("LOGIN, user=bob, ip=[1.2], port=[4]", "LOGIN FAILED, user=LOGIN, , ip=[198.18.1.2]"),
        *("LOGOUT, user=bob, ip=[198.18.1.2], top=0, retr=0", "LOCKED, user=bob", "Z", CUT, ""),
    ]
)
LINES = st.builds(
    line,
    MESSAGES,
    st.sampled_from(["pop3d", "imapd", "imapd[7]", "couriertcpd", "submit"]),
    st.sampled_from(["Nov 22 08:44:00", "Nov 22 08:44:03", "2026-11-22T08:44:09.25+00:00"]),
)


def in_blocks(log: list[bytes], places: Iterable[int], *, gap: bool) -> Scanned:
    """The log scanned block by block, each block in a buffer in which other bytes stand first."""
    scanner, cuts = Scanner(COURIER, Clock(UTC)), Cuts()
    if gap:
        cuts.gap()
    found = Scanned(0, [], [], [], None, [], 0)
    bounds = sorted({0, len(log), *(min(place, len(log)) for place in places)})
    base = 0
    for begin, end in itertools.pairwise(bounds):
        block = b"".join(log[begin:end])
        data = b"LOGIN, \n" + block + b"LOGIN, "
        more = scanner.scan(data, 8, 8 + len(block), cuts, AFTER_CAPTURES, base=base - 8)
        found = found._replace(
            lines=found.lines + more.lines,
            events=found.events + more.events,
            suspects=found.suspects + more.suspects,
            cuts=found.cuts + more.cuts,
            near=[*found.near, *more.near],
            nears=found.nears + more.nears,
        )
        base += len(block)
    return found


@settings(deadline=None)
@given(
    log=st.lists(LINES, max_size=30),
    places=st.lists(st.integers(1, 30)),
    gap=st.booleans(),
)
def test_the_same_is_found_at_the_same_places_however_the_log_is_split(
    log: list[bytes],
    places: list[int],
    gap: bool,  # noqa: FBT001
) -> None:
    whole = b"".join(log)
    found = in_blocks(log, (), gap=gap)
    assert in_blocks(log, places, gap=gap) == found
    assert found.nears == len(found.near)
    for one in (*found.near, *found.events, *found.suspects):
        assert one.offset == 0 or whole[one.offset - 1 : one.offset] == b"\n"
    for miss in found.near:
        written = whole[miss.offset : whole.index(b"\n", miss.offset)]
        assert written.endswith(b": " + miss.message)
        # What `match` says of a line is what was counted.
        assert [fmt.name for fmt in COURIER if classify(fmt, written).near] == [miss.format]


# Whatever the literals

TEXTS = ["LOGIN, ", "IN, u", ", us", ", user=", "LOGIN, user=", "user=", "LOGIN", "abab", "ID,"]


@settings(deadline=None)
@given(
    literals=st.lists(st.sampled_from(TEXTS), max_size=3, unique=True),
    starts=st.lists(st.sampled_from(["LOGIN FAILED", "LOGIN", "ID,", "abab"]), max_size=2),
    messages=st.lists(
        st.lists(st.sampled_from([*TEXTS, "b", "x", "LOGIN FAILED", " at 192.0.2.1", "\\"])).map(
            "".join
        ),
        max_size=8,
    ),
)
@example(literals=["ID,"], starts=["ID,"], messages=["xID,"])
@example(literals=["LOGIN, "], starts=["LOGIN, "], messages=["xLOGIN, "])
def test_the_search_for_all_texts_at_once_misses_no_line(
    literals: list[str], starts: list[str], messages: list[str]
) -> None:
    """Found in a block are the lines that are near, or cut, one by one."""
    statements = [
        "format f",
        "tag pop3d",
        "cut then 0 bytes or 0s",
        *(f'cut "{start}"' for start in starts),
        *(f'near "{literal}"' for literal in literals),
        'login "LOGIN, user=" user " at " address',
        'end "OUT, user=" user " at " address',
    ]
    source = Source("f.pattern", "\n    ".join(statements))
    (fmt,) = compile_formats(source, parse(source))
    log = [line(message) for message in messages]
    expected = [classify(fmt, one[:-1]) for one in log]
    found = scan(b"".join(log), Cuts("off"), (fmt,))
    assert [one.message.decode() for one in found.near] == [
        one[:NEAR_BYTES] for one, said in zip(messages, expected, strict=True) if said.near
    ]
    assert len(found.cuts) == sum(said.cut for said in expected)
    assert len(found.events) == sum(said.kind is not None for said in expected)


def hits(formats: tuple[Format, ...], *messages: str) -> int:
    log = b"".join(map(line, messages))
    return len(Search(formats, [b"pop3d"]).hits(log, 0, len(log)))


def test_a_genuine_login_is_found_once() -> None:
    assert hits(COURIER, LOGIN, LOGIN) == 2
    text = """format f
    tag pop3d
    near "LOGIN, "
    login "LOGIN, user=" user ", ip=[" address "]"
"""
    formats = compile_formats(source := Source("f.pattern", text), parse(source))
    assert hits(formats, LOGIN, LOGIN) == 2


# Events know their format and their place


@pytest.mark.parametrize("stamps", STAMPS)
@pytest.mark.parametrize("name", ["courier-clean", "courier-odd", "courier-forged"])
@pytest.mark.parametrize("base", [0, 5_000_000_000])
def test_every_event_stands_where_it_says(name: str, stamps: str, base: int) -> None:
    log = capture(name, stamps)
    found = scan(log, base=base)
    assert found.events
    for event in (*found.events, *found.suspects):
        start = event.offset - base
        assert start == 0 or log[start - 1 : start] == b"\n"
        written = log[start : log.index(b"\n", start)]
        assert (b": LOGIN, " in written) is not isinstance(event, End)
        assert b"user=%b, ip=[" % event.user in written


@pytest.mark.parametrize("stamps", STAMPS)
def test_every_event_knows_its_format(stamps: str) -> None:
    found = scan(capture("courier-odd", stamps))
    assert {(event.service, event.format) for event in found.events} == {
        *((tag, "courier-pop3") for tag in (b"pop3d", b"pop3d-ssl")),
        *((tag, "courier-imap") for tag in (b"imapd", b"imapd-ssl")),
    }


@pytest.mark.parametrize(
    ("tag", "message", "name"),
    [
        ("pop3login", LOGIN, "courier-pop3"),
        ("imapd-ssl", LOGIN + ", protocol=IMAP", "courier-imap"),
        ("couriertcpd", LOGIN + ", protocol=IMAP", "courier-couriertcpd"),
        ("couriertcpd", f"LOGOUT{LOGIN[5:]}, top=0, retr=0", "courier-couriertcpd"),
    ],
)
def test_the_format_of_a_line_is_that_of_its_rule(tag: str, message: str, name: str) -> None:
    (event,) = scan(line(message, tag)).events
    assert event.format == name


def test_where_formats_share_a_tag_the_one_counts_whose_rule_or_text_it_is() -> None:
    source = Source(
        "f.pattern",
        """format one
    tag pop3d
    near "IN "
    login "IN " user " at " address
format two
    tag pop3d
    near "LOG "
    login "LOG " user " at " address
""",
    )
    formats = compile_formats(source, parse(source))
    log = [line(f"{word} bob {rest}") for word in ("IN", "LOG") for rest in ("at 192.0.2.1", "at")]
    found = scan(b"".join(log), formats=formats)
    assert [event.format for event in found.events] == ["one", "two"]
    assert [miss.format for miss in found.near] == ["one", "two"]
