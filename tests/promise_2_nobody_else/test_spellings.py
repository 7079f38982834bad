"""Another spelling of a name gets around neither orders nor limits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pbs_watch.grants import hand
from pbs_watch.grants.changes import Changes, grant
from pbs_watch.grants.orders import Bar
from pbs_watch.grants.store import Map
from pbs_watch.shared.switch import switch
from tests.daemon import NO, OK, TROUBLE, Daemon, Log, command, login, until

Start = Callable[..., Daemon]
APART = "--no-fold-users"


def test_a_block_holds_for_each_spelling(start: Start, log: Log) -> None:
    daemon = start()
    assert command("block", "--user", "Eve", "--for", "1h", "--map", daemon.map).status == 0
    log.write(login("198.18.0.1", user="eve"), login("198.18.0.2", user="EVE"))
    log.write(login("198.18.0.3", user="bob"))
    assert [daemon.ask(f"198.18.0.{number}") for number in (1, 2, 3)] == [NO, NO, OK]
    assert command("unblock", "--user", "eVe", "--map", daemon.map).status == 0


def test_two_people_can_be_told_apart(start: Start, log: Log) -> None:
    daemon = start(APART)
    words: list[str | Path] = ["--for", "1h", APART, "--map", daemon.map]
    assert command("block", "--user", "Eve", *words).status == 0
    log.write(login("198.18.0.1", user="eve"), login("198.18.0.2", user="Eve"))
    assert [daemon.ask(f"198.18.0.{number}") for number in (1, 2)] == [OK, NO]


@pytest.mark.parametrize(("words", "answer"), [((), TROUBLE), ((APART,), OK)])
def test_a_relay_limit_counts_all_spellings(
    start: Start, log: Log, words: tuple[str, ...], answer: bytes
) -> None:
    daemon = start("--relay-limit", "2/1h", *words)
    log.write(login("198.18.0.1", user="eve"), login("198.18.0.2", user="EVE"))
    assert [daemon.ask(f"198.18.0.{number}") for number in (1, 1, 2)] == [OK, OK, answer]


def test_addresses_per_user_are_those_of_all_spellings(start: Start, log: Log) -> None:
    daemon = start("--max-addresses-per-user", "2", "--over-limit", "refuse")
    names = ["eve", "Eve", "EVE"]
    log.write(*(login(f"198.18.0.{number}", user=name) for number, name in enumerate(names, 1)))
    assert [daemon.ask(f"198.18.0.{number}") for number in (1, 2, 3)] == [OK, OK, NO]


def test_an_ignored_user_is_in_any_spelling(start: Start, log: Log) -> None:
    daemon = start("--ignore-users", "Robot")
    log.write(login("198.18.0.1", user="rOBOT"), login("198.18.0.2", user="robot"))
    assert [daemon.ask(f"198.18.0.{number}") for number in (1, 2)] == [NO, NO]


def test_commands_take_any_spelling_and_show_one(start: Start, log: Log) -> None:
    daemon = start()
    log.write(login("198.18.0.1", user="Bob"), login("198.18.0.2", user="B\u00d6B"))
    assert daemon.ask("198.18.0.2") == OK
    until(lambda: daemon.get("198.18.0.2") == 0, "committed")
    words: list[str | Path] = ["--map", daemon.map]
    (row,) = json.loads(command("list", "--json", "--user", "BOB", *words).out)
    assert row["user"] == "bob"
    # Only ASCII letters have one: what is beyond no password backend agrees on.
    assert [row["user"] for row in json.loads(command("list", "--json", *words).out)] == [
        "bob",
        "b\u00d6b",
    ]
    # The line is found though it spells him otherwise.
    assert "user=Bob" in command("why", "198.18.0.1", *words).out.decode()
    assert command("revoke", "--user", "BoB", *words).status == 0
    assert daemon.ask("198.18.0.1") == NO
    assert command("forget", "BOB", *words).status == 0


def test_orders_from_before_are_about_the_name_in_lower_case(tmp_path: Path) -> None:
    now = time.time()
    grants = Map(tmp_path, "daemon")
    for name, until_ in ((b"Eve", now + 60), (b"EVE", now + 90), (b"bob", now + 60)):
        hand.bar(grants, Bar("user", name, now, until_), "root", "block")
    hand.fold_orders(grants)
    found = {bar.name: bar.until for bar in grants.obey().bars}
    assert found == {b"eve": pytest.approx(now + 90), b"bob": pytest.approx(now + 60)}
    grants.close()


def test_what_nobody_has_heard_of_is_told_by_the_name_in_lower_case_alone(tmp_path: Path) -> None:
    now = time.time()
    grants = Map(tmp_path, "daemon")
    switch(grants, "mx1")
    hand.bar(grants, Bar("user", b"Eve", now, now + 60), "root", "block")
    hand.fold_orders(grants)
    with grants.reading() as tables:
        assert [key for key, _ in tables.rows(b"outbox")] == [b"OBUeve"]
        assert [key for key, _ in tables.rows(b"shared")] == [b"BUeve"]
    grants.close()


def test_similar_names_are_told(tmp_path: Path) -> None:
    now = time.time()
    grants = Map(tmp_path, "daemon")
    changes = Changes()
    known = [b"Eve", b"EVE@example.com", b"eve@example.org", b"evelyn", b"eve", b"steve", b"e"]
    for number, user in enumerate(known):
        changes.login(b"198.18.0.%d" % number, grant(now + 60, now - 60, user, b"pop3d"))
    grants.commit(changes)
    assert hand.similar(grants, b"eve", 9) == [b"EVE@example.com", b"Eve", b"eve@example.org"]
    assert hand.similar(grants, b"eve@example.com", 9) == [b"EVE@example.com", b"Eve", b"eve"]
    assert hand.similar(grants, b"nobody", 9) == []
    assert len(hand.similar(grants, b"eve", 1)) == 2
    grants.close()
    ended = command("revoke", "--user", "eve", APART, "--map", tmp_path)
    assert ended.lines[1] == (
        "the map knows EVE@example.com, Eve, eve@example.org too: "
        "other users, unless you know better"
    )


def test_an_import_keeps_users_by_one_name(tmp_path: Path) -> None:
    for name in ("from", "to"):
        Map(tmp_path / name, "daemon").close()
    for words in (["block", "--user", "Eve", "--for", "1h", APART],):
        assert command(*words, "--map", tmp_path / "from").status == 0
    out = command("export", "--map", tmp_path / "from").out
    assert command("import", "-", "--map", tmp_path / "to", given=out).status == 0
    orders = json.loads(command("list", "--orders", "--json", "--map", tmp_path / "to").out)
    assert [order["subject"] for order in orders] == ["user eve"]
