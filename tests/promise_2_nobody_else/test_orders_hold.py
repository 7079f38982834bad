"""Orders hold whatever happens to the command, the clock, the map and the files around them."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pbs_watch.errors import MapError
from pbs_watch.exchange import intake
from pbs_watch.exchange.parcel import Parcel
from pbs_watch.grants import hand, strike
from pbs_watch.grants.acts import Act, acts_after
from pbs_watch.grants.changes import Changes, Grant, Hold, SessionKey, grant
from pbs_watch.grants.copy import NAME, keep_copy, read_copy
from pbs_watch.grants.orders import Allow, Bar
from pbs_watch.grants.owner import carrying_out
from pbs_watch.grants.store import Map
from pbs_watch.grants.writer import Writer
from tests.daemon import NO, OK, Daemon, Log, command, line, login, refused, until

Start = Callable[..., Daemon]
HOUR = 3600.0
A = b"198.18.0.1"


@pytest.fixture
def grants(tmp_path: Path) -> Map:
    return Map(tmp_path / "map", "daemon")


def logged_in(grants: Map, *users: bytes, at: float, address: bytes = A) -> None:
    changes = Changes(orders=grants.obey().version)
    for user in users:
        changes.login(address, grant(at + HOUR, at, user, b"pop3d"))
    grants.commit(changes)


def test_what_was_written_before_the_clock_was_set_back_is_revoked(grants: Map) -> None:
    now = time.time()
    logged_in(grants, b"bob", at=now + HOUR)
    changes = Changes()
    changes.session(A, SessionKey(b"imapd", b"bob", b"1"), Hold(now + 3 * HOUR, now + HOUR))
    grants.commit(changes)
    struck = hand.bar(grants, Bar("network", A, now, now), "root", "revoke")
    assert (struck.logins, struck.sessions, struck.addresses) == (1, 1, 1)
    assert not grants.allows(A, now)
    logged_in(grants, b"eve", at=now + HOUR)
    assert hand.bar(grants, Bar("user", b"eve", now, now), "root", "revoke").logins == 1
    assert not grants.allows(A, now)


def test_a_command_that_is_cut_short_is_finished_by_the_daemon(
    grants: Map, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    logged_in(grants, b"bob", b"eve", at=now)

    def broken(*_words: object, **_more: object) -> None:
        raise MapError("no space left")

    order = Bar("user", b"bob", now + 1, now + 1)
    with monkeypatch.context() as patching:
        patching.setattr(strike, "strike", broken)
        with pytest.raises(MapError, match="the order stands"):
            hand.bar(grants, order, "root", "revoke")
    assert [one.name for one in strike.unfinished(grants)] == [b"bob"]
    writer = Writer(grants, lambda: None)
    with carrying_out(grants.path):  # whoever gives an order is at it himself
        writer.tidy(now)
        until(lambda: not writer.tidying, "it has tidied")
    assert grants.users(A, now) == [b"bob", b"eve"]
    writer.tidy(now)
    until(lambda: not writer.tidying, "it has tidied")
    writer.close()
    assert grants.users(A, now) == [b"eve"]
    assert strike.unfinished(grants) == []


def test_a_block_that_reaches_farther_stands_and_is_told(grants: Map) -> None:
    now = time.time()
    long = Bar("user", b"eve", now, now + 7 * HOUR)
    assert hand.bar(grants, long, "root", "block").until == now + 7 * HOUR
    short = Bar("user", b"eve", now + 1, now + HOUR, "again")
    assert abs(hand.bar(grants, short, "root", "block").until - long.until) < 1e-5
    with grants.reading() as tables:
        assert [act.note for act in acts_after(tables, 0)] == ["", "again"]
    assert grants.obey().bar(A, b"eve", now + 6 * HOUR) is not None


def test_an_import_does_not_undo_an_order_given_meanwhile(
    grants: Map, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    parcel = Parcel()
    parcel.login(A, Grant(now + HOUR, now, now, b"eve", b"pop3d"))
    parcel.bars.append(Bar("user", b"bob", now, now))
    logged_in(grants, b"bob", at=now - 1)
    genuine = strike.strike

    def meanwhile(*words: object, **more: object) -> object:
        hand.bar(grants, Bar("user", b"eve", now + 1, now + 1), "root", "revoke")
        return genuine(*words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(intake, "strike", meanwhile)
    intake.take(grants, parcel, Act(now, "import", "file", "root"))
    assert not grants.allows(A, now + 1)


def test_what_was_revoked_is_not_allowed_again_by_an_older_export(grants: Map) -> None:
    now = time.time()
    parcel = Parcel()
    parcel.allows.append(Allow(b"198.18.7.0/24", now, None))
    hand.allow(grants, parcel.allows[0], "root")
    hand.bar(grants, Bar("network", b"198.18.7.0/24", now + 1, now + 1), "root", "revoke")
    intake.take(grants, parcel, Act(now + 2, "import", "file", "root"))
    assert not grants.allows(b"198.18.7.7", now + 3)


def test_a_grant_without_a_login_is_revoked_and_forgotten_too(grants: Map) -> None:
    """As after its login was swept, or out of an import."""
    now = time.time()
    for user in (b"bob", b"eve"):
        changes = Changes(orders=grants.obey().version)
        changes.grants[A] = grant(now + HOUR, now - 5, user, b"pop3d")
        grants.commit(changes)
        assert grants.allows(A, now)
        if user == b"bob":
            hand.bar(grants, Bar("user", user, now, now), "root", "revoke")
        else:
            hand.forget(grants, user, "root", now)
        assert not grants.allows(A, now)


def test_the_copy_follows_no_link(grants: Map, tmp_path: Path) -> None:
    """The daemon's user owns the folder, and root writes there."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in (NAME, f"{NAME}.{os.getpid()}"):
        (grants.path / name).symlink_to(victim)
    hand.allow(grants, Allow(A, time.time(), None), "root")
    keep_copy(grants)
    assert victim.read_text() == "precious"
    assert not (grants.path / NAME).is_symlink()
    assert [order.network for order in read_copy(grants.path) if isinstance(order, Allow)] == [A]


