"""What the operator does by hand counts from the next lookup on, and nothing undoes it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pbs_watch.grants import hand
from pbs_watch.grants.changes import Changes, Hold, SessionKey, grant
from pbs_watch.grants.copy import NAME, keep_copy
from pbs_watch.grants.orders import Allow
from pbs_watch.grants.store import Map
from pbs_watch.grants.writer import Writer
from tests.daemon import (
    NO,
    OK,
    Daemon,
    Ended,
    Log,
    command,
    line,
    login,
    refused,
    refused_to_nobody,
    until,
)

Start = Callable[..., Daemon]


def imap(address: str, user: str = "bob", at: float | None = None) -> bytes:
    text = f"LOGIN, user={user}, ip=[{address}], port=[9], protocol=IMAP"
    return line(text, tag="imapd", at=at)


def logout(address: str, user: str = "bob", seconds: int = 60) -> bytes:
    text = f"LOGOUT, user={user}, ip=[{address}], port=[9], headers=0, body=0, time={seconds}"
    return line(text, tag="imapd")


@pytest.fixture
def daemon(start: Start) -> Daemon:
    return start()


@pytest.fixture
def by_hand(daemon: Daemon) -> Callable[..., Ended]:
    def run(*words: str) -> Ended:
        return command(*words, "--map", daemon.map)

    return run


Run = Callable[..., Ended]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A map without a daemon."""
    made = tmp_path / "lonely"
    Map(made, "daemon").close()
    return made


# allow


def test_an_address_is_allowed_for_one_window_unless_told_otherwise(
    daemon: Daemon, by_hand: Run
) -> None:
    assert daemon.ask("198.18.0.1") == NO
    ended = by_hand("allow", "198.18.0.1")
    assert (ended.status, daemon.ask("198.18.0.1")) == (0, OK)
    assert ended.out.startswith(b"198.18.0.1 may relay until ")
    (row,) = json.loads(by_hand("list", "--json").out)
    assert 1790 < row["expires"] - time.time() <= 1800
    assert by_hand("allow", "198.18.0.2", "--for", "1s").status == 0
    assert daemon.ask("198.18.0.2") == OK


def test_a_network_is_allowed_permanently_with_a_note(daemon: Daemon, by_hand: Run) -> None:
    assert by_hand("allow", "198.18.8.0/22", "--permanent", "--note", "printers").status == 0
    assert daemon.ask("198.18.11.255") == OK
    assert daemon.ask("198.18.12.0") == NO
    (row,) = json.loads(by_hand("list", "--json").out)
    told = {name: row[name] for name in ("address", "expires", "permanent", "note", "user")}
    assert told == {
        "address": "198.18.8.0/22",
        "expires": None,
        "permanent": True,
        "note": "printers",
        "user": "",
    }
    assert by_hand("get", "198.18.9.9").status == 0
    assert by_hand("revoke", "198.18.8.0/22").status == 0
    assert daemon.ask("198.18.11.255") == NO


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("198.18.0.0/15",), "wider than /16"),
        (("2001:db8::/47",), "wider than /48"),
        (("0.0.0.0/0", "--permanent"), "wider than /16"),
        (("198.18.0.300",), "not an address or network"),
        (("198.18.0.1/24",), "has host bits set"),
        (("mail.example.com",), "not an address or network"),
        (("198.18.0.1", "--for", "never"), "not a duration"),
        (("198.18.0.1", "--for", "0s"), "no time at all"),
        (("198.18.0.1", "--for", "1h", "--permanent"), "not allowed with"),
        ((), "required"),
    ],
)
def test_what_is_not_allowed(path: Path, words: tuple[str, ...], told: str) -> None:
    before = (path / "data.mdb").read_bytes()
    assert told in refused("allow", *words, "--map", path)
    assert (path / "data.mdb").read_bytes() == before


