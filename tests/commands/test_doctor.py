"""``doctor`` on whole hosts: sound ones, broken ones; without rights, without a daemon."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pbs_watch.doctor import look
from tests.daemon import PATIENCE, ROOT, command, environment, refused
from tests.sound import Sound, as_user, set_up

LEVELS = ("fine", "look", "unseen", "wrong")


@pytest.fixture
def sound() -> Iterator[Sound]:
    """A sound host, in a folder that everybody may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="pbs-watch-doctor-") as name:
        Path(name).chmod(0o755)
        yield set_up(Path(name))


def told(sound: Sound, *words: str | Path, status: int) -> dict[str, str]:
    """The worst level of each check that ``doctor`` tells."""
    ended = command("doctor", "--json", *sound.words, *words)
    assert (ended.status, ended.err) == (status, ""), ended.out.decode()
    found: dict[str, str] = {}
    for one in json.loads(ended.out)["findings"]:
        worst = found.get(one["check"], "fine")
        found[one["check"]] = max(worst, one["level"], key=LEVELS.index)
    return found


def test_a_sound_host_passes(sound: Sound) -> None:
    with sound.daemon():
        found = told(sound, status=0)
    assert "wrong" not in found.values()
    fine = {name for name, level in found.items() if level == "fine"}
    assert fine >= {
        "settings",
        "daemon-runs",
        "daemon-user",
        "daemon-reads",
        "daemon-settings",
        "port-ours",
        "port-answers",
        "log-there",
        "log-readable",
        "log-fresh",
        "log-clock",
        "log-patterns",
        "log-hosts",
        "log-rotation",
        "log-imjournal",
        "syslog-remote",
        "syslog-split",
        "courier-cure",
        "courier-tags",
        "courier-id",
        "map-whole",
        "map-writable",
        "map-mode",
        "host-own",
    }


@pytest.mark.parametrize(
    ("path", "old", "new", "check"),
    [
        ("settings", 'cuts = "off"', 'cuts = "of"', "settings"),
        ("settings", 'never = ["own", "gateway"]', 'witness = "hold"\nwitness_ports = [1]', None),
        ("etc/rsyslog.conf", "mail.*", "mail.warn", "syslog-split"),
        ("etc/rsyslog.conf", "$Include", "$UDPServerRun 514\n$Include", "syslog-remote"),
        ("etc/courier/imapd", "stderrlogger", "maxprocs", "courier-cure"),
        ("etc/courier/imapd", "TCPDOPTS", "IMAP_ID_FIELDS=0\nTCPDOPTS", "courier-id"),
        ("etc/courier/pop3d", "stderrloggername=pop3d", "stderrloggername=x", "courier-tags"),
    ],
)
def test_what_is_broken_is_found_and_fails(
    sound: Sound, path: str, old: str, new: str, check: str | None
) -> None:
    with sound.daemon():
        sound.change(path, old, new)
        found = told(sound, status=1)
    assert found[check or "settings-witness"] == "wrong"


def test_included_files_count(sound: Sound) -> None:
    (sound.root / "etc/rsyslog.d/remote.conf").write_text('input(type="imudp" port="514")\n')
    with sound.daemon():
        assert told(sound, status=1)["syslog-remote"] == "wrong"


def test_the_other_programs_places_can_be_named_one_by_one(sound: Sound, tmp_path: Path) -> None:
    elsewhere = tmp_path / "syslog-ng.conf"
    elsewhere.write_text("source s { udp(); };\n")
    (tmp_path / "courier").mkdir()
    with sound.daemon():
        found = told(sound, "--syslog-config", elsewhere, status=1)
        assert found["syslog-remote"] == "wrong"
        found = told(sound, "--courier-config", tmp_path / "courier", status=0)
        assert found["courier-cure"] == "unseen"


def test_without_a_daemon_everything_else_is_checked(sound: Sound) -> None:
    found = told(sound, status=1)
    wrong = {name for name, level in found.items() if level == "wrong"}
    assert wrong == {"daemon-runs", "port-ours"}
    assert found["log-patterns"] == found["courier-cure"] == "fine"


def test_somebody_else_on_the_port(sound: Sound) -> None:
    import socket

    with socket.create_server(("127.0.0.1", sound.port)) as other:
        other.settimeout(PATIENCE)
        found = told(sound, status=1)
    assert found["port-answers"] == "wrong"  # it accepts nothing and says nothing


def test_a_log_that_is_missing_or_no_log_at_all(sound: Sound) -> None:
    sound.log.unlink()
    assert told(sound, status=1)["log-there"] == "wrong"
    os.mkfifo(sound.log)
    assert told(sound, status=1)["log-there"] == "wrong"