def test_orders_given_at_once_are_all_in_the_copy(tmp_path: Path) -> None:
    path = tmp_path / "map"
    Map(path, "daemon").close()
    threads = [
        threading.Thread(
            target=command, args=("block", f"198.18.0.{n}", "--for", "1h", "--map", path)
        )
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_copy(path)) == 8


def test_damaged_rows_are_an_error_and_no_crash(grants: Map) -> None:
    with grants.changing() as tables:
        tables.put(b"acts", (1).to_bytes(8, "big"), bytes(8) + b'{"colour": 1}')
        tables.put(b"orders", b"Anonsense", bytes(24))
        tables.put(b"meta", b"acts", (1).to_bytes(8, "big"))
    with pytest.raises(MapError):
        grants.allows(A, 0.0)
    with pytest.raises(MapError):
        grants.obey()


def test_a_rebuild_grants_nothing_that_nobody_witnessed(start: Start, log: Log) -> None:
    daemon = start("--witness", "require", "--witness-ports", "1")
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == NO
    daemon.stop()
    config = daemon.map.parent / "require.toml"
    config.write_text('witness = "require"\n')
    words = ("--map", daemon.map, "--log", log.path, "--config", config)
    assert command("rebuild", *words).status == 0
    assert command("get", "198.18.0.1", "--map", daemon.map).status == 1


def test_the_commands_keep_to_the_daemons_retention(start: Start, log: Log) -> None:
    daemon = start("--retention", "0s")
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK
    until(lambda: daemon.get("198.18.0.1") == 0, "committed")
    command("revoke", "198.18.0.1", "--map", daemon.map)
    told = json.loads(command("why", "198.18.0.1", "--json", "--map", daemon.map).out)
    assert told["past"] == []


def test_what_is_never_granted_is_not_imported(tmp_path: Path) -> None:
    path = tmp_path / "map"
    Map(path, "daemon").close()
    config = tmp_path / "pbs-watch.toml"
    config.write_text('never = ["198.18.9.0/24"]\nonly = ["198.18.0.0/16"]\n')
    words = ("--map", path, "--config", config)
    rows = tmp_path / "rows"
    rows.write_text("198.18.9.9\t0\n")
    assert "198.18.9.9 is never granted" in refused("import", rows, *words)
    now = int(time.time())
    rows.write_text(f"198.18.9.9 {now}\n203.0.113.1 {now}\n198.18.0.1 {now}\n")
    ended = command("import", rows, *words)
    assert ended.status == 0
    assert b"never granted" in ended.out
    granted = [command("get", one, *words).status for one in ("198.18.9.9", "203.0.113.1")]
    assert granted == [1, 1]
    assert command("get", "198.18.0.1", *words).status == 0


@pytest.mark.parametrize("words", [("allow",), ("revoke",), ("block", "--for", "1h"), ("unblock",)])
def test_an_address_with_a_zone_is_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert "has a zone" in refused(*words, "fe80::1%eth0", "--map", tmp_path)


def test_an_end_that_says_nothing_of_its_length_proves_nothing_after_an_order(
    start: Start, log: Log
) -> None:
    daemon = start()
    command("revoke", "--user", "bob", "--map", daemon.map)
    log.write(line("LOGOUT, user=bob, ip=[198.18.0.1], top=0, retr=0"))
    assert daemon.ask("198.18.0.1") == NO
