"""What systemd makes of the units: runs as root in the container of :mod:`tests.system.machine`.

Each scene is a function; what it saw goes into ``/share/seen.json``, to be judged outside.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LOG = Path("/var/log/mail.log")
CONFIG = Path("/etc/pbs-watch/pbs-watch.toml")
RELAY = Path("/var/spool/postfix/pbs-watch/relay")
PORT = 10041
GRANTED, OTHER = "198.18.0.1", "198.18.9.9"
OK, NO = b"200 OK\n", b"500 not found\n"
SETTINGS = 'never = ["own", "gateway"]\nwitness = "alarm"\naudit = "json"\n'
PATIENCE = 30.0
RATE = 200
"""Lookups a second under which things happen."""


def run(*words: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert expect is None or done.returncode == expect, (words, done)
    return done


def show(unit: str, name: str) -> str:
    return run("systemctl", "show", unit, f"--property={name}", "--value").stdout.strip()


def until(condition: Callable[[], bool], what: str) -> float:
    """Seconds until it came true."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < PATIENCE, f"never: {what}; {logged()}"
        time.sleep(0.01)
    return time.monotonic() - began


def logged() -> str:
    return run("journalctl", "--unit=pbs-watch", "--no-pager", "--lines=50", expect=None).stdout


def login(address: str) -> None:
    stamp = datetime.now(UTC).isoformat(timespec="microseconds")
    with LOG.open("a") as file:
        file.write(f"{stamp} mail pop3d: LOGIN, user=bob, ip=[{address}], port=[4242]\n")


def ask(address: str, connection: socket.socket | None = None) -> bytes:
    """The reply to a lookup, over a new connection unless one is given."""
    asked = connection or socket.create_connection(("127.0.0.1", PORT), 10)
    try:
        asked.settimeout(10)
        asked.sendall(b"get %b\n" % address.encode())
        heard = b""
        while not heard.endswith(b"\n") and (data := asked.recv(4096)):
            heard += data
        return heard
    finally:
        if connection is None:
            asked.close()


def ask_nothing(connection: socket.socket) -> bytes:
    connection.settimeout(10)
    return connection.recv(4096)


