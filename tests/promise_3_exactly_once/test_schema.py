"""A map of an older schema is upgraded in one transaction by the daemon that owns it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from struct import pack
from time import time
from typing import Any

import lmdb
import pytest

from pbs_watch.errors import MapError
from pbs_watch.grants import rows, upgrade
from pbs_watch.grants.changes import Changes, Hold, SessionKey, grant
from pbs_watch.grants.environment import Mode
from pbs_watch.grants.listing import Listed, granted
from pbs_watch.grants.store import Map
from pbs_watch.log.position import ANCHOR_BYTES, Position, SourceState
from tests.daemon import NO, OK, Daemon, Log, login, refused

Start = Callable[..., Daemon]
Row = dict[str, Any]

DATABASES = (b"grants", b"logins", b"sessions", b"expiry", b"sources", b"meta")

CUTS = {"gap": False, "careful": 0, "doubts": []}
"""Of a log in which nothing was cut."""

LATER = 3600
"""Seconds for which what these maps hold goes on."""


def micros(seconds: float) -> bytes:
    return pack(">Q", int(seconds * 1e6))


def source_of(log: Path, end: int) -> Row:
    """The row of a log that was read up to ``end``, as schema 1 had it."""
    seen = log.stat()
    anchor = log.read_bytes()[:end][-ANCHOR_BYTES:]
    return {
        "name": os.fsencode(log).hex(),
        "positions": [[seen.st_dev, seen.st_ino, end, anchor.hex(), False]],
        "cursor": "",
        "cuts": CUTS,
    }


class Old:
    """A map of schema 1, written row by row as that schema did."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.env = lmdb.open(str(path), max_dbs=16, map_size=1 << 30)
        self.opened = {name: self.env.open_db(name) for name in DATABASES}
        self.put(b"meta", b"schema", b"1")

    def put(self, database: bytes, key: bytes, value: bytes) -> None:
        with self.env.begin(write=True, db=self.opened[database]) as txn:
            txn.put(key, value)

    def grant(self, address: bytes, expires: float) -> None:
        value = micros(expires) + micros(expires - LATER) + b"\0pop3d\0"
        self.put(b"grants", address, value + b"bob")
        self.put(b"logins", address + b"\0bob", value)
        self.put(b"expiry", micros(expires) + b"L" + address + b"\0bob", b"")

    def session(self, address: bytes, until: float) -> None:
        name = address + b"\0imapd\x004242\0bob"
        self.put(b"sessions", name, micros(until))
        self.put(b"expiry", micros(until) + b"S" + name, b"")

    def source(self, row: Row) -> None:
        key = blake2b(bytes.fromhex(row["name"]), digest_size=16).digest()
        self.put(b"sources", key, json.dumps(row).encode())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "map"


@pytest.fixture
def old(path: Path) -> Iterator[Old]:
    """An empty map of schema 1; it is closed before anything else opens it."""
    made = Old(path)
    yield made
    made.env.close()


def contents(path: Path) -> dict[bytes, dict[bytes, bytes]]:
    """All rows of a closed map."""
    with lmdb.open(str(path), max_dbs=16, readonly=True, lock=False) as env:
        found = {}
        for name in DATABASES:
            database = env.open_db(name, create=False)
            with env.begin(db=database) as txn:
                found[name] = dict(txn.cursor())
    return found


def schema(path: Path) -> bytes:
    return contents(path)[b"meta"][b"schema"]


def opened(path: Path, mode: Mode) -> str | None:
    """What the map was upgraded from."""
    grants = Map(path, mode)
    grants.close()
    return grants.upgraded_from


