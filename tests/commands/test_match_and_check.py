"""``match``, ``check`` and the settings (design.md, Commands)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.daemon import ROOT, command, refused

LOGIN = "Nov 22 08:41:27 mail pop3d: LOGIN, user=bob, ip=[::ffff:198.18.1.2], port=[4242]"
FAILED = LOGIN.replace("LOGIN,", "LOGIN FAILED,")

PATTERN = """\
format mine
    header  syslog
    tag     mined
    login   "IN " user " FROM " address
    example login  "Nov 22 08:41:27 m mined: IN bob FROM 198.18.1.2"  user bob  address 198.18.1.2
"""


def test_a_line_that_matches() -> None:
    ended = command("match", LOGIN)
    assert (ended.status, ended.err) == (0, "")
    assert ended.lines[0].startswith(
        "courier-pop3: login, user bob, address ::ffff:198.18.1.2, port 4242 ("
    )


def test_a_line_that_does_not() -> None:
    ended = command("match", FAILED)
    assert ended.status == 1
    assert 'expected "LOGIN, user="' in ended.out.decode()
    rows = ended.out.decode().splitlines()
    caret = next(number for number, text in enumerate(rows) if text.strip() == "^")
    assert rows[caret - 1][rows[caret].index("^") :].startswith(" FAILED")


@pytest.mark.parametrize("given", [b"", b"\n", b"\xff\xfe\n", b"\0\n", b"garbage", b"x" * 100_000])
def test_what_is_no_line(given: bytes) -> None:
    assert command("match", "-", given=given).status == 1


def test_lines_from_standard_input() -> None:
    ended = command("match", given=f"{FAILED}\n{LOGIN}\n".encode())
    assert ended.status == 0
    assert "courier-pop3: login, user bob" in ended.out.decode()


@pytest.mark.parametrize("line", ["", "a\nb", b"\xff\xfe", LOGIN.encode().replace(b"bob", b"\xff")])
def test_odd_lines_as_arguments(line: str | bytes) -> None:
    assert command("match", line).status in {0, 1}


def test_check_of_what_is_shipped() -> None:
    ended = command("check", "--config", ROOT / "packaging" / "pbs-watch.toml")
    assert (ended.status, ended.err) == (0, "")
    *sound, log = ended.lines
    assert all(text.endswith(": fine") for text in sound)
    assert any("courier-pop3" in text for text in sound)
    assert log.startswith("/var/log/mail.log: ")


def test_check_of_what_the_daemon_would_refuse(tmp_path: Path) -> None:
    for words, said in (
        (("tcp_table", '["192.0.2.1:10041"]'), "192.0.2.1:10041"),
        (("log", f'["{tmp_path}"]'), "is a directory"),
        (("patterns", '["no-such-pattern"]'), "no such pattern"),
    ):
        config = tmp_path / "config.toml"
        config.write_text(f"{words[0]} = {words[1]}\n")
        ended = command("check", "--config", config)
        assert ended.status == 2
        assert said in ended.err


def test_an_operators_pattern_replaces_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "courier.pattern").write_text(PATTERN)
    words = ("--patterns-dir", tmp_path)
    assert f"{tmp_path}/courier.pattern: mine: " in command("check", *words).out.decode()
    assert command("match", LOGIN, *words).status == 1
    assert command("match", "Nov 22 08:41:27 mail mined: IN al FROM ::1", *words).status == 0


def test_a_broken_pattern(tmp_path: Path) -> None:
    path = tmp_path / "mine.pattern"
    path.write_text(PATTERN.replace('" user "', '" usr "'))
    for words in (("check",), ("match", LOGIN), ("run",), ("replay", "/dev/null")):
        ended = command(*words, "--patterns", path)
        assert ended.status == 2
        told, excerpt, caret = ended.err.splitlines()
        assert told.startswith(f"pbs-watch: {path}:4:19: ")
        assert re.fullmatch(r" *\^", caret)
        assert excerpt[caret.index("^") :].startswith('usr " FROM "')


def test_an_example_that_fails(tmp_path: Path) -> None:
    path = tmp_path / "mine.pattern"
    path.write_text(PATTERN.replace("user bob  address", "user eve  address"))
    ended = command("check", "--patterns", path)
    assert ended.status == 2
    assert ended.err.startswith(f"pbs-watch: {path}:5:")


BAD: dict[str, tuple[bytes, str, str]] = {
    "unknown": (b'windo = "30m"', "1:1", "write window"),
    "with a dash": (b'session-limit = "1h"', "1:1", "write session_limit"),
    "unlike any": (b"\n\nzzz = 1", "3:1", "the settings are"),
    "type": (b"\nwindow = 30", "2:1", "write it in quotes"),
    "list": (b"log = [1]", "1:1", "write it in quotes"),
    "table": (b"[window]\nx = 1", "1:2", "write it in quotes"),
    "flag": (b'allow_remote = "yes"', "1:1", "true or false"),
    "TOML": (b"window = ", "1:10", "write settings like"),
    "no quotes": (b"window = 30m", "1:12", "write settings like"),
    "twice": (b'window = "1m"\nwindow = "2m"', "2:", "write settings like"),
    "duration": (b'window = "30x"', "1:1", "write it like 90s, 30m, 12h or 7d"),
    "too long": (b'window = "9999d"', "1:1", "ten years"),
    "network": (b'never = ["10.0.0.0/33"]', "1:1", "write 192.0.2.0/24"),
    "zone": (b'zone = "Nowhere"', "1:1", "Europe/Berlin"),
    "zone too far": (b'zone = "+99:99"', "1:1", "Europe/Berlin"),
    "cuts": (b'# cuts\n  cuts = "no"', "2:3", "strict, next, off"),
    "port": (b'tcp_table = ["x:y"]', "1:1", "write 127.0.0.1:10041"),
    "socket": (b'socketmap = "unix:x"', "1:1", "write unix:/"),
    "answer": (b'answer = ""', "1:1", "empty"),
    "no log": (b"log = []", "1:1", "name at least one"),
    "empty log": (b'log = ""', "1:1", "empty"),
    "NUL": (b'log = "a\\u0000b"', "1:1", "control character"),
    "map NUL": (b'map = "a\\u0000b"', "1:1", "control character"),
    "patterns NUL": (b'patterns = "a\\u0000b"', "1:1", "control character"),
    "host": (b'hosts = [""]', "1:1", "empty"),
    "UTF-8": (b'# fine\nanswer = "\xff"', "2:11", "UTF-8"),
    "depth": (b"a = " + b"[" * 100_000, "1:1", "nested"),
}


@pytest.mark.parametrize(("text", "place", "advice"), BAD.values(), ids=BAD.keys())
def test_errors_name_the_place_and_what_to_write(
    tmp_path: Path, text: bytes, place: str, advice: str
) -> None:
    path = tmp_path / "pbs-watch.toml"
    path.write_bytes(text + b"\n")
    told = refused("check", "--config", path)
    assert told.startswith(f"{path}:{place}")
    assert advice in told


def test_every_command_reads_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "pbs-watch.toml"
    path.write_text("window = 30\n")
    told = refused("check", "--config", path)
    for words in (("run",), ("replay", "/dev/null"), ("get", "1.2.3.4"), ("list",), ("match", "x")):
        assert refused(*words, "--config", path) == told


@pytest.mark.parametrize("path", ["/none/at/all.toml", "/tmp"])
def test_a_file_of_settings_that_cannot_be_read(path: str) -> None:
    assert refused("check", "--config", path).startswith(f"{path}: cannot be read (")


def test_the_command_line_wins(tmp_path: Path) -> None:
    path, log = tmp_path / "c.toml", tmp_path / "log"
    log.write_text(LOGIN + "\n")
    path.write_text('never = ["198.18.0.0/15"]\nanswer = "permit"\nmap = "/none"\n')
    words = ("replay", "--config", path, "--grants", log)
    assert command(*words).out == b""
    assert command(*words, "--never", "none").out == b"198.18.1.2\n"
    assert command(*words, "--never", "203.0.113.0/24").out == b"198.18.1.2\n"
    keep = ("--config", path, "--map", tmp_path / "map")
    assert command("replay", "--never", "none", "--at", "now", *keep, log).status == 0
    log.write_text(LOGIN + "\n")


def test_settings_of_the_file_count(tmp_path: Path) -> None:
    path, log = tmp_path / "c.toml", tmp_path / "log"
    log.write_text(LOGIN + "\n")
    path.write_text(f'map = "{tmp_path}/map"\nanswer = "permit"\nwindow = "3000d"\n')
    assert command("replay", "--config", path, "--map", tmp_path / "map", log).status == 0
    assert command("get", "198.18.1.2", "--config", path).out == b"permit\n"
    assert command("get", "198.18.1.2", "--config", path, "--answer", "OK").out == b"OK\n"


@pytest.mark.parametrize(
    "words",
    [(), ("dance",), ("get",), ("replay",), ("run", "--bogus"), ("get", "a", "b"), ("--x",)],
)
def test_what_is_not_understood(words: tuple[str, ...]) -> None:
    assert "--help" in refused(*words)


@pytest.mark.parametrize("name", ["run", "replay", "get", "list", "match", "check"])
def test_help(name: str) -> None:
    ended = command(name, "--help")
    assert (ended.status, ended.err) == (0, "")
    assert "--config" in ended.out.decode()


def test_version() -> None:
    ended = command("--version")
    assert ended.status == 0
    assert re.fullmatch(rb"pbs-watch \d+\.\d+\.\d+\n", ended.out)
