"""A map has one daemon; a damaged one is told and never read; ``rebuild`` makes it anew."""

from __future__ import annotations

import gzip
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pbs_watch.grants import listing
from pbs_watch.grants.changes import Changes, grant
from pbs_watch.grants.store import Map
from pbs_watch.log.places import rotated
from tests.daemon import NO, OK, Daemon, Log, addresses, command, login, refused, rotate

Start = Callable[..., Daemon]
HOUR = 3600.0


def granted(path: Path) -> list[str]:
    ended = command("list", "--json", "--map", path)
    assert ended.status == 0
    return [row["address"] for row in json.loads(ended.out)]


def rebuilt(map_: Path, log: Path | str, *words: str) -> list[str]:
    """What ``rebuild`` prints."""
    ended = command("rebuild", "--map", map_, "--log", log, *words)
    assert (ended.status, ended.err) == (0, "")
    return ended.lines


def truncate(path: Path, keep: float) -> None:
    data = path / "data.mdb"
    os.truncate(data, int(data.stat().st_size * keep))


# One daemon a map


def test_a_second_daemon_on_the_same_map_ends(start: Start, log: Log) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    words: list[str | Path] = [
        "run",
        "--map",
        daemon.map,
        "--log",
        log.path,
        "--tcp-table",
        "127.0.0.1:0",
    ]
    said = refused(*words)
    assert said.startswith(f"{daemon.map}: a running daemon uses this map")
    assert daemon.ask("198.18.0.1") == OK
    daemon.kill()
    # Whoever was killed holds nothing any more.
    daemon.start()
    assert daemon.ask("198.18.0.1") == OK
    assert refused(*words) == said
    daemon.stop()
    daemon.start()


def test_a_rebuild_while_a_daemon_runs_does_nothing(start: Start, log: Log) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    assert "a running daemon uses this map" in refused(
        "rebuild", "--map", daemon.map, "--log", log.path
    )
    assert daemon.ask("198.18.0.1") == OK
    daemon.stop()
    assert sorted(one.name for one in daemon.map.iterdir()) == [
        "daemon.lock",
        "data.mdb",
        "lock.mdb",
    ]
    assert granted(daemon.map) == ["198.18.0.1"]


def test_a_map_that_nobody_may_make(tmp_path: Path, log: Log) -> None:
    (tmp_path / "file").touch()
    said = refused("run", "--map", tmp_path / "file", "--log", log.path)
    assert said.startswith(f"{tmp_path / 'file'}: ")