def test_a_daemon_goes_on_where_the_older_version_stopped(
    start: Start, log: Log, old: Old, path: Path
) -> None:
    """Lines that had been read are not read again: here they were never granted."""
    log.write(login("198.18.0.1"), login("198.18.0.2"))
    old.source(source_of(log.path, log.path.stat().st_size))
    now = time()
    old.grant(b"198.18.9.1", now + LATER)
    old.grant(b"198.18.9.2", now - 1)
    old.session(b"198.18.9.2", now + LATER)
    old.grant(b"198.18.9.3", now - 1)
    old.env.close()
    log.write(login("198.18.0.3"))
    daemon = start(quiet=True)
    daemon.process.says(f"{path}: the map had schema 1, upgraded to {rows.SCHEMA.decode()}\n")
    asked = ["198.18.0.1", "198.18.0.2", "198.18.0.3", "198.18.9.1", "198.18.9.2", "198.18.9.3"]
    assert [daemon.ask(address) for address in asked] == [NO, NO, OK, OK, OK, NO]
    daemon.stop()
    daemon.start()
    assert "schema" not in daemon.said
    assert [daemon.ask(address) for address in asked] == [NO, NO, OK, OK, OK, NO]
    log.write(login("198.18.0.4"))
    assert daemon.ask("198.18.0.4") == OK


