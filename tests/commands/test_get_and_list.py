"""``get`` and ``list``: what is committed in the map (design.md, Commands)."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import termios
import time
from pathlib import Path

import lmdb
import pytest

from pbs_watch.grants import hand
from pbs_watch.grants.changes import Changes, Hold, SessionKey, grant
from pbs_watch.grants.orders import Allow, Bar
from pbs_watch.grants.store import Map
from tests.daemon import (
    PATIENCE,
    PROGRAM,
    ROOT,
    addresses,
    command,
    environment,
    login,
    refused,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map with three grants, which nobody changes."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "log").write_bytes(
        login("2001:db8::1", user="alice@example.com")
        + login("198.18.0.9")
        + login("198.18.0.10", user="b\u202eob")
    )
    assert command("replay", "--map", folder / "map", folder / "log").status == 0
    return folder / "map"


@pytest.fixture
def map_(made: Path, tmp_path: Path) -> Path:
    """A map with three grants."""
    return shutil.copytree(made, tmp_path / "map")


@pytest.mark.parametrize("key", ["198.18.0.9", "::ffff:198.18.0.9", "2001:DB8:0::1"])
def test_found(map_: Path, key: str) -> None:
    ended = command("get", key, "--map", map_)
    assert (ended.status, ended.out, ended.err) == (0, b"OK\n", "")


STRANGERS: list[str | bytes] = [
    *("198.18.0.8", "", "unknown", "mail.example.com", "198.18.0.9\n", " 198.18.0.9", b"\xff\xfe"),
    *("x" * 100_000, "%00", "[2001:db8::1]", "198.18.0.9/32", "\u0661.1.1.1"),
]


@pytest.mark.parametrize("key", STRANGERS, ids=range(len(STRANGERS)))
def test_not_found(map_: Path, key: str | bytes) -> None:
    ended = command("get", "--map", map_, "--", key)
    assert (ended.status, ended.out, ended.err) == (1, b"", "")


def test_list_for_programs(map_: Path) -> None:
    ended = command("list", "--json", "--map", map_)
    assert (ended.status, ended.err) == (0, "")
    rows = json.loads(ended.out)
    assert [row["address"] for row in rows] == ["198.18.0.10", "198.18.0.9", "2001:db8::1"]
    for row in rows:
        assert list(row) == [
            "address", "user", "service", "login", "expires", "permanent", "note",
        ]  # fmt: skip
        assert isinstance(row["user"], str)
        assert row["service"] == "pop3d"
        assert row["expires"] - row["login"] == pytest.approx(1800)
        assert abs(row["login"] - time.time()) < 60
        assert row["permanent"] is False
    assert rows[2]["user"] == "alice@example.com"


def test_list_for_people(map_: Path) -> None:
    ended = command("list", "--map", map_)
    assert ended.status == 0
    assert [text.split("\t")[0] for text in ended.lines] == [
        "198.18.0.10", "198.18.0.9", "2001:db8::1",
    ]  # fmt: skip
    # A user name comes from the network and must not steer a terminal.
    assert "\u202e" not in ended.out.decode()
    assert "b\\xe2\\x80\\xaeob" in ended.out.decode()


def test_list_of_nothing(tmp_path: Path) -> None:
    assert command("replay", "--map", tmp_path / "map", "/dev/null").status == 0
    assert command("list", "--map", tmp_path / "map").out == b""
    assert json.loads(command("list", "--json", "--map", tmp_path / "map").out) == []


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grants of several users, an IPv6 network, orders and a session."""
    path = tmp_path_factory.mktemp("full") / "map"
    grants = Map(path, "daemon")
    now = time.time()
    hand.allow(grants, Allow(b"198.18.1.0/24", now, None, "the office"), "root")
    hand.allow(grants, Allow(b"198.18.2.2", now, now + 900, "a guest"), "root")
    hand.bar(grants, Bar("user", b"eve", now, now, "left"), "root", "revoke")
    hand.bar(grants, Bar("network", b"2001:db8:6::/48", now, now + 60), "root", "block")
    changes = Changes(grants.obey().version)
    for address, user, service, ago in (
        (b"198.18.0.9", b"bob@example.com", b"pop3d", 30),
        (b"198.18.0.10", b"bob@example.com", b"pop3d", 20),
        (b"198.18.0.10", b"alice@EXAMPLE.org", b"imapd", 10),
        (b"198.18.2.2", b"carol", b"imapd", 1),
        (b"2001:db8::/64", b"carol", b"pop3d", 5),
        (b"198.18.0.1", b"late", b"pop3d", 1800),
        (b"198.18.0.2", b"held@example.org", b"imapd", 1800),
    ):
        changes.login(address, grant(now - ago + 1700, now - ago, user, service))
    key = SessionKey(b"imapd", b"held@example.org", b"4711")
    changes.session(b"198.18.0.2", key, Hold(now + 3600, now - 1800))
    grants.commit(changes)
    grants.close()
    return path


