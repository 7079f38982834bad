"""``selftest`` through the real rsyslog, with the lines that logger(1) sends it, and postmap."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.daemon import PATIENCE, command, until
from tests.sound import Sound, set_up

RSYSLOG = """\
global(workDirectory="{home}")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{home}/log.sock")
template(name="bsd" type="string" string="%timegenerated% %HOSTNAME% %syslogtag%%msg%\\n")
$Umask 0000
$FileCreateMode 0644
{selector} action(type="omfile" file="{log}" template="{template}")
"""


@pytest.fixture
def sound() -> Iterator[Sound]:
    """A sound host with a Postfix that asks its daemon."""
    with tempfile.TemporaryDirectory(prefix="pbs-watch-selftest-") as name:
        Path(name).chmod(0o755)
        made = set_up(Path(name))
        etc = made.root / "etc/postfix"
        etc.mkdir()
        (etc / "main.cf").write_text(
            "myhostname = mx.inbound.example\ncompatibility_level = 3.6\n"
            "smtpd_relay_restrictions = permit_auth_destination,\n"
            f"  check_client_access tcp:127.0.0.1:{made.port}, reject_unauth_destination\n"
        )
        (etc / "master.cf").write_text("smtp inet n - n - - smtpd\n")
        shutil.copy("/etc/postfix/dynamicmaps.cf", etc)
        yield made


@contextmanager
def rsyslog(sound: Sound, template: str, selector: str = "mail.*") -> Iterator[Path]:
    """A real rsyslog of its own, which writes the followed log; the socket it listens on."""
    socket, config = sound.home / "log.sock", sound.home / "rsyslog.conf"
    config.write_text(
        RSYSLOG.format(home=sound.home, log=sound.log, template=template, selector=selector)
    )
    words = ["rsyslogd", "-n", "-f", str(config), "-i", str(sound.home / "rsyslog.pid")]
    with (sound.home / "rsyslog.said").open("wb") as said:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        until(lambda: socket.exists() or process.poll() is not None, "rsyslog listens")
        assert process.poll() is None, (sound.home / "rsyslog.said").read_text()
        yield socket
    finally:
        process.terminate()
        process.wait(PATIENCE)


def tried(sound: Sound, socket: Path, *words: str) -> tuple[int, dict[str, bool | None]]:
    ended = command(
        "selftest", "--json", "--config", sound.settings, "--syslog-socket", socket,
        "--postfix-config", sound.root / "etc/postfix", *words,
    )  # fmt: skip
    assert ended.err == ""
    return ended.status, {step["link"]: step["sound"] for step in json.loads(ended.out)}


@pytest.mark.parametrize("template", ["bsd", "RSYSLOG_FileFormat", "RSYSLOG_TraditionalFileFormat"])
def test_the_whole_chain(sound: Sound, template: str) -> None:
    with rsyslog(sound, template) as socket, sound.daemon():
        status, links = tried(sound, socket)
    names = ["before", "written", "log", "answered", "map", "postfix", "over"]
    assert (status, links) == (0, dict.fromkeys(names, True))


def test_logins_that_go_to_another_file_are_a_broken_link(sound: Sound) -> None:
    with rsyslog(sound, "bsd", "mail.err") as socket, sound.daemon():
        status, links = tried(sound, socket, "--wait", "0.5s")
    assert (status, links) == (1, {"before": True, "written": True, "log": False})


def test_a_daemon_that_speaks_socketmap_alone(sound: Sound) -> None:
    sound.change("settings", "tcp_table", "socketmap")
    with rsyslog(sound, "RSYSLOG_FileFormat") as socket, sound.daemon():
        status, links = tried(sound, socket)
    assert (status, False in links.values(), links["postfix"]) == (0, False, True)
