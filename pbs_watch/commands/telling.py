"""When the other hosts learn of what was done here by hand: that is the daemon's to do."""

from __future__ import annotations

import json
from pathlib import Path

from pbs_watch import live
from pbs_watch.answer.client import NobodyAnswersError, ask
from pbs_watch.errors import MapError
from pbs_watch.grants.owner import unless_owned

_PATIENCE = 1.0
"""Seconds for the daemon to answer: the order counts here, and is told, in any case."""


def telling(path: Path, what: str = "the other hosts are told") -> str:
    """``what``, with when that is, by what the daemon of the map at ``path`` says now."""
    try:
        answer = ask(path / live.SOCKET, live.NAME, live.STATUS, patience=_PATIENCE)
        shared = json.loads(answer or b"{}").get("shared") or {}
    except (NobodyAnswersError, ValueError):
        if _no_daemon(path):
            return f"no daemon runs here: {what} when it does"
        return f"{what} by the daemon, which does not say now whether it can"
    if shared.get("reachable"):
        return f"{what} within about a second"
    return f"the engine is away: {what} when it is back"


def _no_daemon(path: Path) -> bool:
    try:
        with unless_owned(path) as alone:
            return alone
    except MapError:
        return False
