"""A mail host in namespaces of its own: nothing of the machine is changed, and nothing is left.

It has the machine's programs, but folders of its own where they write (``PRIVATE``), a ``/dev``
with a ``/dev/log`` of its own, a network of its own with nothing but a loopback device, and its
own processes.  So the real daemons run with Debian's files, on the real ports, several hosts side
by side.  Every address of ``NETWORKS`` is the host's, for servers and clients alike: a client has
the address that its socket is bound to.

The first process lives as long as somebody holds its standard input; with it the kernel ends all
others and unmounts everything, even where pytest was killed.  Needs root and CAP_SYS_ADMIN.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

NETWORKS = ("198.18.0.0/15", "192.0.2.0/23", "192.0.4.0/24", "2001:db8::/32")

PRIVATE = {
    "/etc/courier": True,
    "/etc/postfix": True,
    "/etc/rsyslog.d": True,
    "/run": False,
    "/var/lib/courier": False,
    "/var/lib/postfix": False,
    "/var/log": False,
    "/var/spool/postfix": False,
    "/var/spool/rsyslog": False,
}
"""Folders of the host's own, and whether they begin as copies of the machine's."""

NAMESPACES = ("--mount", "--net", "--pid", "--uts", "--ipc")

_DEVICES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}

_CLONE_NEWNET = 0x40000000  # sched.h

# Ends with a process that ends with its standard input; SIGCHLD ignored, it leaves no zombies.
_FIRST_PROCESS = """
set -e
{mounts}
mount -t tmpfs -o mode=755 none /dev
{devices}
hostname mail
ip link set lo up
{routes}
# For IPv6 a local route alone does not let a client bind its address.
echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind
echo ready
exec env --ignore-signal=CHLD cat
"""


class Host:
    """The namespaces and the folders, below ``home``."""

    def __init__(self, home: Path) -> None:
        self.home = home
        for name, copied in PRIVATE.items():
            self.path(name).parent.mkdir(parents=True, exist_ok=True)
            if copied:
                # With owners: couriertls reads its certificate by the group's permission.
                subprocess.run(["cp", "-a", name, self.path(name)], check=True)
            else:
                self.path(name).mkdir()
        self._first = subprocess.Popen(
            ["unshare", *NAMESPACES, "--fork", "--mount-proc", "sh", "-c", self._script()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._first.stdout is not None
        said = self._first.stdout.readline()
        if said != "ready\n":
            pytest.fail(f"no namespaces: {said}{self._first.stdout.read()}", pytrace=False)
        children = f"/proc/{self._first.pid}/task/{self._first.pid}/children"
        self._pid = Path(children).read_text().strip()
        self._enter = ["nsenter", "--target", self._pid, *NAMESPACES]

    def path(self, name: str) -> Path:
        """Where a private folder or file of the host is, seen from outside."""
        return self.home / "root" / name.lstrip("/")

    def _script(self) -> str:
        return _FIRST_PROCESS.format(
            mounts="\n".join(f"mount --bind {self.path(name)} {name}" for name in PRIVATE),
            devices="\n".join(
                f"mknod -m 666 /dev/{name} c 1 {minor}" for name, minor in _DEVICES.items()
            ),
            routes="\n".join(f"ip route add local {network} dev lo" for network in NETWORKS),
        )

    def run(self, *words: str | Path, given: str = "", check: bool = True) -> str:
        """What a command that is run on the host prints; that it fails fails the test."""
        done = self.ended(*words, given=given)
        if check and done.returncode:
            pytest.fail(f"{words}: {done.returncode}\n{done.stdout}")
        return done.stdout

    def ended(self, *words: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
        """A command that was run on the host, with all that it printed in ``stdout``."""
        return subprocess.run(
            [*self._enter, *words],
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            timeout=120,
            check=False,
        )

    def launch(self, *words: str | Path) -> None:
        """Run a command that leaves a daemon behind, which may keep what it inherits open."""
        with (self.home / "launched").open("a+") as said:
            done = subprocess.run(
                [*self._enter, *words],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd="/",
                timeout=60,
                check=False,
            )
            said.seek(0)
            assert done.returncode == 0, said.read()

    @contextlib.contextmanager
    def meanwhile(self, script: str) -> Iterator[None]:
        """Run a piece of shell on the host again and again, to its end after the last time."""
        goes_on = self.home / "meanwhile"
        goes_on.touch()
        loop = f"while [ -e {goes_on} ]; do {script}; done"
        with ThreadPoolExecutor(1) as beside:
            running = beside.submit(self.run, "sh", "-c", loop)
            try:
                yield
            finally:
                goes_on.unlink()
            running.result()

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """This thread, and the processes and threads that it starts, are on the host's network."""
        with (
            Path("/proc/thread-self/ns/net").open("rb") as here,
            Path(f"/proc/{self._pid}/ns/net").open("rb") as there,
        ):
            _enter_network(there.fileno())
            try:
                yield
            finally:
                _enter_network(here.fileno())

    def link(self, other: Host, here: str, there: str) -> None:
        """A cable to another host, with an address at each end such as 10.99.1.1/30."""
        name = f"to-{other._pid}"[:15]
        words = ["ip", "link", "add", name, "netns", self._pid]
        words += ["type", "veth", "peer", "name", f"to-{self._pid}"[:15], "netns", other._pid]
        subprocess.run(words, check=True)
        for host, peer, address in ((self, other, here), (other, self, there)):
            host.run("ip", "address", "add", address, "dev", f"to-{peer._pid}"[:15])
            host.run("ip", "link", "set", f"to-{peer._pid}"[:15], "up")

    def stop(self) -> None:
        """End everything on it."""
        self._first.communicate(timeout=60)


def _enter_network(fd: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
