"""A clean Debian 12 in a folder, to install the package in.

The base is made by debootstrap from the mirror that this machine's apt uses, once, and kept in
``build/``.  Commands run in a container of systemd-nspawn: its own processes, and a network
that has nothing but loopback.  Needs root, ``debootstrap`` and ``systemd-container``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "test-deb"

RELEASE = "bookworm"

INCLUDED = (
    "courier-imap", "courier-pop", "man-db", "postfix", "python3", "python3-cffi-backend",
    "python3-lmdb", "python3-pyparsing", "python3-rich", "python3-watchdog", "python3-zstandard",
    "systemd", "systemd-sysv", "ucf",
)  # fmt: skip
"""What the package depends on, what it stands beside, and a systemd that can boot.

python3-cffi-backend is what python3-zstandard depends on by a name that debootstrap cannot resolve.
"""

_PATIENCE = 300
"""Seconds for whatever is done in a root, a boot and a story included."""

_LIVING = ("dev", "proc", "run", "sys", "tmp", "packages", "var/cache", "var/log", "var/tmp")
"""What other programs write to as they run, which no package leaves."""

_QUIET = """\
#!/bin/sh
exit 101
"""


def _apt(*words: str) -> list[str]:
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def _mirror() -> tuple[str, dict[str, str]]:
    """Where this machine's apt fetches the release from, and by which proxy."""
    # The name as sources.list says it, and as the mirror does once apt has looked there.
    wanted = "$(REPO_URI)|$(COMPONENT)|$(ORIGIN)|$(RELEASE)|$(CODENAME)"
    for line in _apt("apt-get", "indextargets", "--format", wanted, "Created-By: Packages"):
        found, component, origin, *names = line.split("|")
        if component == "main" and origin in {"Debian", ""} and RELEASE in names:
            break
    else:
        raise AssertionError(f"apt knows no mirror of {RELEASE}: look at /etc/apt")
    proxy = _apt("apt-config", "shell", "proxy", "Acquire::http::Proxy")
    environment = dict(os.environ)
    if proxy:
        environment["http_proxy"] = shlex.split(proxy[0])[0].partition("=")[2]
    return found, environment


def base() -> Path:
    """The folder of the base, made where there is none of these packages."""
    name = hashlib.sha256(" ".join((RELEASE, *INCLUDED)).encode()).hexdigest()[:12]
    folder = BUILD.parent / f"{RELEASE}-{name}"
    if folder.exists():
        return folder
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    mirror, environment = _mirror()
    environment.update(DEBIAN_FRONTEND="noninteractive", LC_ALL="C")
    # What debootstrap mounts in there goes with it, even where it is killed.
    done = subprocess.run(
        ["unshare", "--mount", "debootstrap", "--variant=minbase",
         f"--include={','.join(INCLUDED)}", RELEASE, part, mirror],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    shutil.rmtree(part / "var/cache/apt/archives")
    policy = part / "usr/sbin/policy-rc.d"
    policy.write_text(_QUIET)
    policy.chmod(0o755)
    part.rename(folder)
    return folder


class Root:
    """One such Debian; ``packages`` is the folder that is seen as /packages in it."""

    def __init__(self, path: Path, packages: Path) -> None:
        self.path = path
        self._packages = packages

    def run(self, script: str, **environment: str) -> str:
        """Runs a shell's script as root; what it printed, errors included."""
        names = [f"--setenv={name}={value}" for name, value in environment.items()]
        done = subprocess.run(
            [*self._container(), "--as-pid2", "--pipe", *names,
             "--", "sh", "-euc", f"exec 2>&1; {script}"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=_PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def dpkg(self, *words: str) -> str:
        """Runs dpkg, which asks nothing and starts nothing."""
        return self.run(f"dpkg {shlex.join(words)}", DEBIAN_FRONTEND="noninteractive")

    def answer(self, **answers: str) -> None:
        """Answers debconf's questions before they are asked."""
        kinds = {"postfix": "select", "courier": "select"}
        lines = [
            f"pbs-watch pbs-watch/{name} {kinds.get(name, 'string')} {value}"
            for name, value in answers.items()
        ]
        text = shlex.quote("\n".join(lines))
        self.run(f"printf '%s\\n' {text} | debconf-set-selections")

    def boot(self, story: str) -> dict[str, Any]:
        """Boots it and runs a program of Python as root; what that left in /seen.json."""
        self.write("story.py", story)
        self.write("etc/systemd/system/story.service", _STORY_SERVICE)
        self.write("etc/systemd/system/story.target", _STORY_TARGET)
        quiet = self.path / "usr/sbin/policy-rc.d"
        quiet.unlink()
        said = self.path / "said"
        done = subprocess.run(
            [*self._container(), "--link-journal=no", "--boot", "--", "--unit=story.target",
             "--show-status=no", "--log-target=null"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=_PATIENCE, check=False,
        )  # fmt: skip
        told = said.read_text() if said.exists() else "(the story did not begin)"
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{told}"
        seen: dict[str, Any] = json.loads((self.path / "seen.json").read_text())
        return seen

    def read(self, path: str) -> str:
        """A file's text."""
        return (self.path / path).read_text()

    def write(self, path: str, text: str) -> None:
        """Replaces a file's text."""
        (self.path / path).write_text(text)

    def exists(self, path: str) -> bool:
        """Whether there is something; a link counts, wherever it leads."""
        return os.path.lexists(self.path / path)

    def files(self) -> dict[str, str]:
        """All there is, with what a file contains: what must be the same after a purge."""
        return dict(self._files())

    def _files(self) -> Iterator[tuple[str, str]]:
        for folder, folders, names in os.walk(self.path):
            where = Path(folder).relative_to(self.path)
            folders[:] = [name for name in folders if str(where / name) not in _LIVING]
            for name in folders:
                yield str(where / name), "folder"
            for name in names:
                path = Path(folder, name)
                inside = str(path.readlink()) if path.is_symlink() else ""
                if path.is_file() and not path.is_symlink():
                    inside = hashlib.sha256(path.read_bytes()).hexdigest()
                yield str(where / name), inside

    def _container(self) -> Sequence[str]:
        return (
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network",
            "--timezone=off", "--resolv-conf=off", f"--bind-ro={self._packages}:/packages",
            f"--directory={self.path}",
        )  # fmt: skip


_STORY_SERVICE = """\
[Unit]
Description=What the test wants to see
After=sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c '/usr/bin/python3 /story.py >/said 2>&1; systemctl exit $?'
"""

_STORY_TARGET = """\
[Unit]
Requires=sysinit.target story.service
After=sysinit.target
AllowIsolate=yes
"""


@contextmanager
def clean(packages: Path) -> Iterator[Root]:
    """A root that has the base and nothing else; it ends with the block.

    What is written goes into a layer above the base, in memory.
    """
    lower = base()
    path, layer = BUILD / "root", BUILD / "layer"
    for mounted in (path, layer):
        if mounted.is_mount():  # of a run that was killed
            subprocess.run(["umount", "--lazy", mounted], check=True)
        mounted.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", layer], check=True)
    try:
        (layer / "upper").mkdir()
        (layer / "work").mkdir()
        folders = f"lowerdir={lower},upperdir={layer}/upper,workdir={layer}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", folders, path], check=True)
        try:
            yield Root(path, packages)
        finally:
            subprocess.run(["umount", "--lazy", path], check=True)
    finally:
        subprocess.run(["umount", "--lazy", layer], check=True)
