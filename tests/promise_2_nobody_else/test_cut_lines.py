"""What stands behind a cut line grants nothing: the scanner, which works on blocks, against a plain
reading of the rule, line by line.

The plain reading shares no code with the scanner: it knows a dictionary, a few short regular
expressions and the rule of design.md, "Cut lines".
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbs_watch.grants.events import NEAR_BYTES, NEAR_MISSES, End, Login
from pbs_watch.log.clock import Clock
from pbs_watch.log.cuts import Cuts, Mode
from pbs_watch.pattern.scan import Scanner
from tests.logs import COURIER, STAMPS, Watched, at, capture

TAGS = ("pop3d", "imapd")
BEGAN = datetime(2026, 11, 22, 8, 44, 6, tzinfo=UTC)
NOW = at("2026-11-22 09:00:00")

Near = tuple[str, str, bytes]

Found = tuple[list[tuple[str, str, str]], int, list[tuple[str, str]], list[Near]]
"""Events (kind, tag, address), the count of suspect ones, host and tag of each cut, and of each
near miss with its message; no near misses where they are more than a scan shows."""


# The plain reading

LINE = re.compile(rb"(?:(\w{3} [ \d]\d [\d:]{8})|(\S+T\S+)) (\w+) (\w+): (.*)", re.DOTALL)
TAIL = re.compile(rb"ip=\[[0-9a-f.:]+\](, port=\[\d+\])?\Z")
LOGIN = {
    b"pop3d": re.compile(
        rb"(?:INFO: )?LOGIN, user=(.{1,255}?), ip=\[([0-9a-f.:]+)\], port=\[\d{1,5}\]\Z"
    ),
    b"imapd": re.compile(
        rb"(?:INFO: )?LOGIN, user=(.{1,255}?), ip=\[([0-9a-f.:]+)\], port=\[\d{1,5}\]"
        rb", protocol=IMAP\Z"
    ),
}
END = {
    b"pop3d": re.compile(
        rb"LOGOUT, user=(\w+), ip=\[([0-9a-f.:]+)\], port=\[\d+\], top=0, retr=0, time=\d+\Z"
    ),
    b"imapd": re.compile(
        rb"LOGOUT, user=(\w+), ip=\[([0-9a-f.:]+)\], port=\[\d+\], headers=0, body=0, time=\d+\Z"
    ),
}


@dataclass
class Doubt:
    """``coming``: messages suspect whenever they come; ``since`` and ``bytes`` of the last."""

    coming: int
    since: datetime | None = None
    bytes: int = 0


def plainly(log: bytes, mode: Mode, *, gap: bool) -> Found:
    events, suspects, cuts = [], 0, []
    nears: list[Near] = []
    doubts: dict[tuple[bytes, bytes], Doubt] = {}
    clean: set[tuple[bytes, bytes]] = set()
    to_come = {"strict": 2, "next": 1, "off": 0}[mode]
    for line in log.split(b"\n")[:-1]:
        found = LINE.fullmatch(line)
        if found is None or found[4] not in LOGIN:
            continue
        bsd, rfc3339, host, tag, message = found.groups()
        time = stamped(bsd, rfc3339)
        who = (host, tag)
        if gap and who not in doubts and who not in clean and mode != "off":
            doubts[who] = Doubt(to_come)
        clean.add(who)
        suspect = False
        doubt = doubts.get(who)
        if doubt is not None and doubt.coming:
            suspect = True
            doubt.coming -= 1
            doubt.since, doubt.bytes = time, len(message)
        elif doubt is not None and doubt.since is not None and mode == "strict":
            elapsed = (time - doubt.since).total_seconds()
            over = elapsed > 1 if rfc3339 and b"." in rfc3339 else elapsed >= 2
            if over or doubt.bytes >= 4096:
                del doubts[who]
            else:
                suspect = True
                doubt.bytes += len(message)
        failed = message.startswith(b"LOGIN FAILED, ") and not TAIL.search(message)
        if len(message) >= 504 or failed or message.startswith(b"ID, "):
            cuts.append((host.decode(), tag.decode()))
            if to_come:
                doubts[who] = Doubt(to_come)
            continue
        near = b"LOGIN, " in message and not message.startswith((b"LOGIN FAILED, ", b"ID, "))
        for kind, rules in (("login", LOGIN), ("end", END)):
            said = rules[tag].match(message)
            if said is not None and b", ip=[" not in said[1] and is_address(said[2]):
                near = False
                if suspect:
                    suspects += 1
                else:
                    events.append((kind, tag.decode(), said[2].decode()))
        if near and not suspect:
            nears.append((host.decode(), tag.decode(), message[:NEAR_BYTES]))
    return events, suspects, cuts, nears if len(nears) <= NEAR_MISSES else []


def is_address(text: bytes) -> bool:
    try:
        ipaddress.ip_address(text.decode())
    except ValueError:
        return False
    return True


def stamped(bsd: bytes | None, rfc3339: bytes | None) -> datetime:
    if bsd is not None:
        return datetime.strptime(f"2026 {bsd.decode()}", "%Y %b %d %H:%M:%S").replace(tzinfo=UTC)
    assert rfc3339 is not None
    return datetime.fromisoformat(rfc3339.decode())


# Logs


def login(tag: str, number: int) -> str:
    mark = ", protocol=IMAP" if tag == "imapd" else ""
    return f"LOGIN, user=u{number}, ip=[198.18.0.{number}], port=[{4000 + number}]{mark}"


def logout(tag: str, number: int) -> str:
    who = f"user=u{number}, ip=[198.18.0.{number}], port=[{4000 + number}]"
    counters = "headers=0, body=0" if tag == "imapd" else "top=0, retr=0"
    return f"LOGOUT, {who}, {counters}, time=1"


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, str]:
    """A tag and a message of it; many are pieces of cut lines, and around the edges of the rule."""
    tag = draw(st.sampled_from(TAGS))
    number = draw(st.integers(1, 9))
    genuine = login(tag, number)
    tail = f", ip=[198.18.0.{number}], port=[1]"
    long = st.sampled_from([503, 504, 505, 511, 1200, 3600, 4095, 4096, 4097, 9000])
    message = draw(
        st.one_of(
            st.sampled_from(
                [
                    genuine,
                    logout(tag, number),
                    "INFO: " + genuine,
                    f"Connection, ip=[198.18.0.{number}], port=[{4000 + number}]",
                    f"LOGIN FAILED, user=bad{tail}",
                    "LOGIN FAILED, user=" + "A" * 40,
                    f"LOGIN FAILED, method=PLAIN, ip=[198.18.0.{number}]",
                    f"LOGIN FAILED, user=bad{tail} ",
                    "LOGIN FAILED, user=bad, ip=[198.18.0.9], port=[1",
                    f"LOGIN, user=x, ip=[192.0.2.6], port=[1], ip=[198.18.0.{number}], port=[2]",
                    f"ID, user=u{number}{tail}",
                    "IDLE, nothing to see",
                    genuine.replace("user=", "uid="),
                    genuine.replace("198.18.0.", "198.18.256."),
                    f"LOGIN FAILED, user=LOGIN, user=x{tail}",
                    f"NEW: LOGIN, user=u{number}{tail}",
                    "Z",
                    "",
                    genuine + " ",
                ]
            ),
            # A genuine line that is long, at and about the length that counts as cut.
            st.integers(230, 255).map(lambda size: genuine.replace("user=u", "user=" + "u" * size)),
            long.map(lambda size: "LOGIN FAILED, user=".ljust(size, "A")),
            long.map(lambda size: ("LOGIN FAILED, user=" + "A" * 4096)[: size - len(tail)] + tail),
            # What fills the 4096 bytes without being cut: 8 x 503, and about one more.
            st.sampled_from([50, 72, 400, 502, 503]).map(lambda size: "noise ".ljust(size, ".")),
        )
    )
    return tag, message


steps = st.sampled_from([0, 15_625, 250_000, 984_375, 1_000_000, 1_015_625, 2_000_000, 3_000_000])
"""Microseconds between two lines: exact in binary, so that both sides mean the same second."""


@st.composite
def lines(draw: st.DrawFn) -> list[bytes]:
    """A log of some hosts, with lines of other programs between."""
    stamps = draw(st.sampled_from(["bsd", "rfc3339", "short"]))
    time = BEGAN
    log = []
    for tag, message in draw(st.lists(messages(), min_size=1, max_size=25)):
        repeated = draw(st.sampled_from([1, 1, 1, 1, 3, 9]))
        host = draw(st.sampled_from(["mail", "mail", "mail", "other"]))
        foreign = draw(
            st.sampled_from(["", "", "", "", "postfix/smtpd[1]", "sqwebmaild", "xpop3d"])
        )
        for _ in range(repeated):
            time += timedelta(microseconds=draw(steps) if repeated == 1 else 0)
            stamp = {
                "bsd": f"{time:%b %d %H:%M:%S}",
                "rfc3339": time.isoformat(timespec="microseconds"),
                "short": time.isoformat(timespec="seconds"),
            }[stamps]
            log.append(f"{stamp} {host} {foreign or tag}: {message}\n".encode())
    return log


def scanned(blocks: list[bytes], mode: Mode, *, gap: bool = False, restarts: bool = False) -> Found:
    """What the scanner finds; ``restarts``: the state is saved and loaded between two blocks."""
    scanner = Scanner(COURIER, Clock(UTC))
    cuts = Cuts(mode)
    if gap:
        cuts.gap()
    events, suspects, cut = [], 0, []
    nears: list[Near] = []
    more = 0
    for block in blocks:
        if restarts:
            saved = json.loads(json.dumps(cuts.dump()))
            cuts = Cuts(mode)
            cuts.load(saved)
            scanner = Scanner(COURIER, Clock(UTC))
        result = scanner.scan(block, 0, len(block), cuts, NOW)
        events += result.events
        suspects += len(result.suspects)
        cut += result.cuts
        nears += [(one.host.decode(), one.tag.decode(), one.message) for one in result.near]
        more += result.nears
    assert len(nears) == more or more > NEAR_MISSES
    names = [
        (
            "login" if isinstance(event, Login) else "end",
            event.service.decode(),
            event.address.decode(),
        )
        for event in events
    ]
    assert all(isinstance(event, Login | End) for event in events)
    return (
        names,
        suspects,
        [(host.decode(), tag.decode()) for host, tag in cut],
        (nears if more <= NEAR_MISSES else []),
    )


modes = st.sampled_from(["strict", "strict", "strict", "next", "off"])


@settings(max_examples=300, deadline=None)
@given(log=lines(), mode=modes, gap=st.booleans())
def test_a_block_is_judged_as_line_by_line(log: list[bytes], mode: Mode, gap: bool) -> None:  # noqa: FBT001
    whole = b"".join(log)
    assert scanned([whole], mode, gap=gap) == plainly(whole, mode, gap=gap)


@settings(max_examples=100, deadline=None)
@given(log=lines(), mode=modes, places=st.lists(st.integers(1, 60)), restarts=st.booleans())
def test_doubt_outlasts_blocks_and_restarts(
    log: list[bytes],
    mode: Mode,
    places: list[int],
    restarts: bool,  # noqa: FBT001
) -> None:
    ends = sorted({min(place, len(log)) for place in places} | {0, len(log)})
    blocks = [b"".join(log[start:end]) for start, end in itertools.pairwise(ends)]
    expected = plainly(b"".join(log), mode, gap=False)
    assert scanned(blocks, mode, restarts=restarts) == expected


@pytest.mark.parametrize("stamps", STAMPS)
@pytest.mark.parametrize("mode", ["strict", "next", "off"])
@pytest.mark.parametrize("name", ["courier-clean", "courier-forged"])
def test_both_readings_of_the_captured_logs_agree_on_what_is_cut(
    name: str, stamps: str, mode: Mode
) -> None:
    log = capture(name, stamps)
    _, _, cuts, nears = plainly(log, mode, gap=False)
    assert scanned([log], mode)[2:] == (cuts, nears)
    assert len(cuts) == (9 if name == "courier-forged" else 0)


# The facts behind the rule, one by one


def strictly(*said: tuple[float, str]) -> set[str]:
    """Addresses granted by messages of pop3d, each so many seconds after the first."""
    watching = Watched()
    for after, message in said:
        stamp = (BEGAN + timedelta(seconds=after)).isoformat(timespec="microseconds")
        watching.feed(f"{stamp} mail pop3d: {message}\n".encode())
    return watching.allowed()


CUT = "LOGIN FAILED, user=".ljust(505, "A")
GENUINE = login("pop3d", 1)


def test_the_second_piece_is_suspect_however_late_it_comes() -> None:
    """The logger waits inside the discard for the pipe's next bytes."""
    assert strictly((0, CUT), (900, GENUINE)) == set()


