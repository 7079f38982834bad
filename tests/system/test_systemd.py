"""The units, under a real systemd in a container and under systemd's own examination.

What Postfix sees of restarts, crashes, reloads and broken starts is measured under 200 lookups a
second, nine connections that stay open and one that is made anew for each lookup.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.machine import ROOT, Machine

UNITS = ROOT / "packaging" / "systemd"
STORY = Path(__file__).with_name("story_of_systemd.py")
TROUBLE = "400 pbs-watch cannot tell now, try again later\n"
SOON = 1.0
"""Seconds within which an answer always comes (design.md)."""


@pytest.fixture(scope="module")
def seen() -> Iterator[dict[str, Any]]:
    """What the whole story saw."""
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        Path(home).chmod(0o755)
        yield Machine(Path(home)).tells(STORY)


def test_the_first_lookup_starts_the_daemon_as_its_own_user(seen: dict[str, Any]) -> None:
    told = seen["beginning"]
    assert told["first"] == "200 OK\n"
    assert told["user"] == "pbs-watch"
    assert told["status"].endswith("following /var/log/mail.log")
    assert told["health"] == 0


def test_postfix_may_connect_in_its_chroot(seen: dict[str, Any]) -> None:
    told = seen["beginning"]
    assert told["relay"] == ["5:OK OK,", "9:NOTFOUND ,"]
    assert told["relay_mode"] == "0o666"
    assert told["folder_mode"] == "0o755"
    assert told["state_mode"] == "0o750"


def test_restarts_are_not_seen_by_anybody(seen: dict[str, Any]) -> None:
    told = seen["restarting"]
    assert told["processes"] == 6
    assert told["answered"] > 300
    assert told["wrong"] == told["refused"] == []
    assert told["ended"] == 0, "open connections go from one daemon to the next"
    for each in told["slowest_of_each"]:
        assert len(each) == 5
        assert sorted(each)[2] < SOON  # of five: the machine may be busy with something else
    assert told["after"] == "200 OK\n"
    assert told["ended_by_client"] == "", "systemd holds no connection open"
    assert told["stored"] == "0"


def test_a_crash_ends_open_connections_and_refuses_none(seen: dict[str, Any]) -> None:
    told = seen["killing"]
    assert told["wrong"] == told["refused"] == []
    assert told["ended"] == 9
    assert max(told["slowest"], told["slowest_new"]) < 2 * SOON  # what a busy machine adds


def test_a_broken_reload_fails_and_costs_no_lookup(seen: dict[str, Any]) -> None:
    told = seen["reloading"]
    assert told["good"] == [0, 0, 0]
    assert told["broken"] != 0
    status, line = told["direct"]
    assert status == 2
    assert line.count("\n") == 1
    assert "window: 'soon' is not a duration" in line
    assert told["after"] == 0
    assert told["same"]
    assert told["active"] == "active"
    assert told["wrong"] == told["refused"] == []
    assert told["ended"] == 0
    assert max(told["slowest"], told["slowest_new"]) < SOON
    daemons = [line for line in told["said"] if "not reloaded, all is as before" in line]
    assert len(daemons) == 1


def test_a_broken_start_answers_trouble_until_it_is_mended(seen: dict[str, Any]) -> None:
    told = seen["broken_start"]
    assert told["replies"] == [TROUBLE, TROUBLE, "500 not found\n"]
    assert told["relay"] == "47:TEMP pbs-watch cannot tell now, try again later,"
    assert told["seconds"] < SOON
    assert told["status"].startswith("Cannot start: /etc/pbs-watch/pbs-watch.toml:1:10: ")
    assert told["ill"] != 0
    assert told["same"], "one process all the time"
    assert told["mended"] < 3
    assert told["status_after"].endswith("following /var/log/mail.log")


def test_the_journal_gets_levels(seen: dict[str, Any]) -> None:
    levels = {(level, message[:12]) for level, message in seen["journal"]["priorities"]}
    assert ("3", "not reloaded") in levels, "by the daemon"
    assert ("3", "pbs-watch: /") in levels, "by pbs-watch reload"
    assert ("4", "what kept th") in levels
    assert ("6", '{"time": "20') in levels


def test_a_loop_that_stands_still_is_replaced(seen: dict[str, Any]) -> None:
    told = seen["frozen"]
    assert told["alive"], "an idle daemon feeds its watchdog"
    assert told["restarts"] == "1"


def test_failing_again_and_again_closes_no_port(seen: dict[str, Any]) -> None:
    told = seen["crashing"]
    assert told["socket"] == "active"
    assert told["reply"] == "200 OK\n", "a lookup that waited meanwhile"


def test_a_stop_leaves_nothing(seen: dict[str, Any]) -> None:
    stopped = {"ended": "", "state": "inactive", "result": "success", "relay": False}
    assert seen["stopping"] == stopped


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """The units as installed, but for the program and the manuals, which are not here."""
    for unit in UNITS.iterdir():
        if unit.suffix in {".service", ".socket"}:
            text = unit.read_text().replace("/usr/bin/pbs-watch", "/bin/true")
            (tmp_path / unit.name).write_text(re.sub(r"(?m)^Documentation=.*\n", "", text))
    return tmp_path


def test_systemd_finds_nothing_wrong_with_the_units(copies: Path) -> None:
    names = ["pbs-watch.socket", "pbs-watch.service", "pbs-watch@a.socket", "pbs-watch@a.service"]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names],
        cwd=copies, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["pbs-watch.service", "pbs-watch@.service"])
def test_the_services_are_exposed_to_little(name: str, copies: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=12", name],
        cwd=copies, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None, done
    assert float(found[1]) <= 1.2
    assert done.returncode == 0


def test_the_template_is_the_service_by_another_name() -> None:
    def settings(name: str) -> set[str]:
        lines = (UNITS / name).read_text().splitlines()
        return {line for line in lines if line and not line.startswith("#")}

    differing = settings("pbs-watch.service") ^ settings("pbs-watch@.service")
    names = {line.partition("=")[0] for line in differing}
    assert names == {
        *("Description", "Wants", "After", "ExecStart", "ExecReload", "Sockets"),
        *("StateDirectory", "Also"),
    }


def test_the_user_is_made(tmp_path: Path) -> None:
    done = subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", "--dry-run", UNITS / "pbs-watch.sysusers"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    assert "Creating user 'pbs-watch'" in done.stderr
