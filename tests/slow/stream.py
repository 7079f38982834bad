"""A busy mail log: 2,000 lines a second, rotated every second, and what it must lead to."""

from __future__ import annotations

import gzip
import ipaddress
import lzma
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import zstandard

from tests.daemon import Log, addresses, line

RATE = 2000
"""Lines a second."""

TICK = 0.01
"""Seconds between two writes: a syslog daemon writes what has come meanwhile."""

ROTATE_EVERY = 1.0
KEPT = 900
"""Rotated files that are kept.  A renamed file is watched for a minute after a start, and no daemon
lives for so long here: each of them is still needed."""

WINDOW = 12 * 3600.0
"""Seconds that a login grants: nothing expires before the test is over."""

BYSTANDERS = [f"{net}.{n}" for net in ("192.0.2", "203.0.113") for n in range(1, 255)]
"""Addresses that are in the log, and never logged in."""

_NET = int(ipaddress.IPv6Address("2001:db8::"))


def places() -> Iterator[str]:
    """Addresses that differ, every other one of them IPv6, as they are granted."""
    for number, address in enumerate(addresses(131_072)):
        yield address
        yield str(ipaddress.IPv6Address(_NET + 1 + number))


def as_logged(address: str) -> str:
    """As Courier writes it."""
    return address if ":" in address else f"::ffff:{address}"


@dataclass(slots=True)
class Row:
    """What ``list`` must say of an address."""

    user: str
    service: str
    login: float
    expires: float

    def joins(self, later: Row) -> None:
        """Another login from the same address, or what its end proves."""
        if later.login > self.login:
            self.user, self.service, self.login = later.user, later.service, later.login
        self.expires = max(self.expires, later.expires)

    def agrees(self, said: dict[str, object]) -> bool:
        """Stamps have microseconds, and no float holds them exactly."""
        login, expires = said["login"], said["expires"]
        assert isinstance(login, float)
        assert isinstance(expires, float)
        names = (said["user"], said["service"]) == (self.user, self.service)
        return names and abs(login - self.login) < 1e-4 and abs(expires - self.expires) < 1e-4


@dataclass(frozen=True, slots=True)
class Session:
    """An IMAP session that is open."""

    address: str
    user: str
    port: int
    began: float


class Mail:
    """Makes lines, and knows what they must lead to."""

    def __init__(self, chance: random.Random) -> None:
        self.expected: dict[str, Row] = {}
        self._chance = chance
        self._places = places()
        self._seen: list[str] = []
        self._sessions: deque[Session] = deque()
        self._kinds = [self._pop3] * 3 + [self._imap] * 2 + [self._logout] * 2
        self._kinds += [self._failed] * 3 + [self._other] * 6

    def line(self) -> tuple[bytes, str]:
        """A line, and the address that it grants or ``""``."""
        return self._chance.choice(self._kinds)(time.time())

    def _who(self) -> tuple[str, str, int]:
        """Most who log in have not been seen before; some come again, as another user too."""
        if self._seen and self._chance.random() < 0.1:
            address = self._chance.choice(self._seen)
        else:
            address = next(self._places)
            self._seen.append(address)
        return address, f"user{self._chance.randrange(1000)}", self._chance.randrange(1024, 65536)

    def _counts(self, address: str, row: Row) -> None:
        known = self.expected.setdefault(address, row)
        if known is not row:
            known.joins(row)

    def _pop3(self, now: float) -> tuple[bytes, str]:
        address, user, port = self._who()
        self._counts(address, Row(user, "pop3d", now, now + WINDOW))
        said = f"LOGIN, user={user}, ip=[{as_logged(address)}], port=[{port}]"
        return line(said, at=now), address

    def _imap(self, now: float) -> tuple[bytes, str]:
        address, user, port = self._who()
        self._counts(address, Row(user, "imapd", now, now + WINDOW))
        self._sessions.append(Session(address, user, port, now))
        who = f"user={user}, ip=[{as_logged(address)}], port=[{port}]"
        return line(f"LOGIN, {who}, protocol=IMAP", at=now, tag="imapd"), address

    def _logout(self, now: float) -> tuple[bytes, str]:
        """Some hundred sessions stay open; a session's end starts the window anew."""
        if len(self._sessions) < 500:
            return self._other(now)
        session = self._sessions.popleft()
        seconds = int(now - session.began)
        self._counts(session.address, Row(session.user, "imapd", now - seconds, now + WINDOW))
        who = f"user={session.user}, ip=[{as_logged(session.address)}], port=[{session.port}]"
        traffic = f"headers=0, body=0, rcvd=10, sent=80, time={seconds}"
        return line(f"LOGOUT, {who}, {traffic}", at=now, tag="imapd"), session.address

    def _failed(self, now: float) -> tuple[bytes, str]:
        who = f"ip=[::ffff:{self._chance.choice(BYSTANDERS)}], port=[4242]"
        tag = self._chance.choice(["pop3d", "imapd"])
        said = self._chance.choice([f"LOGIN FAILED, user=bob, {who}", f"Connection, {who}"])
        return line(said, at=now, tag=tag), ""

    def _other(self, now: float) -> tuple[bytes, str]:
        peer = f"host.example.net[{self._chance.choice(BYSTANDERS)}]"
        queue = f"{self._chance.getrandbits(40):010X}"
        said, tag = self._chance.choice(
            [
                (f"connect from {peer}", "postfix/smtpd[812]"),
                (f"{queue}: client={peer}", "postfix/smtpd[812]"),
                (f"{queue}: removed", "postfix/qmgr[300]"),
                (f"{queue}: from=<a@example.net>, size=4242, nrcpt=1", "postfix/qmgr[300]"),
            ]
        )
        return line(said, at=now, tag=tag), ""


