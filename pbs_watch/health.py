"""Whether the daemon is well, told from its state (:mod:`pbs_watch.live`).  Pure.

Ill is what makes lookups fail, or will: whoever restarts a daemon because of it, or calls somebody,
is right to.  A log that is missing is not: it is waited for, and nobody could log in unseen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TOO_LATE = 60.0
"""Seconds behind the log from which on the daemon is ill."""


def ailments(state: Mapping[str, Any]) -> list[str]:
    """What is wrong, a line each; an empty list: nothing is."""
    found = []
    if error := state["map"].get("error"):
        found.append(str(error))
    if error := state.get("commits", {}).get("error"):
        found.append(str(error))
    for source in state["sources"]:
        if not source["readable"]:
            found.append(f"{source['name']}: cannot be read")
        elif source["lag"] > TOO_LATE:
            found.append(f"{source['name']}: read {source['lag']:.0f} s late")
    return found
