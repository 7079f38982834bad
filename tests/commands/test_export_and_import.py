"""``export`` and ``import``: what goes out of a map comes in again (issue "In and out")."""

from __future__ import annotations

import ipaddress
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from socket import AF_INET6, inet_ntop

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbs_watch.exchange import formats, intake, jsonl
from pbs_watch.exchange.relaying import Relaying, addresses, keys, table
from pbs_watch.grants import hand, rows
from pbs_watch.grants.acts import Act
from pbs_watch.grants.address import canonical, literal, widened
from pbs_watch.grants.changes import Changes, Hold, Refusal, RefusalKey, SessionKey, grant
from pbs_watch.grants.orders import Allow, Bar, Orders
from pbs_watch.grants.store import Map
from tests.daemon import PROGRAM, ROOT, Daemon, Log, command, environment, login, refused, until

NOW = 1_795_337_040.0
EMPTY = b'{"pbs-watch": 1}\n'


def exported(grants: Map) -> bytes:
    with grants.reading() as tables:
        names = list(tables.rows(b"meta", rows.SOURCE_NAME))
        return b"".join(jsonl.lines(jsonl.rows_of(tables.all, names)))


def take(grants: Map, data: bytes, form: str | None = None, now: float = NOW) -> intake.Taken:
    parcel = formats.read("file", data, form, now, 1800.0, force=True)
    return intake.take(grants, parcel, Act(now, "import", "file", "root"))


def empty(path: Path) -> Path:
    assert command("replay", "--map", path, "/dev/null").status == 0
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return empty(tmp_path_factory.mktemp("made") / "map")


@pytest.fixture
def map_(made: Path, tmp_path: Path) -> Path:
    """A map in which nothing is."""
    return shutil.copytree(made, tmp_path / "map")


# The round trip

V4 = st.integers(0, 1 << 32).map(lambda n: f"198.18.{n % 3}.{n // 3 % 4}".encode())
V6 = st.sampled_from([b"2001:db8::1", b"2001:db8:0:1::5", b"2001:db8:1::", b"fe80::ff"])
ADDRESS = V4 | V6 | V6.map(lambda address: widened(address, 64))
USER = st.sampled_from(
    [b"bob", b"al\xff\xfeice", "ü😀".encode(), b'"\\\n\x1b', b"\xed\xa0\xbd"]
) | (st.binary(max_size=20))
SERVICE = st.sampled_from([b"pop3d", b"imapd", b"\xe9"])
TIME = st.integers(-3_000_000_000, 3_000_000_000).map(lambda micro: NOW + micro / 1e6)
PLACE = st.sampled_from(
    [(0, 0, 0), (rows.source_id("/var/log/m\udcff.log"), 7, 1 << 40), (12345, 0, 9)]
)
NETWORK = st.sampled_from([b"198.18.0.0/24", b"198.18.1.0/28", b"2001:db8::/48", b"198.18.0.1"])
NOTE = st.text(max_size=9)
KEY = st.builds(SessionKey, SERVICE, USER, st.sampled_from([b"", b"4242"]))

LOGIN = st.tuples(st.just("login"), ADDRESS, TIME, USER, SERVICE, PLACE, st.integers(1, 7200))
SESSION = st.tuples(st.just("session"), ADDRESS, KEY, st.none() | st.builds(Hold, TIME, TIME))
REFUSAL = st.tuples(
    st.just("refuse"),
    st.builds(RefusalKey, ADDRESS, st.sampled_from(["suspect", "never"]), USER),
    TIME,
)
ALLOW = st.builds(Allow, NETWORK, TIME, st.none() | TIME, NOTE)
BAR = (
    st.builds(Bar, st.just("network"), NETWORK, TIME, TIME, NOTE)
    | st.builds(Bar, st.just("user"), USER, TIME, TIME, NOTE)
    | st.builds(Bar, st.just("everybody"), st.just(b""), TIME, TIME, NOTE)
)
STEPS = st.lists(LOGIN | LOGIN | SESSION | REFUSAL | ALLOW | BAR | TIME, max_size=30)