class Stream:
    """Writes the log until it is stopped, as a syslog daemon, and rotates it, as logrotate.

    ``logged``: the addresses of all logins that are in the log, in its order.
    """

    def __init__(self, log: Log, seed: int) -> None:
        self.logged: list[str] = []
        self.lines = 0
        self.rotations = 0
        self.compressed = 0
        self.halves = 0
        self._chance = random.Random(seed)
        self._mail = Mail(self._chance)
        self._log = log
        self._reopen_at: float | None = None
        self._compress = "never"
        self._held: list[int] = []
        """Of each file one descriptor, so that no new file gets the inode of one that is gone.

        After a restart that would look as if the file had been truncated, and put it under doubt.
        """
        self._ended = threading.Event()
        self._began = time.monotonic()
        self.seconds = 0.0
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    @property
    def expected(self) -> dict[str, Row]:
        """What ``list`` must say when the whole log has been read."""
        return self._mail.expected

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stops it after a whole line."""
        self._ended.set()
        self._thread.join()
        while self._held:
            os.close(self._held.pop())

    def _work(self) -> None:
        rotate_at = self._began + ROTATE_EVERY
        while not self._ended.wait(TICK):
            now = time.monotonic()
            self._write(int((now - self._began) * RATE) - self.lines)
            if self._reopen_at is not None and now >= self._reopen_at:
                self._reopen()
            if now >= rotate_at:
                self._rotate(now)
                rotate_at += ROTATE_EVERY
        self.seconds = time.monotonic() - self._began

    def _write(self, count: int) -> None:
        made = [self._mail.line() for _ in range(count)]
        data = b"".join(text for text, _ in made)
        if data and self._chance.random() < 0.1:
            # A full buffer is written before the line in it has ended; the rest comes in a moment.
            self.halves += 1
            half = self._chance.randrange(len(data))
            self._log.write(data[:half])
            self._ended.wait(TICK)
            data = data[half:]
        self._log.write(data)
        self.lines += count
        self.logged += [address for _, address in made if address]

    def _rotate(self, now: float) -> None:
        """All names move on by one; the writer is told to reopen its file a little later."""
        if self._compress == "delayed":
            self._compress_newest()
        path = self._log.path
        self._held.append(os.open(path, os.O_RDONLY))
        for number, older in sorted(_rotated(path), reverse=True):
            if number < KEPT:
                ending = older.name.removeprefix(f"{path.name}.{number}")
                older.rename(path.with_name(f"{path.name}.{number + 1}{ending}"))
        path.rename(path.with_name(f"{path.name}.1"))
        path.touch(0o640)
        self.rotations += 1
        self._reopen_at = now + self._chance.choice([0.0, 0.0, self._chance.uniform(0.0, 0.5)])
        self._compress = self._chance.choice(["never", "at once", "delayed"])

    def _reopen(self) -> None:
        self._log.open()
        self._reopen_at = None
        if self._compress == "at once":
            self._compress_newest()

    def _compress_newest(self) -> None:
        """As logrotate does: for a moment there are both, and then the time of writing is kept."""
        plain = self._log.path.with_name(f"{self._log.path.name}.1")
        ending = self._chance.choice(list(_COMPRESS))
        data = _COMPRESS[ending](plain.read_bytes())
        packed = plain.with_name(plain.name + ending)
        with packed.open("wb", buffering=0) as file:
            file.write(data[:1000])
            file.write(data[1000:])
        written = plain.stat()
        os.utime(packed, ns=(written.st_atime_ns, written.st_mtime_ns))
        plain.unlink()
        self.compressed += 1


_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, 1),
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}


def _rotated(log: Path) -> list[tuple[int, Path]]:
    """The rotated files, by how often they were rotated."""
    mark = f"{log.name}."
    names = [one for one in log.parent.iterdir() if one.name.startswith(mark)]
    return [(int(one.name.removeprefix(mark).partition(".")[0]), one) for one in names]
