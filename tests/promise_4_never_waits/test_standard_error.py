"""The daemon's own log goes to standard error, and nobody waits for whoever reads that."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import (
    NO,
    OK,
    PROGRAM,
    ROOT,
    TROUBLE,
    Connection,
    Log,
    addresses,
    command,
    environment,
    free_port,
    listens,
    login,
    rfc3339,
    until,
)

BEFORE, AFTER = 40_000, 160_000
"""Logins of the backlog around the one that is asked for: many times what waits to be said."""
FOREIGN = "192.0.2.1"


def test_a_backlog_of_logins_while_nobody_reads_what_is_said(tmp_path: Path) -> None:
    logged = addresses(1000)
    lines = b"".join(map(login, logged))
    backlog = lines * (BEFORE // 1000) + login("198.19.0.1") + lines * (AFTER // 1000)
    (tmp_path / "mail.log").write_bytes(backlog)
    where = f"127.0.0.1:{free_port()}"
    words: list[str | Path] = [
        "run",
        "-v",
        "--map",
        tmp_path / "map",
        "--log",
        tmp_path / "mail.log",
    ]
    daemon = subprocess.Popen(
        [*PROGRAM, *words, "--tcp-table", where],
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment(),
    )
    try:
        until(lambda: listens(where), f"{where} is open")
        connection = Connection(where)
        waited = []
        replies = set()

        def granted() -> bool:
            for key in (FOREIGN, "198.19.0.1"):
                began = time.monotonic()
                reply = connection.ask(key)
                waited.append(time.monotonic() - began)
                replies.add((key, reply))
            return reply == OK

        until(granted, "the login in the backlog")
        assert max(waited) < 1
        # Nobody was wrongly told "no".
        assert replies <= {(FOREIGN, TROUBLE), ("198.19.0.1", TROUBLE), ("198.19.0.1", OK)}
        assert {connection.ask(address) for address in logged[::400]} == {OK}
        connection.socket.close()
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(20) == 0
        assert daemon.stderr is not None
        # A pipe's worth of it can still be read.
        said = daemon.stderr.read()
        assert said.startswith(b"pbs-watch: listening: tcp_table ")
        assert b" event=granted address=198.18.0.0 user=bob service=pop3d " in said
        assert b"Traceback" not in said
    finally:
        daemon.kill()
        daemon.communicate()


def test_what_is_dropped_is_counted_and_what_the_operator_did_is_not(tmp_path: Path) -> None:
    fifo, log = tmp_path / "fifo", Log(tmp_path / "mail.log")
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    map_, where = tmp_path / "map", f"127.0.0.1:{free_port()}"
    words: list[str | Path] = ["run", "--audit", "text", "--map", map_, "--log", log.path]
    with fifo.open("wb") as unread:
        daemon = subprocess.Popen(
            [*PROGRAM, *words, "--tcp-table", where], stderr=unread, cwd=ROOT, env=environment()
        )
    try:
        until(lambda: listens(where), f"{where} is open")
        connection = Connection(where)
        log.write(*map(login, addresses(15_000)))
        until(lambda: connection.ask("198.18.58.151") == OK, "all are read")
        assert command("revoke", "198.18.0.1", "--map", map_).status == 0
        cut = b"LOGIN FAILED, user=" + b"a" * 600
        log.write(b"%b mail pop3d: %b\n" % (rfc3339(time.time()).encode(), cut[:504]))
        assert connection.ask("198.18.0.1") == NO

        def state() -> Any:
            return json.loads(command("status", "--json", "--map", map_).out)

        until(lambda: bool(state()["dropped"]), "status tells")
        dropped = state()["dropped"]
        os.set_blocking(reading, True)
        said = b""
        while b"lines of this log were dropped" not in said or b"cut lines" not in said:
            said += os.read(reading, 65536)
        lines = said.decode().splitlines()
        assert f"pbs-watch: {dropped} lines of this log were dropped: nobody read them in time" in (
            lines
        )
        assert sum("event=granted" in line for line in lines) + dropped == 15_000
        assert sum("event=revoked on=198.18.0.1 by=root" in line for line in lines) == 1
        connection.socket.close()
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(20) == 0
    finally:
        daemon.kill()
        daemon.wait()
        os.close(reading)
        log.close()


@pytest.mark.parametrize("gone", ["closed", "a full disk"])
def test_what_is_said_is_lost(tmp_path: Path, gone: str) -> None:
    (tmp_path / "mail.log").write_bytes(login("198.18.0.1"))
    where = f"127.0.0.1:{free_port()}"
    redirection = {"closed": "2>&-", "a full disk": "2>/dev/full"}[gone]
    words: list[str | Path] = [
        "run",
        "-v",
        "--map",
        tmp_path / "map",
        "--log",
        tmp_path / "mail.log",
    ]
    daemon = subprocess.Popen(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *PROGRAM, *words, "--tcp-table", where],
        cwd=ROOT,
        env=environment(),
    )
    try:
        until(lambda: listens(where), f"{where} is open")
        connection = Connection(where)
        assert connection.ask("198.18.0.1") == OK
        connection.socket.close()
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(20) == 0
        # Nor did it go into the file that has the number of standard error now.
        assert (tmp_path / "map" / "daemon.lock").read_bytes() == b""
        assert command("get", "198.18.0.1", "--map", tmp_path / "map").status == 0
    finally:
        daemon.kill()
        daemon.wait()