class TestAChoice:
    def listed(self, path: Path, *words: str) -> list[dict[str, object]]:
        ended = command("list", "--json", "--map", path, *words)
        assert (ended.status, ended.err) == (0, "")
        found = json.loads(ended.out)
        assert isinstance(found, list)
        return found

    def addresses(self, path: Path, *words: str) -> list[object]:
        found = [row["address"] for row in self.listed(path, *words)]
        # A pipe shows the same.
        ended = command("list", "--map", path, *words)
        assert [text.split("\t")[0] for text in ended.lines] == found
        return found

    def test_all(self, full: Path) -> None:
        assert self.addresses(full) == [
            "198.18.0.10", "198.18.0.2", "198.18.0.9", "198.18.1.0/24", "198.18.2.2",
            "2001:db8::/64",
        ]  # fmt: skip

    def test_what_an_open_session_holds_expires_with_it(self, full: Path) -> None:
        row = self.listed(full)[1]
        assert row["user"] == "held@example.org"
        assert row["expires"] == pytest.approx(time.time() + 3600, abs=60)

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (["--user", "bob@example.com"], ["198.18.0.10", "198.18.0.9"]),
            (["--user", "held@example.org"], ["198.18.0.2"]),
            (["--user", "bob@example"], []),
            (["--user", "late"], []),
            (["--user", "@example.com"], ["198.18.0.10", "198.18.0.9"]),
            (["--user", "@Example.Org"], ["198.18.0.10", "198.18.0.2"]),
            (["--user", "carol", "--service", "imapd"], ["198.18.2.2"]),
            (["--user", "carol", "--in", "2001:db8::/32"], ["2001:db8::/64"]),
            (["--in", "198.18.0.0/28"], ["198.18.0.10", "198.18.0.2", "198.18.0.9"]),
            (["--in", "198.18.1.77"], ["198.18.1.0/24"]),
            (["--in", "2001:db8::7"], ["2001:db8::/64"]),
            (["--in", "::ffff:198.18.0.9"], ["198.18.0.9"]),
            (["--in", "10.0.0.0/8"], []),
            (["--service", "imapd"], ["198.18.0.10", "198.18.0.2", "198.18.2.2"]),
            (["--permanent"], ["198.18.1.0/24"]),
            (["--permanent", "--in", "198.18.2.0/24"], []),
            (["--limit", "2"], ["198.18.0.10", "198.18.0.2"]),
            (["--limit", "2", "--reverse"], ["2001:db8::/64", "198.18.2.2"]),
            (["--limit", "0", "--service", "pop3d"], ["198.18.0.9", "2001:db8::/64"]),
        ],
    )
    def test_chosen(self, full: Path, words: list[str], expected: list[str]) -> None:
        assert self.addresses(full, *words) == expected

    @pytest.mark.parametrize(
        ("by", "first", "last"),
        [
            ("address", "198.18.0.2", "2001:db8::/64"),
            ("user", "198.18.1.0/24", "198.18.0.2"),
            ("service", "198.18.1.0/24", "2001:db8::/64"),
            ("login", "198.18.0.2", "198.18.1.0/24"),
            ("expires", "198.18.0.9", "198.18.1.0/24"),
        ],
    )
    def test_sorted(self, full: Path, by: str, first: str, last: str) -> None:
        found = self.addresses(full, "--sort", by)
        assert (found[0], found[-1]) == (first, last)
        assert self.addresses(full, "--sort", by, "--reverse") == found[::-1]

    def test_addresses_sort_as_numbers(self, full: Path) -> None:
        assert self.addresses(full, "--sort", "address") == [
            "198.18.0.2", "198.18.0.9", "198.18.0.10", "198.18.1.0/24", "198.18.2.2",
            "2001:db8::/64",
        ]  # fmt: skip

    def test_of_a_user_his_own_login_whoever_was_the_latest(self, full: Path) -> None:
        mine = self.listed(full, "--user", "bob@example.com")[0]
        assert (mine["user"], mine["service"]) == ("bob@example.com", "pop3d")
        latest = self.listed(full)[0]
        assert (latest["user"], latest["service"]) == ("alice@EXAMPLE.org", "imapd")

    def test_what_is_allowed_longer_than_the_login_grants(self, full: Path) -> None:
        row = self.listed(full, "--in", "198.18.2.2")[0]
        # The login grants longer here: its expiry stands.
        assert row["expires"] == pytest.approx(time.time() + 1700, abs=60)
        row = self.listed(full, "--permanent")[0]
        assert (row["expires"], row["permanent"], row["note"]) == (None, True, "the office")

    def test_orders(self, full: Path) -> None:
        rows = self.listed(full, "--orders")
        assert [(row["order"], row["subject"], row["note"]) for row in rows] == [
            ("allow", "198.18.1.0/24", "the office"),
            ("allow", "198.18.2.2", "a guest"),
            ("block", "2001:db8:6::/48", ""),
            ("revoke", "user eve", "left"),
        ]
        assert rows[0]["until"] is None
        texts = command("list", "--orders", "--map", full).lines
        assert [text.split("\t")[0] for text in texts] == ["allow", "allow", "block", "revoke"]
        assert [len(text.split("\t")) for text in texts] == [5, 5, 5, 5]

    @pytest.mark.parametrize(
        ("words", "subjects"),
        [
            (["--user", "eve"], ["user eve"]),
            (["--in", "2001:db8::/32"], ["2001:db8:6::/48"]),
            (["--permanent"], ["198.18.1.0/24"]),
            (["--sort", "expires", "--limit", "1", "--reverse"], ["198.18.1.0/24"]),
        ],
    )
    def test_orders_chosen(self, full: Path, words: list[str], subjects: list[str]) -> None:
        assert [row["subject"] for row in self.listed(full, "--orders", *words)] == subjects

    def test_sessions(self, full: Path) -> None:
        row = self.listed(full, "--sessions")[0]
        assert list(row) == ["address", "user", "service", "port", "began", "until"]
        assert (row["address"], row["port"]) == ("198.18.0.2", "4711")
        text = command("list", "--sessions", "--map", full).lines[0]
        assert text.split("\t")[:4] == ["198.18.0.2", "held@example.org", "imapd", "4711"]
        assert self.listed(full, "--sessions", "--user", "bob") == []

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["--in", "198.18.0.1/16"], "has host bits set"),
            (["--in", "home"], "is not an address or network"),
            (["--in", ""], "an empty name"),
            (["--user", ""], "an empty name"),
            (["--user", "@"], "an empty name"),
            (["--limit", "-1"], "write how many rows, or 0 for all"),
            (["--limit", "few"], "invalid int value"),
            (["--sort", "colour"], "invalid choice"),
            (["--orders", "--sessions"], "not allowed with argument"),
            (["--orders", "--service", "imapd"], "--service does not fit --orders"),
            (["--orders", "--sort", "user"], "--sort user does not fit here"),
            (["--sessions", "--permanent"], "--permanent does not fit --sessions"),
        ],
    )
    def test_used_wrongly(self, full: Path, words: list[str], told: str) -> None:
        assert told in refused("list", "--map", full, *words)


