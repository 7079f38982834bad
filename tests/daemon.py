"""The real program in processes of its own: started, asked, stopped and killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / "tests" / "fixtures" / "logs"
PROGRAM = [sys.executable, "-m", "pbs_watch"]
PATIENCE = 20.0
"""Seconds until a condition that never comes true fails the test: far longer than any takes."""

OK = b"200 OK\n"
NO = b"500 not found\n"
TROUBLE = b"400 pbs-watch cannot tell now, try again later\n"


def until(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Returns as soon as the condition holds; that it never does fails the test."""
    deadline = time.monotonic() + patience
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        pause.wait(0.005)


def environment(**changes: str) -> dict[str, str]:
    """The environment of the program under test: nothing of this machine's settings counts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **changes}


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command printed and how it ended."""

    status: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines on standard output."""
        return self.out.decode().splitlines()


def command(
    *words: str | bytes | Path, given: bytes = b"", cwd: Path = ROOT, **changes: str
) -> Ended:
    """Runs ``pbs-watch`` to its end; whatever it does, no traceback may be seen."""
    done = subprocess.run(
        [*PROGRAM, *words],
        input=given,
        capture_output=True,
        cwd=cwd,
        env=environment(**changes),
        timeout=PATIENCE,
        check=False,
    )
    err = done.stderr.decode(errors="backslashreplace")
    assert "Traceback" not in err, err
    return Ended(done.returncode, done.stdout, err)


def refused(*words: str | bytes | Path, given: bytes = b"") -> str:
    """Runs a command that must end with 2 and one line on standard error; that line."""
    ended = command(*words, given=given)
    assert ended.status == 2, ended
    assert ended.err.startswith("pbs-watch: ")
    assert ended.err.count("\n") == 1
    assert ended.err.endswith("\n")
    return ended.err.removeprefix("pbs-watch: ").rstrip("\n")


AS_NOBODY = """
import contextlib, io, os, sys
from pbs_watch import cli
words = sys.argv[1:]
# Once, on no map, for what is imported: another user may not be able to read that.
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    cli.main([*words, "--map", "nowhere", "--config", "/dev/null"])
import lmdb, pbs_watch.answer.client, pbs_watch.commands.display, pbs_watch.commands.state
import pbs_watch.grants.copy, pbs_watch.grants.hand, pbs_watch.grants.probe, pbs_watch.live
if os.geteuid() == 0:  # root may do anything
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
sys.exit(cli.main([*words, "--map", ".", "--config", "/dev/null"]))
"""


def refused_to_nobody(*words: str, path: Path, closed: str) -> str:
    """Runs a command on the map ``path`` as a user who may not touch the file ``closed``.

    It must end with 2 and change nothing; its one line on standard error.
    """
    for one in (path, *path.iterdir()):
        one.chmod(0o755)
    before = (path / "data.mdb").read_bytes()
    (path / closed).chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, *words],
        cwd=path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    for one in (path, *([] if closed == "." else [path / closed])):
        one.chmod(0o755)
    assert done.returncode == 2, done
    assert done.stderr.startswith("pbs-watch: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert (path / "data.mdb").read_bytes() == before
    return done.stderr.removeprefix("pbs-watch: ").rstrip("\n")


class Process:
    """A ``run`` or ``replay --serve`` that was started; what it said so far is ``said``."""

    def __init__(
        self,
        words: Sequence[str | Path],
        stdin: int = subprocess.DEVNULL,
        program: Sequence[str] | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            [*(PROGRAM if program is None else program), *words],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment(),
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._listen)
        self._reader.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._lines.append(line.decode(errors="backslashreplace"))

    @property
    def said(self) -> str:
        return "".join(self._lines)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def says(self, text: str) -> None:
        """Waits until it has said the text."""
        until(lambda: text in self.said or not self.running, f"{text!r} in {self.said!r}")
        assert text in self.said, self.said

    def where(self, protocol: str = "tcp_table") -> str:
        """The address that it says it listens on."""
        mark = f"listening: {protocol} "
        self.says(mark)
        until(lambda: "\n" in self.said.partition(mark)[2], "a whole line")
        return self.said.partition(mark)[2].partition("\n")[0]

    def signal(self, number: signal.Signals) -> int:
        """Sends a signal and waits for the end; the exit code."""
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        status = self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert "Traceback" not in self.said, self.said
        return status

    def end(self) -> None:
        """Leaves nothing behind."""
        if self.running:
            self._process.kill()
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)


def free_port() -> int:
    """A port of the loopback address that nothing uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(where: str) -> bool:
    """Whether something listens there."""
    host, _, port = where.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


