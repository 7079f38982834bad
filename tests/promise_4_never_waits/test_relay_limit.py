"""Limits and shadow change what a lookup is answered, at once and for the right user."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from pbs_watch.grants.relays import Relays
from tests.daemon import NO, OK, TROUBLE, Daemon, Log, command, login, until

Start = Callable[..., Daemon]


def test_so_many_lookups_permit_in_any_period_and_no_more() -> None:
    relays = Relays(3, 60.0)
    assert [relays.permit(b"bob", now) for now in (0, 10, 20, 30, 59.9)] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert relays.permit(b"eve", 30)
    # What was refused is not counted: the first of the three is over.
    assert relays.permit(b"bob", 60)
    assert not relays.permit(b"bob", 69)
    assert relays.reached(b"bob", 69)
    assert relays.permit(b"bob", 70)
    assert relays.reached(b"bob", 71)
    relays.tidy(131)
    assert not relays.reached(b"bob", 71)


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    relays = Relays(2, 60.0)
    assert [relays.permit(b"bob", now) for now in (1000, 1001, 10, 11, 12)] == [
        True, True, True, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize(("how", "answer"), [("trouble", TROUBLE), ("no", NO)])
def test_a_user_relays_so_often_and_no_oftener(
    start: Start, log: Log, how: str, answer: bytes
) -> None:
    daemon = start("--relay-limit", "3/1h", "--over-relay-limit", how)
    log.write(login("198.18.0.1"), login("198.18.0.2"), login("198.18.0.3", user="eve"))
    # Two addresses of one user; what is not granted is not counted.
    asked = ["198.18.0.1", "198.18.9.9", "198.18.0.2", "198.18.0.1", "198.18.0.1", "198.18.0.2"]
    assert [daemon.ask(one) for one in asked] == [OK, NO, OK, OK, answer, answer]
    assert daemon.ask("198.18.0.3") == OK
    daemon.process.says("'bob' relays more than relay_limit allows, now from 198.18.0.1")
    daemon.process.says("event=refused address=198.18.0.1 user=bob reason=relay_limit times=1")
    # Once a minute: whoever asks on and on fills no log.
    assert [daemon.ask("198.18.0.2") for _ in range(50)] == [answer] * 50
    log.write(login("198.18.0.4", user="alice"))
    assert daemon.ask("198.18.0.4") == OK
    daemon.process.says("user=alice")
    assert daemon.said.count("reason=relay_limit") == 1


def test_an_address_that_several_share_is_charged_to_the_latest(start: Start, log: Log) -> None:
    daemon = start("--relay-limit", "2/1h")
    log.write(login("198.18.0.1"), login("198.18.0.1", user="eve"))
    assert [daemon.ask("198.18.0.1") for _ in range(3)] == [OK, OK, TROUBLE]
    log.write(login("198.18.0.1"))  # bob again, who was charged nothing yet
    # A hit does not read the log; the next miss does.
    assert daemon.ask("198.18.9.9") == NO
    assert [daemon.ask("198.18.0.1") for _ in range(3)] == [OK, OK, TROUBLE]


def test_what_the_operator_allows_is_nobodys_to_count(start: Start) -> None:
    daemon = start("--relay-limit", "1/1h")
    assert command("allow", "198.18.0.1", "--map", daemon.map).status == 0
    assert [daemon.ask("198.18.0.1") for _ in range(5)] == [OK] * 5


def test_an_allowed_address_is_not_charged_to_who_logged_in_there(start: Start, log: Log) -> None:
    daemon = start("--relay-limit", "1/1h")
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK
    assert daemon.ask("198.18.0.1") == TROUBLE
    command("allow", "198.18.0.0/24", "--map", daemon.map)
    assert [daemon.ask("198.18.0.1") for _ in range(5)] == [OK] * 5


@pytest.mark.parametrize("words", [("--shadow",), ("--relay-limit", "1/1h")])
def test_why_tells_what_lookups_are_answered(
    start: Start, log: Log, words: tuple[str, ...]
) -> None:
    daemon = start(*words)
    log.write(login("198.18.0.1"))
    daemon.ask("198.18.0.1")
    until(lambda: daemon.get("198.18.0.1") == 0, "committed")
    ended = command("why", "198.18.0.1", "--map", daemon.map)
    assert ended.status == 1
    told = "shadow" if words == ("--shadow",) else "relay_limit"
    assert told in ended.lines[1]


def test_a_shadow_says_no_and_tells_what_it_would_have_said(start: Start, log: Log) -> None:
    daemon = start("--shadow", "--audit", "json")
    log.write(login("198.18.0.1"))
    assert [daemon.ask(one) for one in ("198.18.0.1", "198.18.0.2", "a.example")] == [NO, NO, NO]
    daemon.process.says('"address": "198.18.0.2", "answer": "absent"')
    told = [json.loads(one) for one in daemon.said.splitlines() if one.startswith("{")]
    shadows = [(one["address"], one["answer"]) for one in told if one["event"] == "shadow"]
    assert shadows == [("198.18.0.1", "found"), ("198.18.0.2", "absent")]