def test_wide_networks_and_what_is_never_granted_are_to_be_meant(
    path: Path, tmp_path: Path
) -> None:
    config = tmp_path / "pbs-watch.toml"
    config.write_text('never = ["198.18.9.0/24"]\n')
    words = ("--map", path, "--config", config)
    for subject in ("198.18.9.9", "198.18.0.0/16", "198.18.9.0/25"):
        assert "is never granted: " in refused("allow", subject, *words)
        assert command("allow", subject, "--force", *words).status == 0
    assert command("allow", "198.0.0.0/8", "--force", *words).status == 0
    assert command("get", "198.255.1.1", *words).status == 0


# revoke


def test_an_address_is_revoked_and_a_new_login_grants_again(
    daemon: Daemon, by_hand: Run, log: Log
) -> None:
    log.write(login("198.18.0.1"), login("198.18.0.2"))
    assert daemon.ask("198.18.0.1") == OK
    ended = by_hand("revoke", "198.18.0.1")
    assert ended.status == 0
    assert [daemon.ask(f"198.18.0.{number}") for number in (1, 2)] == [NO, OK]
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK


def test_a_user_is_revoked_wherever_he_is_and_nobody_else(
    daemon: Daemon, by_hand: Run, log: Log
) -> None:
    log.write(login("198.18.0.1"), login("198.18.0.2"), login("198.18.0.2", user="eve"))
    log.write(imap("198.18.0.3"), login("198.18.0.4", user="bobby"))
    everywhere = [f"198.18.0.{number}" for number in (1, 2, 3, 4)]
    assert [daemon.ask(one) for one in everywhere] == [OK] * 4
    until(lambda: daemon.get("198.18.0.4") == 0, "all is committed, so that it can be counted")
    ended = by_hand("revoke", "--user", "bob")
    assert ended.lines == [
        "user bob revoked: ended 3 logins, 1 open session; 2 addresses lost their grant",
        "198.18.0.2 may relay all the same: eve logged in there too",
    ]
    assert ended.status == 1
    assert [daemon.ask(one) for one in everywhere] == [NO, OK, NO, OK]


def test_where_a_user_may_relay_all_the_same_is_told(
    daemon: Daemon, by_hand: Run, log: Log
) -> None:
    by_hand("allow", "198.18.0.0/29", "--permanent", "--note", "office")
    log.write(login("198.18.0.1"), login("198.18.0.9"), login("198.18.0.9", user="eve"))
    log.write(imap("198.18.0.9", user="alice"), login("198.18.0.10"))
    asked = ["198.18.0.1", "198.18.0.9", "198.18.0.10"]
    assert [daemon.ask(one) for one in asked] == [OK] * 3
    until(lambda: daemon.get("198.18.0.10") == 0, "all is committed, so that it can be counted")
    ended = by_hand("block", "--user", "bob", "--for", "1h")
    assert [daemon.ask(one) for one in asked] == [OK, OK, NO]
    assert ended.status == 1
    assert ended.lines[0].endswith(": ended 3 logins; 1 address lost its grant")
    assert ended.lines[1:] == [
        "198.18.0.1 may relay all the same: allowed as 198.18.0.0/29 permanently (office)",
        "198.18.0.9 may relay all the same: alice, eve logged in there too",
    ]
    by_hand("revoke", "198.18.0.0/29")
    assert by_hand("revoke", "--user", "eve").lines[1:] == [
        "198.18.0.9 may relay all the same: alice logged in there too"
    ]
    ended = by_hand("revoke", "--user", "alice")
    assert (ended.status, ended.lines) == (
        0,
        ["user alice revoked: ended 1 login, 1 open session; 1 address lost its grant"],
    )
    assert daemon.ask("198.18.0.9") == NO


