"""Whether the daemon is in step with the other hosts, by the state that it tells.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pbs_watch.doctor.finding import Finding, fine, look, many, wrong

_MANY = 1000
"""Rows of the outbox: the engine takes so many in a second or two."""


def judge(shared: Mapping[str, int | float | str], wanted: str) -> Iterator[Finding]:
    """``shared``: what the daemon tells of sharing, empty: it does not share; ``wanted``: the
    engine that the settings name, or empty.
    """
    if shared.get("engine", "") != wanted:
        does = f"shares through {shared['engine']}" if shared else "does not share its grants"
        yield look(
            "shared-daemon",
            f"the daemon {does}, other than the settings say",
            "pbs-watch reload, or name its settings with --config",
        )
    if not shared:
        return
    waiting = int(shared.get("waiting", 0))
    if not shared.get("reachable"):
        yield wrong(
            "shared-daemon",
            f"the daemon cannot use the engine ({shared.get('error', '')}); "
            f"{many(waiting, 'row')} to be told",
            "see shared-engine; where that is fine, the unit keeps the daemon from it: "
            "IPAddressAllow= in a drop-in, docs/shared.rst",
        )
    elif waiting > _MANY:
        yield look(
            "shared-daemon",
            f"{many(waiting, 'row')} are still to be told to the engine",
            "look again in a minute: the engine is slow where they do not become fewer",
        )
    else:
        yield fine("shared-daemon", f"the daemon reaches {shared['engine']} and has told all")