USERS = (
    '"quoted"',
    "back\\slash",
    "tab\there",
    "sm\u00f8rrebr\u00f8d",
    "\u202e",
    "\x1b[2J",
    "plain",
)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More grants than are read at once, with names as a client may choose them."""
    path = tmp_path_factory.mktemp("many") / "map"
    grants = Map(path, "daemon")
    now = time.time()
    hand.allow(grants, Allow(b"198.18.5.5", now, None), "root")
    changes = Changes(grants.obey().version)
    for number, address in enumerate(addresses(9001)):
        user = USERS[number % 7] if number < 70 else f"user{number}"
        changes.login(address.encode(), grant(now + 900, now, user.encode(), b"pop3d"))
    grants.commit(changes)
    grants.close()
    return path


class TestManyGrants:
    def test_all_of_them_once_and_in_order(self, many: Path) -> None:
        rows = json.loads(command("list", "--json", "--map", many).out)
        assert [row["address"] for row in rows] == sorted(addresses(9001))
        assert [row["address"] for row in rows if row["permanent"]] == ["198.18.5.5"]
        texts = command("list", "--map", many).lines
        assert [text.split("\t")[0] for text in texts] == sorted(addresses(9001))
        assert {len(text.split("\t")) for text in texts} == {5}

    def test_names_steer_nothing_and_are_json(self, many: Path) -> None:
        rows = json.loads(command("list", "--json", "--map", many).out)
        users = {row["user"] for row in rows}
        assert {'"quoted"', "back\\\\slash", "sm\u00f8rrebr\u00f8d", "plain"} <= users
        assert {"tab\\x09here", "\\xe2\\x80\\xae", "\\x1b[2J"} <= users
        out = command("list", "--map", many, LC_ALL="C", PYTHONIOENCODING="ascii")
        assert b"\x1b" not in out.out
        assert json.loads(
            command("list", "--json", "--map", many, PYTHONIOENCODING="latin-1").out
        ) == rows  # fmt: skip

    def test_a_terminal_shows_a_thousand(self, many: Path) -> None:
        told = on_a_terminal("list", "--map", many)
        assert told[0].split() == ["ADDRESS", "USER", "SERVICE", "LOGIN", "EXPIRES"]
        assert len(told) == 1002
        assert told[-1].startswith("8,001 more: choose by --user, --in or --service, ")
        assert max(map(len, told)) <= 80
        assert len(on_a_terminal("list", "--map", many, "--limit", "3")) == 5

    def test_a_terminal_shows_long_names_within_its_width(self, tmp_path: Path) -> None:
        grants = Map(tmp_path / "map", "daemon")
        changes, now = Changes(), time.time() - 86400
        address = b"2001:db8:1111:2222:3333:4444:5555:6666"
        user = b"somebody.with.a.long.name@department.example.com"
        changes.login(address, grant(now + 9e6, now, user, b"imapd-ssl"))
        grants.commit(changes)
        grants.close()
        told = on_a_terminal("list", "--map", tmp_path / "map")
        assert max(map(len, told)) <= 80
        # Folded, not cut.
        assert len(told) > 2
        assert "example" in told[-1] or ".com" in told[-1]


def on_a_terminal(*words: str | Path) -> list[str]:
    """What a terminal of 80 columns shows, line by line."""
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    heard = bytearray()
    with subprocess.Popen(
        [*PROGRAM, *words], stdin=slave, stdout=slave, stderr=slave, cwd=ROOT,
        env=environment(TERM="xterm", COLUMNS="80"),
    ) as process:  # fmt: skip
        os.close(slave)
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:  # EIO: nobody has the other end open any more
                break
            if not data:
                break
            heard += data
        os.close(master)
        assert process.wait(PATIENCE) == 0, heard
    return re.sub(r"\x1b\[[0-9;]*m", "", heard.decode()).splitlines()


def test_a_closed_pipe_leaves_no_traceback(map_: Path) -> None:
    with subprocess.Popen(
        [*PROGRAM, "list", "--map", map_],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment(),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.parametrize("what", ["get", "list"])
class TestWithoutAMap:
    def words(self, what: str) -> list[str]:
        return [what, "198.18.0.1"] if what == "get" else [what]

    def test_missing(self, what: str, tmp_path: Path) -> None:
        told = refused(*self.words(what), "--map", tmp_path / "none")
        assert told.startswith(f"{tmp_path}/none: there is no map here; ")
        assert not (tmp_path / "none").exists()

    def test_a_file(self, what: str, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        assert "there is no map here" in refused(*self.words(what), "--map", tmp_path / "file")

    @pytest.mark.parametrize("content", [b"", b"x", b"\0" * 8192, b"\xff" * 100_000])
    def test_something_else(self, what: str, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "data.mdb").write_bytes(content)
        assert refused(*self.words(what), "--map", tmp_path).startswith(f"{tmp_path}: ")

    def test_a_directory(self, what: str, tmp_path: Path) -> None:
        (tmp_path / "data.mdb").mkdir()
        assert refused(*self.words(what), "--map", tmp_path)

    def test_of_another_program(self, what: str, tmp_path: Path) -> None:
        with lmdb.open(str(tmp_path), max_dbs=4) as other:
            other.open_db(b"theirs")
        assert "another program" in refused(*self.words(what), "--map", tmp_path)

    def test_of_another_schema(self, what: str, map_: Path) -> None:
        with lmdb.open(str(map_), max_dbs=16) as env:
            meta = env.open_db(b"meta", create=False)
            with env.begin(write=True, db=meta) as txn:
                txn.put(b"schema", b"999")
        told = refused(*self.words(what), "--map", map_)
        assert "schema 999" in told

    def test_truncated(self, what: str, map_: Path) -> None:
        os.truncate(map_ / "data.mdb", 8192)
        assert refused(*self.words(what), "--map", map_)


def test_get_is_fast(map_: Path) -> None:
    words: list[str | Path] = [*PROGRAM, "get", "198.18.0.9", "--map", map_]
    took = []
    for _ in range(9):
        began = time.perf_counter()
        subprocess.run(words, cwd=ROOT, env=environment(), check=True, capture_output=True)
        took.append(time.perf_counter() - began)
    assert statistics.median(took) < 0.3  # 0.1 on an idle machine, design.md


def test_get_imports_nothing_that_it_does_not_need(map_: Path) -> None:
    python, *words = PROGRAM
    done = subprocess.run(
        [python, "-X", "importtime", *words, "get", "198.18.0.9", "--map", map_],
        cwd=ROOT, env=environment(), check=True, capture_output=True, text=True,
    )  # fmt: skip
    imported = {text.rpartition("|")[2].strip() for text in done.stderr.splitlines()}
    assert "pbs_watch.grants.store" in imported
    packages = {name.partition(".")[0] for name in imported}
    slow = {"pyparsing", "rich", "watchdog", "zstandard", "logging", "asyncio", "zoneinfo"}
    assert packages & slow == set()
