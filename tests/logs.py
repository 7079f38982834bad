"""Captured logs, and the chain that judges them: what tests of several promises share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pbs_watch.chain import Chain
from pbs_watch.grants.address import Networks
from pbs_watch.grants.changes import Changes
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.policy import Policy
from pbs_watch.log.clock import Clock
from pbs_watch.log.cuts import Cuts, Mode
from pbs_watch.pattern.library import load
from pbs_watch.pattern.scan import Scanner

LOGS = Path(__file__).parent / "fixtures" / "logs"
COURIER = load(["courier"], [])
STAMPS = ("bsd", "rfc3339")

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
WINDOW, SESSION_LIMIT = 30 * MINUTE, 4 * HOUR


def at(text: str) -> float:
    """Epoch seconds of ``2026-11-22 08:44:00``, in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


AFTER_CAPTURES = at("2026-11-22 09:00:00")
"""When all captures have ended and no window has."""


def capture(name: str, stamps: str) -> bytes:
    """A captured log."""
    return (LOGS / f"{name}.{stamps}.log").read_bytes()


def truth(name: str) -> dict[str, dict[str, str]]:
    """Who authenticated in a captured log and who did not, with what each client did."""
    told: dict[str, dict[str, str]] = json.loads((LOGS / f"{name}.truth.json").read_text())
    return told


def policy(never: Networks | None = None, hosts: Iterable[bytes] = (), **more: Any) -> Policy:
    """The built-in policy but for what is named."""
    return Policy(WINDOW, SESSION_LIMIT, never or Networks([]), frozenset(hosts), **more)


class Watched:
    """A log that goes through the chain block by block, and what it granted."""

    def __init__(
        self, cuts: Mode = "strict", *, year: int | None = None, judged_by: Policy | None = None
    ) -> None:
        self.cuts = Cuts(cuts)
        self.chain = Chain(Scanner(COURIER, Clock(UTC, year)), judged_by or policy())
        self.changes = Changes()

    def feed(self, block: bytes, now: float = AFTER_CAPTURES, *, replayed: bool = True) -> None:
        scanned = self.chain.scanner.scan(block, 0, len(block), self.cuts, now)
        self.chain.take(scanned, None if replayed else now, self.changes)

    @property
    def granted(self) -> bool:
        """Whether any login or session came of it."""
        return bool(self.changes.logins or self.changes.sessions)

    def allowed(self, now: float = AFTER_CAPTURES) -> set[str]:
        """The addresses that may relay."""
        pending = Pending()
        pending.making = self.changes
        known = {*self.changes.grants, *self.changes.sessions}
        return {address.decode() for address in known if pending.allows(address, now)}


def watched(log: bytes, now: float = AFTER_CAPTURES, cuts: Mode = "strict") -> Watched:
    """A log that went through the chain as it was written, at ``now``."""
    watching = Watched(cuts)
    watching.feed(log, now, replayed=False)
    return watching