def ask_relay(address: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(10)
        asked.connect(str(RELAY))
        request = b"relay %b" % address.encode()
        asked.sendall(b"%d:%b," % (len(request), request))
        return asked.recv(4096)


@dataclass
class Seen:
    """What clients saw while something happened."""

    answered: int = 0
    wrong: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    ended: int = 0
    slowest: float = 0.0
    slowest_new: float = 0.0

    def note(self, key: str, reply: bytes, seconds: float, *, new: bool) -> None:
        right = OK if key == GRANTED else NO
        if reply != right:
            self.wrong.append(f"{key}: {reply!r}")
        self.answered += 1
        if new:
            self.slowest_new = max(self.slowest_new, seconds)
        else:
            self.slowest = max(self.slowest, seconds)


@contextmanager
def lookups(seen: Seen) -> Iterator[None]:
    """Some 200 lookups a second meanwhile: on open connections, and a tenth on new ones."""
    over = threading.Event()
    lock = threading.Lock()

    def client(share: float, *, new: bool) -> None:
        connection = None if new else socket.create_connection(("127.0.0.1", PORT), 10)
        number = 0
        while not over.wait(share / RATE):
            number += 1
            key = GRANTED if number % 2 else OTHER
            began = time.monotonic()
            try:
                reply = ask(key, connection)
            except OSError as error:
                with lock:
                    if new:
                        seen.refused.append(repr(error))
                    reply = b""
            seconds = time.monotonic() - began
            if not reply and not new:
                with lock:
                    seen.ended += 1
                connection = socket.create_connection(("127.0.0.1", PORT), 10)
                continue
            with lock:
                seen.note(key, reply, seconds, new=new)
        if connection is not None:
            connection.close()

    threads = [threading.Thread(target=client, args=(10,), kwargs={"new": False}) for _ in range(9)]
    threads.append(threading.Thread(target=client, args=(10,), kwargs={"new": True}))
    for thread in threads:
        thread.start()
    try:
        time.sleep(1)
        yield
        time.sleep(1)
    finally:
        over.set()
        for thread in threads:
            thread.join()


def main_pid() -> int:
    return int(show("pbs-watch.service", "MainPID"))


def beginning() -> dict[str, Any]:
    run("systemd-sysusers")
    LOG.touch()
    LOG.chmod(0o640)
    os.chown(LOG, 0, int(run("getent", "group", "adm").stdout.split(":")[2]))
    CONFIG.parent.mkdir(parents=True, exist_ok=True)
    CONFIG.write_text(SETTINGS)
    login(GRANTED)
    run("systemctl", "enable", "--now", "pbs-watch.socket")
    first = ask(GRANTED)  # which starts the daemon
    until(lambda: show("pbs-watch.service", "ActiveState") == "active", "active")
    status = Path(f"/proc/{main_pid()}/status").read_text()
    uid = int(status.partition("Uid:")[2].split()[0])
    relay = RELAY.stat()
    return {
        "first": first.decode(),
        "user": pwd.getpwuid(uid).pw_name,
        "relay": [ask_relay(GRANTED).decode(), ask_relay(OTHER).decode()],
        "relay_mode": oct(relay.st_mode & 0o777),
        "folder_mode": oct(RELAY.parent.stat().st_mode & 0o777),
        "state_mode": oct(Path("/var/lib/pbs-watch").stat().st_mode & 0o777),
        "status": show("pbs-watch.service", "StatusText"),
        "health": run("pbs-watch", "health", expect=None).returncode,
    }


def restarting() -> dict[str, Any]:
    seen, slowest, slowest_new = Seen(), [], []
    pids = [main_pid()]
    with lookups(seen):
        for _ in range(5):
            seen.slowest = seen.slowest_new = 0.0
            run("systemctl", "restart", "pbs-watch.service")
            pids.append(main_pid())
            time.sleep(0.3)
            slowest.append(seen.slowest)
            slowest_new.append(seen.slowest_new)
    with socket.create_connection(("127.0.0.1", PORT), 10) as connection:
        ask(GRANTED, connection)
        run("systemctl", "restart", "pbs-watch.service")
        after = ask(GRANTED, connection)
        connection.shutdown(socket.SHUT_WR)
        ended = ask_nothing(connection)
    stored = show("pbs-watch.service", "NFileDescriptorStore")
    return {
        **vars(seen),
        "slowest_of_each": [slowest, slowest_new],
        "processes": len(set(pids)),
        "after": after.decode(),
        "ended_by_client": ended.decode(),
        "stored": stored,
    }


def killing() -> dict[str, Any]:
    seen = Seen()
    with lookups(seen):
        os.kill(main_pid(), signal.SIGKILL)
    until(lambda: ask(GRANTED) == OK, "answers again")
    return vars(seen)


def reloading() -> dict[str, Any]:
    seen = Seen()
    pid = main_pid()
    with lookups(seen):
        good = [run("systemctl", "reload", "pbs-watch.service", expect=None) for _ in range(3)]
        CONFIG.write_text(SETTINGS + 'window = "soon"\n')
        broken = run("systemctl", "reload", "pbs-watch.service", expect=None)
        direct = run("pbs-watch", "reload", expect=None)
        os.kill(pid, signal.SIGHUP)
        until(lambda: "not reloaded" in logged(), "the daemon says so")
        CONFIG.write_text(SETTINGS)
        after = run("systemctl", "reload", "pbs-watch.service", expect=None)
    return {
        **vars(seen),
        "good": [one.returncode for one in good],
        "broken": broken.returncode,
        "direct": [direct.returncode, direct.stderr],
        "after": after.returncode,
        "same": main_pid() == pid,
        "active": show("pbs-watch.service", "ActiveState"),
        "said": [line for line in logged().splitlines() if "window" in line],
    }


def broken_start() -> dict[str, Any]:
    CONFIG.write_text("window = \n")
    run("systemctl", "restart", "pbs-watch.service", expect=None)
    pid = main_pid()
    replies = [ask(GRANTED), ask(OTHER), ask("mail.example.com")]
    relay = ask_relay(GRANTED)
    began = time.monotonic()
    ask(GRANTED)
    seconds = time.monotonic() - began
    status = show("pbs-watch.service", "StatusText")
    ill = run("pbs-watch", "health", expect=None).returncode
    time.sleep(2.5)  # several tries
    same = main_pid() == pid
    CONFIG.write_text(SETTINGS)
    mended = until(lambda: ask(GRANTED) == OK, "mended")
    return {
        "replies": [reply.decode() for reply in replies],
        "relay": relay.decode(),
        "seconds": seconds,
        "status": status,
        "ill": ill,
        "same": same and main_pid() == pid,
        "mended": mended,
        "status_after": show("pbs-watch.service", "StatusText"),
    }


def frozen() -> dict[str, Any]:
    run("mkdir", "-p", "/run/systemd/system/pbs-watch.service.d")
    drop_in = Path("/run/systemd/system/pbs-watch.service.d/quick.conf")
    drop_in.write_text("[Service]\nWatchdogSec=2s\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "pbs-watch.service")
    pid = main_pid()
    time.sleep(5)  # it feeds the watchdog while idle
    alive = main_pid() == pid
    os.kill(pid, signal.SIGSTOP)
    seconds = until(lambda: main_pid() not in {0, pid}, "another one")
    until(lambda: ask(GRANTED) == OK, "answers again")
    return {"alive": alive, "seconds": seconds, "restarts": show("pbs-watch.service", "NRestarts")}


def crashing() -> dict[str, Any]:
    """A program that ends at once, often: the ports must stay."""
    program = Path("/usr/bin/pbs-watch")
    good = program.read_text()
    program.write_text("#!/bin/sh\nexit 3\n")
    os.kill(main_pid(), signal.SIGKILL)
    until(lambda: int(show("pbs-watch.service", "NRestarts")) >= 15, "started again and again")
    state = show("pbs-watch.socket", "ActiveState")
    with socket.create_connection(("127.0.0.1", PORT), 10) as waiting:
        waiting.sendall(b"get %b\n" % GRANTED.encode())
        program.write_text(good)
        began = time.monotonic()
        waiting.settimeout(20)
        reply = waiting.recv(100)
    return {"socket": state, "reply": reply.decode(), "seconds": time.monotonic() - began}


def journal() -> dict[str, Any]:
    until(lambda: "starting is mended" in logged(), "the daemon says so")
    found = run("journalctl", "--unit=pbs-watch", "--output=json", "--no-pager").stdout
    entries = [json.loads(line) for line in found.splitlines()]
    ours = [one for one in entries if one.get("_COMM", "").startswith("python")]
    return {
        "priorities": sorted({(one["PRIORITY"], one["MESSAGE"][:40]) for one in ours}),
    }


def ready_in() -> dict[str, Any]:
    """Microseconds from the start of the process to READY=1, of several starts."""
    found = []
    for _ in range(5):
        run("systemctl", "restart", "pbs-watch.service")
        names = ("ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic")
        began, ready = (int(show("pbs-watch.service", name)) for name in names)
        found.append(ready - began)
    return {"microseconds": found}


def stopping() -> dict[str, Any]:
    with socket.create_connection(("127.0.0.1", PORT), 10) as connection:
        assert ask(GRANTED, connection) == OK
        run("systemctl", "stop", "pbs-watch.socket", "pbs-watch.service")
        ended = ask(GRANTED, connection)
    return {
        "ended": ended.decode(),
        "state": show("pbs-watch.service", "ActiveState"),
        "result": show("pbs-watch.service", "Result"),
        "relay": RELAY.exists(),
    }


SCENES = (
    beginning,
    ready_in,
    restarting,
    killing,
    reloading,
    broken_start,
    journal,
    frozen,
    crashing,
    stopping,
)


def main() -> None:
    seen: dict[str, Any] = {}
    try:
        for scene in SCENES:
            seen[scene.__name__] = scene()
    finally:
        Path("/share/seen.json").write_text(json.dumps(seen, indent=1))
        Path("/share/journal").write_text(logged())


if __name__ == "__main__":
    main()
