"""Orders hold whatever happens to the command, the clock, the map and the files around them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
from tests.daemon import NO, OK, Daemon, Log, command, environment, line, login, refused, until

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


def test_an_order_counts_before_what_it_makes_void_is_removed(
    grants: Map, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    both, bobs, again, held, eves = (b"198.18.0.%d" % number for number in range(1, 6))
    for address in (both, bobs, again, held):
        logged_in(grants, b"bob", at=now, address=address)
    for address in (both, eves):
        logged_in(grants, b"eve", at=now, address=address)
    changes = Changes()
    changes.session(held, SessionKey(b"imapd", b"eve", b"1"), Hold(now + HOUR, now))
    grants.commit(changes)

    def may() -> list[bool]:
        glance = grants.glance(now + 2)
        try:
            found = [glance.allows(address) for address in (both, bobs, again, held, eves)]
            # What is found at first sight is found at the second.
            assert not any(
                glance.grants(address) and not allowed
                for address, allowed in zip((both, bobs, again, held, eves), found, strict=True)
            )
            return found
        finally:
            glance.close()

    def broken(*_words: object, **_more: object) -> None:
        raise MapError("no space left")

    assert may() == [True] * 5
    with monkeypatch.context() as patching:
        patching.setattr(strike, "strike", broken)
        with pytest.raises(MapError, match="the order stands"):
            hand.bar(grants, Bar("user", b"bob", now + 1, now + 1), "root", "revoke")
    assert may() == [True, False, False, True, True]
    logged_in(grants, b"bob", at=now + 1.5, address=again)
    assert may() == [True, False, True, True, True]
    strike.finish_all(grants, now + 2)
    assert may() == [True, False, True, True, True]


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
    genuine = strike.finish_all

    def meanwhile(*words: object, **more: object) -> None:
        hand.bar(grants, Bar("user", b"eve", now + 1, now + 1), "root", "revoke")
        genuine(*words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(intake, "finish_all", meanwhile)
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


# An import that is cut short


def eves(grants: Map) -> Parcel:
    """A parcel whose bars make void what is in the map: of eve, of 198.18.1.0/24, of 198.18.0.9."""
    now = float(int(time.time()))  # in a file times have microseconds, no more
    users = {f"198.18.0.{number}".encode(): b"eve" for number in range(1, 5)}
    users |= {b"198.18.1.1": b"bob", b"198.18.0.9": b"bob", b"198.18.0.10": b"bob"}
    for address, user in users.items():
        logged_in(grants, user, at=now - 60, address=address)
    bars = [("user", b"eve"), ("network", b"198.18.1.0/24"), ("network", b"198.18.0.9")]
    return Parcel(bars=[Bar(subject, name, now, now + HOUR) for subject, name in bars])  # type: ignore[arg-type]


def left(grants: Map) -> list[str]:
    return [
        row["address"] for row in json.loads(command("list", "--json", "--map", grants.path).out)
    ]


class CutShortError(Exception):
    """Stands for the end of the process."""


def cut_short_at(where: str, grants: Map, parcel: Parcel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports up to a function."""

    def cut_short(*_: object, **__: object) -> None:
        raise CutShortError

    with monkeypatch.context() as patch:
        patch.setattr(intake, where, cut_short)
        with pytest.raises(CutShortError):
            intake.take(grants, parcel, Act(time.time(), "import", "file", "root"))


@pytest.mark.parametrize("where", ["finish_all", "written", "_put_logins"])
def test_an_import_that_is_cut_short_is_finished_by_the_daemon(
    grants: Map, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    parcel = eves(grants)
    version = grants.obey().version
    cut_short_at(where, grants, parcel, monkeypatch)
    # Who has the map open learns of it at once.
    assert grants.obey().version > version
    assert grants.orders.bar(b"198.18.0.1", b"eve", time.time()) is not None
    writer = Writer(grants, lambda: None)
    writer.tidy(time.time())
    until(lambda: not writer.tidying, "the daemon carries it out")
    writer.close()
    assert left(grants) == ["198.18.0.10"]
    assert strike.unfinished(grants) == []


def test_importing_again_carries_out_what_was_cut_short(
    grants: Map, monkeypatch: pytest.MonkeyPatch
) -> None:
    parcel = eves(grants)
    cut_short_at("_begin_bars", grants, parcel, monkeypatch)
    assert len(left(grants)) == 7
    cut_short_at("finish_all", grants, parcel, monkeypatch)
    for key in [b"Ueve", b"N198.18.0.9", b"N198.18.1.0/24"]:
        with grants.changing() as tables:  # as by a version that did not say what is to be done
            assert tables.delete(b"meta", b"striking B" + key)
    taken = intake.take(grants, parcel, Act(time.time(), "import", "file", "root"))
    assert taken.orders == 0
    assert left(grants) == ["198.18.0.10"]


def test_the_copy_is_written_by_an_import_that_finds_all_there(grants: Map) -> None:
    eves(grants)
    path = grants.path
    export = command("export", "--map", path).out
    row = {"kind": "bar", "subject": "user", "name": "eve", "since": 1.0, "until": 2e9, "note": ""}
    export += json.dumps(row).encode() + b"\n"
    assert command("import", "-", "--map", path, given=export).status == 0
    (path / NAME).unlink()
    assert command("import", "-", "--map", path, given=export).status == 0
    assert [order.name for order in read_copy(path) if isinstance(order, Bar)] == [b"eve"]


def test_a_daemon_obeys_an_import_that_was_cut_short(start: Start, log: Log) -> None:
    daemon = start()
    log.write(login("198.18.0.1", user="eve"), login("198.18.0.2"))
    assert daemon.ask("198.18.0.2") == OK
    lines = [b'{"pbs-watch": 1}\n']
    row = {"kind": "bar", "subject": "user", "name": "eve", "since": 1.0, "until": 2e9, "note": ""}
    lines.append(json.dumps(row).encode() + b"\n")
    file = log.path.with_name("orders")
    file.write_bytes(b"".join(lines))
    killed = """
import os, sys
from pbs_watch.exchange import intake
intake.finish_all = lambda *_, **__: os._exit(137)
from pbs_watch.cli import main
main(["import", sys.argv[1], "--map", sys.argv[2]])
"""
    done = subprocess.run(
        [sys.executable, "-c", killed, file, daemon.map], env=environment(), check=False
    )
    assert done.returncode == 137
    log.write(login("198.18.0.3", user="eve"))
    assert daemon.ask("198.18.0.3") == NO
    until(lambda: daemon.ask("198.18.0.1") == NO, "what was granted before ends")
    assert daemon.ask("198.18.0.2") == OK


def test_many_bars_are_carried_out_in_one_go(grants: Map) -> None:
    now = time.time()
    changes = Changes(orders=grants.obey().version)
    for number in range(20_000):
        address = b"198.18.%d.%d" % divmod(number, 200)
        changes.login(address, grant(now + HOUR, now - 60, b"u%d" % number, b"pop3d"))
    grants.commit(changes)
    bars = [Bar("user", b"u%d" % number, now, now) for number in range(2000)]
    began = time.process_time()
    intake.take(grants, Parcel(bars=bars), Act(now, "import", "file", "root"))
    # One by one each would look at all grants: half a minute and more.
    assert time.process_time() - began < 5
    assert len(left(grants)) == 18_000
