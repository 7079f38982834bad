"""Real engines for the tests of shared grants: Redis with Sentinel, MariaDB, a Galera cluster.

Each is a process of its own with its data below a directory of the test, listening on loopback, and
ends with the test.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pymysql
import redis

from tests.daemon import free_port, listens, until

START = 60.0
"""Seconds in which a server has to answer: three databases at once on a busy machine take some."""


def wait(condition: Callable[..., bool], what: str) -> None:
    """As for a daemon, but that a database may take longer."""
    until(condition, what, START)


RUNNING: list[Server] = []
"""Those that were started and have not been ended."""


class Server:
    """A server process; ``where``: its host and port."""

    def __init__(
        self, home: Path, words: Sequence[str | Path], port: int, user: int | None = None
    ) -> None:
        self.home = home
        self._user = user
        self.port = port
        self._words = [str(word) for word in words]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def where(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def said(self) -> str:
        return (self.home / "said").read_text(errors="backslashreplace")

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        RUNNING.append(self)
        with (self.home / "said").open("ab") as said:
            self._process = subprocess.Popen(
                self._words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=self.home,
                user=self._user,
            )  # fmt: skip
        wait(self._up, f"{self._words[0]} answers: {self.said[-2000:]}")

    def starts_within(self, prefix: Sequence[str]) -> None:
        """Starts it by another command, which runs it elsewhere; does not wait for it."""
        RUNNING.append(self)
        with (self.home / "said").open("ab") as said:
            self._process = subprocess.Popen(
                [*prefix, *(["setpriv", f"--reuid={self._user}"] if self._user else []),
                 *self._words],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=self.home,
            )  # fmt: skip

    def _up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.said[-3000:]
        return self.answers()

    def answers(self) -> bool:
        return listens(self.where)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """As kill -9 does; returns when it is gone."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
        self._process = None
        RUNNING.remove(self)

    def end(self) -> None:
        if self in RUNNING:
            RUNNING.remove(self)
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None


class Redis(Server):
    """``more``: further lines of its configuration."""

    def __init__(self, home: Path, *more: str, port: int | None = None, bind: str = "") -> None:
        home.mkdir(parents=True, exist_ok=True)
        port = port or free_port()
        lines = [f"port {port}", f"bind {bind or '127.0.0.1'}", f"dir {home}", 'save ""', *more]
        config = home / "redis.conf"
        config.write_text("\n".join(lines) + "\n")
        super().__init__(home, ["redis-server", config], port)

    def answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False

    def client(self, **words: object) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=5, **words)


class Sentinel(Server):
    """Watches the master called ``pbs``."""

    def __init__(self, home: Path, master: Redis, *more: str, quorum: int = 2) -> None:
        home.mkdir(parents=True, exist_ok=True)
        port = free_port()
        lines = [
            f"port {port}", "bind 127.0.0.1", f"dir {home}",
            f"sentinel monitor pbs 127.0.0.1 {master.port} {quorum}",
            "sentinel down-after-milliseconds pbs 1000",
            "sentinel failover-timeout pbs 3000",
            *more,
        ]  # fmt: skip
        config = home / "sentinel.conf"
        config.write_text("\n".join(lines) + "\n")
        super().__init__(home, ["redis-server", config, "--sentinel"], port)


class Mariadb(Server):
    """``more``: further options.

    Its data are not below pytest's folder, which belongs to one user alone and is closed to others
    by every session that begins meanwhile; the server has a user of its own.
    """

    def __init__(self, *more: str) -> None:
        home = Path(tempfile.mkdtemp(prefix="pbs-mariadb-"))
        owner = pwd.getpwnam("mysql") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        shutil.chown(home, owner.pw_uid, owner.pw_gid)
        home.chmod(0o755)
        port = free_port()
        self.socket = home / "s"
        data = f"--datadir={home / 'data'}"
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", data, "--skip-test-db",
             "--auth-root-authentication-method=normal"],
            check=True, capture_output=True, cwd=home, user=owner.pw_uid,
        )  # fmt: skip
        super().__init__(
            home,
            ["mariadbd", "--no-defaults", data, f"--socket={self.socket}", f"--port={port}",
             "--bind-address=127.0.0.1", f"--pid-file={home / 'pid'}", "--skip-name-resolve",
             "--innodb-buffer-pool-size=32M", *more],
            port,
            owner.pw_uid,
        )  # fmt: skip

    def end(self) -> None:
        super().end()
        shutil.rmtree(self.home, ignore_errors=True)

    def answers(self) -> bool:
        if not listens(self.where):
            return False  # PyMySQL leaves its socket behind where nobody listens
        return self.can("SELECT 1")

    def can(self, statement: str) -> bool:
        """Whether the server does something now."""
        try:
            self.run(statement)
        except pymysql.Error:
            return False
        return True

    def run(self, *statements: str, database: str | None = None) -> list[tuple[object, ...]]:
        """Runs statements as root over the unix socket; the rows of the last."""
        connection = pymysql.connect(
            unix_socket=str(self.socket), user="root", database=database, autocommit=True,
            read_timeout=30,
        )  # fmt: skip
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def make_database(self, password: str) -> None:
        """A database ``pbs`` and an account with the rights that the manual names."""
        self.run(
            "CREATE DATABASE IF NOT EXISTS pbs",
            f"CREATE OR REPLACE USER pbs@'%' IDENTIFIED BY '{password}'",
            "GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON pbs.* TO pbs@'%'",
        )
