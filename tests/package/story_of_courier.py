"""Runs as root in a Debian with Courier: a client that forges a login, before the cure and after.

Prints what Courier logged as the user ``x``, who never logs in, one line for each of the two.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

LOG = Path("/dev/log")
FORGERY = b"USER " + b"A" * 486 + b"LOGIN, user=x\r\n"


def connect() -> socket.socket:
    """A connection to Courier's POP3 server, as soon as that listens."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection(("127.0.0.1", 110), 20)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def forge(log: socket.socket) -> list[str]:
    """What is logged of a client that never authenticates, up to its end."""
    with connect() as client, client.makefile("rb") as replies:
        replies.readline()
        client.sendall(FORGERY)
        replies.readline()
        client.sendall(b"PASS x\r\n")
        assert replies.readline().startswith(b"-ERR")
        with suppress(ConnectionError):  # some of its processes end with the failure
            client.sendall(b"QUIT\r\n")
            replies.readline()
    # The uncured logger swallows lines that follow: until one of a later client comes through.
    logged: list[str] = []
    while True:
        with connect() as client:
            port = client.getsockname()[1]
            with suppress(TimeoutError):
                while True:
                    logged.append(log.recv(8192).decode().partition(" pop3d: ")[2])
                    if logged[-1].endswith(f", port=[{port}]"):
                        return logged


def run(*words: str) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
    LOG.unlink(missing_ok=True)
    log.bind(str(LOG))
    log.settimeout(1)
    LOG.chmod(0o666)
    run("install", "-d", "-o", "courier", "-g", "courier", "/run/courier/authdaemon")
    run("/usr/sbin/authdaemond", "start")
    run("/usr/sbin/pop3d", "start")
    print(json.dumps(forge(log)))
    run("/usr/sbin/pop3d", "stop")
    run("pbs-watch", "setup", "courier", "--apply")
    run("/usr/sbin/pop3d", "start")
    print(json.dumps(forge(log)))
