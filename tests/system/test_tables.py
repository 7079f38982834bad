"""``export --table``: tables that a real ``postmap`` makes and a real smtpd reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon import PROGRAM, command, environment, refused, until
from tests.system.conftest import MailHost

TYPES = {"hash": "db", "btree": "db", "lmdb": "lmdb", "cdb": "cdb"}
"""The types that postmap writes on Debian 12 (packages postfix-lmdb and postfix-cdb among them),
and the suffixes of their files."""


@pytest.fixture
def map_(tmp_path: Path) -> Path:
    path = tmp_path / "map"
    assert command("replay", "--map", path, "/dev/null").status == 0
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a table is kept: a folder in which nothing else is."""
    folder = tmp_path / "tables"
    folder.mkdir()
    return folder / "relay"


def names(place: Path) -> list[str]:
    return sorted(one.name for one in place.parent.iterdir())


def said(kind: str, place: Path, key: str) -> str:
    """What ``postmap -q`` prints: nothing where it finds nothing."""
    done = subprocess.run(
        ["postmap", "-q", key, f"{kind}:{place}"], capture_output=True, text=True, check=False
    )
    assert done.stderr == "", done.stderr
    return done.stdout.strip()


def grant(map_: Path, *addresses: str, left: float = 1800.0) -> None:
    """Let addresses relay for so many seconds more."""
    at = time.time() - 1800 + left
    rows = "".join(f"{one} {at:.0f}\n" for one in addresses)
    assert command("import", "--map", map_, "-", given=rows.encode()).status == 0


@pytest.mark.parametrize("kind", TYPES)
class TestTypes:
    def test_a_table_is_written(self, map_: Path, place: Path, kind: str) -> None:
        grant(map_, "198.18.0.1", "2001:db8:1:2::5")
        for words in (["allow", "192.0.2.0/23"], ["block", "192.0.2.66", "--for", "1h"]):
            assert command(*words, "--map", map_).status == 0
        ended = command("export", "--table", f"{kind}:{place}", "--map", map_)
        assert (ended.status, ended.out, ended.err) == (0, b"", ""), ended
        assert names(place) == [f"relay.{TYPES[kind]}"]
        assert said(kind, place, "198.18.0.1") == "OK"
        assert said(kind, place, "2001:db8:1:2::5") == "OK"
        assert said(kind, place, "192.0.3") == "OK"
        assert said(kind, place, "192.0.2.66") == "DUNNO"
        assert said(kind, place, "198.18.0.2") == ""

    def test_of_nobody(self, map_: Path, place: Path, kind: str) -> None:
        assert command("export", "--table", f"{kind}:{place}", "--map", map_).status == 0
        assert said(kind, place, "198.18.0.1") == ""

    def test_is_kept_up_to_date(self, map_: Path, place: Path, kind: str) -> None:
        follower = Follower(map_, kind, place)
        try:
            file = place.with_name(f"relay.{TYPES[kind]}")
            follower.until(file.exists, "the first table")
            grant(map_, "198.18.0.1")
            follower.until(lambda: said(kind, place, "198.18.0.1") == "OK", "a login")
            # Who comes again is no reason to write it again.
            before = file.stat().st_ino, file.stat().st_mtime_ns
            grant(map_, "198.18.0.1", left=1810)
            grant(map_, "198.18.0.2", left=2)
            follower.until(lambda: said(kind, place, "198.18.0.2") == "OK", "another one")
            assert (file.stat().st_ino, file.stat().st_mtime_ns) != before
            follower.until(lambda: said(kind, place, "198.18.0.2") == "", "which expired")
            assert said(kind, place, "198.18.0.1") == "OK"
            assert command("block", "198.18.0.1", "--for", "1h", "--map", map_).status == 0
            follower.until(lambda: said(kind, place, "198.18.0.1") == "", "a block")
            assert follower.ended(signal.SIGTERM) == (0, "")
            assert names(place) == [file.name]
        finally:
            follower.kill()


def test_a_table_that_is_removed_is_written_again(map_: Path, place: Path) -> None:
    grant(map_, "198.18.0.1")
    follower = Follower(map_, "hash", place)
    file = place.with_name("relay.db")
    try:
        for _ in range(2):
            follower.until(file.exists, "the table")
            assert said("hash", place, "198.18.0.1") == "OK"
            file.unlink()
        follower.until(file.exists, "the table once more")
    finally:
        follower.kill()


