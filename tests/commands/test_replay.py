"""``replay``: the same rules over log files (design.md, Commands)."""

from __future__ import annotations

import gzip
import json
import lzma
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard

from tests.daemon import (
    LOGS,
    NO,
    OK,
    PROGRAM,
    ROOT,
    Connection,
    Process,
    bsd,
    command,
    environment,
    login,
    refused,
    until,
)

Launch = Callable[..., Process]

CLEAN = LOGS / "courier-clean.rfc3339.log"
CLEAN_BSD = LOGS / "courier-clean.bsd.log"
FORGED = LOGS / "courier-forged.rfc3339.log"
KEYS = ["lines", "bytes", "logins", "suspect", "cuts", "ends", "grants", "seconds"]

COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor().compress,
}


def authenticated() -> list[str]:
    truth = json.loads((LOGS / "courier-clean.truth.json").read_text())
    return sorted(truth["authenticated"])


def grants(*words: str | bytes | Path, given: bytes = b"") -> list[str]:
    """What ``--grants`` prints; nothing may be said beside it."""
    ended = command("replay", "--grants", *words, given=given)
    assert (ended.status, ended.err) == (0, "")
    assert not ended.out or ended.out.endswith(b"\n")
    return ended.lines


def counts(*words: str | bytes | Path, given: bytes = b"") -> dict[str, float]:
    """What ``--json`` prints."""
    ended = command("replay", "--json", *words, given=given)
    assert (ended.status, ended.err) == (0, "")
    found: dict[str, float] = json.loads(ended.out)
    assert list(found) == KEYS
    return found


@pytest.mark.parametrize("path", [CLEAN, CLEAN_BSD], ids=["rfc3339", "bsd"])
def test_grants_are_those_who_authenticated(path: Path) -> None:
    assert grants(path) == authenticated()


def test_grants_are_sorted_as_sort_does(tmp_path: Path) -> None:
    path = tmp_path / "log"
    names = ["198.18.0.10", "198.18.0.9", "2001:db8::1", "198.18.0.100", "::1", "9.9.9.9", "a::b"]
    path.write_bytes(b"".join(login(name) for name in names))
    found = command("replay", "--grants", path).out
    done = subprocess.run(
        ["sort"], input=found, capture_output=True, env={"LC_ALL": "C"}, check=True
    )
    assert done.stdout == found
    assert found.count(b"\n") == len(names)


def test_json_counts() -> None:
    size = CLEAN.stat().st_size
    found = counts(CLEAN)
    assert found.pop("seconds") > 0
    expected = {"lines": 240, "bytes": size, "logins": 80, "suspect": 0, "cuts": 0}
    assert found == {**expected, "ends": 80, "grants": 80}
    assert counts(FORGED)["cuts"] > 0


def test_without_a_form_it_is_told_to_people() -> None:
    ended = command("replay", CLEAN)
    assert ended.status == 0
    assert "80 logins" in ended.lines[1]
    assert ended.lines[-1].startswith("80 addresses may relay at 2026-11-22")


@pytest.mark.parametrize("kind", COMPRESSED)
def test_compressed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"log.{kind}"
    path.write_bytes(COMPRESSED[kind](CLEAN.read_bytes()))
    assert grants(path) == authenticated()
    # What it is compressed with is told by its bytes, and it may be made of several parts.
    renamed = tmp_path / "log"
    renamed.write_bytes(path.read_bytes() * 2)
    assert counts(renamed)["lines"] == 480
    assert grants("-", given=path.read_bytes()) == authenticated()


@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("damage", ["cut", "byte", "tail"])
def test_damaged_archives(tmp_path: Path, kind: str, damage: str) -> None:
    whole = COMPRESSED[kind](CLEAN.read_bytes())
    middle = len(whole) // 2
    data = {
        "cut": whole[:middle],
        "byte": whole[:middle] + b"XXXXXXXX" + whole[middle + 8 :],
        "tail": whole + b"something else",
    }[damage]
    path = tmp_path / "log"
    path.write_bytes(data)
    if (kind, damage) == ("xz", "tail"):
        assert grants(path) == authenticated()  # liblzma passes over it
    else:
        assert f"{path}: cannot be read to its end (" in refused("replay", "--grants", path)


