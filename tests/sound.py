"""A host that is set up as README.rst says, in a folder of its own: its files, and a daemon.

The daemon runs as a user of its own where the tests run as root, as whoever runs them otherwise.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.daemon import ROOT, Process, free_port, listens, login, until

NOBODY = 65534

_AS_USER = """
import ast, contextlib, importlib, io, os, pathlib, sys
import pbs_watch
# Another user may not be able to read the sources, nor Python itself: everything that is imported
# somewhere, inside functions too, is imported before; and the settings are tried once.
for path in pathlib.Path(pbs_watch.__file__).parent.rglob("*.py"):
    for node in ast.walk(ast.parse(path.read_text())):
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        for name in [node.module] if isinstance(node, ast.ImportFrom) else names:
            importlib.import_module(name)
from pbs_watch import cli
user, *words = sys.argv[1:]
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    cli.main(["check", *words[1:]] if words[0] == "run" else words)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(int(user))
    os.setuid(int(user))
sys.exit(cli.main(words))
"""


def as_user(uid: int = NOBODY) -> list[str]:
    """The program, run as that user where the tests run as root."""
    return [sys.executable, "-c", _AS_USER, str(uid)]


RSYSLOG = """\
module(load="imuxsock")
$IncludeConfig /etc/rsyslog.d/*.conf
*.*;auth,authpriv.none -{home}/syslog
mail.* -{log}
"""

LOGROTATE = """\
{log}
{{
    weekly
    postrotate
        /usr/lib/rsyslog/rsyslog-rotate
    endscript
}}
"""

COURIER = """\
TCPDOPTS="-nodnslookup -stderrlogger=/usr/sbin/courierlogger -stderrloggername={name}"
{prefix}LOGGEROPTS="-name={name}"
"""

SETTINGS = """\
log = ["{log}"]
map = "{map}"
patterns_dir = ["{home}/patterns"]
tcp_table = ["127.0.0.1:{port}"]
never = ["own", "gateway"]
cuts = "off"
"""


@dataclass(frozen=True, slots=True)
class Sound:
    """The host's folder, and what ``doctor`` is told to find it."""

    home: Path
    port: int

    @property
    def root(self) -> Path:
        return self.home / "root"

    @property
    def log(self) -> Path:
        return self.home / "log" / "mail.log"

    @property
    def map(self) -> Path:
        return self.home / "map"

    @property
    def settings(self) -> Path:
        return self.home / "pbs-watch.toml"

    @property
    def words(self) -> list[str | Path]:
        return ["--config", self.settings, "--root", self.root]

    def change(self, path: str, old: str, new: str) -> None:
        """Breaks something: in a file below the root, or in the settings."""
        file = self.settings if path == "settings" else self.root / path
        text = file.read_text()
        assert old in text, f"{path}: {old}"
        file.write_text(text.replace(old, new))

    @contextmanager
    def daemon(self) -> Iterator[Process]:
        """Runs the daemon."""
        process = Process(["run", "--config", self.settings], program=as_user())
        try:
            where = f"127.0.0.1:{self.port}"
            until(lambda: listens(where) or not process.running, f"{where} is open")
            assert process.running, process.said
            yield process
        finally:
            process.end()


def set_up(home: Path) -> Sound:
    """Writes all files below ``home``, which everybody must be able to enter."""
    sound = Sound(home, free_port())
    etc = sound.root / "etc"
    for folder in ("courier", "rsyslog.d", "logrotate.d"):
        (etc / folder).mkdir(parents=True)
    sound.log.parent.mkdir()
    names = {"home": home, "log": sound.log, "map": sound.map, "port": sound.port}
    (etc / "rsyslog.conf").write_text(RSYSLOG.format(**names))
    (etc / "logrotate.conf").write_text("create\ninclude /etc/logrotate.d\n")
    (etc / "logrotate.d" / "rsyslog").write_text(LOGROTATE.format(**names))
    for name in ("pop3d", "pop3d-ssl", "imapd", "imapd-ssl"):
        prefix = "SSL" if name.endswith("ssl") else ""
        (etc / "courier" / name).write_text(COURIER.format(name=name, prefix=prefix))
    shutil.copytree(ROOT / "patterns", home / "patterns")
    sound.settings.write_text(SETTINGS.format(**names))
    sound.log.write_bytes(login("198.18.0.1", at=time.time() - 2))
    sound.map.mkdir(mode=0o750)
    if os.geteuid() == 0:
        os.chown(sound.map, NOBODY, NOBODY)
    return sound
