"""Durations and points in time as an operator writes them."""

from __future__ import annotations

import re
from datetime import datetime

from pbs_watch.errors import UsageError

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}

_LONGEST = 3660 * 86400
"""Seconds: beyond it a slip of the finger is likelier, and times soon end in no year at all."""


def seconds(text: str) -> float:
    """Seconds of ``90s``, ``30m``, ``12h``, ``7d``, ``50ms``; raises :class:`UsageError`."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)(ms|[smhd])", text.strip())
    if found is None:
        raise UsageError(f"{text!r} is not a duration; write it like 90s, 30m, 12h or 7d")
    length = float(found[1]) * _UNITS[found[2]]
    if length > _LONGEST:
        raise UsageError(f"{text!r} is longer than ten years; write it like 90s, 30m, 12h or 7d")
    return length


def epoch(text: str) -> float:
    """Epoch seconds of ``1795339337`` or an ISO time such as ``2026-11-22T08:42:00Z``.

    A time without a zone is local.  Raises :class:`UsageError`.
    """
    if re.fullmatch(r"\d{1,11}(\.\d{1,9})?", text):
        return float(text)
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is not a time; write 2026-11-22T08:42:00Z or seconds since 1970"
        ) from None


def local(when: float) -> str:
    """Epoch seconds as local time for people, to the second; where no year holds it, as they are.

    A log can hold stamps of the year 1 and 9999.
    """
    try:
        # astimezone() looks at the days around: the year alone does not tell.
        return datetime.fromtimestamp(when).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{when:.0f} s after 1970"