# Damage


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A map of some hundred pages."""
    changes = Changes()
    for address in addresses(5000):
        changes.login(address.encode(), grant(time.time() + HOUR, time.time(), b"bob", b"pop3d"))
    grants = Map(tmp_path / "map", "daemon")
    grants.commit(changes)
    grants.close()
    return tmp_path / "map"


@pytest.mark.parametrize("keep", [0.01, 0.25, 0.5, 0.9])
def test_a_truncated_map_is_told(filled: Path, log: Log, keep: float) -> None:
    truncate(filled, keep)
    before = (filled / "data.mdb").read_bytes()
    commands: dict[str, list[str | Path]] = {
        "run": ["--log", log.path, "--tcp-table", "127.0.0.1:0"],
        "get": ["198.18.0.1"],
        "list": [],
    }
    for name, words in commands.items():
        said = refused(name, "--map", filled, *words)
        assert said.startswith(f"{filled}: ")
        if keep > 0.1:
            # Less than that is not a map at all, and LMDB itself says so.
            assert "the map is damaged" in said
            assert "pbs-watch rebuild" in said
    assert (filled / "data.mdb").read_bytes() == before


def test_a_file_that_is_not_a_map_is_told(filled: Path, log: Log) -> None:
    (filled / "data.mdb").write_bytes(random.Random(1).randbytes(100_000))
    assert "not a map, or damaged" in refused("run", "--map", filled, "--log", log.path)
    assert "not a map, or damaged" in refused("get", "198.18.0.1", "--map", filled)


def missing_pages(grants: Map) -> int:
    """By how many pages the file is shorter than its last page number says."""
    env = grants._env
    size: int = env.stat()["psize"]
    last: int = env.info()["last_pgno"]
    return last + 1 - (grants.path / "data.mdb").stat().st_size // size


def test_a_map_whose_last_pages_were_never_written_is_whole(tmp_path: Path) -> None:
    """LMDB numbers pages which it gives back before it writes."""
    chance, now = random.Random(1), 1e9
    grants = Map(tmp_path, "scratch")
    changes = Changes()
    changes.login(b"198.18.0.1", grant(now + 60, now, b"bob", b"pop3d"))
    grants.commit(changes)
    for _ in range(200):
        churn(grants, chance)
        if missing_pages(grants) > 0:
            break
    assert missing_pages(grants) > 0
    grants.close()
    again = Map(tmp_path, "daemon")
    assert [row.address for row in listing.granted(again, now)] == [b"198.18.0.1"]
    again.close()


def churn(grants: Map, chance: random.Random) -> None:
    """Rows come and go within one transaction."""
    with grants._env.begin(write=True, db=grants._db[b"expiry"]) as txn:
        for _ in range(chance.choice([1, 10, 100])):
            key = b"%04d" % chance.randrange(2000) + b"k" * chance.choice([1, 300])
            if chance.random() < 0.5:
                txn.put(key, b"x" * chance.choice([1, 100]))
            else:
                txn.delete(key)
        if chance.random() < 0.1:
            cursor = txn.cursor()
            while cursor.first() and cursor.delete():
                pass


# Rebuilding


def test_a_damaged_map_is_made_anew_out_of_the_logs(start: Start, log: Log) -> None:
    daemon = start()
    logged = addresses(3000)
    at = time.time()
    old = at - 2 * HOUR
    log.write(*(login(one, at=at - 60) for one in logged[:1000]), login("198.19.0.1", at=old))
    log.rename()
    log.write(*(login(one, at=at - 30) for one in logged[1000:2000]))
    log.rename()
    log.write(*(login(one, at=at) for one in logged[2000:]))
    assert daemon.ask(logged[-1]) == OK
    daemon.stop()
    oldest = log.path.with_name("mail.log.2")
    packed = oldest.with_name("mail.log.2.gz")
    packed.write_bytes(gzip.compress(oldest.read_bytes()))
    oldest.unlink()
    before = granted(daemon.map)
    assert len(before) == 3000
    truncate(daemon.map, 0.5)
    damaged = (daemon.map / "data.mdb").read_bytes()
    assert "pbs-watch rebuild" in refused("get", "198.18.0.1", "--map", daemon.map)
    said = rebuilt(daemon.map, log.path)
    assert said[0] == "3,001 logins read again, 3,000 addresses may relay now"
    assert granted(daemon.map) == before
    (kept,) = daemon.map.glob("data.mdb.*")
    assert kept.read_bytes() == damaged
    assert str(kept) in said[1]
    log.write(login("198.19.0.2"))
    daemon.start()
    assert daemon.ask("198.19.0.2") == daemon.ask(logged[0]) == daemon.ask(logged[-1]) == OK
    assert daemon.ask("198.19.0.1") == NO


def test_open_sessions_hold_again(start: Start, log: Log) -> None:
    words = "user=bob, ip=[198.18.0.%d], port=[4242]"
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() - HOUR)).encode()
    for number in (1, 2):
        text = f"LOGIN, {words % number}, protocol=IMAP"
        log.write(stamp + f" mail imapd: {text}\n".encode())
    log.write(stamp + f" mail imapd: TIMEOUT, {words % 2}, headers=0, body=0, time=5\n".encode())
    map_ = log.path.with_name("map")
    assert rebuilt(map_, log.path)[0] == "2 logins read again, 1 addresses may relay now"
    assert granted(map_) == ["198.18.0.1"]
    daemon = start()
    assert (daemon.ask("198.18.0.1"), daemon.ask("198.18.0.2")) == (OK, NO)


def test_each_old_map_is_kept(filled: Path, log: Log) -> None:
    first = (filled / "data.mdb").read_bytes()
    log.write(login("198.18.0.1"))
    rebuilt(filled, log.path)
    second = (filled / "data.mdb").read_bytes()
    rebuilt(filled, log.path)
    kept = {one.read_bytes() for one in filled.glob("data.mdb.*")}
    assert kept == {first, second}


def test_what_cannot_be_read_again_is_told(tmp_path: Path, log: Log) -> None:
    log.write(login("198.18.0.1"))
    for name, reason in {
        str(tmp_path / "none.log"): "no such file",
        str(tmp_path): "is a directory",
        "-": "cannot be read again",
        "journal:": "the daemon reads it back",
    }.items():
        said = rebuilt(tmp_path / "map", name, "--log", str(log.path))
        assert said[0].startswith(f"left out: {name}: ")
        assert reason in said[0]
        assert said[1] == "1 logins read again, 1 addresses may relay now"


def test_without_any_log_nothing_is_touched(filled: Path, tmp_path: Path) -> None:
    before = granted(filled)
    ended = command("rebuild", "--map", filled, "--log", tmp_path / "mial.log")
    assert ended.status == 2
    assert "mial.log: no such file" in ended.err
    assert granted(filled) == before


def test_with_a_wrong_pattern_nothing_is_touched(filled: Path, log: Log) -> None:
    before = {one.name: one.read_bytes() for one in filled.iterdir()}
    wrong = command("rebuild", "--map", filled, "--log", log.path, "--patterns", "none-such")
    assert wrong.status == 2
    after = {one.name: one.read_bytes() for one in filled.iterdir()}
    assert {name: after[name] for name in before} == before
    assert granted(filled)[0] == "198.18.0.0"


def test_what_has_been_there_before_is_read_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    for name in ("mail.log.3.gz", "mail.log.2", "mail.log.1", "mail.log", "mail.log.bak", "other"):
        (tmp_path / name).touch()
    now = time.time()
    for number, name in enumerate(("mail.log.1", "mail.log.2", "mail.log.3.gz"), start=1):
        os.utime(tmp_path / name, (now, now - number * HOUR))
    names = ["mail.log.3.gz", "mail.log.2", "mail.log.1", "mail.log"]
    assert rotated(str(path), 0) == [str(tmp_path / name) for name in names]
    assert rotated(str(path), now - 2.5 * HOUR) == [str(tmp_path / name) for name in names[1:]]
    rotate(path)
    assert [Path(one).name for one in rotated(str(path), now - HOUR / 2)] == ["mail.log.1"]
    assert rotated(str(tmp_path / "missing" / "mail.log"), 0) == []
