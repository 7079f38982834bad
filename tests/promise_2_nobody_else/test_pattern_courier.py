"""Courier's real lines: whoever logged in is found, and nobody else but behind a cut."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from pbs_watch.grants.address import literal
from pbs_watch.pattern.format import Kind
from pbs_watch.pattern.library import load
from pbs_watch.pattern.matching import Classified, classify

LOGS = Path(__file__).parents[1] / "fixtures" / "logs"
# Those of courierlogger; Plesk and multilog write in their own ways.
COURIER = load(["courier"], [])[:3]
STAMPS = ["bsd", "rfc3339"]


def read(capture: str) -> list[Classified]:
    """What each line of a capture is to the one format that has its tag."""
    lines = (LOGS / f"{capture}.log").read_bytes().splitlines()
    found = []
    for line in lines:
        (one,) = (one for one in (classify(fmt, line) for fmt in COURIER) if one.tag is not None)
        found.append(one)
    return found


def addresses(lines: list[Classified], *kinds: Kind) -> set[str]:
    return {(literal(line.address or b"") or b"?").decode() for line in lines if line.kind in kinds}


def truth(capture: str) -> dict[str, dict[str, str]]:
    read_truth: dict[str, dict[str, str]] = json.loads((LOGS / f"{capture}.truth.json").read_text())
    return read_truth


def one(message: str, tag: str) -> Classified:
    line = f"Nov 22 08:44:00 mail {tag}: {message}".encode()
    matching = [found for fmt in COURIER if (found := classify(fmt, line)).tag is not None]
    return matching[0] if matching else Classified()


@pytest.mark.parametrize("stamps", STAMPS)
def test_whoever_logged_in_is_found_and_nobody_else(stamps: str) -> None:
    lines = read(f"courier-clean.{stamps}")
    authenticated = truth("courier-clean")["authenticated"]
    assert addresses(lines, Kind.LOGIN) == set(authenticated)
    assert Counter(line.kind for line in lines) == {Kind.LOGIN: 80, Kind.END: 80, None: 80}
    held = {line.address for line in lines if line.rule and line.rule.hold}
    assert {literal(address or b"") for address in held} == {
        address.encode() for address, kind in authenticated.items() if kind.startswith("imap")
    }


@pytest.mark.parametrize("stamps", STAMPS)
def test_every_login_of_an_odd_session_has_its_end(stamps: str) -> None:
    lines = read(f"courier-odd.{stamps}")
    logins = Counter((x.user, x.address, x.port) for x in lines if x.kind is Kind.LOGIN)
    ends = Counter((x.user, x.address, x.port) for x in lines if x.kind is Kind.END)
    assert logins == ends
    assert logins.total() == 8


@pytest.mark.parametrize("stamps", STAMPS)
def test_what_passes_for_a_login_in_the_forged_log_stands_behind_a_cut(stamps: str) -> None:
    lines = read(f"courier-forged.{stamps}")
    genuine = set(truth("courier-forged")["authenticated"])
    behind: set[bytes | None] = set()
    forged = []
    for line in lines:
        if line.kind is not None and not addresses([line], line.kind) <= genuine:
            forged.append(line)
            assert line.tag in behind
        if line.cut:
            behind.add(line.tag)
    assert sum(line.cut for line in lines) == 9
    assert {line.kind for line in forged} == {Kind.LOGIN}
    # The logger swallowed both lines of one session (tests/fixtures/logs/README.md).
    found = addresses(lines, Kind.LOGIN, Kind.END)
    assert genuine - found == {"198.18.112.39"}


LOGIN = "LOGIN, user=bob, ip=[::ffff:198.18.1.2], port=[4]"
POP3_END = ", user=bob, ip=[198.18.1.2], port=[4], top=0, retr=0, rcvd=6, sent=30, time=1"
IMAP_END = ", user=bob, ip=[198.18.1.2], port=[4], headers=0, body=0, rcvd=6, sent=30, time=1"


@pytest.mark.parametrize("tag", ["sqwebmaild", "authdaemond", "courieresmtpd", "submit", "pop3"])
def test_a_program_that_can_carry_text_of_clients_never_grants(tag: str) -> None:
    assert one(LOGIN, tag).tag is None


def test_imap_requires_a_protocol_and_pop3_has_none_but_in_a_proxy() -> None:
    assert one(LOGIN, "imapd").kind is None
    assert one(LOGIN + ", protocol=IMAP", "pop3d").kind is None
    assert one(LOGIN, "pop3d").kind is Kind.LOGIN
    assert one(LOGIN + ", protocol=POP3", "pop3d").kind is Kind.LOGIN
    assert one(LOGIN + ", protocol=POP3", "imapd").kind is None


@pytest.mark.parametrize(
    ("protocol", "tag", "holds"),
    [
        (", protocol=IMAP", "imapd", True),
        (", protocol=SMAP1, starttls=1", "imapd-ssl", True),
        (", protocol=", "imapd", False),
        ("", "pop3d", False),
        (", protocol=IMAP", "couriertcpd", True),
        ("", "couriertcpd", False),
    ],
)
def test_only_an_imap_session_that_is_not_proxied_holds(
    protocol: str, tag: str, *, holds: bool
) -> None:
    rule = one(LOGIN + protocol, tag).rule
    assert rule is not None
    assert rule.hold is holds


@pytest.mark.parametrize(
    ("message", "tag", "renews"),
    [
        ("LOGOUT" + POP3_END, "pop3d", True),
        ("DISCONNECTED" + POP3_END, "pop3d", True),
        ("I/O error disconnect" + POP3_END, "pop3d", True),
        ("disc" + POP3_END + ", stls=1", "pop3d-ssl", True),
        ("TIMEOUT" + POP3_END, "pop3d", False),
        ("LOGOUT" + IMAP_END, "imapd", True),
        ("DISCONNECTED" + IMAP_END + ", starttls=1", "imapd-ssl", True),
        ("NOTICE: Disconnected during shutdown by signal" + IMAP_END, "imapd", True),
        ("TIMEOUT" + IMAP_END, "imapd", False),
        ("LOGOUT, user=bob, ip=[198.18.1.2], headers=0, body=0", "imapd", True),
    ],
)
def test_an_end_starts_the_window_anew_unless_it_is_a_timeout(
    message: str, tag: str, *, renews: bool
) -> None:
    found = one(message, tag)
    assert found.kind is Kind.END
    assert found.rule is not None
    assert found.rule.renew is renews
    assert found.seconds in {b"1", None}


@pytest.mark.parametrize("end", [POP3_END, IMAP_END])
@pytest.mark.parametrize("tag", ["pop3d", "imapd", "couriertcpd"])
def test_the_counters_of_an_end_are_matched_one_by_one(end: str, tag: str) -> None:
    genuine = (
        ", ip=[::ffff:198.18.1.9], port=[5]"
        + end[end.index(", top" if "top" in end else ", headers") :]
    )
    for cut in range(end.index("port"), len(end)):
        assert one("LOGOUT" + end[:cut] + genuine, tag).kind is None


@pytest.mark.parametrize("size", [503, 504, 505])
def test_a_message_of_504_bytes_counts_as_cut_whatever_it_says(size: int) -> None:
    start, tail = "LOGIN FAILED, user=", ", ip=[::ffff:198.18.1.2], port=[4]"
    message = start + "A" * (size - len(start + tail)) + tail
    assert one(message, "pop3d").cut is (size >= 504)


def test_one_search_serves_all_rules() -> None:
    assert {rule.literals for fmt in COURIER for rule in fmt.rules} == {(b", user=",)}
