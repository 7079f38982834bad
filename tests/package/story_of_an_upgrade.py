"""Runs as root in a booted Debian: the package comes, is upgraded and goes, asked all the while."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SEEN: dict[str, Any] = {}
ENVIRONMENT = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    print(words, done.returncode, done.stdout, done.stderr, flush=True)
    return done.stdout.strip()


def ask(address: str) -> str:
    with socket.create_connection(("127.0.0.1", 10041), 10) as one:
        one.sendall(f"get {address}\n".encode())
        return one.makefile().readline()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Asking(threading.Thread):
    """A new connection for each lookup, as fast as they are answered."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = 0
        self.refused: list[str] = []
        self.wrong: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            try:
                reply = ask("192.0.2.7")
            except OSError as error:
                self.refused.append(str(error))
                continue
            self.answered += 1
            if reply != "200 OK\n":
                self.wrong.append(reply)
            time.sleep(0.005)


def version() -> str:
    return run("dpkg-query", "-W", "-f", "${Version}", "pbs-watch")


def effective() -> str:
    return " ".join(run("postconf", "-xh", "smtpd_relay_restrictions").replace(",", " ").split())


def process() -> str:
    return run("systemctl", "show", "--value", "-p", "MainPID", "pbs-watch.service")


with Path("/var/log/mail.log").open("a") as log:
    os.fchown(log.fileno(), 0, 4)
    os.fchmod(log.fileno(), 0o640)
    stamp = time.strftime("%b %e %T")
    log.write(f"{stamp} mail pop3d: LOGIN, user=bob, ip=[::ffff:192.0.2.7], port=[4242]\n")

run("dpkg", "--install", "/packages/old.deb")
until(lambda: run("systemctl", "is-active", "pbs-watch.service") == "active")
SEEN["installed"] = {
    "service": run("systemctl", "is-active", "pbs-watch.service"),
    "socket": run("systemctl", "is-active", "pbs-watch.socket"),
    "reply": ask("192.0.2.7"),
}
SEEN["versions"] = [version()]
SEEN["effective"] = [effective()]
before = process()
asking = Asking()
asking.start()
until(lambda: asking.answered > 20)
run("dpkg", "--install", "/packages/new.deb")
answered = asking.answered
until(lambda: asking.answered > answered + 20)
asking.over.set()
asking.join()
SEEN["upgrading"] = {
    "answered": asking.answered,
    "refused": asking.refused,
    "wrong": asking.wrong,
}
SEEN["versions"].append(version())
SEEN["processes"] = len({before, process()} - {"0"})
run("dpkg", "--remove", "pbs-watch")
try:
    ask("192.0.2.7")
    refused = False
except ConnectionRefusedError:
    refused = True
SEEN["removed"] = {
    "refused": refused,
    "relay": Path("/var/spool/postfix/pbs-watch/relay").exists(),
}
SEEN["effective"].append(effective())
Path("/seen.json").write_text(json.dumps(SEEN))