def test_a_log_rotated_a_moment_ago_shows_its_logins(sound: Sound) -> None:
    sound.log.rename(sound.log.with_name("mail.log.1"))
    sound.log.touch()
    sound.log.chmod(0o644)
    with sound.daemon():
        found = told(sound, status=0)
    assert found["log-patterns"] == found["log-clock"] == "fine"


def test_a_damaged_map(sound: Sound) -> None:
    with sound.daemon():
        pass
    # Only the two pages that say where all others are.
    os.truncate(sound.map / "data.mdb", 2 * os.sysconf("SC_PAGE_SIZE"))
    assert told(sound, status=1)["map-whole"] == "wrong"


def test_settings_that_cannot_be_read_are_a_finding_and_hide_nothing_else(sound: Sound) -> None:
    sound.settings.write_text("window = \n")
    words = ["--log", str(sound.log), "--map", str(sound.map), "--never", "own,gateway"]
    found = told(sound, *words, status=1)
    assert found["settings"] == "wrong"
    assert found["log-patterns"] == found["syslog-split"] == "fine"


def test_patterns_that_cannot_be_read_are_a_finding_too(sound: Sound) -> None:
    (sound.home / "patterns" / "courier.pattern").write_text("nonsense\n")
    found = told(sound, status=1)
    assert found["settings-patterns"] == "wrong"
    assert found["log-patterns"] == "unseen"
    assert found["map-writable"] == "fine"


@pytest.mark.parametrize(
    "words",
    [["--root", "/nowhere"], ["--courier-config", "/nowhere"], ["--window", "x"], ["--nonsense"]],
)
def test_used_wrongly(words: list[str]) -> None:
    assert refused("doctor", *words)


# As people see it


def test_each_finding_is_one_line_and_the_last_one_counts_them(sound: Sound) -> None:
    sound.change("etc/courier/imapd", "TCPDOPTS", "IMAP_ID_FIELDS=0\nTCPDOPTS")
    with sound.daemon():
        ended = command("doctor", *sound.words)
        quiet = command("doctor", "--quiet", *sound.words)
    assert (ended.status, ended.err) == (1, "")
    *lines, last = ended.lines
    assert all(re.match(r"(fine|look|unseen|wrong) +[a-z-]+: \S", one) for one in lines)
    assert re.fullmatch(r"\d+ fine, \d+ look, \d+ unseen, 1 wrong", last)
    (wrong,) = [one for one in lines if one.startswith("wrong")]
    assert wrong.endswith(f"put a # before IMAP_ID_FIELDS in {sound.root}/etc/courier/imapd, "
                          "and restart courier-imap")  # fmt: skip
    assert quiet.lines == [one for one in ended.lines if not one.startswith("fine")]


def test_nothing_is_changed(sound: Sound) -> None:
    def contents() -> dict[str, tuple[Any, ...]]:
        found = {}
        for path in sorted(sound.home.rglob("*")):
            seen = path.lstat()
            body = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (seen.st_mode, seen.st_uid, seen.st_mtime_ns, body)
        return found

    with sound.daemon():
        pass
    before = contents()
    told(sound, status=1)
    assert contents() == before


def test_every_finding_is_explained() -> None:
    explained = (ROOT / "docs" / "doctor.rst").read_text()
    modules = [*(ROOT / "pbs_watch/doctor").glob("*.py"), ROOT / "pbs_watch/shared/health.py"]
    names = set()
    for module in modules:
        names |= set(re.findall(r'(?:fine|look|unseen|wrong)\(\s*"([a-z-]+)",', module.read_text()))
    assert len(names) > 35
    listed = set(re.findall(r"(?m)^``([a-z-]+)``$", explained)) - set(LEVELS)
    assert listed == names | {"log-rotation"}


# Limits


def test_an_unprivileged_user_is_told_what_he_cannot_see(sound: Sound) -> None:
    with sound.daemon():
        for path in (sound.root / "etc/courier/imapd", sound.log, sound.map):
            path.chmod(0)
        done = subprocess.run(
            [*as_user(12345), "doctor", *sound.words],
            env=environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        sound.map.chmod(0o750)
    assert done.stderr == ""
    unseen = [one for one in done.stdout.splitlines() if one.startswith("unseen")]
    named = {re.split(r"[ :]+", one)[1] for one in unseen}
    assert named >= {"daemon-runs", "port-ours", "log-patterns", "courier-cure", "map-there"}


def test_a_program_that_hangs_and_a_file_that_is_a_pipe_hold_nobody_up(tmp_path: Path) -> None:
    ran = look.run(["sleep", "60"], 0.2)
    assert ran.status is None
    assert "did not end within 0.2 s" in ran.why
    assert "not installed" in look.run(["no-such-program-at-all"]).why
    os.mkfifo(tmp_path / "pipe")
    assert look.read(tmp_path / "pipe").why == "not a file"
    assert look.read(tmp_path / "absent") == look.Text(str(tmp_path / "absent"))
