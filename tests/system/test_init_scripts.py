"""The scripts for hosts without systemd: started, reloaded, restarted and stopped by them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon import OK, PROGRAM, ROOT, Connection, free_port, listens, login, until

SCRIPTS = [ROOT / "packaging" / "sysv" / "pbs-watch", ROOT / "packaging" / "openrc" / "pbs-watch"]
Script = Callable[[str], subprocess.CompletedProcess[str]]


class Host:
    """A host's folders in one of the test's, and the script that runs there."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.where = f"127.0.0.1:{free_port()}"
        self.config = home / "pbs-watch.toml"
        self.settings = f'log = "{home}/mail.log"\nmap = "{home}/map"\ntcp_table = "{self.where}"\n'
        self.config.write_text(self.settings)
        (home / "mail.log").write_bytes(login("198.18.0.1"))
        program = home / "pbs-watch"
        program.write_text(f'#!/bin/sh\nexport PYTHONPATH={ROOT}\nexec {" ".join(PROGRAM)} "$@"\n')
        program.chmod(0o755)
        (home / "default").write_text(
            f"PBS_WATCH_PROGRAM={program}\nPBS_WATCH_CONFIG={self.config}\n"
            f"PBS_WATCH_STATE={home}/map\nPBS_WATCH_RUN={home}/run\nPBS_WATCH_USER=root\n"
        )

    def do(self, what: str) -> subprocess.CompletedProcess[str]:
        """What the script does."""
        return subprocess.run(
            [SCRIPTS[0], what],
            env={"PBS_WATCH_DEFAULTS": str(self.home / "default")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def fine(self, what: str) -> None:
        done = self.do(what)
        assert (done.returncode, done.stderr) == (0, ""), (what, done)

    def pid(self) -> int:
        return int((self.home / "run" / "pid").read_text())

    def answers(self) -> None:
        until(lambda: listens(self.where), "open")
        connection = Connection(self.where)
        assert connection.ask("198.18.0.1") == OK
        connection.socket.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.do("stop")


def test_a_day_in_the_life(host: Host) -> None:
    assert host.do("status").returncode == 3
    host.fine("start")
    host.answers()
    before = host.pid()
    host.fine("start")
    assert host.pid() == before, "there is one already"
    assert host.do("status").stdout == "well\n"
    host.fine("reload")
    assert host.pid() == before
    host.fine("restart")
    assert host.pid() != before
    host.answers()
    host.fine("stop")
    assert not listens(host.where)
    assert not Path(f"/proc/{before}").exists()
    host.fine("stop")
    assert host.do("status").returncode == 3


def test_broken_settings_stop_nothing(host: Host) -> None:
    host.fine("start")
    host.answers()
    before = host.pid()
    host.config.write_text(f'{host.settings}window = "soon"\n')
    for what in ("reload", "restart"):
        done = host.do(what)
        assert done.returncode != 0
        assert done.stderr.count("\n") == 1
        assert "window: 'soon' is not a duration" in done.stderr
    assert host.pid() == before
    host.answers()
    host.config.write_text(host.settings)


def test_broken_settings_start_nothing(host: Host) -> None:
    host.config.write_text("window = \n")
    done = host.do("start")
    assert done.returncode != 0
    assert "not TOML" in done.stderr
    assert not (host.home / "run" / "pid").exists()
    host.config.write_text(host.settings)


def test_no_such_action(host: Host) -> None:
    assert host.do("dance").returncode == 2


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.parent.name)
def test_the_scripts_are_sound_shell(script: Path) -> None:
    assert script.stat().st_mode & 0o111
    done = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