def test_those_that_go_on_are_counted_and_only_some_named(daemon: Daemon, by_hand: Run) -> None:
    grants = Map(daemon.map, "write")
    now = time.time()
    changes = Changes(orders=grants.obey().version)
    for number in range(300):
        for user in (b"bob", b"eve"):
            address = b"198.18.%d.%d" % divmod(number, 200)
            changes.login(address, grant(now + 60, now - 60, user, b"pop3d"))
    grants.commit(changes)
    grants.close()
    ended = by_hand("revoke", "--user", "bob")
    assert ended.lines[0].endswith("ended 300 logins; no address lost its grant")
    assert len(ended.lines) == 7
    assert ended.lines[-1] == "and 295 more addresses may relay all the same"


def test_an_address_of_a_network_that_others_share_goes_on(daemon: Daemon, by_hand: Run) -> None:
    """As where ``prefix`` was set to 64 a moment ago."""
    grants = Map(daemon.map, "write")
    now = time.time()
    changes = Changes(orders=grants.obey().version)
    changes.login(b"2001:db8::1", grant(now + 60, now - 60, b"bob", b"pop3d"))
    changes.login(b"2001:db8::/64", grant(now + 60, now - 60, b"eve", b"pop3d"))
    grants.commit(changes)
    grants.close()
    ended = by_hand("revoke", "--user", "bob")
    assert (ended.status, daemon.ask("2001:db8::1")) == (1, OK)
    assert ended.lines[1] == "2001:db8::1 may relay all the same: eve logged in there too"


def test_an_allow_that_ends_is_a_grant_that_is_lost(by_hand: Run) -> None:
    by_hand("allow", "198.18.0.1", "--permanent")
    by_hand("allow", "198.18.1.0/24", "--permanent")
    assert by_hand("revoke", "198.18.0.1").lines == [
        "198.18.0.1 revoked: ended 1 allow; 1 address lost its grant"
    ]
    assert by_hand("revoke", "198.18.1.0/24").lines == ["198.18.1.0/24 revoked: ended 1 allow"]


