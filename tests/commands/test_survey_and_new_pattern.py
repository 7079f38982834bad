"""``match FILE`` tells what a log holds, ``new-pattern`` begins a pattern from a line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from pbs_watch.pattern.draft import draft
from pbs_watch.pattern.format import Format, Kind
from pbs_watch.pattern.library import load, load_text, shipped
from pbs_watch.pattern.matching import classify
from tests.daemon import LOGS, command, line, refused

ALL = load(sorted(path.stem for path in shipped().glob("*.pattern")), [])


@pytest.mark.parametrize(
    ("log", "found", "suggested"),
    [
        ("courier-clean.bsd", "courier-imap: 40 logins, 40 session ends", "courier"),
        ("dovecot-server.rfc3339", "dovecot: 22 logins, 22 session ends", "dovecot"),
        ("dovecot-own", "dovecot-log: 22 logins, 22 session ends", "dovecot"),
        ("cyrus.bsd", "cyrus: 22 logins, 17 session ends", "cyrus"),
        ("perdition.rfc3339", "perdition: 19 logins, 15 session ends", "perdition"),
        ("nginx.rfc3339", "nginx: 20 logins, 20 session ends", "nginx"),
    ],
)
def test_a_log_tells_which_patterns_it_needs(log: str, found: str, suggested: str) -> None:
    ended = command("match", LOGS / f"{log}.log")
    assert (ended.status, ended.err) == (0, "")
    text = ended.out.decode()
    if log.startswith("courier"):
        assert "courier-imap: " in text
    else:
        assert f"  {found}\n" in text
    assert f'to grant these: patterns = ["{suggested}"]\n' in text


def test_a_compressed_log_and_two_servers_in_one(tmp_path: Path) -> None:
    path = tmp_path / "mail.log.gz"
    logs = [(LOGS / f"{name}.rfc3339.log").read_bytes() for name in ("courier-clean", "cyrus")]
    path.write_bytes(gzip.compress(b"".join(logs)))
    text = command("match", path).out.decode()
    assert 'to grant these: patterns = ["courier", "cyrus"]\n' in text


def test_what_is_off_by_default_is_not_suggested() -> None:
    text = command("match", LOGS / "dovecot-server.bsd.log").out.decode()
    assert "dovecot-submission: 1 login" in text
    assert "not suggested: dovecot-submission" in text


def test_a_forged_log_counts_what_nobody_can_tell_apart() -> None:
    text = command("match", LOGS / "courier-forged.bsd.log").out.decode()
    assert "9 cut lines; 41 logins behind one, which may be forged, not counted" in text


def test_near_misses_are_shown_by_shape_the_most_frequent_first(tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    odd = [line(f"LOGIN, user=u{n}, ip=[198.18.0.{n}], port=[{n}], new={n}") for n in range(1, 200)]
    odd += [line(f"LOGIN, uid={n}, ip=[198.18.0.{n}]") for n in range(1, 4)]
    log.write_bytes(b"".join(odd))
    ended = command("match", log)
    assert ended.status == 1
    rows = ended.lines
    at = next(number for number, row in enumerate(rows) if "near misses" in row)
    assert rows[at].startswith("202 near misses: ")
    assert rows[at + 1] == "  199 x courier-pop3: LOGIN, user=*, ip=*, port=*, new=*"
    assert rows[at + 2] == "      LOGIN, user=u1, ip=[198.18.0.1], port=[1], new=1"
    assert rows[at + 3] == "  3 x courier-pop3: LOGIN, uid=*, ip=*"


def test_a_log_without_logins(tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    log.write_bytes(line("hello") + b"\x1b[31m\0" + b"x" * 200_000 + b"\n" + b"half a line")
    ended = command("match", log)
    assert ended.status == 1
    assert "no line is a login in any format; pbs-watch new-pattern" in ended.out.decode()


def test_a_log_that_cannot_be_read() -> None:
    assert "/none/at/all: no such file" in refused("match", "/none/at/all")
    assert command("match", "/none/at/all is a line").status == 1


def test_a_pattern_has_a_name_and_a_line() -> None:
    told = refused("new-pattern", "Nov 25 03:00:00 mx pop3d: LOGIN, user=bob")
    assert "name the format first: pbs-watch new-pattern NAME LINE" in told
    assert "an empty line" in refused("new-pattern", "mine")


# A pattern from a line


COMPLETE = [
    (fmt, example.lines[0], example.user or b"", example.address or b"")
    for fmt in ALL
    for example in fmt.examples
    if example.expect == "login" and len(example.lines) == 1
]


# The log of Dovecot 1.x has a header of its own; the name of an account with spaces stands beside
# the address where nobody can tell from one line that it is safe.
DRAFTED = [one for one in COMPLETE if one[1][:1] in b"N2@" and b" " not in one[2]]


@pytest.mark.parametrize(("fmt", "sample", "user", "address"), DRAFTED)
def test_a_pattern_from_a_login_of_any_server_takes_it(
    fmt: Format, sample: bytes, user: bytes, address: bytes
) -> None:
    # As it stands in the line.
    written = next((one for one in (b"::ffff:" + address, address) if one in sample), address)
    made = draft(fmt.name, sample, user, written)
    (mine,) = load_text("mine.pattern", made.text)
    found = classify(mine, sample)
    assert (found.kind, found.user, found.address) == (Kind.LOGIN, user, written)


def test_the_command_prints_a_file_that_loads(tmp_path: Path) -> None:
    sample = "Nov 22 08:41:27 mail popd[12]: user bob logged in from 198.18.1.2 port 4242"
    ended = command("new-pattern", "mine", sample)
    assert (ended.status, ended.err) == (0, "")
    path = tmp_path / "mine.pattern"
    path.write_bytes(ended.out)
    assert command("check", "--patterns", path).status == 0
    assert command("match", sample.replace("bob", "eve"), "--patterns", path).status == 0
    assert command("new-pattern", "mine", given=sample.encode() + b"\n").out == ended.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nonsense",), "does not begin with a stamp"),
        (("Nov 22 08:41:27 mail popd: hello bob",), "no address in this line"),
        (("Nov 22 08:41:27 mail popd: 198.18.1.2 hello",), "say --user NAME"),
        (("Nov 22 08:41:27 mail popd: bob 198.18.1.2", "--user", "eve"), "--user: "),
        (("Nov 22 08:41:27 mail popd: bob 198.18.1.2", "--address", "1.2"), "--address: "),
    ],
)
def test_what_no_pattern_can_be_made_of(words: tuple[str, ...], said: str) -> None:
    assert said in refused("new-pattern", "mine", *words)


def test_a_draft_that_does_not_load_says_so_first() -> None:
    sample = 'Nov 22 08:41:27 mail popd: 198.18.1.2 login "al ice" ok'
    ended = command("new-pattern", "mine", sample, "--user", "al ice")
    assert ended.status == 1
    assert ended.lines[0].startswith("# IT DOES NOT LOAD YET: mine.pattern:")
    assert "user is free text and must not come after the address" in ended.lines[0]