class Connection:
    """An open connection to a tcp_table or socketmap."""

    def __init__(self, where: str) -> None:
        if where.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(where.removeprefix("unix:"))
        else:
            host, _, port = where.rpartition(":")
            self.socket = socket.create_connection((host.strip("[]"), int(port)))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(PATIENCE)

    def ask(self, key: str) -> bytes:
        """The reply to one tcp_table request."""
        return self.say(b"get %b\n" % key.encode())

    def say(self, request: bytes) -> bytes:
        """The reply line to whatever was said."""
        self.socket.sendall(request)
        return self.hear()

    def hear(self) -> bytes:
        """One line; less at the end of the connection."""
        heard = b""
        while not heard.endswith(b"\n"):
            data = self.socket.recv(4096)
            if not data:
                break
            heard += data
        return heard


class Daemon:
    """``pbs-watch run`` on ``logs``, with its map below ``home`` and an open connection to it."""

    def __init__(
        self,
        home: Path,
        *words: str | Path,
        logs: Iterable[str | Path] = (),
        quiet: bool = False,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self._stdin = stdin
        self.map = home / "map"
        self._where = f"127.0.0.1:{free_port()}" if quiet else ""
        config = home / "empty.toml"
        config.touch()
        self._words: list[str | Path] = ["run", "--config", config, "--map", self.map]
        for log in logs or (home / "mail.log",):
            self._words += ["--log", log]
        # Said to be verbose, it tells which port it was given, and each login.
        self._words += (
            ["--tcp-table", self._where] if quiet else ["-v", "--tcp-table", "127.0.0.1:0"]
        )
        self._words += words
        self._all: list[Process] = []
        self._connections: list[Connection] = []
        self.start()

    def start(self) -> None:
        """Starts it, again after it ended, and connects."""
        self.process = Process(self._words, self._stdin)
        self._all.append(self.process)
        self.connection = self.connect()
        assert self.connection.ask("mail.example.com") == NO

    def connect(self) -> Connection:
        """Another connection, which ends with the test."""
        if self._where:
            until(lambda: listens(self._where), f"{self._where} is open")
        connection = Connection(self._where or self.process.where())
        self._connections.append(connection)
        return connection

    def ask(self, key: str) -> bytes:
        return self.connection.ask(key)

    def stop(self) -> None:
        """Ends it in good order."""
        assert self.process.signal(signal.SIGTERM) == 0, self.process.said

    def kill(self) -> None:
        assert self.process.signal(signal.SIGKILL) == -signal.SIGKILL

    @property
    def said(self) -> str:
        return self.process.said

    def get(self, key: str) -> int:
        """The exit code of ``pbs-watch get``."""
        return command("get", key, "--map", self.map).status

    def end(self) -> None:
        for connection in self._connections:
            connection.socket.close()
        for process in self._all:
            process.end()


class Log:
    """A mail log that a test writes; each line is on the disk when the call returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        self.open()

    def open(self) -> None:
        """Opens it as a syslog daemon does, making it where it is missing."""
        self.close()
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def write(self, *lines: bytes) -> None:
        data = b"".join(lines)
        while data:
            data = data[os.write(self._fd, data) :]

    def rename(self) -> None:
        """Rotates by renaming and making a new file."""
        rotate(self.path)
        self.open()

    def copytruncate(self) -> None:
        self.path.with_name(self.path.name + ".1").write_bytes(self.path.read_bytes())
        os.ftruncate(self._fd, 0)


def rotate(path: Path) -> None:
    """Moves the log and its predecessors on by one, as logrotate names them.

    As many are kept as any test makes: what is removed while a slow machine starts a daemon is
    lost.
    """
    for number in range(99, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.rename(path.with_name(f"{path.name}.{number + 1}"))
    path.rename(path.with_name(path.name + ".1"))


def rfc3339(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="microseconds")


def bsd(when: float) -> str:
    local = datetime.fromtimestamp(when).astimezone()
    return f"{local:%b} {local.day:2} {local:%H:%M:%S}"


def line(
    text: str,
    *,
    at: float | None = None,
    tag: str = "pop3d",
    stamp: Callable[[float], str] = rfc3339,
) -> bytes:
    """A line of a mail log, stamped with the present unless told otherwise."""
    return f"{stamp(time.time() if at is None else at)} mail {tag}: {text}\n".encode()


def login(
    address: str,
    *,
    at: float | None = None,
    user: str = "bob",
    stamp: Callable[[float], str] = rfc3339,
) -> bytes:
    """A line of Courier that tells of a login."""
    return line(f"LOGIN, user={user}, ip=[{address}], port=[4242]", at=at, stamp=stamp)


def addresses(count: int, start: int = 0) -> list[str]:
    """Different addresses of 198.18.0.0/15."""
    return [
        f"198.{18 + n // 65536}.{n // 256 % 256}.{n % 256}" for n in range(start, start + count)
    ]
