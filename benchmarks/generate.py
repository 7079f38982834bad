"""Write a mail log as large as wanted, the same one every time.

    python -m benchmarks.generate --lines 2000000 --ends 0.05 --output mail.log

Two million lines are about 250 MB.  ``--logins`` and ``--ends`` are shares of all lines, kept
exactly: ``grep -c 'LOGIN, user='`` finds ``round(lines * logins)`` lines.  Each end belongs to a
login before it: same tag, user, address and port.  Nine of ten logins from an address are by the
same user.  Before a login stands its Connection line.
All other lines are what Postfix, Courier and their neighbours write, failed logins among them.
Stamps rise evenly over ``--span`` and stop at ``--stop``, both fixed unless told otherwise; BSD
stamps are in UTC.  The same options give the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

LINE_BYTES = 125  # on average, with the newline: 2,000,000 lines are 250 MB
POOL = 40_000  # different other lines; their stamps differ, their messages come again
CHUNK = 20_000  # lines a write, about 2.5 MB
FAILED = 0.02  # share of failed logins among the other lines
SESSION_LINES = 2_000  # mean distance of an end from its login, in lines
AT_HOME = 0.9  # share of the logins by the one user whose address it is
HOST = "mail"
TAGS = ("pop3d", "pop3d-ssl", "imapd", "imapd-ssl")


@dataclass(frozen=True, slots=True)
class Shape:
    """What the log is to contain.  ``logins`` and ``ends`` are numbers of lines."""

    lines: int
    logins: int
    ends: int
    addresses: int
    users: int
    seed: int
    rfc3339: bool
    stop: datetime
    span: timedelta


def addresses(count: int) -> list[str]:
    """Return ``count`` different addresses as Courier writes them, one in ten of them IPv6."""
    return [
        f"2001:db8:{i >> 16:x}:{i & 0xFFFF:x}::1"
        if i % 10 == 9
        else f"::ffff:198.{18 + (i >> 16)}.{i >> 8 & 255}.{i & 255}"
        for i in range(count)
    ]


def users(count: int) -> list[str]:
    """Return ``count`` different user names, two thirds of them with a domain."""
    return [f"user{i}@example{i % 7}.org" if i % 3 else f"user{i}" for i in range(count)]


def sessions(shape: Shape, rng: Random, places: list[str], names: list[str]) -> dict[int, str]:
    """Return the lines of sessions by their number in the log: logins, ends, connections."""
    slots: dict[int, str] = {}
    # Room for the last ends behind their logins.
    last = shape.lines - shape.lines // 50 if shape.ends else shape.lines
    starts = sorted(rng.sample(range(max(last, shape.logins)), shape.logins))
    whos = []
    for at in starts:
        tag = TAGS[rng.randrange(4)]
        place = rng.randrange(len(places))
        who = f"ip=[{places[place]}], port=[{rng.randrange(1024, 65536)}]"
        at_home = rng.random() < AT_HOME
        user = names[place % len(names) if at_home else rng.randrange(len(names))]
        imap = ", protocol=IMAP" if tag.startswith("imap") else ""
        slots[at] = f"{tag}: LOGIN, user={user}, {who}{imap}"
        whos.append((tag, user, who))
    _place_ends(shape, rng, starts, whos, slots)
    for at, (tag, _user, who) in zip(starts, whos, strict=True):
        for before in range(at - 1, max(at - 6, -1), -1):
            if before not in slots:
                slots[before] = f"{tag}: Connection, {who}"
                break
    return slots


def _place_ends(
    shape: Shape,
    rng: Random,
    starts: list[int],
    whos: list[tuple[str, str, str]],
    slots: dict[int, str],
) -> None:
    """Give ``shape.ends`` of the logins an end at a free place after them."""
    left = shape.ends
    step = shape.span.total_seconds() / shape.lines
    for which in rng.sample(range(len(starts)), len(starts)):
        if not left:
            return
        at = starts[which] + 1 + int(rng.expovariate(1 / SESSION_LINES))
        if at >= shape.lines:
            at = rng.randrange(starts[which] + 1, shape.lines)
        while at in slots:
            at += 1
        if at >= shape.lines:
            continue
        tag, user, who = whos[which]
        word = ("LOGOUT", "LOGOUT", "LOGOUT", "DISCONNECTED", "TIMEOUT")[rng.randrange(5)]
        counts = "headers=0, body=0" if tag.startswith("imap") else "top=0, retr=0"
        mark = "" if not tag.endswith("-ssl") else ", starttls=1" if "imap" in tag else ", stls=1"
        slots[at] = (
            f"{tag}: {word}, user={user}, {who}, {counts}, rcvd={rng.randrange(6, 4000)}, "
            f"sent={rng.randrange(70, 99999)}, time={int((at - starts[which]) * step)}{mark}"
        )
        left -= 1
    if left:
        raise SystemExit(f"generate.py: no room for {left} of {shape.ends} ends; ask for fewer")


def _others(rng: Random, place: str, name: str) -> dict[str, tuple[str, ...]]:
    """Return one of each kind of other line, sorted by size, without stamp and host."""
    peer = f"host{rng.randrange(9999)}.example.net[{place.removeprefix('::ffff:')}]"
    pid = rng.randrange(300, 99999)
    queue = f"{rng.getrandbits(40):010X}"
    port = rng.randrange(1024, 65536)
    where = f"ip=[{place}], port=[{port}]"
    ident = f"{rng.getrandbits(64):016x}.{port}@client.example.net"
    delays = f"delay={rng.random():.2f}, delays=0.1/0.01/{rng.random():.2f}/0.2, dsn=2.0.0"
    smtpd = f"postfix/smtpd[{pid}]:"
    name = name.partition("@")[0]
    commands = "ehlo=2 starttls=1 mail=1 rcpt=1 data=1 quit=1 commands=7"
    sender = f"from=<{name}@example.net>, size={port}, nrcpt=1"
    sent = f"relay=mail.example.com[203.0.113.25]:25, {delays}, status=sent (250 2.0.0 Ok: queued)"
    local = f"relay=virtual, {delays}, status=sent (delivered to maildir)"
    denied = f"554 5.7.1 <a@example.com>: Relay access denied; from=<{name}@example.net>"
    return {
        "failed": (
            f"pop3d: LOGIN FAILED, user={name}, {where}",
            f"imapd-ssl: LOGIN FAILED, method=PLAIN, {where}",
        ),
        "short": (
            f"{smtpd} connect from {peer}",
            f"postfix/qmgr[{pid}]: {queue}: removed",
            f"{smtpd} {queue}: client={peer}",
            f"postfix/anvil[{pid}]: statistics: max cache size {port % 40} at Nov 22 08:41:27",
            f"imapd: Connection, {where}",
            f"pop3d: Disconnected, {where}",
            f"postfix/pickup[{pid}]: {queue}: uid=33 from=<www-data>",
            f"spamd[{pid}]: spamd: clean message (0.{port % 10}/5.0) for {name}:110 in 0.2 seconds",
        ),
        "long": (
            f"{smtpd} disconnect from {peer} {commands}",
            f"postfix/cleanup[{pid}]: {queue}: message-id=<{ident}>",
            f"postfix/qmgr[{pid}]: {queue}: {sender} (queue active)",
            f"postfix/smtp[{pid}]: {queue}: to=<{name}@example.com>, {sent}",
            f"postfix/virtual[{pid}]: {queue}: to=<{name}@example.org>, {local}",
            f"{smtpd} NOQUEUE: reject: RCPT from {peer}: {denied} to=<a@example.com> proto=ESMTP",
            f"opendkim[{pid}]: {queue}: DKIM-Signature field added (s=mail, d=example.org)",
            f"couriertls: {where}, Unexpected SSL connection shutdown: error:0A000126:SSL routines",
        ),
    }


def other_lines(rng: Random, places: list[str], names: list[str], mean: float) -> list[str]:
    """Return ``POOL`` other lines, ``mean`` characters long on average."""
    pool: list[str] = []
    total = 0
    for i in range(POOL):
        kinds = _others(rng, places[rng.randrange(len(places))], names[rng.randrange(len(names))])
        size = "short" if total > mean * i else "long"
        choice = kinds["failed" if rng.random() < FAILED else size]
        line = choice[rng.randrange(len(choice))]
        pool.append(line)
        total += len(line)
    return pool


def clock(shape: Shape) -> Callable[[float], str]:
    """Return what turns seconds since the log's first instant into a stamp."""
    begin = shape.stop - shape.span
    second = -1
    head = ""

    def stamp(seconds: float) -> str:
        nonlocal second, head
        whole = int(seconds)
        if whole != second:
            second = whole
            now = begin + timedelta(seconds=whole)
            head = now.strftime("%Y-%m-%dT%H:%M:%S.") if shape.rfc3339 else bsd_stamp(now)
        return f"{head}{int((seconds - whole) * 1e6):06d}+00:00" if shape.rfc3339 else head

    return stamp