def test_the_third_piece_is_suspect_though_the_second_looked_short() -> None:
    assert strictly((0, CUT), (600, "Z"), (900, GENUINE)) == set()


def test_two_messages_and_a_second_after_a_cut_all_is_well() -> None:
    assert strictly((0, CUT), (1, "Z"), (2, "Z"), (2.9, GENUINE)) == set()
    assert strictly((0, CUT), (1, "Z"), (2, "Z"), (3, GENUINE)) == set()
    assert strictly((0, CUT), (1, "Z"), (2, "Z"), (3.1, GENUINE)) == {"198.18.0.1"}


def test_two_messages_and_4096_bytes_after_a_cut_all_is_well() -> None:
    noise = "x" * 500
    eight = [(0.0, noise)] * 8
    assert strictly((0, CUT), (0, "Z"), *eight, (0, GENUINE)) == set()
    assert strictly((0, CUT), (0, "Z"), *eight, (0, noise), (0, GENUINE)) == {"198.18.0.1"}


def test_a_cut_during_doubt_begins_the_doubt_anew() -> None:
    assert strictly((0, CUT), (0, "Z"), (0, CUT), (9, "Z"), (18, GENUINE)) == set()


def test_a_stamp_without_fraction_needs_two_seconds_to_be_sure_of_one() -> None:
    for second, granted in ((1, set()), (2, {"198.18.0.1"})):
        log = "".join(
            f"Nov 22 08:44:{7 + after:02} mail pop3d: {message}\n"
            for after, message in ((0, CUT), (0, "Z"), (0, "Z"), (second, GENUINE))
        )
        watching = Watched()
        watching.feed(log.encode())
        assert watching.allowed() == granted