def test_the_end_of_a_session_that_was_open_undoes_no_revocation(
    daemon: Daemon, by_hand: Run, log: Log
) -> None:
    log.write(imap("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK
    by_hand("revoke", "--user", "bob")
    log.write(logout("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == NO
    # An end that does not say how long it lasted may tell of any session.
    log.write(line("LOGOUT, user=bob, ip=[198.18.0.1], headers=0, body=0", tag="imapd"))
    assert daemon.ask("198.18.0.1") == NO
    log.write(imap("198.18.0.1"), logout("198.18.0.1", seconds=0))
    assert daemon.ask("198.18.0.1") == OK


def test_an_order_wins_over_a_login_that_is_not_committed(start: Start, log: Log) -> None:
    """While the map is being written by somebody else for long: what is seen obeys too."""
    daemon = start()
    log.write(login("198.18.0.1"), login("198.18.0.2", user="eve"))
    assert daemon.ask("198.18.0.1") == OK
    for _ in range(20):
        log.write(login("198.18.0.1"))
        assert daemon.ask("198.18.0.1") == OK  # not committed: a tenth of a second
        command("revoke", "--user", "bob", "--map", daemon.map)
        assert [daemon.ask(f"198.18.0.{number}") for number in (1, 2)] == [NO, OK]


def test_a_restart_and_a_rebuild_undo_no_order(daemon: Daemon, by_hand: Run, log: Log) -> None:
    log.write(imap("198.18.0.1"), login("198.18.0.2", user="eve"), login("198.18.0.3"))
    assert daemon.ask("198.18.0.3") == OK
    by_hand("revoke", "198.18.0.1")
    by_hand("block", "--user", "eve", "--for", "1h")
    by_hand("allow", "198.18.7.0/24", "--permanent")
    asked = ["198.18.0.1", "198.18.0.2", "198.18.0.3", "198.18.7.7"]
    expected = [NO, NO, OK, OK]
    assert [daemon.ask(one) for one in asked] == expected
    daemon.kill()
    daemon.start()
    assert [daemon.ask(one) for one in asked] == expected
    daemon.stop()
    assert command("rebuild", "--map", daemon.map, "--log", log.path).status == 0
    daemon.start()
    assert [daemon.ask(one) for one in asked] == expected
    log.write(login("198.18.0.2", user="eve"))
    assert daemon.ask("198.18.0.2") == NO


def test_orders_survive_a_map_that_cannot_be_read(daemon: Daemon, by_hand: Run, log: Log) -> None:
    log.write(login("198.18.0.1"))
    by_hand("allow", "198.18.7.7", "--permanent", "--note", "scanner")
    by_hand("block", "198.18.0.1", "--for", "1h")
    daemon.stop()
    (daemon.map / "data.mdb").write_bytes(b"\0" * 65536)
    ended = command("rebuild", "--map", daemon.map, "--log", log.path)
    assert ended.status == 0
    assert "2 orders read from their copy" in ended.out.decode()
    daemon.start()
    assert [daemon.ask(one) for one in ("198.18.7.7", "198.18.0.1")] == [OK, NO]


# block


def test_who_is_blocked_is_not_granted_by_new_logins(
    daemon: Daemon, by_hand: Run, log: Log
) -> None:
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK
    assert by_hand("block", "198.18.0.1", "--for", "1h").status == 0
    log.write(login("198.18.0.1", user="eve"))
    assert daemon.ask("198.18.0.1") == NO
    # Revoking once more does not shorten it.
    by_hand("revoke", "198.18.0.1")
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == NO
    assert by_hand("unblock", "198.18.0.1").status == 0
    assert daemon.ask("198.18.0.1") == NO
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK
    assert by_hand("unblock", "198.18.0.1").status == 1


def test_a_block_makes_a_hole_in_what_is_allowed_and_the_last_word_counts(
    daemon: Daemon, by_hand: Run
) -> None:
    by_hand("allow", "198.18.7.0/24", "--permanent")
    by_hand("block", "198.18.7.7", "--for", "1h")
    assert [daemon.ask(f"198.18.7.{number}") for number in (6, 7)] == [OK, NO]
    by_hand("allow", "198.18.7.7")
    assert daemon.ask("198.18.7.7") == OK
    by_hand("block", "198.18.7.7", "--for", "1h")
    assert daemon.ask("198.18.7.7") == NO
    ended = by_hand("revoke", "198.18.7.6")
    assert ended.status == 1
    assert ended.lines[1] == "still allowed: 198.18.7.0/24 permanently; revoke that too"


def test_a_network_is_barred_with_all_that_is_in_it(daemon: Daemon, by_hand: Run, log: Log) -> None:
    inside = ["198.18.7.1", "198.18.7.200", "2001:db8::1"]
    log.write(*map(login, [*inside, "198.18.8.1"]))
    assert [daemon.ask(one) for one in inside] == [OK] * 3
    by_hand("revoke", "198.18.7.0/24")
    by_hand("block", "2001:db8::/48", "--for", "1h")
    assert [daemon.ask(one) for one in [*inside, "198.18.8.1"]] == [NO, NO, NO, OK]
    log.write(login("198.18.7.1"), login("2001:db8::2"))
    assert [daemon.ask(one) for one in ("198.18.7.1", "2001:db8::2")] == [OK, NO]


def test_an_address_of_a_network_that_is_granted_as_one(start: Start, log: Log) -> None:
    daemon = start("--prefix", "64")
    log.write(login("2001:db8::1"))
    assert [daemon.ask(one) for one in ("2001:db8::2", "2001:db8:0:1::2")] == [OK, NO]
    command("revoke", "2001:db8::1", "--map", daemon.map)
    assert daemon.ask("2001:db8::2") == NO


def test_what_is_said_where_a_network_is_granted_as_one(start: Start, log: Log) -> None:
    daemon = start("--prefix", "64")
    config = log.path.with_name("config")
    config.write_text("prefix = 64\n")

    def by_hand(*words: str) -> Ended:
        return command(*words, "--config", config, "--map", daemon.map)

    ended = by_hand("block", "2001:db8::1", "--for", "1h")
    assert ended.lines[0].endswith(": there was nothing to end")
    assert ended.lines[1:] == [
        "the addresses of 2001:db8::/64 are granted as one, and are blocked together"
    ]
    ended = by_hand("unblock", "2001:db8::2")
    assert ended.status == 1
    assert ended.lines[0] == "2001:db8::2 has no block of its own"
    assert ended.lines[1].startswith("but 2001:db8::1 is blocked until ")
    assert by_hand("unblock", "2001:db8::1").status == 0
    log.write(login("2001:db8::1"))
    assert daemon.ask("2001:db8::2") == OK
    until(lambda: daemon.get("2001:db8::2") == 0, "committed")
    assert by_hand("revoke", "2001:db8::3").lines[1:] == [
        "the addresses of 2001:db8::/64 are granted as one, and lost their grant together"
    ]


# expire and forget


def test_all_that_older_logins_granted_is_ended(daemon: Daemon, by_hand: Run, log: Log) -> None:
    now = time.time()
    log.write(login("198.18.0.1", at=now - 600), imap("198.18.0.2", at=now - 900))
    log.write(login("198.18.0.3", at=now - 60))
    by_hand("allow", "198.18.0.4", "--permanent")
    asked = [f"198.18.0.{number}" for number in (1, 2, 3, 4)]
    assert [daemon.ask(one) for one in asked] == [OK] * 4
    assert by_hand("expire", "--older-than", "5m").status == 0
    assert [daemon.ask(one) for one in asked] == [NO, NO, OK, OK]
    assert by_hand("expire", "--older-than", "0s").status == 0
    assert [daemon.ask(one) for one in asked] == [NO, NO, NO, OK]
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK


def test_expire_alone_removes_what_is_over(path: Path) -> None:
    now = time.time()
    changes = Changes()
    changes.login(b"198.18.0.1", grant(now - 5, now - 65, b"bob", b"pop3d"))
    changes.login(b"198.18.0.2", grant(now + 60, now, b"bob", b"pop3d"))
    grants = Map(path, "daemon")
    grants.commit(changes)
    grants.close()
    assert command("expire", "--map", path).lines == ["1 grant had expired and was removed"]
    assert command("expire", "--map", path).lines == ["0 grants had expired and were removed"]
    assert command("get", "198.18.0.2", "--map", path).status == 0


def test_nothing_names_a_user_who_was_forgotten(daemon: Daemon, by_hand: Run, log: Log) -> None:
    log.write(imap("198.18.0.1", user="carol"), login("198.18.0.2"))
    assert daemon.ask("198.18.0.1") == OK
    by_hand("revoke", "--user", "carol")
    log.write(logout("198.18.0.1", user="carol"), imap("198.18.0.1", user="carol"))
    assert daemon.ask("198.18.0.1") == OK
    daemon.stop()
    ended = command("forget", "carol", "--map", daemon.map)
    assert ended.status == 0
    assert b"1 login" in ended.out
    grants = Map(daemon.map, "read")
    with grants.reading() as tables:
        for table in (b"grants", b"logins", b"users", b"sessions", b"past", b"refusals",
                      b"orders", b"acts"):  # fmt: skip
            for key, value in tables.rows(table):
                assert b"carol" not in key + value, (table, key, value)
    grants.close()
    assert "carol" not in (daemon.map / "orders.jsonl").read_text()
    assert command("get", "198.18.0.2", "--map", daemon.map).status == 0
    assert command("forget", "carol", "--map", daemon.map).status == 1


def test_an_old_map_that_may_name_a_user_is_told(daemon: Daemon, by_hand: Run, log: Log) -> None:
    log.write(login("198.18.0.1", user="carol"))
    assert daemon.ask("198.18.0.1") == OK
    daemon.stop()
    assert command("rebuild", "--map", daemon.map, "--log", log.path).status == 0
    (old,) = daemon.map.glob("data.mdb.*")
    ended = by_hand("forget", "carol")
    assert ended.lines[-1] == f"{old} is an old map, which may name that user: remove it"
    old.unlink()
    assert by_hand("forget", "carol").lines == ["nothing is remembered of carol"]


def test_status_shows_nobody_who_was_forgotten(daemon: Daemon, by_hand: Run, log: Log) -> None:
    log.write(line("LOGIN, user=carol, ip=[198.18.0.1], port=[1], new=field"))
    assert daemon.ask("198.18.0.1") == NO

    def state() -> str:
        return by_hand("status", "--json").out.decode()

    assert "carol" in state()
    assert '"last_warning": ""' not in state()
    assert by_hand("forget", "carol").status == 1
    until(lambda: "carol" not in state(), "the near miss is gone")
    assert '"last_warning": ""' in state()
    assert '"near": 1' in state()


def test_what_is_shown_of_others_ages(daemon: Daemon, start: Start, log: Log) -> None:
    daemon.stop()
    daemon = start("--retention", "1s")
    log.write(line("LOGIN, user=carol, ip=[198.18.0.1], port=[1], new=field"))
    assert daemon.ask("198.18.0.1") == NO

    def state() -> str:
        return command("status", "--json", "--map", daemon.map).out.decode()

    assert "carol" in state()
    until(lambda: "carol" not in state(), "the near miss is gone")


def test_an_order_that_has_ended_is_in_no_copy(path: Path) -> None:
    now = time.time()
    grants = Map(path, "daemon")
    for number, ends in enumerate((now + 1, now + 90)):
        order = Allow(b"198.18.0.%d" % number, now, ends, f"for carol{number}")
        hand.allow(grants, order, "root")
    keep_copy(grants)
    writer = Writer(grants, lambda: None)
    for when, names in ((now, 2), (now + 2, 1), (now + 99, 0)):
        writer.tidy(when)
        until(lambda: not writer.tidying, "tidied")
        assert (path / NAME).read_text().count("carol") == names
        assert len(grants.obey().allows) == names
    writer.close()
    grants.close()


def test_users_of_any_bytes(daemon: Daemon, log: Log) -> None:
    log.write(login("198.18.0.1", user="e\u00e9 [x]=\u202e"))
    until(lambda: daemon.get("198.18.0.1") == 0, "committed")
    ended = command("revoke", "--user", "e\u00e9 [x]=\u202e", "--map", daemon.map)
    assert ended.status == 0
    assert "\u202e" not in ended.out.decode()
    assert daemon.ask("198.18.0.1") == NO


ODD = [
    b"lat\xe9",
    b"example\\bob",
    b"example\\x61b",
    b"\\\\",
    b"a\x1b[2j",
    "\u200b\u20ac".encode(),
    b"\\",
]


@pytest.mark.parametrize("user", ODD)
def test_a_name_is_taken_as_it_is_shown(path: Path, user: bytes) -> None:
    grants = Map(path, "write")
    changes = Changes(orders=grants.obey().version)
    changes.login(b"198.18.0.1", grant(time.time() + 60, time.time() - 9, user, b"pop3d"))
    # No other name is shown the same.
    others = {*ODD, b"lat\\xe9", b"example\\ab", b"\xe2\x82\xac"} - {user}
    for number, other in enumerate(others, 2):
        changes.login(
            b"198.18.0.%d" % number, grant(time.time() + 60, time.time() - 9, other, b"pop3d")
        )
    grants.commit(changes)
    grants.close()
    (shown,) = [
        row["user"]
        for row in json.loads(command("list", "--json", "--in", "198.18.0.1", "--map", path).out)
    ]
    for words in (["list", "--user", shown], ["list"]):
        assert shown in command(*words, "--map", path).out.decode()
    assert len(command("list", "--user", shown, "--map", path).lines) == 1
    ended = command("revoke", "--user", shown, "--map", path)
    assert (ended.status, ended.lines) == (
        0,
        [f"user {shown} revoked: ended 1 login; 1 address lost its grant"],
    )
    assert command("get", "198.18.0.1", "--map", path).status == 1
    assert command("forget", shown, "--map", path).status == 0
    assert len(command("list", "--map", path).lines) == len(others)


def test_a_user_who_is_not_known_is_told(path: Path) -> None:
    ended = command("revoke", "--user", "mallory", "--map", path)
    assert (ended.status, "knows no login of that user" in ended.lines[1]) == (1, True)
    assert command("block", "--user", "mallory", "--for", "1h", "--map", path).status == 0


# Wrong uses


@pytest.mark.parametrize(
    "words",
    [("allow", "198.18.0.1"), ("block", "198.18.0.1", "--for", "1h"), ("revoke", "198.18.0.1")],
)
def test_a_note_is_no_book(path: Path, words: tuple[str, ...]) -> None:
    before = (path / "data.mdb").read_bytes()
    said = refused(*words, "--note", "x" * 100_000, "--map", path)
    assert said == "--note: 100,000 bytes; write at most 500"
    assert (path / "data.mdb").read_bytes() == before
    assert command(*words, "--note", "\u00fc" * 250, "--map", path).status == 0


@pytest.mark.parametrize("name", ["revoke", "block", "unblock"])
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "name an address or network, or a user"),
        (("198.18.0.1", "--user", "bob"), "name an address or network, or a user"),
        (("mail.example.com",), "not an address or network"),
        (("--user", ""), "cannot be a user's name"),
        (("--user", "x" * 500), "cannot be a user's name"),
    ],
)
def test_what_is_to_be_barred_is_one_thing(
    path: Path, name: str, words: tuple[str, ...], told: str
) -> None:
    more = ("--for", "1h") if name == "block" else ()
    before = (path / "data.mdb").read_bytes()
    assert told in refused(name, *words, *more, "--map", path)
    assert (path / "data.mdb").read_bytes() == before
    assert not (path / "orders.jsonl").exists()


COMMANDS = [
    ("allow", "198.18.0.1"),
    ("revoke", "198.18.0.1"),
    ("block", "198.18.0.1", "--for", "1h"),
    ("unblock", "198.18.0.1"),
    ("expire",),
    ("expire", "--older-than", "1h"),
    ("forget", "bob"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_no_command_makes_a_map(words: tuple[str, ...], tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert "there is no map here" in refused(*words, "--map", missing)
    assert not missing.exists()


@pytest.mark.parametrize("closed", ["data.mdb", "."])
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_user_without_rights_is_told_in_one_line(
    words: tuple[str, ...], closed: str, path: Path
) -> None:
    assert refused_to_nobody(*words, path=path, closed=closed)


def test_sessions_of_others_go_on_when_a_user_is_revoked(path: Path) -> None:
    """Also where the other's login is over, and only his session holds the address."""
    now = time.time()
    grants = Map(path, "daemon")
    changes = Changes()
    for user, expires in ((b"bob", now + 60), (b"eve", now - 60)):
        changes.login(b"198.18.0.1", grant(expires, now - 90, user, b"imapd"))
        hold = Hold(now + 3600, now - 90)
        changes.session(b"198.18.0.1", SessionKey(b"imapd", user, b"1"), hold)
    grants.commit(changes)
    while grants.sweep(now).looked:
        pass
    ended = command("revoke", "--user", "bob", "--map", path)
    assert ended.status == 1
    assert ended.lines[1] == "198.18.0.1 may relay all the same: eve logged in there too"
    assert grants.allows(b"198.18.0.1", now + 61)
    assert command("revoke", "--user", "eve", "--map", path).status == 0
    assert not grants.allows(b"198.18.0.1", now)
    grants.close()