def bsd_stamp(now: datetime) -> str:
    """Return the stamp of RFC 3164, the day padded with a space, whatever the locale."""
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    return f"{months[now.month - 1]} {now.day:2d} {now:%H:%M:%S}"


def generate(shape: Shape) -> Iterator[bytes]:
    """Yield the log in chunks of whole lines."""
    rng = Random(shape.seed)
    places = addresses(shape.addresses)
    names = users(shape.users)
    slots = sessions(shape, rng, places, names)
    stamp = clock(shape)
    frame = len(stamp(0.0)) + len(HOST) + 3  # two spaces and the newline
    # What the sessions' lines leave to the others, so that the whole has the wanted mean.
    others = max(shape.lines - len(slots), 1)
    spent = sum(len(line) for line in slots.values())
    mean = ((LINE_BYTES - frame) * shape.lines - spent) / others
    pool = other_lines(rng, places, names, mean)
    step = shape.span.total_seconds() / shape.lines
    for first in range(0, shape.lines, CHUNK):
        chunk = []
        for i in range(first, min(first + CHUNK, shape.lines)):
            line = slots.get(i) or pool[int(rng.random() * POOL)]
            chunk.append(f"{stamp((i + rng.random()) * step)} {HOST} {line}\n")
        yield "".join(chunk).encode("ascii")


