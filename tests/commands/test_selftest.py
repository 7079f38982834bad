"""``selftest``: one marked login goes through the chain; a broken link is named."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pbs_watch.selftest.line import NETWORKS, USER, Marked
from tests.daemon import (
    NO,
    PATIENCE,
    ROOT,
    Daemon,
    Log,
    command,
    environment,
    refused,
    rfc3339,
    until,
)

Start = Callable[..., Daemon]


def links(ended: Any) -> dict[str, bool | None]:
    return {step["link"]: step["sound"] for step in json.loads(ended.out)}


def test_the_whole_chain_with_a_daemon_of_its_own() -> None:
    began = time.monotonic()
    ended = command("selftest", "--scratch", "--json", "--config", "/dev/null")
    assert (ended.status, ended.err) == (0, "")
    steps = json.loads(ended.out)
    names = [step["link"] for step in steps]
    assert [one for one in names if one != "postfix"] == [
        "before",
        "written",
        "log",
        "answered",
        "map",
        "over",
    ]
    assert False not in links(ended).values()
    # The window of three seconds was waited for, and no longer.
    assert 3 <= steps[-1]["seconds"] <= time.monotonic() - began
    assert steps[3]["seconds"] < steps[-1]["seconds"]


def test_each_link_is_one_line_with_its_time() -> None:
    ended = command("selftest", "--scratch", "--config", "/dev/null")
    assert ended.status == 0
    assert all(re.match(r"(ok|left out) +\d+\.\d{3} s  [a-z]+: \S", one) for one in ended.lines)
    assert USER in ended.lines[1]


def test_a_scratch_daemon_leaves_nothing(tmp_path: Path) -> None:
    assert (
        command("selftest", "--scratch", "--config", "/dev/null", TMPDIR=str(tmp_path)).status == 0
    )
    assert list(tmp_path.iterdir()) == []


def test_without_a_daemon_it_says_so(tmp_path: Path) -> None:
    ended = command("selftest", "--json", "--config", "/dev/null", "--map", tmp_path)
    assert ended.status == 1
    assert links(ended) == {"daemon": False}
    assert "--scratch" in json.loads(ended.out)[0]["cure"]


# With the running daemon; tests/system/test_selftest.py sends the line through a real rsyslog.


class Syslog:
    """A socket like /dev/log, whose messages go to a log; ``alter`` may change or drop them."""

    def __init__(self, path: Path, log: Log, alter: Callable[[str], str | None]) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._log, self._alter = log, alter
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while message := self._socket.recv(8192):
            text = re.sub(r"^<\d+>[A-Z][a-z]{2} [ \d]\d [\d:]{8} ", "", message.decode())
            altered = self._alter(text)
            if altered is not None:
                self._log.write(f"{rfc3339(time.time())} mail {altered}\n".encode())

    def end(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.connect(str(self.path))
            last.send(b"")
        self._thread.join(PATIENCE)
        self._socket.close()
        self.path.unlink()


def tried(
    daemon: Daemon,
    log: Log,
    *words: str | Path,
    alter: Callable[[str], str | None] = lambda text: text,
    wait: str = "5s",
) -> Any:
    syslog = Syslog(log.path.with_name("socket"), log, alter)
    try:
        return command(
            "selftest", "--json", "--config", "/dev/null", "--map", daemon.map,
            "--log", log.path, "--tcp-table", daemon.process.where(),
            "--syslog-socket", syslog.path, "--wait", wait, *words,
        )  # fmt: skip
    finally:
        syslog.end()


def address(ended: Any) -> str:
    found = re.search(r"198\.51\.100\.\d+", ended.out.decode())
    assert found is not None
    return found[0]


def test_the_running_daemons_grant_is_revoked_at_the_end(start: Start, log: Log) -> None:
    daemon = start()
    ended = tried(daemon, log)
    assert (ended.status, ended.err) == (0, ""), ended
    assert links(ended)["answered"] is links(ended)["over"] is True
    assert daemon.ask(address(ended)) == NO
    orders = command("list", "--orders", "--map", daemon.map).out.decode()
    assert USER in orders
    assert command("list", "--map", daemon.map).out == b""
    # Once more: what was revoked does not hinder the next test.
    assert tried(daemon, log).status == 0


def test_a_line_that_never_arrives(start: Start, log: Log) -> None:
    daemon = start()
    ended = tried(daemon, log, alter=lambda _: None, wait="0.3s")
    assert ended.status == 1
    assert links(ended) == {"before": True, "written": True, "log": False}


def test_a_line_that_comes_too_late_grants_nothing(start: Start, log: Log) -> None:
    daemon = start()
    kept: list[str] = []
    written = time.time()
    ended = tried(daemon, log, alter=kept.append, wait="0.3s")
    assert links(ended)["log"] is False
    log.write(f"{rfc3339(written)} mail {kept[0]}\n".encode())
    assert daemon.ask(address(ended)) == NO


def test_a_line_that_is_a_near_miss(start: Start, log: Log) -> None:
    daemon = start()
    ended = tried(daemon, log, alter=lambda text: text + ", new=1", wait="2s")
    assert links(ended) == {"before": True, "written": True, "log": True, "answered": False}
    assert "near miss" in json.loads(ended.out)[-1]["cure"]


def test_a_line_that_is_refused_says_why(start: Start, log: Log) -> None:
    daemon = start("--never", "198.51.100.0/24")  # which the settings here do not say
    ended = tried(daemon, log, wait="2s")
    assert links(ended)["answered"] is False
    assert "never" in json.loads(ended.out)[-1]["cure"]


def test_no_syslog_daemon(start: Start, log: Log, tmp_path: Path) -> None:
    daemon = start()
    ended = command(
        "selftest", "--json", "--config", "/dev/null", "--map", daemon.map, "--log", log.path,
        "--tcp-table", daemon.process.where(), "--syslog-socket", tmp_path / "none",
    )  # fmt: skip
    assert ended.status == 1
    assert links(ended) == {"before": True, "written": False}


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ('never = ["198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24"]', "never"),
        ('only = ["198.18.0.0/15"]', "only"),
        ('witness = "require"', "no connection stands behind a line that selftest writes"),
        ('hosts = ["elsewhere.example"]', "hosts"),
        (f'ignore_users = ["{USER}"]', "ignore_users"),
        ('log = ["journal:"]', "of the journal only _COMM=courierlogger"),
    ],
)
def test_what_cannot_be_granted_is_said_before_anything_is_written(
    start: Start, log: Log, tmp_path: Path, settings: str, word: str
) -> None:
    daemon = start()
    (tmp_path / "some.toml").write_text(settings + "\n")
    ended = command(
        "selftest", "--json", "--config", tmp_path / "some.toml", "--map", daemon.map,
        "--tcp-table", daemon.process.where(),
    )  # fmt: skip
    assert ended.status == 1
    assert links(ended) == {"settings": False}
    step = json.loads(ended.out)[0]
    assert word in step["text"]
    assert "--scratch" in step["cure"]
    assert log.path.read_bytes() == b""


def test_another_test_network_is_taken_where_one_is_in_never(
    start: Start, log: Log, tmp_path: Path
) -> None:
    daemon = start()
    (tmp_path / "some.toml").write_text('never = ["198.51.100.0/24"]\n')
    ended = tried(daemon, log, "--config", tmp_path / "some.toml")
    assert ended.status == 0
    assert "203.0.113." in ended.out.decode()


def test_shadow_answers_no_whatever_is_granted(start: Start, log: Log) -> None:
    daemon = start("--shadow")
    ended = tried(daemon, log)
    assert links(ended) == {"settings": False}


@pytest.mark.parametrize("words", [["--wait", "soon"], ["--nonsense"]])
def test_used_wrongly(words: list[str]) -> None:
    assert refused("selftest", *words)


def test_the_marked_login_is_nobodys() -> None:
    marked = Marked(f"{NETWORKS[0]}.7", 4242)
    ended = command("match", marked.line(1795339337.0, "mail").rstrip(b"\n"))
    assert ended.status == 0
    assert f"login, user {USER}, address ::ffff:198.51.100.7, port 4242" in ended.lines[0]


def test_interrupted_it_takes_the_grant_back(start: Start, log: Log) -> None:
    daemon = start()
    came = threading.Event()

    def seen(text: str) -> str:
        came.set()
        return text + ", new=1"  # so that it waits for the answer

    syslog = Syslog(log.path.with_name("socket"), log, seen)
    process = subprocess.Popen(
        [sys.executable, "-m", "pbs_watch", "selftest", "--config", "/dev/null",
         "--map", daemon.map, "--log", log.path, "--tcp-table", daemon.process.where(),
         "--syslog-socket", syslog.path, "--wait", "60s"],
        cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert came.wait(PATIENCE)
        until(lambda: b"new=1" in log.path.read_bytes(), "the line is in the log")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
        syslog.end()
    assert USER in command("list", "--orders", "--map", daemon.map).out.decode()
