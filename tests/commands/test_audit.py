"""The audit trail: a line for each event, which nothing in a log can forge."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbs_watch.audit import Form
from pbs_watch.audit import line as audited
from tests.daemon import NO, OK, Daemon, Log, command, line, login, until

Start = Callable[..., Daemon]
NOW = 1_795_337_040.25


def fields(text: str) -> dict[str, str]:
    """A ``key=value`` line, read as any reader of such lines does."""
    found = {}
    rest = text
    while rest:
        name, _, rest = rest.partition("=")
        if rest.startswith('"'):
            value, end = json.JSONDecoder().raw_decode(rest)
        else:
            value, _, _ = rest.partition(" ")
            end = len(value)
        found[name] = value
        rest = rest[end:].removeprefix(" ")
    return found


def test_both_forms_say_the_same() -> None:
    said: dict[str, bytes | str | float] = {
        "address": b"198.18.0.1",
        "user": b"al ice",
        "until": NOW + 60,
        "offset": 7,
    }
    text = audited("text", "granted", NOW, **said)
    assert text == (
        'time=2026-11-22T08:44:00.250+00:00 event=granted address=198.18.0.1 user="al ice" '
        "until=2026-11-22T08:45:00.250+00:00 offset=7"
    )
    assert json.loads(audited("json", "granted", NOW, **said)) == {
        "time": "2026-11-22T08:44:00.250+00:00",
        "event": "granted",
        "address": "198.18.0.1",
        "user": "al ice",
        "until": "2026-11-22T08:45:00.250+00:00",
        "offset": 7,
    }


@given(user=st.binary(max_size=60), note=st.text(max_size=30))
def test_whatever_a_name_holds_it_stays_in_its_field(user: bytes, note: str) -> None:
    forms: tuple[Form, ...] = ("text", "json")
    for form in forms:
        said = audited(form, "refused", NOW, user=user, reason="never", note=note)
        assert said.isascii()
        assert said.isprintable()
        read = fields(said) if form == "text" else json.loads(said)
        assert list(read) == ["time", "event", "user", "reason", "note"]
        assert read["user"] == user.decode("utf-8", "backslashreplace")
        assert (read["reason"], read["note"]) == ("never", note)


def test_who_was_granted_refused_revoked_and_expired(start: Start, log: Log) -> None:
    daemon = start("--audit", "text", "--never", "198.18.9.0/24", "--window", "2s")
    log.write(
        login("198.18.0.1", user="al ice"),
        login("198.18.9.9"),
        login("198.18.0.2", at=1.0),
        line("LOGOUT, user=bob, ip=[198.18.0.3], port=[9], top=0, retr=0, time=1"),
    )
    assert [daemon.ask(f"198.18.0.{number}") for number in (1, 2, 3)] == [OK, NO, OK]
    command("revoke", "198.18.0.3", "--note", 'stolen "key"', "--map", daemon.map)
    assert daemon.ask("198.18.0.3") == NO
    daemon.process.says("event=expired address=198.18.0.1")
    told = [fields(one) for one in daemon.said.splitlines() if one.startswith("time=")]
    short = [(one["event"], one.get("address", one.get("on")), one.get("reason")) for one in told]
    assert short == [
        ("granted", "198.18.0.1", None),
        ("refused", "198.18.9.9", "never"),
        ("refused", "198.18.0.2", "stale"),
        ("ended", "198.18.0.3", None),
        ("revoked", "198.18.0.3", None),
        ("expired", "198.18.0.1", None),
    ]
    assert (told[0]["user"], told[0]["service"]) == ("al ice", "pop3d")
    assert told[0]["source"] == str(log.path)
    assert told[1]["offset"] == str(len(login("198.18.0.1", user="al ice")))
    assert (told[4]["note"], told[4]["by"] != "") == ('stolen "key"', True)


def test_what_the_operator_did_while_it_was_stopped_is_told_once(start: Start) -> None:
    daemon = start("--audit", "text")
    daemon.stop()
    command("allow", "198.18.0.1", "--map", daemon.map)
    daemon.start()
    assert daemon.ask("198.18.0.1") == OK
    daemon.process.says("event=allowed on=198.18.0.1")
    daemon.stop()
    daemon.start()
    assert daemon.ask("198.18.0.1") == OK
    command("allow", "198.18.0.2", "--map", daemon.map)
    assert daemon.ask("198.18.0.2") == OK
    daemon.process.says("event=allowed on=198.18.0.2")
    assert "on=198.18.0.1 " not in daemon.said


def test_without_it_nothing_is_said(start: Start, log: Log) -> None:
    daemon = start(quiet=True)
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK
    command("revoke", "198.18.0.1", "--map", daemon.map)
    assert daemon.ask("198.18.0.1") == NO
    daemon.stop()
    assert daemon.said == ""


def test_an_end_tells_until_when_it_grants(start: Start, log: Log) -> None:
    daemon = start("--audit", "text")
    ends = {
        1: "LOGOUT, user=bob, ip=[198.18.0.%d], port=[9], headers=0, body=0, time=60",
        2: "TIMEOUT, user=bob, ip=[198.18.0.%d], port=[9], headers=0, body=0, time=1500",
        3: "TIMEOUT, user=bob, ip=[198.18.0.%d], port=[9], headers=0, body=0, time=1900",
    }
    log.write(*(line(text % number, tag="imapd") for number, text in ends.items()))
    answers = [daemon.ask(f"198.18.0.{number}") for number in ends]
    assert answers == [OK, OK, NO]
    daemon.process.says("address=198.18.0.3")
    found = [fields(said) for said in daemon.said.splitlines() if "event=ended" in said]
    assert ["until" in one for one in found] == [True, True, False]
    for one, after in zip(found, (1800, 300), strict=False):
        ended, until_ = (datetime.fromisoformat(one[name]) for name in ("time", "until"))
        assert (until_ - ended).total_seconds() == pytest.approx(after, abs=1)


def test_an_import_is_told_with_its_numbers(start: Start) -> None:
    daemon = start("--audit", "text")
    rows = b"198.18.0.1 0\n198.18.0.2 %d\n" % time.time()
    assert command("import", "-", "--map", daemon.map, given=rows).status == 0
    daemon.process.says('event=imported on=- by=root note="1 orders, 1 logins"')


def test_what_expires_by_hand_is_told(start: Start, log: Log) -> None:
    daemon = start("--audit", "text", "--window", "2s")
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK
    until(lambda: daemon.ask("198.18.0.1") == NO, "over")
    ended = command("expire", "--map", daemon.map)
    assert (ended.status, ended.lines) == (
        0,
        ["the daemon removes what has expired by itself, within some seconds"],
    )
    daemon.process.says("event=expired address=198.18.0.1 user=bob")
    # What expires while there is no daemon, the next one tells, or how much it was.
    log.write(login("198.18.0.2"), login("198.18.0.3"))
    assert daemon.ask("198.18.0.3") == OK
    daemon.stop()
    until(lambda: daemon.get("198.18.0.2") == 1, "over")
    ended = command("expire", "--map", daemon.map)
    assert ended.lines == ["2 grants had expired and were removed"]
    assert command("expire", "--map", daemon.map).lines[0].startswith("0 grants")
    daemon.start()
    daemon.process.says('event=expired by=root note="2 grants that were over"')
    assert daemon.said.count("note=") == 1
