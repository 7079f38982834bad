"""``get`` and ``list``: what is committed in the map (design.md, Commands)."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

import lmdb
import pytest

from tests.daemon import PROGRAM, ROOT, command, environment, login, refused


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
        assert list(row) == ["address", "user", "service", "login", "expires", "permanent"]
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
    assert "b\\x202eob" in ended.out.decode()


def test_list_of_nothing(tmp_path: Path) -> None:
    assert command("replay", "--map", tmp_path / "map", "/dev/null").status == 0
    assert command("list", "--map", tmp_path / "map").out == b""
    assert json.loads(command("list", "--json", "--map", tmp_path / "map").out) == []


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