def test_an_unsuspect_end_proves_the_login_that_was_suspect() -> None:
    late = logout("pop3d", 1)
    assert strictly((0, CUT), (0, GENUINE), (0.5, late)) == set()
    assert strictly((0, CUT), (0, GENUINE), (0, "Z"), (5, late)) == {"198.18.0.1"}


def test_doubt_is_per_host_and_tag() -> None:
    log = (
        f"Nov 22 08:44:07 mail pop3d: {CUT}\n"
        f"Nov 22 08:44:07 mail imapd: {login('imapd', 1)}\n"
        f"Nov 22 08:44:07 other pop3d: {login('pop3d', 2)}\n"
        f"Nov 22 08:44:07 mail pop3d: {login('pop3d', 3)}\n"
    )
    watching = Watched()
    watching.feed(log.encode())
    assert watching.allowed() == {"198.18.0.1", "198.18.0.2"}


def test_after_a_gap_every_tag_is_under_doubt_until_it_has_been_seen() -> None:
    watching = Watched()
    watching.cuts.gap()
    lines = [
        f"Nov 22 08:{minute}:07 mail {tag}: {login(tag, minute)}\n"
        for minute, tag in itertools.product(range(44, 48), TAGS)
    ]
    watching.feed("".join(lines).encode())
    # Two messages of each tag whenever they come, and their second.
    assert watching.allowed() == {"198.18.0.46", "198.18.0.47"}