class Follower:
    """``export --table --follow`` in a process of its own."""

    def __init__(self, map_: Path, kind: str, place: Path, **changes: str) -> None:
        words = ["export", "--table", f"{kind}:{place}", "--follow", "--every", "0.05s"]
        self._process = subprocess.Popen(
            [*PROGRAM, *words, "--map", map_],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=environment(**changes),
        )  # fmt: skip

    def until(self, condition: Callable[[], bool], what: str) -> None:
        until(lambda: self._process.poll() is not None or condition(), what)
        assert self._process.poll() is None, self._process.communicate()

    def ended(self, number: int) -> tuple[int, str]:
        self._process.send_signal(number)
        out, _ = self._process.communicate(timeout=20)
        return self._process.returncode, out

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


def test_a_table_keeps_its_mode_and_owner(map_: Path, place: Path) -> None:
    file = place.with_name("relay.db")
    words = ("export", "--table", f"hash:{place}", "--map", map_)
    assert command(*words).status == 0
    assert file.stat().st_mode & 0o7777 == 0o644
    file.chmod(0o640)
    os.chown(file, 65534, 65533)
    old = file.stat()
    assert command(*words).status == 0
    new = file.stat()
    assert (new.st_mode, new.st_uid, new.st_gid) == (old.st_mode, old.st_uid, old.st_gid)
    assert new.st_ino != old.st_ino


def test_what_a_killed_run_left_is_cleared_away(map_: Path, place: Path) -> None:
    left = place.with_name(".relay.pbs-watch")
    left.mkdir()
    (left / "table").write_text("half")
    (left / "table.lmdb").write_text("half")
    assert command("export", "--table", f"hash:{place}", "--map", map_).status == 0
    assert names(place) == ["relay.db"]


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ("cidr:{}", "postmap can only read this type"),
        ("texthash:{}", "postmap can only read this type"),
        ("tcp:{}", "postmap can only read this type"),
        ("dbx:{}", "this Postfix has no type dbx"),
        ("hash", "write TYPE:PATH"),
        ("hash:", "write TYPE:PATH"),
        ("proxy:hash:{}", ""),
        ("fail:{}", ""),
        ("memcache:{}", ""),
        ("hash:{}/none/relay", "there is no directory"),
    ],
)
def test_tables_that_cannot_be(map_: Path, place: Path, table: str, why: str) -> None:
    assert why in refused("export", "--table", table.format(place), "--map", map_)
    assert refused("export", "--follow", "--table", table.format(place), "--map", map_)
    assert names(place) == []


def test_without_a_map(tmp_path: Path, place: Path) -> None:
    told = refused("export", "--table", f"hash:{place}", "--follow", "--map", tmp_path / "none")
    assert "there is no map here" in told
    assert names(place) == []