def test_several_files_and_standard_input_in_the_order_given(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(login("198.18.7.7", at=1795336937.0))
    assert grants(path, "-", given=CLEAN.read_bytes()) == sorted([*authenticated(), "198.18.7.7"])
    assert counts(CLEAN, CLEAN_BSD)["lines"] == 480
    assert counts("-", "-", given=CLEAN.read_bytes())["lines"] == 240


def test_a_line_without_its_newline_is_no_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(login("198.18.0.1") + login("198.18.0.2")[:-1])
    assert grants(path) == ["198.18.0.1"]


@pytest.mark.parametrize("content", [b"", b"half", b"\n", b"\0" * 5000, b"\xff\n" * 100])
def test_logs_that_say_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    found = counts(path)
    assert found["logins"] == found["grants"] == 0


def test_devices() -> None:
    assert grants("/dev/null") == []


def test_the_clock_at_the_end(tmp_path: Path) -> None:
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
    path = tmp_path / "log"
    lines = [login(f"198.18.0.{minute}", at=noon + 60 * minute) for minute in (0, 10, 20, 40)]
    path.write_bytes(b"".join(lines))
    # The default is the latest line's time; what came 30 minutes before it is over.
    assert grants(path) == grants("--at", "end", path) == ["198.18.0.20", "198.18.0.40"]
    # Lines later than the clock have no effect.
    assert grants("--at", "2026-11-22T12:15:00Z", path) == ["198.18.0.0", "198.18.0.10"]
    assert grants("--at", str(noon), path) == ["198.18.0.0"]
    assert grants("--at", "2026-11-22T13:39:00+01:00", path) == ["198.18.0.10", "198.18.0.20"]
    assert grants("--at", "2026-11-22T11:59:00Z", path) == []
    assert grants("--at", "2026-11-23", path) == []
    assert counts("--at", "2026-11-22T12:15:00Z", path)["logins"] == 2


def test_the_clock_at_the_present(tmp_path: Path) -> None:
    path, now = tmp_path / "log", time.time()
    path.write_bytes(login("198.18.0.1", at=now - 3600) + login("198.18.0.2", at=now - 60))
    assert grants("--at", "now", path) == ["198.18.0.2"]
    assert grants("--at", "now", "--window", "2h", path) == ["198.18.0.1", "198.18.0.2"]


def test_the_year_of_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    new_year = datetime(2024, 1, 1).astimezone().timestamp()
    path.write_bytes(
        b"".join(
            login(f"198.18.0.{number}", at=new_year + number, stamp=bsd) for number in (-60, 60)
        )
        .replace(b"198.18.0.-60", b"198.18.0.1")
        .replace(b"198.18.0.60", b"198.18.0.2")
    )
    for zone in ([], ["--zone", "UTC"]):
        found = grants("--year", "2023", "--at", "2024-01-01T00:02:00", *zone, path)
        assert len(found) == 2
    assert grants("--year", "2024", "--at", "2024-01-01T00:02:00", path) == []


def test_a_map_is_kept_and_holds_no_positions(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(login("198.18.0.1"))
    assert grants("--map", tmp_path / "map", path) == ["198.18.0.1"]
    ended = command("get", "--map", tmp_path / "map", "198.18.0.1")
    assert (ended.status, ended.out, ended.err) == (0, b"OK\n", "")
    assert command("get", "--map", tmp_path / "map", "198.18.0.2").status == 1


@pytest.mark.parametrize("form", ["--grants", "--json"])
def test_serving_with_the_clock_standing(launch: Launch, form: str) -> None:
    served = launch("replay", form, "--serve", "--tcp-table", "127.0.0.1:0", CLEAN)
    where = served.where()
    assert not where.endswith(":0")
    client = Connection(where)
    assert client.ask("198.18.110.1") == OK  # though its window was over long ago
    assert client.ask("198.18.111.1") == client.ask("unknown") == NO
    client.socket.close()
    assert served.signal(signal.SIGINT) == 130
    assert served.said.count("\n") == (81 if form == "--grants" else 2)


def test_serving_with_the_clock_running(launch: Launch, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(login("198.18.0.1"))
    words = ("replay", "--at", "now", "--window", "4s", "--serve", "--tcp-table", "127.0.0.1:0")
    served = launch(*words, path)
    client = Connection(served.where())
    assert client.ask("198.18.0.1") == OK
    # The clock runs on, though nothing is read any more.
    until(lambda: client.ask("198.18.0.1") == NO, "the end of the window")
    client.socket.close()


def test_serving_a_socketmap(launch: Launch, tmp_path: Path) -> None:
    where = f"unix:{tmp_path}/s"
    served = launch("replay", "--serve", "--socketmap", where, CLEAN)
    assert served.where("socketmap") == where
    client = Connection(where)
    client.socket.sendall(b"18:relay 198.18.110.1,")
    assert client.socket.recv(100) == b"5:OK OK,"
    client.socket.close()


def test_stdout_holds_nothing_but_what_was_asked_for() -> None:
    with subprocess.Popen(
        [*PROGRAM, "replay", "--grants", "--serve", "--tcp-table", "127.0.0.1:0", CLEAN],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment(),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"listening: tcp_table 127.0.0.1:" in process.stderr.readline()
        process.terminate()
        assert process.stdout.read().decode().split() == authenticated()


def test_an_interrupt_leaves_no_traceback(launch: Launch, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        for _ in range(100):
            file.write(CLEAN.read_bytes() * 20)
    # While it reads, and, with --serve, when it has read.
    running = launch("replay", "--json", "-", path)
    until(lambda: not running.running or _mapped(running.pid), "it has begun")
    running.signal(signal.SIGINT)


def _mapped(pid: int) -> bool:
    return "data.mdb" in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.parametrize("form", ["--grants", "--json"])
def test_a_closed_pipe_leaves_no_traceback(form: str) -> None:
    with subprocess.Popen(
        [*PROGRAM, "replay", form, CLEAN],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment(),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


WRONG: dict[str, tuple[str | bytes, ...]] = {
    "no such file": ("nofile",),
    "a directory": ("/tmp",),
    "a time": ("--at", "noon", "LOG"),
    "a negative time": ("--at", "-5", "LOG"),
    "a time before all years": ("--at", "0001-01-01", "LOG"),
    "year 0": ("--year", "0", "LOG"),
    "a year of many digits": ("--year", "9" * 30, "LOG"),
    "a word for a year": ("--year", "x", "LOG"),
    "a window without a unit": ("--window", "0", "LOG"),
    "a window of nothing": ("--window", "0s", "LOG"),
    "a window of ages": ("--window", "999999999d", "LOG"),
    "a negative window": ("--window=-5m", "LOG"),
    "cuts": ("--cuts", "maybe", "LOG"),
    "a zone": ("--zone", "Mars/Olympus", "LOG"),
    "a zone that is a path": ("--zone", "../../etc/passwd", "LOG"),
    "a zone too far": ("--zone", "+24:00", "LOG"),
    "a network": ("--never", "192.0.2.1/8", "LOG"),
    "no network": ("--never", "", "LOG"),
    "a pattern": ("--patterns", "corier", "LOG"),
    "a map in a file": ("--map", "/etc/passwd", "LOG"),
    "a map in /proc": ("--map", "/proc/none", "LOG"),
    "a map of a strange name": ("--map", b"/tmp/\xff", "LOG"),
    "no files": (),
    "both forms": ("--grants", "--json", "LOG"),
    "an option": ("--grant-all", "LOG"),
    "a file of a strange name": (b"no\nsuch\xfffile",),
    "an answer of nothing": ("--answer", " ", "LOG"),
    "an answer of two lines": ("--answer", "OK\nOK", "LOG"),
    "an answer that is long": ("--answer", "x" * 2000, "LOG"),
    "an answer that is not UTF-8": ("--answer", b"\xff", "LOG"),
    "trouble": ("--trouble", "panic", "LOG"),
    **{
        f"tcp_table {where}": ("--serve", "--tcp-table", where, "LOG")
        for where in (
            *("nonsense", ":10041", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "::1:10041"),
            *("127.0.0.1:70000", "[::1]", "[127.0.0.1]:0", "localhost:0", "192.0.2.1:0"),
            *("0.0.0.0:0", "127.0.0.1:" + "9" * 5000),
        )
    },
    **{
        f"socketmap {where}": ("--serve", "--socketmap", where, "LOG")
        for where in ("unix:", "unix:rel", "unix:/tmp", "unix:/none/x", "unix:/" + "x" * 200, "/s")
    },
}


@pytest.mark.parametrize("words", WRONG.values(), ids=[name[:40] for name in WRONG])
def test_what_is_wrong_is_one_line(words: tuple[str | bytes, ...]) -> None:
    log = str(CLEAN)
    assert refused("replay", *(log if word == "LOG" else word for word in words))


@pytest.mark.parametrize(
    "stamp", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00"]
)
def test_stamps_at_the_ends_of_time(tmp_path: Path, stamp: str) -> None:
    path = tmp_path / "log"
    path.write_text(f"{stamp} mail pop3d: LOGIN, user=bob, ip=[198.18.0.1], port=[1]\n")
    zone = "America/Los_Angeles" if stamp.startswith("0001") else "Asia/Tokyo"
    assert command("replay", "--map", tmp_path / "map", path, TZ=zone).status == 0
    assert command("list", "--map", tmp_path / "map", TZ=zone).status == 0