def test_positions_of_schema_1_stay_where_they_are(old: Old, path: Path, tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    log.write_bytes(b"a line\nanother\n")
    old.source(source_of(log, 7))
    old.source({"name": b"journal:".hex(), "positions": [], "cursor": "s=1", "cuts": CUTS})
    old.env.close()
    assert opened(path, "daemon") == "1"
    reader = Map(path, "read")
    seen = log.stat()
    assert reader.sources() == {
        str(log): SourceState((Position(seen.st_dev, seen.st_ino, 7, b"a line\n"),), CUTS),
        "journal:": SourceState((), CUTS, "s=1"),
    }
    reader.close()
    assert opened(path, "daemon") is None


def test_logins_grants_and_sessions_of_schema_2_keep_what_they_say(old: Old, path: Path) -> None:
    """What nobody wrote down in it is not known: by which line, and since when a session."""
    old.put(b"meta", b"schema", b"2")
    old.grant(b"198.18.0.1", 2e9)
    old.session(b"198.18.0.1", 2e9)
    old.env.close()
    assert opened(path, "daemon") == "2"
    grants = Map(path, "read")
    key = SessionKey(b"imapd", b"bob", b"4242")
    assert grants.session(b"198.18.0.1", key) == Hold(2e9, 0.0)
    assert granted(grants, 1.9e9) == [
        Listed(b"198.18.0.1", b"bob", b"pop3d", 2e9 - LATER, 2e9),
    ]
    assert grants.users(b"198.18.0.1", 1.9e9) == [b"bob"]
    assert grants.addresses(b"bob", 1.9e9) == [b"198.18.0.1"]
    grants.close()


def test_get_and_list_say_how_an_older_map_is_upgraded(old: Old, path: Path) -> None:
    old.grant(b"198.18.0.1", time() + LATER)
    old.env.close()
    before = (path / "data.mdb").read_bytes()
    for words in (("get", "198.18.0.1"), ("list",)):
        assert "restart the daemon, which upgrades it" in refused(*words, "--map", path)
    assert (path / "data.mdb").read_bytes() == before


@pytest.mark.parametrize("mode", ["write", "scratch"])
def test_nobody_but_the_daemon_writes_into_an_older_map(mode: Mode, old: Old, path: Path) -> None:
    old.grant(b"198.18.0.1", 2e9)
    old.env.close()
    before = (path / "data.mdb").read_bytes()
    with pytest.raises(MapError) as caught:
        Map(path, mode)
    assert str(caught.value) == (
        f"{path}: the map still has schema 1; restart the daemon, "
        f"which upgrades it to {rows.SCHEMA.decode()}"
    )
    assert (path / "data.mdb").read_bytes() == before
    assert opened(path, "daemon") == "1"
    assert opened(path, mode) is None


@pytest.mark.parametrize("unknown", [b"99", b"0", b"", b"\xff"])
def test_a_schema_that_is_not_known_is_refused(unknown: bytes, old: Old, path: Path) -> None:
    old.put(b"meta", b"schema", unknown)
    old.env.close()
    for mode in ("daemon", "write", "read"):
        with pytest.raises(MapError, match="this pbs-watch knows"):
            Map(path, mode)
    assert schema(path) == unknown


class BrokenError(Exception):
    """What a step may run into."""


@pytest.mark.parametrize("when", ["in the first row", "after the last step"])
def test_an_upgrade_that_breaks_off_leaves_schema_1(
    when: str, old: Old, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mail.log").write_bytes(b"a line\n")
    old.source(source_of(tmp_path / "mail.log", 7))
    old.env.close()
    before = contents(path)
    genuine = upgrade.STEPS[b"1"][0]

    def breaking(tables: upgrade.Rows) -> None:
        if when == "after the last step":
            genuine(tables)
        tables.put(b"sources", b"half", b"{}")
        raise BrokenError

    with monkeypatch.context() as patching:
        patching.setattr(upgrade, "STEPS", {b"1": (breaking, rows.SCHEMA)})
        with pytest.raises(BrokenError):
            Map(path, "daemon")
    assert contents(path) == before
    assert opened(path, "daemon") == "1"
    assert schema(path) == rows.SCHEMA


@pytest.mark.parametrize(
    "value", [b"", b"{}", b"[]", b'{"positions": [[1, 2]]}', b'{"positions": 1}', b"\xff"]
)
def test_a_damaged_position_is_one_line_and_nothing_is_changed(
    value: bytes, old: Old, path: Path, tmp_path: Path
) -> None:
    old.put(b"sources", b"key", value)
    old.grant(b"198.18.0.1", time() + LATER)
    old.env.close()
    config = tmp_path / "empty.toml"
    config.touch()
    told = refused(
        "run", "--config", config, "--log", tmp_path / "mail.log", "--map", path,
        "--tcp-table", "127.0.0.1:0",
    )  # fmt: skip
    assert told.startswith(f"{path}: a source's position cannot be read (")
    assert schema(path) == b"1"


class Tables:
    """Databases in memory."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def all(self, _database: bytes) -> Iterable[tuple[bytes, bytes]]:
        return [(step, b"") for step in self.written]

    def put(self, _database: bytes, key: bytes, _value: bytes) -> None:
        self.written.append(key)


def test_every_older_schema_reaches_todays_and_each_step_is_done_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for known in upgrade.STEPS:
        assert upgrade.upgrade(known, Empty()) == rows.SCHEMA
    assert rows.SCHEMA not in upgrade.STEPS
    assert set(upgrade.STEPS) >= upgrade.READABLE
    steps = {
        b"%d" % number: (
            lambda tables, number=number: tables.put(b"meta", b"%d" % number, b""),
            b"%d" % (number + 1),
        )
        for number in (1, 2, 3)
    }
    monkeypatch.setattr(upgrade, "STEPS", steps)
    for first, done in ((b"1", [b"1", b"2", b"3"]), (b"3", [b"3"])):
        tables = Tables()
        assert upgrade.upgrade(first, tables) == b"4"
        assert tables.written == done


class Empty(Tables):
    """A map without rows."""

    def all(self, _database: bytes) -> Iterable[tuple[bytes, bytes]]:
        return ()


def test_when_a_file_was_written_is_kept(path: Path) -> None:
    grants = Map(path, "daemon")
    state = SourceState((Position(1, 2, 3, b"\n", modified=1_795_337_040_123_456_789),), {})
    changes = Changes(sources={"/var/log/mail.log": state})
    changes.login(b"198.18.0.1", grant(2e9, 1e9, b"bob", b"pop3d"))
    grants.commit(changes)
    assert grants.sources() == {"/var/log/mail.log": state}
    grants.close()
    assert schema(path) == rows.SCHEMA
