"""An open IMAP session keeps its address allowed, for a limited time, and nothing else does."""

from __future__ import annotations

import re

import pytest

from tests.logs import (
    AFTER_CAPTURES,
    HOUR,
    MINUTE,
    SESSION_LIMIT,
    STAMPS,
    WINDOW,
    Watched,
    at,
    capture,
    truth,
    watched,
)

NOW = at("2026-11-22 08:44:00")
BOB = "198.18.0.1"


def line(message: str, after: float = 0, *, tag: str = "imapd") -> bytes:
    minutes, seconds = divmod(int(after), 60)
    hours, minutes = divmod(44 + minutes, 60)
    return f"Nov 22 {8 + hours:02}:{minutes:02}:{seconds:02} mail {tag}: {message}\n".encode()


def login(port: int = 1, user: str = "bob", protocol: str = ", protocol=IMAP") -> str:
    return f"LOGIN, user={user}, ip=[{BOB}], port=[{port}]{protocol}"


def end(word: str = "LOGOUT", port: int = 1, user: str = "bob", seconds: int = 7200) -> str:
    return (
        f"{word}, user={user}, ip=[{BOB}], port=[{port}], headers=0, body=0, "
        f"rcvd=10, sent=80, time={seconds}"
    )


def follow(*lines: tuple[float, bytes]) -> Watched:
    """Each line is read when it is written: so many seconds after the first."""
    watching = Watched()
    for after, one in lines:
        watching.feed(one, NOW + after, replayed=False)
    return watching


def test_an_open_imap_session_keeps_its_address_allowed_up_to_the_limit() -> None:
    watching = watched(line(login()), NOW)
    for after in (0.0, WINDOW - 1, WINDOW, HOUR, SESSION_LIMIT - 1):
        assert watching.allowed(NOW + after) == {BOB}
    assert watching.allowed(NOW + SESSION_LIMIT) == set()


@pytest.mark.parametrize(
    ("tag", "protocol"),
    [("pop3d", ""), ("pop3d", ", protocol=POP3"), ("imapd", ", protocol="), ("couriertcpd", "")],
)
def test_pop3_and_proxied_sessions_hold_nothing(tag: str, protocol: str) -> None:
    watching = watched(line(login(protocol=protocol), tag=tag), NOW)
    assert watching.allowed(NOW + WINDOW - 1) == {BOB}
    assert watching.allowed(NOW + WINDOW) == set()


def test_smap_sessions_hold_as_imap_ones() -> None:
    assert watched(line(login(protocol=", protocol=SMAP1")), NOW).allowed(NOW + HOUR) == {BOB}


@pytest.mark.parametrize("word", ["LOGOUT", "DISCONNECTED", "disc"])
def test_the_end_of_a_session_starts_the_window_anew_and_holds_no_longer(word: str) -> None:
    watching = follow((0, line(login())), (7200, line(end(word), 7200)))
    assert watching.allowed(NOW + 7200 + WINDOW - 1) == {BOB}
    assert watching.allowed(NOW + 7200 + WINDOW) == set()


def test_a_timeout_ends_a_session_without_a_new_window() -> None:
    watching = follow((0, line(login())), (7200, line(end("TIMEOUT"), 7200)))
    assert watching.allowed(NOW + 7200) == set()


def test_an_end_ends_its_own_session_only() -> None:
    """Other ports, users and tags of the address go on."""
    others = {
        "port": line(login(port=2)),
        "user": line(login(user="eve")),
        "tag": line(login(), tag="imapd-ssl"),
    }
    for other in others.values():
        watching = follow((0, line(login()) + other), (7200, line(end("TIMEOUT"), 7200)))
        assert watching.allowed(NOW + 7200) == {BOB}
        assert watching.allowed(NOW + SESSION_LIMIT) == set()


def test_the_last_of_several_sessions_decides() -> None:
    watching = Watched()
    for port in range(1, 6):
        watching.feed(line(login(port)), NOW, replayed=False)
    for port in range(1, 6):
        assert watching.allowed(NOW + 7200) == {BOB}
        watching.feed(line(end("TIMEOUT", port), 7200), NOW + 7200, replayed=False)
    assert watching.allowed(NOW + 7200) == set()


def test_a_new_login_replaces_the_session_with_the_same_port() -> None:
    """The end of the old one was lost; one end is enough then."""
    watching = follow((0, line(login())), (3600, line(login(), 3600)))
    assert watching.allowed(NOW + 3600 + SESSION_LIMIT - 1) == {BOB}
    assert watching.allowed(NOW + 3600 + SESSION_LIMIT) == set()
    watching.feed(line(end("TIMEOUT", seconds=3600), 7200), NOW + 7200, replayed=False)
    assert watching.allowed(NOW + 7200) == set()


def test_an_open_session_holds_though_its_login_is_older_than_the_window() -> None:
    """The daemon was down meanwhile."""
    watching = watched(line(login()), NOW + HOUR)
    assert watching.allowed(NOW + HOUR) == {BOB}
    assert watching.allowed(NOW + SESSION_LIMIT) == set()


def test_a_session_older_than_the_limit_holds_nothing() -> None:
    watching = watched(line(login()), NOW + SESSION_LIMIT)
    assert not watching.granted


def test_a_suspect_login_holds_nothing() -> None:
    cut = line("LOGIN FAILED, user=".ljust(505, "A"))
    watching = watched(cut + line(login()), NOW)
    assert watching.allowed(NOW) == set()


def test_a_suspect_end_ends_nothing() -> None:
    cut = line("LOGIN FAILED, user=".ljust(505, "A"), 7199)
    forged = line(end("TIMEOUT"), 7200)
    watching = follow((0, line(login())), (7200, cut + forged))
    assert watching.allowed(NOW + 7200) == {BOB}


@pytest.mark.parametrize("stamps", STAMPS)
@pytest.mark.parametrize("replayed", [True, False])
def test_only_sessions_whose_ends_are_missing_are_allowed_an_hour_later(
    stamps: str,
    replayed: bool,  # noqa: FBT001
) -> None:
    """courier-clean, with the end lines of its held IMAP sessions removed."""
    told = truth("courier-clean")["authenticated"]
    holding = {address for address, kind in told.items() if kind == "imaphold"}
    assert 0 < len(holding) < len(told)
    ends = re.compile(
        rb"(?:LOGOUT|DISCONNECTED|TIMEOUT|I/O error disconnect), user=.*ip=\[::ffff:([0-9.]+)\]"
    )
    kept, removed = [], 0
    for one in capture("courier-clean", stamps).splitlines(keepends=True):
        found = ends.search(one)
        if found is not None and found[1].decode() in holding:
            removed += 1
        else:
            kept.append(one)
    assert removed == len(holding)
    watching = Watched()
    watching.feed(b"".join(kept), replayed=replayed)
    assert watching.allowed() == set(told)
    assert watching.allowed(AFTER_CAPTURES + HOUR) == holding
    latest = at("2026-11-22 08:43:00")
    assert watching.allowed(latest + SESSION_LIMIT - 10 * MINUTE) == holding
    assert watching.allowed(latest + SESSION_LIMIT) == set()


@pytest.mark.parametrize("stamps", STAMPS)
def test_with_all_their_ends_no_sessions_hold(stamps: str) -> None:
    watching = watched(capture("courier-clean", stamps))
    assert watching.allowed(AFTER_CAPTURES + HOUR) == set()