def test_without_postfix(map_: Path, place: Path, tmp_path: Path) -> None:
    code = (
        "import sys, pbs_watch.exchange.postmap as postmap; postmap._USUAL = ''; "
        "from pbs_watch.cli import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "export", "--table", f"hash:{place}", "--map", map_],
        env=environment(PATH=str(tmp_path)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("pbs-watch: postconf is not installed")


def fake_postmap(folder: Path, script: str) -> str:
    """A PATH on which ``postmap`` is a script: $real is the real one."""
    folder.mkdir()
    (folder / "postmap").write_text(f"#!/bin/sh\nreal=/usr/sbin/postmap\n{script}\n")
    (folder / "postmap").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_the_last_good_table_stays(map_: Path, place: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    failed = tmp_path / "failed"
    script = (
        f"if [ -e {broken} ]; then echo x >> {failed}; "
        'echo "postmap: fatal: out of luck" >&2; exit 1; fi\n'
    )
    path = fake_postmap(tmp_path / "bin", script + 'exec $real "$@"')
    grant(map_, "198.18.0.1")
    follower = Follower(map_, "hash", place, PATH=path)
    try:
        follower.until(lambda: place.with_name("relay.db").exists(), "the first table")
        broken.touch()
        grant(map_, "198.18.0.2")
        often = b"x\n" * 5
        follower.until(lambda: failed.exists() and failed.read_bytes() >= often, "some failures")
        assert said("hash", place, "198.18.0.1") == "OK"
        assert said("hash", place, "198.18.0.2") == ""
        broken.unlink()
        follower.until(lambda: said("hash", place, "198.18.0.2") == "OK", "it works again")
        # A map that is away, and another one in its place.
        (map_ / "data.mdb").rename(map_ / "aside")
        assert command("replay", "--map", tmp_path / "new", "/dev/null").status == 0
        grant(tmp_path / "new", "198.18.0.3")
        (tmp_path / "new" / "data.mdb").rename(map_ / "data.mdb")
        follower.until(lambda: said("hash", place, "198.18.0.3") == "OK", "a new map")
        status, out = follower.ended(signal.SIGINT)
        assert status == 0
        lines = out.splitlines()
        assert lines[0] == (
            f"pbs-watch: hash:{place}: postmap: fatal: out of luck; "
            "the last table stays, trying again"
        )
        assert len(lines) <= 2
        assert names(place) == ["relay.db"]
    finally:
        follower.kill()


def test_a_signal_ends_a_long_postmap(map_: Path, place: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"
    path = fake_postmap(tmp_path / "bin", f"touch {started}; exec sleep 600")
    follower = Follower(map_, "hash", place, PATH=path)
    try:
        follower.until(started.exists, "postmap runs")
        assert follower.ended(signal.SIGTERM) == (0, "")
        assert names(place) == []
    finally:
        follower.kill()


def test_two_do_not_write_one_table(map_: Path, place: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"
    path = fake_postmap(tmp_path / "bin", f"touch {started}; exec sleep 600")
    follower = Follower(map_, "hash", place, PATH=path)
    try:
        follower.until(started.exists, "postmap runs")
        told = refused("export", "--table", f"hash:{place}", "--map", map_)
        assert told == f"{place}: another pbs-watch export writes this table"
        assert follower.ended(signal.SIGTERM) == (0, "")
    finally:
        follower.kill()


# A real smtpd


@pytest.fixture
def tables(mailhost: MailHost) -> dict[str, Path]:
    """The table of each type, which smtpd asks."""
    return {kind: mailhost.postfix.tables / kind for kind in TYPES}


@pytest.mark.parametrize("kind", TYPES)
def test_smtpd_sees_a_new_table_by_itself(
    mailhost: MailHost, tables: dict[str, Path], map_: Path, kind: str
) -> None:
    def write() -> None:
        words = ("export", "--table", f"{kind}:{tables[kind]}", "--map", map_)
        assert command(*words).status == 0

    write()
    assert not mailhost.relays("198.18.0.1", kind)
    grant(map_, "198.18.0.1")
    write()
    until(lambda: mailhost.relays("198.18.0.1", kind), "the login counts")
    assert not mailhost.relays("198.18.0.2", kind)
    assert command("revoke", "198.18.0.1", "--map", map_).status == 0
    write()
    until(lambda: not mailhost.relays("198.18.0.1", kind), "the revocation counts")


def test_smtpd_looks_networks_up_as_we_write_them(
    mailhost: MailHost, tables: dict[str, Path], map_: Path
) -> None:
    for words in (
        ["allow", "192.0.2.0/23"], ["block", "192.0.2.66", "--for", "1h"],
        ["allow", "2001:db8:1::/48"], ["block", "2001:db8:1:0::/64", "--for", "1h"],
        ["allow", "2001:db8:0:0::/64"],
    ):  # fmt: skip
        assert command(*words, "--map", map_).status == 0
    grant(map_, "2001:db8:9:9::5")
    export = ("export", "--table", f"hash:{tables['hash']}", "--map", map_)
    assert command(*export).status == 0
    until(lambda: mailhost.relays("192.0.2.1", "hash"), "the table counts")
    for client in (
        "192.0.3.255", "2001:db8:1:2::5", "2001:db8:1:2:3:4:5:6", "2001:db8::5:6",
        "2001:db8:0:0:5:6:7:8", "2001:db8:0:0:5::", "2001:db8:9:9::5",
        # Which Postfix takes for the address before: exchange/relaying.py says so.
        "2001:db8:9:9::5:6",
    ):  # fmt: skip
        assert mailhost.relays(client, "hash"), client
    for client in (
        "192.0.2.66", "192.0.4.1", "2001:db8:1::5", "2001:db8:1:0:5:6:7:8", "2001:db8:2::1",
        "2001:db8:0:1::5", "2001:db8:9:9::6",
    ):  # fmt: skip
        assert not mailhost.relays(client, "hash"), client


def test_the_source_is_what_postmap_prints(map_: Path, place: Path) -> None:
    grant(map_, "198.18.0.1", "198.18.0.22")
    assert command("export", "--table", f"lmdb:{place}", "--map", map_).status == 0
    printed = subprocess.run(
        ["postmap", "-s", f"lmdb:{place}"], capture_output=True, check=True
    ).stdout
    assert printed == command("export", "--format", "postfix", "--map", map_).out
    # And that of authpfix's own table is read.
    source = place.with_name("authpfix")
    source.write_text(f"198.18.7.1\t{time.time():.0f}\n198.18.7.2\t0\n")
    subprocess.run(["postmap", f"btree:{source}"], check=True)
    printed = subprocess.run(
        ["postmap", "-s", f"btree:{source}"], capture_output=True, check=True
    ).stdout
    assert command("import", "--map", map_, "-", given=printed).status == 0
    lines = command("export", "--map", map_).lines
    assert [json.loads(line)["kind"] for line in lines[1:]] == ["allow", "login", "login", "login"]
