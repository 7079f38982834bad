"""Following the marked login through the chain, link by link, each with its time.

Every wait has the same limit.  A step that does not come true says which link is broken, and what
to look at; what comes after it is not tried, but the grant is taken back all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pbs_watch.doctor.ask import ask
from pbs_watch.doctor.look import run

_PAUSE = 0.02
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class Step:
    """One link of the chain.  ``sound``: ``None`` where it could not be tried.  ``seconds``: since
    the beginning, which is when the line was written, but for a lookup.
    """

    link: str
    sound: bool | None
    text: str
    seconds: float
    cure: str = ""

    def __str__(self) -> str:
        """One line."""
        word = {True: "ok", False: "failed", None: "left out"}[self.sound]
        cure = f"; {self.cure}" if self.cure else ""
        return f"{word:<8} {self.seconds:7.3f} s  {self.link}: {self.text}{cure}"


@dataclass(frozen=True, slots=True)
class Link:
    """What is waited for: ``come()`` is true once it has, at the latest after ``patience`` seconds.

    ``text`` and ``failure`` say what came, or did not; ``cure``: where to look then.  ``skip``: why
    it cannot be tried, or empty.
    """

    name: str
    come: Callable[[], bool]
    text: str
    failure: str
    cure: Callable[[], str]
    patience: float
    skip: str = ""


def follow(links: Iterable[Link]) -> Iterator[Step]:
    """Wait for each of the links in turn; ends at the first that does not come."""
    began = time.monotonic()
    for link in links:
        if link.skip:
            yield Step(link.name, None, link.skip, time.monotonic() - began)
            continue
        deadline = time.monotonic() + link.patience
        while not (come := link.come()) and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        seconds = time.monotonic() - began
        if not come:
            yield Step(link.name, sound=False, text=link.failure, seconds=seconds, cure=link.cure())
            return
        yield Step(link.name, sound=True, text=link.text, seconds=seconds)


def answers(where: str, address: str, verdict: str, *, socketmap: bool) -> bool:
    """Whether the daemon at ``where`` answers a lookup so: ``found`` or ``absent``."""
    return ask(where, address.encode(), socketmap=socketmap).verdict == verdict


def postmap(config: Path, key: str, table: str) -> bool:
    """Whether Postfix's own postmap finds the key in a table."""
    ran = run(["postmap", "-c", str(config), "-q", key, table])
    return ran.status == 0 and bool(ran.out.strip())


def log_to_syslog(message: str, tag: str, socket: Path | None) -> str:
    """Hand a message to syslog, as mail.info; why that failed, or empty.

    With logger(1), which says so where nobody takes it; the C library's syslog(3) does not.
    """
    words = ["logger", "--socket-errors=on", "-p", "mail.info", "-t", tag]
    ran = run([*words, *(["-u", str(socket)] if socket else []), "--", message])
    return "" if ran.status == 0 else ran.why or ran.err.strip()


def journal_has(message: str, tag: str) -> bool:
    """Whether the journal has the message."""
    ran = run(["journalctl", "--quiet", "--since=-10m", "-t", tag, "-o", "cat", "--no-pager"])
    return message in ran.out
