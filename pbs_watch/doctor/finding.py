"""What a check says: one line for the operator, with what mends it.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How bad it is.  Only ``WRONG`` fails."""

    FINE = "fine"
    LOOK = "look"
    """Nobody but the operator can tell whether it is meant so."""
    UNSEEN = "unseen"
    """It could not be seen, by this user or from this host."""
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """``check``: its name in docs/doctor.rst.  ``cure``: what to do, or empty."""

    check: str
    level: Level
    text: str
    cure: str = ""

    def __str__(self) -> str:
        """One line."""
        cure = f"; {self.cure}" if self.cure else ""
        return f"{self.level.value:<6} {self.check}: {self.text}{cure}"


def many(number: int, noun: str) -> str:
    """``1 line``, ``1,024 lines``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def fine(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check, Level.FINE, text)


def look(check: str, text: str, cure: str = "") -> Finding:
    """Worth a look; does not fail."""
    return Finding(check, Level.LOOK, text, cure)


def unseen(check: str, text: str, cure: str = "") -> Finding:
    """Could not be seen; does not fail."""
    return Finding(check, Level.UNSEEN, text, cure)


def wrong(check: str, text: str, cure: str) -> Finding:
    """Something to mend; fails."""
    return Finding(check, Level.WRONG, text, cure)
