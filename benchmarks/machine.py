"""What machine and which versions were measured."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pbs_watch import __version__

PACKAGES = {
    "grep": "grep",
    "rg": "ripgrep",
    "perl": "perl",
    "fail2ban-regex": "fail2ban",
    "/usr/libexec/sshguard/sshg-parser": "sshguard",
    "redis-server": "redis-server",
    "postsrsd": "postsrsd",
    "cc": "gcc",
}
"""The programs that are needed, with their packages in Debian 12."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine in words."""

    processor: str
    cores: int
    memory: int
    kernel: str
    disk: str
    versions: dict[str, str]

    def lines(self) -> list[str]:
        """A few lines of text."""
        gibibytes = round(self.memory / 2**30)
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        hardware = f"{self.processor}, {self.cores} cores, {gibibytes} GiB"
        return [
            f"{hardware}; Linux {self.kernel}; maps and logs on {self.disk}.",
            f"{versions}.",
        ]


def missing() -> list[str]:
    """The Debian packages that the benchmark needs and this machine lacks."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    folders = [Path(folder) for folder in path.split(":") if folder]
    return [
        package
        for program, package in PACKAGES.items()
        if not any((folder / program).exists() for folder in folders)
    ]


def this(home: Path) -> Machine:
    """This machine; ``home`` is where maps and logs are."""
    return Machine(
        _processor(),
        len(os.sched_getaffinity(0)),
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        platform.release(),
        _disk(home),
        {
            "pbs-watch": __version__,
            "Python": f"{platform.python_version()} ({sys.base_prefix}/bin)",
            "lmdb": metadata.version("lmdb"),
            **{package: _version(package) for package in PACKAGES.values()},
        },
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _disk(home: Path) -> str:
    """The file system and the device that hold a directory."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    inside = [mount for mount in mounts if home.resolve().is_relative_to(mount[1])]
    device, _, kind, *_ = max(inside, key=lambda mount: len(mount[1]))
    return f"{kind} ({Path(device).name})"


def _version(package: str) -> str:
    query = ("dpkg-query", "--show", "--showformat", "${Version}", package)
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=False)
    except OSError:
        return "(unknown)"
    return done.stdout or "(unknown)"