def make(grants: Map, steps: list[object]) -> None:
    """A map by what happens to one: lines, orders, and sweeping (a time)."""
    for step in steps:
        changes = Changes(orders=-1)
        if isinstance(step, float):
            grants.sweep(step)
        elif isinstance(step, Allow):
            hand.allow(grants, step, "root")
        elif isinstance(step, Bar):
            hand.bar(grants, step, "root", "block")
        elif isinstance(step, tuple) and step[0] == "login":
            _, address, when, user, service, place, window = step
            changes.login(address, grant(when + window, when, user, service, place))
            changes.names[rows.source_id("/var/log/m\udcff.log")] = "/var/log/m\udcff.log"
        elif isinstance(step, tuple) and step[0] == "session":
            changes.session(*step[1:])
        elif isinstance(step, tuple):
            _, key, when = step
            changes.refuse(key, Refusal(when - 1, when, 3, b"pop3d", 0, 0, 0))
        grants.commit(changes)


@given(steps=STEPS)
@settings(max_examples=100, deadline=None)
def test_a_round_trip_is_exact(steps: list[object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, second = Map(Path(folder) / "1", "daemon"), Map(Path(folder) / "2", "daemon")
        make(first, steps)
        text = exported(first)
        assert text.isascii()
        take(second, text)
        assert exported(second) == text
        # Who may relay is the same, and coming again changes nothing.
        for address in (b"198.18.0.1", b"198.18.1.3", b"2001:db8::1", b"2001:db8:0:1::5"):
            assert first.allows(address, NOW) == second.allows(address, NOW)
        take(second, text)
        assert exported(second) == text
        first.close()
        second.close()


@given(here=STEPS, there=STEPS)
@settings(max_examples=60, deadline=None)
def test_importing_shortens_nothing(here: list[object], there: list[object]) -> None:
    there = [step for step in there if not isinstance(step, Bar)]
    with tempfile.TemporaryDirectory() as folder:
        first, second = Map(Path(folder) / "1", "daemon"), Map(Path(folder) / "2", "daemon")
        make(first, here)
        make(second, there)
        with first.reading() as tables:
            before = {name: dict(tables.rows(name)) for name in (b"grants", b"logins", b"sessions")}
        take(first, exported(second))
        with first.reading() as tables:
            for name, found in before.items():
                after = dict(tables.rows(name))
                assert all(after[key][:8] >= value[:8] for key, value in found.items())
        first.close()
        second.close()


def test_an_imported_grant_that_a_session_held_is_swept_in_the_end(tmp_path: Path) -> None:
    first, second = Map(tmp_path / "1", "daemon"), Map(tmp_path / "2", "daemon")
    changes = Changes()
    changes.login(b"198.18.0.1", grant(NOW + 10, NOW, b"bob", b"imapd"))
    changes.session(b"198.18.0.1", SessionKey(b"imapd", b"bob", b"1"), Hold(NOW + 99, NOW))
    first.commit(changes)
    first.sweep(NOW + 20)  # the login is gone, the grant stays
    take(second, exported(first))
    assert b'"kind": "grant"' in exported(second)
    assert second.allows(b"198.18.0.1", NOW + 50)
    assert len(second.sweep(NOW + 100).over) == 1
    assert b"198.18.0.1" not in exported(second).split(b'"past"')[0]
    first.close()
    second.close()


def test_orders_here_stand_against_what_comes(tmp_path: Path) -> None:
    first, second = Map(tmp_path / "1", "daemon"), Map(tmp_path / "2", "daemon")
    hand.allow(first, Allow(b"198.18.0.0/24", NOW, None), "root")
    changes = Changes(orders=-1)
    for user in (b"bob", b"eve"):
        changes.login(b"198.18.9.9", grant(NOW + 10, NOW, user, b"pop3d"))
    first.commit(changes)
    hand.bar(second, Bar("network", b"198.18.0.0/24", NOW, NOW + 99), "root", "block")
    hand.bar(second, Bar("user", b"eve", NOW, NOW + 99), "root", "block")
    taken = take(second, exported(first))
    assert (taken.opposed, taken.void, taken.logins) == (1, 1, 1)
    assert not second.allows(b"198.18.0.1", NOW)
    assert second.users(b"198.18.9.9", NOW) == [b"bob"]
    first.close()
    second.close()


def test_a_bar_that_comes_makes_void_what_is_here(tmp_path: Path) -> None:
    first, second = Map(tmp_path / "1", "daemon"), Map(tmp_path / "2", "daemon")
    hand.bar(first, Bar("user", b"eve", NOW, NOW + 99), "root", "block")
    changes = Changes()
    changes.login(b"198.18.9.9", grant(NOW + 10, NOW, b"eve", b"pop3d"))
    second.commit(changes)
    take(second, exported(first))
    assert not second.allows(b"198.18.9.9", NOW)
    first.close()
    second.close()


def test_there_and_back_by_the_commands(tmp_path: Path, map_: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(login("198.18.0.9") + login("2001:db8::1", user="al\u00fc@example.com"))
    assert command("replay", "--map", map_, log).status == 0
    assert command("allow", "--permanent", "--map", map_, "198.18.3.0/24").status == 0
    out = command("export", "--map", map_)
    assert (out.status, out.err) == (0, "")
    kinds = [json.loads(line).get("kind") for line in out.lines]
    assert kinds == [None, "allow", "login", "login"]
    other = empty(tmp_path / "other")
    (tmp_path / "out").write_bytes(out.out)
    ended = command("import", "--map", other, tmp_path / "out")
    assert (ended.status, ended.out) == (0, b"imported: 1 orders, 2 logins\n"), ended
    assert command("export", "--map", other).out == out.out
    ended = command("import", "--map", other, "-", given=out.out)
    assert (ended.status, command("export", "--map", other).out) == (0, out.out)
    assert command("get", "--map", other, "198.18.3.77").status == 0


def test_nothing_goes_out_and_comes_in(map_: Path) -> None:
    assert command("export", "--map", map_).out == EMPTY
    assert command("import", "--map", map_, "-", given=EMPTY).status == 0
    assert command("export", "--map", map_).out == EMPTY
    assert command("export", "--format", "addresses", "--map", map_).out == b""


# Other formats

AUTHPFIX = b"""\
198.18.0.1 %d
198.18.0.2\t%d
198.18.0.3 0
198.18.0.4 %d
198.18.0.5 %d
2001:DB8::1 %d
::ffff:198.18.0.6 %d
"""


def authpfix(now: float) -> bytes:
    at = int(now)
    return AUTHPFIX % (at - 60, at - 1799, at - 1801, at + 9999, at + 60, at)


def boxed(text: bytes) -> bytes:
    rule = b"+------+------+\n"
    body = b"".join(b"| %b | %b |\n" % tuple(line.split()) for line in text.splitlines())
    return rule + b"| ip | logintime |\n" + rule + body + rule


@pytest.mark.parametrize(
    "shape",
    [
        lambda text: text,
        lambda text: b"ip\tlogintime\n" + text.replace(b" ", b"\t"),
        lambda text: text.replace(b"\n", b"\r\n"),
        boxed,
    ],
    ids=["plain", "batch", "crlf", "boxed"],
)
def test_rows_of_authpfix(tmp_path: Path, shape: object) -> None:
    assert callable(shape)
    grants = Map(tmp_path, "daemon")
    taken = take(grants, shape(authpfix(NOW)))
    assert (taken.orders, taken.logins) == (1, 4)
    at = int(NOW)
    for address, until_ in {
        b"198.18.0.1": at + 1740, b"198.18.0.2": at + 1, b"2001:db8::1": NOW + 1800,
        b"198.18.0.6": at + 1800,
    }.items():  # fmt: skip
        assert grants.allows(address, until_ - 0.5)
        assert not grants.allows(address, until_ + 0.5)
    assert grants.allows(b"198.18.0.3", NOW + 1e9)
    assert not grants.allows(b"198.18.0.4", NOW)
    assert not grants.allows(b"198.18.0.5", NOW)
    assert grants.orders.allows == (Allow(b"198.18.0.3", NOW, None, "imported"),)
    grants.close()


def test_what_is_left_out_is_counted(map_: Path) -> None:
    at = int(time.time())
    given = b"198.18.0.1 %d\n198.18.0.2 %d\n198.18.0.3 0\n198.18.0.4 %d\n"
    ended = command("import", "--map", map_, "-", given=given % (at, at - 1900, at + 9999))
    assert ended.status == 0
    assert ended.lines == [
        "imported: 1 orders, 1 logins; left out: 1 in the future, 1 older than the window"
    ]
    assert b"198.18.0.3\n" in command("export", "--map", map_, "--format", "addresses").out


LIST = b"The database holds 2 IPs:\n\t198.18.0.1\n\t198.18.0.2\n"


@pytest.mark.parametrize(
    "text",
    [
        LIST,
        b"version: 1.41\n" + LIST,
        b'config file: /etc/x\ndbfile: /x 1\npat: "^[LOGTIME] (\\d+)"\n' + LIST,
        b"198.18.0.1\n198.18.0.2\n",
        b"198.18.0.1\tok\n198.18.0.2\tok\n",
    ],
)
def test_the_list_of_pop_before_smtp(tmp_path: Path, text: bytes) -> None:
    grants = Map(tmp_path, "daemon")
    assert take(grants, text).logins == 2
    for address in (b"198.18.0.1", b"198.18.0.2"):
        assert grants.allows(address, NOW + 1799)
        assert not grants.allows(address, NOW + 1801)
    grants.close()


@pytest.mark.parametrize("text", [b"The database holds 0 IPs.\n", b"ip\tlogintime\n"])
def test_a_list_of_nobody(map_: Path, text: bytes) -> None:
    ended = command("import", "--map", map_, "-", given=text)
    assert (ended.status, ended.out) == (0, b"imported: nothing\n")
    assert command("export", "--map", map_).out == EMPTY


def test_many_permanent_rows_take_seconds(tmp_path: Path) -> None:
    grants = Map(tmp_path, "daemon")
    text = b"".join(b"20.%d.%d.%d 0\n" % (n >> 16, n >> 8 & 255, n & 255) for n in range(20_000))
    began = time.monotonic()
    assert take(grants, text).orders == 20_000
    assert time.monotonic() - began < 20
    assert grants.allows(b"20.0.78.31", NOW + 1e9)
    with grants.reading() as tables:
        assert tables.count(b"acts") == 1
    grants.close()


# Bad lines

HEAD = EMPTY
LINE = json.dumps({
    "kind": "login", "address": "198.18.0.1", "user": "u", "service": "pop3d", "login": NOW,
    "since": NOW, "expires": NOW + 9, "place": None,
})  # fmt: skip


def changed(**values: object) -> bytes:
    return HEAD + json.dumps({**json.loads(LINE), **values}).encode() + b"\n"


BAD = {
    b"": 0,
    b"hello\n": 0,
    b'{"pbs-watch": 2}\n': 1,
    b'{"kind": "login"}\n': 1,
    HEAD + b"\n\n{]\n": 4,
    HEAD + b"[]\n": 2,
    HEAD + b'{"kind": "wish"}\n': 2,
    HEAD + b'{"kind": ["login"]}\n': 2,
    HEAD + LINE.encode()[:-30] + b"\n": 2,
    HEAD + b"\xff\n": 2,
    HEAD + b"[" * 100_000 + b"\n": 2,
    HEAD + LINE.encode() + b"\n" + changed(address="198.18.0.1/24")[len(HEAD) :]: 3,
    changed(address="198.18.0.1\x00x"): 2,
    changed(address="2001:db8::/48"): 2,
    changed(address="2001:db8::1/64"): 2,
    changed(address="198.18.0.0/64"): 2,
    changed(address=7): 2,
    changed(user="x" * 401): 2,
    changed(user="\ud800"): 2,
    changed(service="a\0b"): 2,
    changed(login="now"): 2,
    changed(login=True): 2,
    changed(login=float("nan")): 2,
    changed(expires=1e10): 2,
    changed(expires=-1): 2,
    changed(place=[1, 2]): 2,
    changed(place=["x", 2, -1]): 2,
    HEAD + b'{"kind": "login", "address": "198.18.0.1"}\n': 2,
    HEAD + b'{"kind": "allow", "network": "10.0.0.0/8", "since": 1, "until": null, "note": ""}': 2,
    HEAD + b'{"kind": "bar", "subject": "x", "name": "", "since": 1, "until": 2, "note": ""}': 2,
    b"198.18.0.1 0\n198.18.0.2\n": 2,
    b"198.18.0.1 0\n198.18.0.256 5\n": 2,
    b"198.18.0.1 0\n198.18.0.2 yesterday\n": 2,
    b"198.18.0.1 0\n10.0.0.0/8 0\n": 2,
    b"198.18.0.1 0\n2001:db8::/47 0\n": 2,
    b"198.18.0.1\nmail.example.com\n": 2,
    b"The database holds 3 IPs:\n\t198.18.0.1\n": 1,
    b"The database holds 1 IP:\n\t198.18.0.1 a b\n": 2,
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_one_bad_line_and_nothing_is_imported(map_: Path, tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "bad\x1bfile"
    file.write_bytes(text)
    told = refused("import", "--map", map_, file)
    place = f":{BAD[text]}: " if BAD[text] else ": "
    assert told.startswith(f"{tmp_path}/bad\\x1bfile{place}"), told
    grants = Map(map_, "read")
    assert exported(grants) == EMPTY
    with grants.reading() as tables:
        assert not tables.count(b"acts")
    grants.close()


def test_a_wide_network_comes_in_by_force(map_: Path) -> None:
    ended = command("import", "--force", "--map", map_, "-", given=b"10.0.0.0/8 0\n")
    assert ended.status == 0
    assert command("get", "10.9.8.7", "--map", map_).status == 0


def test_the_format_can_be_said(map_: Path) -> None:
    given = b"198.18.0.1 %d\n" % time.time()
    assert "not JSON" in refused("import", "--from", "jsonl", "--map", map_, "-", given=given)
    ended = command("import", "--from", "pop-before-smtp", "--map", map_, "-", given=given)
    assert ended.status == 0
    assert refused("import", "--from", "csv", "--map", map_, "-")


@pytest.mark.parametrize("words", [["export"], ["import", "-"]])
def test_without_a_map(tmp_path: Path, words: list[str]) -> None:
    told = refused(*words, "--map", tmp_path / "none", given=b"198.18.0.1 0\n")
    assert told.startswith(f"{tmp_path}/none: there is no map here; ")
    assert not (tmp_path / "none").exists()


def test_import_of_no_file(map_: Path, tmp_path: Path) -> None:
    assert refused("import", "--map", map_, tmp_path / "none").startswith(f"{tmp_path}/none: ")
    assert refused("import", "--map", map_, tmp_path).startswith(f"{tmp_path}: ")


@pytest.mark.parametrize(
    "words",
    [
        ["--format", "xml"],
        ["--follow"],
        ["--every", "5s"],
        ["--table", "hash:/x", "--format", "postfix"],
        ["--table", "hash:/x", "--output", "/y"],
        ["--table", "hash:/x", "--every", "5s"],
    ],
    ids=range(6),
)
def test_options_that_do_not_fit(map_: Path, words: list[str]) -> None:
    assert refused("export", "--map", map_, *words)


@pytest.mark.parametrize("form", ["jsonl", "postfix", "addresses"])
def test_a_damaged_row_is_one_line(map_: Path, tmp_path: Path, form: str) -> None:
    grants = Map(map_, "write")
    with grants.changing() as tables:
        tables.put(b"grants", b"198.18.0.1", b"\xff" * 20)
    grants.close()
    words = ("export", "--format", form, "--map", map_)
    assert "the map is damaged" in refused(*words)
    assert "the map is damaged" in refused(*words, "--output", tmp_path / "out")
    assert not [one for one in tmp_path.iterdir() if "out" in one.name]


@pytest.mark.parametrize("words", [["export"], ["export", "--format", "postfix"], ["import", "-"]])
def test_without_rights(map_: Path, words: list[str]) -> None:
    # All that it needs comes first: the interpreter may lie where that user cannot look.
    code = (
        "import locale, os, sys, pbs_watch.commands.hand, pbs_watch.exchange.intake\n"
        "import pbs_watch.commands.exchange, pbs_watch.exchange.formats, pbs_watch.grants.copy\n"
        "from pbs_watch.cli import main\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "sys.exit(main())"
    )
    map_.chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--map", map_],
        input=b"198.18.0.1 0\n", capture_output=True, env=environment(), check=False, cwd=ROOT,
    )  # fmt: skip
    map_.chmod(0o700)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"pbs-watch: %b: " % bytes(map_)), done.stderr


# Writing a file


def test_a_file_is_replaced_with_its_mode_and_owner(map_: Path, tmp_path: Path) -> None:
    file = tmp_path / "out"
    assert command("export", "--map", map_, "--output", file).status == 0
    assert file.read_bytes() == EMPTY
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    file.write_bytes(b"old")
    file.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(file, 65534, 65533)
    before, link = file.stat(), tmp_path / "link"
    link.symlink_to(file)
    assert command("export", "--map", map_, "--output", link).status == 0
    after = file.stat()
    assert link.is_symlink()
    assert file.read_bytes() == EMPTY
    assert after.st_ino != before.st_ino
    for name in ("st_mode", "st_uid", "st_gid"):
        assert getattr(after, name) == getattr(before, name)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link", "map", "out"]


@pytest.mark.parametrize("kind", ["link", "dangling", "file"])
def test_a_strangers_file_in_an_open_folder_is_not_written(
    map_: Path, tmp_path: Path, kind: str
) -> None:
    folder, victim = tmp_path / "open", tmp_path / "victim"
    folder.mkdir()
    folder.chmod(0o1777)
    place = folder / "out"
    if kind == "file":
        place.write_text("theirs")
    else:
        place.symlink_to(victim)
    if kind == "link":
        victim.write_text("precious")
    os.lchown(place, 65534, 65534)
    said = refused("export", "--map", map_, "--output", str(place))
    assert said.startswith(f"{place}: belongs to somebody else")
    assert not victim.exists() or victim.read_text() == "precious"
    assert place.lstat().st_uid == 65534
    # One's own is.
    os.lchown(place, os.geteuid(), os.getegid())
    assert command("export", "--map", map_, "--output", str(place)).status == 0
    assert place.read_bytes() == EMPTY


def test_what_is_no_file_is_not_replaced(map_: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "not a file" in refused("export", "--map", map_, "--output", tmp_path / "fifo")
    assert "not a file" in refused("export", "--map", map_, "--output", tmp_path)
    assert "cannot be written" in refused("export", "--map", map_, "--output", "/proc/none/x")


def test_a_closed_pipe_leaves_no_traceback(map_: Path) -> None:
    with subprocess.Popen(
        [*PROGRAM, "export", "--map", map_],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


# Beside the daemon


def test_the_daemon_answers_by_what_was_imported(tmp_path: Path) -> None:
    Log(tmp_path / "mail.log").close()
    daemon = Daemon(tmp_path)
    try:
        given = b"198.18.5.1 %d\n198.18.5.2 0\n" % time.time()
        assert command("import", "--map", daemon.map, "-", given=given).status == 0
        for key in ("198.18.5.1", "198.18.5.2"):
            until(lambda key=key: daemon.ask(key).startswith(b"200"), key)  # type: ignore[misc]
    finally:
        daemon.end()


# Who may relay, for a table of Postfix


def looked_up(rows_: dict[bytes, bytes], address: bytes) -> bytes | None:
    """What Postfix finds: check_addr_access() in smtpd_check.c."""
    delimiter = b":" if b":" in address else b"."
    key = address
    while key not in rows_:
        if delimiter not in key:
            return None
        key = key.rpartition(delimiter)[0]
    return rows_[key]


def any_address(draw: random.Random, network: bytes) -> bytes:
    """An address of the network, or one near it, with many zeros."""
    net = ipaddress.ip_network(network.decode())
    size = net.max_prefixlen
    value = int(net.network_address)
    for bit in range(0, size - net.prefixlen, 16):
        if draw.random() < 0.5:
            value |= draw.randrange(1 << 16) << bit & (1 << size - net.prefixlen) - 1
    if draw.random() < 0.5:
        value ^= 1 << draw.randrange(size)
    if size == 32:
        return str(ipaddress.ip_address(value)).encode()
    found = literal(inet_ntop(AF_INET6, value.to_bytes(16, "big")).encode())
    assert found is not None
    return found


def neighbours(network: bytes, address: bytes) -> bool:
    """Whether one IPv6 address (or nearly) is allowed, and another one of its /64 comes."""
    first, _, length = network.partition(b"/")
    if b":" not in first or b":" not in address or (length and int(length) <= 112):
        return False
    return widened(first, 64) == widened(address, 64)


@st.composite
def networks(draw: st.DrawFn) -> bytes:
    if draw(st.booleans()):
        length = draw(st.integers(8, 32))
        value = draw(st.integers(0, (1 << length) - 1)) << 32 - length
        return canonical(ipaddress.ip_network((value, length)))
    groups = draw(st.lists(st.sampled_from([0, 0, 0, 1, 0xDB8, 0xFFFF]), min_size=7, max_size=7))
    length = draw(st.sampled_from([16, 32, 48, 49, 56, 60, 64, 80, 96, 112, 120, 127, 128]))
    value = 0x2001 << 112 | sum(group << 16 * index for index, group in enumerate(groups))
    value = value >> 128 - length << 128 - length
    return canonical(ipaddress.ip_network(value.to_bytes(16, "big")).supernet(new_prefix=length))


@given(network=networks(), seed=st.integers(0, 1 << 30))
@settings(max_examples=400, deadline=None)
def test_the_keys_of_a_network_find_its_addresses_and_no_others(network: bytes, seed: int) -> None:
    found, wholly = keys(network)
    draw = random.Random(seed)
    for _ in range(20):
        address = any_address(draw, network)
        inside = ipaddress.ip_address(address.decode()) in ipaddress.ip_network(network.decode())
        hit = looked_up(dict.fromkeys(found, b"OK"), address) is not None
        assert inside or not hit or neighbours(network, address), (network, address, found)
        assert hit or not inside or not wholly, (network, address, found)


NETWORKS = st.dictionaries(networks(), st.booleans(), min_size=1, max_size=5)
INSIDE = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 16), st.booleans()), max_size=4)


@given(found=NETWORKS, inside=INSIDE, seed=st.integers(0, 1 << 30))
@settings(max_examples=400, deadline=None)
def test_tables_and_lists_say_what_lookups_say(
    found: dict[bytes, bool], inside: list[tuple[int, int, bool]], seed: int
) -> None:
    """Networks in networks, allowed and blocked: nobody who may not, and all that can be said."""
    draw = random.Random(seed)
    subjects = dict(found)
    for which, more, allowed in inside:
        outer = list(found)[which % len(found)]
        net = ipaddress.ip_network(any_address(draw, outer).decode())
        length = min(ipaddress.ip_network(outer.decode()).prefixlen + more, net.max_prefixlen)
        subjects.setdefault(canonical(net.supernet(new_prefix=length)), allowed)
    allows = [Allow(name, NOW, None) for name, allowed in subjects.items() if allowed]
    bars = [Bar("network", name, NOW, NOW + 9) for name, allowed in subjects.items() if not allowed]
    orders = Orders(1, allows, bars)
    now = Relaying([], [*bars, *allows], None)
    made = table(now, b"OK")
    listed = [ipaddress.ip_network(name.decode()) for name in addresses(now)]
    for _ in range(30):
        address = any_address(draw, draw.choice(list(subjects)))
        may = orders.allowed(address, NOW) is not None
        assert any(ipaddress.ip_address(address.decode()) in net for net in listed) == may
        hit = looked_up(made.rows, address) == b"OK"
        near = any(neighbours(one, address) for one, allowed in subjects.items() if allowed)
        assert may or not hit or near, (address, made)
        assert hit or not may or made.unsaid, (address, made)


def test_the_postfix_format(map_: Path) -> None:
    for words in (
        ["allow", "192.0.2.0/24"], ["allow", "198.51.100.0/23"], ["allow", "2001:db8:1::/48"],
        ["allow", "2001:db8:2:8000::/49"], ["allow", "203.0.113.0/30"],
        ["block", "192.0.2.66", "--for", "1h"],
    ):  # fmt: skip
        assert command(*words, "--map", map_).status == 0
    given = b"198.18.0.1 %d\n" % time.time()
    assert command("import", "--map", map_, "-", given=given).status == 0
    ended = command("export", "--format", "postfix", "--answer", "permit", "--map", map_)
    assert ended.status == 0
    assert ended.err.startswith("pbs-watch: 2001:db8:2:8000::/49: not wholly in the table")
    assert ended.err.count("\n") == 1
    assert ended.lines == [
        "# not wholly in this table: 2001:db8:2:8000::/49",
        "192.0.2\tpermit",
        "192.0.2.66\tDUNNO",
        "198.18.0.1\tpermit",
        "198.51.100\tpermit",
        "198.51.101\tpermit",
        "2001:db8:1\tpermit",
        "203.0.113.0\tpermit",
        "203.0.113.1\tpermit",
        "203.0.113.2\tpermit",
        "203.0.113.3\tpermit",
    ]
    ended = command("export", "--format", "addresses", "--map", map_)
    assert ended.lines == sorted(ended.lines)
    assert {"198.18.0.1", "2001:db8:1::/48", "192.0.2.128/25", "192.0.2.67"} <= set(ended.lines)
    assert "192.0.2.66" not in ended.lines
