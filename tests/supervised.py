"""A supervisor for tests: hands sockets over, hears what the daemon tells, keeps its connections.

It does what systemd does, by the same contracts (sd_listen_fds(3), sd_notify(3)), and no more; that
systemd itself does so is seen in tests/system/test_systemd.py.
"""

from __future__ import annotations

import array
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.daemon import PATIENCE, PROGRAM, ROOT, Connection, environment, until

_TRAMPOLINE = """
import fcntl, os, sys
given = [int(one) for one in sys.argv[1].split(",") if one]
beyond = max([*given, len(given) + 3])
high = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, beyond) for one in given]
for number, one in enumerate(high):
    os.dup2(one, 3 + number)
for one in given:
    if one >= 3 + len(given):
        os.close(one)
os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Puts the descriptors where they belong, and names the process that they are for."""


@dataclass
class Supervisor:
    """Starts ``words`` with sockets; ``said`` is all of the daemon's log so far.

    ``port``: of the TCP sockets, 0 for any.
    """

    home: Path
    words: Sequence[str | Path]
    names: Sequence[str] = ("tcp_table",)
    watchdog: float = 0.0
    more: Sequence[int] = ()
    port: int = 0
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listeners: list[socket.socket] = []
        for name in self.names:
            if name == "unix":
                one = socket.socket(socket.AF_UNIX)
                one.bind(str(self.home / "relay"))
                one.listen(100)
            else:
                one = socket.create_server(("127.0.0.1", self.port), backlog=100)
            self.listeners.append(one)
        self.stored: list[tuple[str, int]] = []
        self._ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ear.bind(str(self.home / "notify"))
        self._log = (self.home / "said").open("ab")
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()
        self._connections: list[Connection] = []
        self.process = self.start()

    @property
    def where(self) -> str:
        """The address of the first socket."""
        host, port = self.listeners[0].getsockname()
        return f"{host}:{port}"

    @property
    def said(self) -> str:
        return (self.home / "said").read_text()

    def start(self) -> subprocess.Popen[bytes]:
        """Starts the daemon with the sockets, and with what the one before it left."""
        names = [*self.names, *("" for _ in self.more), *(name for name, _ in self.stored)]
        given = [*(one.fileno() for one in self.listeners), *self.more]
        given += [one for _, one in self.stored]
        self.told.clear()
        variables = {
            "LISTEN_FDS": str(len(given)),
            "LISTEN_FDNAMES": ":".join(names),
            "NOTIFY_SOCKET": str(self.home / "notify"),
        }
        if self.watchdog:
            variables["WATCHDOG_USEC"] = str(int(self.watchdog * 1e6))
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TRAMPOLINE, ",".join(map(str, given)), *PROGRAM, *self.words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            cwd=ROOT,
            env=environment(**variables),
            pass_fds=given,
        )
        return self.process

    def _listen(self) -> None:
        while True:
            data, rights, _, _ = self._ear.recvmsg(4096, 100_000)
            if data == b"the end":
                return
            descriptors = array.array("i")
            for level, kind, content in rights:
                assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
                descriptors.frombytes(content)
            lines = data.decode().split("\n")
            self.told += lines
            if "FDSTOREREMOVE=1" in lines:
                self._forget(lines[1].removeprefix("FDNAME="))
            name = next((one.partition("=")[2] for one in lines if one.startswith("FDNAME=")), "")
            for one in descriptors:
                if "FDSTORE=1" in lines:
                    self.stored.append((name, one))
                else:
                    assert lines == ["BARRIER=1"]
                    os.close(one)

    def _forget(self, name: str) -> None:
        """As systemd does: what was handed out is kept until the daemon says that it need not."""
        for stored in [one for one in self.stored if one[0] == name]:
            self.stored.remove(stored)
            os.close(stored[1])

    def tells(self, line: str) -> None:
        """Waits until the daemon has told a line."""
        until(lambda: line in self.told, f"{line} in {self.told}; {self.said}")

    @property
    def status(self) -> str:
        """The latest status."""
        found = [line.partition("=")[2] for line in self.told if line.startswith("STATUS=")]
        return found[-1] if found else ""

    def stop(self) -> int:
        """Ends the daemon in good order, once it runs; its exit code."""
        self.tells("READY=1")
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def restart(self) -> None:
        """Another daemon, which is ready."""
        assert self.stop() == 0, self.said
        self.start()
        self.tells("READY=1")

    def connect(self, number: int = 0) -> Connection:
        """A connection to a socket, which ends with the test."""
        where = self.listeners[number].getsockname()
        text = f"unix:{where}" if isinstance(where, str) else f"{where[0]}:{where[1]}"
        self._connections.append(Connection(text))
        return self._connections[-1]

    def end(self) -> None:
        """Leaves nothing behind."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as voice:
            voice.sendto(b"the end", str(self.home / "notify"))
        self._listener.join(PATIENCE)
        self._ear.close()
        for one in self.listeners:
            one.close()
        for _, descriptor in self.stored:
            os.close(descriptor)
        for connection in self._connections:
            connection.socket.close()
        self._log.close()
        assert "Traceback" not in self.said, self.said