def arguments(argv: list[str] | None) -> tuple[Shape, str]:
    """Return the wanted shape and the output's path, ``-`` for stdout."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lines", type=int, default=2_000_000)
    parser.add_argument("--logins", type=float, default=0.05, help="share of lines (0.05)")
    parser.add_argument("--ends", type=float, default=0.0, help="share of lines (0)")
    parser.add_argument("--addresses", type=int, default=50_000)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--format", choices=("bsd", "rfc3339"), default="rfc3339")
    parser.add_argument("--stop", default="2026-11-22T00:00:00+00:00", help="time of the end")
    parser.add_argument("--span", type=float, default=24.0, help="hours (24)")
    parser.add_argument("--output", default="-", help="file (stdout)")
    told = parser.parse_args(argv)
    if not 0 <= told.ends <= told.logins or told.logins + told.ends > 1:
        parser.error("--logins and --ends: at most as many ends as logins, together at most 1")
    if not 1 <= told.addresses <= 131_072 or told.users < 1 or told.lines < 1:
        parser.error("--addresses: 1 to 131072; --users and --lines: at least 1")
    shape = Shape(
        lines=told.lines,
        logins=round(told.lines * told.logins),
        ends=round(told.lines * told.ends),
        addresses=told.addresses,
        users=told.users,
        seed=told.seed,
        rfc3339=told.format == "rfc3339",
        stop=datetime.fromisoformat(told.stop).astimezone(UTC),
        span=timedelta(hours=told.span),
    )
    return shape, told.output


def main(argv: list[str] | None = None) -> None:
    """Write the log that the command line asks for."""
    shape, output = arguments(argv)
    if output == "-":
        sys.stdout.buffer.writelines(generate(shape))
        return
    with Path(output).open("wb") as file:
        file.writelines(generate(shape))


if __name__ == "__main__":
    main()
