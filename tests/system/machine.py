"""A booted Debian in a container, to see the units under a real systemd.

The container's root is this machine's own with a layer above it that is thrown away, so that what
runs there is Debian's Python with Debian's libraries; it has a network of its own and shares one
folder.  What happens in it is a *story*: a program that runs as
root when the container has booted, and leaves what it saw in the shared folder as JSON.

Needs root, systemd-nspawn (Debian's ``systemd-container``), overlayfs, and Debian's packages of the
libraries; without them the tests fail.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

_PATIENCE = 240
"""Seconds for a whole story, booting included."""

_SETUP = """\
set -e
mount -t tmpfs tmpfs {home}/layer
cd {home}/layer
mkdir upper work
mount -t overlay overlay -o lowerdir=/,upperdir=$PWD/upper,workdir=$PWD/work {home}/root
cd {home}/root
rm -f etc/machine-id usr/sbin/policy-rc.d etc/systemd/system/*.wants/*
: >etc/machine-id
rm -rf opt/pbs-watch var/log/journal var/log/mail.log* var/lib/pbs-watch* etc/pbs-watch
cp -r {home}/above/. .
/usr/bin/python3 -m compileall -q opt/pbs-watch
exec systemd-nspawn --quiet --register=no --keep-unit --link-journal=no --private-network \\
  --bind={home}/share:/share --directory={home}/root \\
  --boot -- --unit=story.target --show-status=no --log-target=null
"""

_STORY_SERVICE = """\
[Unit]
Description=What the test wants to see
After=sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c '/usr/bin/python3 /share/story.py >/share/said 2>&1; systemctl exit $?'
"""

_STORY_TARGET = """\
[Unit]
Requires=sysinit.target story.service
After=sysinit.target
AllowIsolate=yes
"""

_PROGRAM = """\
#!/bin/sh
export PYTHONPATH=/opt/pbs-watch
exec /usr/bin/python3 -m pbs_watch "$@"
"""


class Machine:
    """A container that is about to boot; ``home`` is a folder that the test owns."""

    def __init__(self, home: Path) -> None:
        self._home = home
        for name in ("layer", "root", "share", "above"):
            (home / name).mkdir()
        program = self.above("opt/pbs-watch")
        shutil.copytree(ROOT / "pbs_watch", program / "pbs_watch")
        shutil.copytree(ROOT / "patterns", program / "patterns")
        self.write("usr/bin/pbs-watch", _PROGRAM, 0o755)
        units = self.above("etc/systemd/system")
        for unit in (ROOT / "packaging" / "systemd").iterdir():
            if unit.suffix in {".service", ".socket"}:
                shutil.copy(unit, units)
        users = ROOT / "packaging" / "systemd" / "pbs-watch.sysusers"
        self.write("etc/sysusers.d/pbs-watch.conf", users.read_text())
        self.write("etc/systemd/system/story.service", _STORY_SERVICE)
        self.write("etc/systemd/system/story.target", _STORY_TARGET)

    def above(self, path: str) -> Path:
        """A folder of the container, to put something in."""
        folder = self._home / "above" / path
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file of the container."""
        file = self._home / "above" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def tells(self, story: Path) -> dict[str, Any]:
        """Boots, runs the story, and returns what it saw (``/share/seen.json``)."""
        share = self._home / "share"
        shutil.copy(story, share / "story.py")
        script = _SETUP.format(home=self._home)
        done = subprocess.run(
            ["unshare", "--mount", "bash", "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        said = share / "said"
        told = said.read_text() if said.exists() else "(the story did not begin)"
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{told}"
        seen: dict[str, Any] = json.loads((share / "seen.json").read_text())
        return seen
