"""Whether the daemon runs, as whom, and how it fares, by the state that it tells.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from pbs_watch.commands.state import State
from pbs_watch.doctor.finding import Finding, fine, look, many, unseen, wrong

_LAG = 60.0
"""Seconds that a source may be behind before somebody should look."""

_TELLING = {"future": "zone or clocks", "host": "the setting hosts", "stale": "zone or clocks"}
"""Reasons of refusals that mostly come from a wrong setting."""

_SOME = 10
"""Refusals of such a reason before it is told."""


@dataclass(frozen=True, slots=True)
class Facts:
    """``state``: what the daemon told, ``None``: ``why``; ``hidden``: it may run, but this user may
    not ask it.  ``uid``: its user, ``None``: unknown.  ``account``: that user's name.
    """

    map: str
    state: State | None = None
    why: str = ""
    hidden: bool = False
    uid: int | None = None
    account: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the settings say now, to see whether the daemon goes by them.

    ``digests``: of each setting.  ``restart``: those that only a restart changes.
    """

    version: str
    digests: Mapping[str, str]
    restart: Collection[str]


def judge(facts: Facts, wanted: Wanted | None) -> Iterator[Finding]:
    """``wanted``: ``None`` where the settings cannot be read."""
    state = facts.state
    if state is None:
        if facts.hidden:
            yield unseen("daemon-runs", facts.why, "run doctor as root, or as the daemon's user")
        else:
            yield wrong("daemon-runs", facts.why, "systemctl start pbs-watch, or pbs-watch run")
        return
    yield fine("daemon-runs", f"process {state.pid} of version {state.version}, map {state.path}")
    yield _user(facts)
    yield from _sources(state)
    if wanted is not None:
        yield from _settings(state, wanted)
    if state.map_error:
        yield wrong("daemon-map", state.map_error, "pbs-watch status; the map may need rebuild")
    if state.near:
        yield wrong(
            "daemon-near",
            f"{many(state.near, 'line')} since the start look like a login and fit no pattern",
            "pbs-watch status shows the latest, pbs-watch match tells where it fails",
        )
    for reason, what in _TELLING.items():
        if (count := state.refused.get(reason, 0)) >= _SOME:
            yield look("daemon-refused", f"{count:,} lines refused as {reason}", f"look at {what}")
    if state.warnings:
        yield look(
            "daemon-warned",
            f"{many(state.warnings, 'warning')} since the start, the last: {state.last_warning}",
        )


def _user(facts: Facts) -> Finding:
    if facts.uid is None:
        return unseen("daemon-user", "as whom it runs", "run doctor as root")
    if facts.uid == 0:
        return wrong(
            "daemon-user",
            "it runs as root, which it does not need",
            "adduser --system --group pbs-watch; adduser pbs-watch adm; run it as pbs-watch",
        )
    return fine("daemon-user", f"it runs as {facts.account}")


def _sources(state: State) -> Iterator[Finding]:
    for source in state.sources:
        if not source.readable:
            yield wrong(
                "daemon-reads",
                f"{source.name} cannot be read: lookups are answered that it cannot tell",
                "see log-there and log-readable; pbs-watch status",
            )
        elif source.searching:
            yield look("daemon-reads", f"{source.name}: it looks for its place in compressed files")
        elif source.lag > _LAG:
            yield look("daemon-reads", f"{source.name}: it is {source.lag:.0f} s behind")
        else:
            yield fine(
                "daemon-reads", f"{source.name}: {many(source.lines, 'line')} read, none waits"
            )


def _settings(state: State, wanted: Wanted) -> Iterator[Finding]:
    if state.version != wanted.version:
        yield look(
            "daemon-settings",
            f"it is of version {state.version}, and doctor of {wanted.version}",
            "restart it",
        )
        return  # which may have other settings, or tell them otherwise
    other = [name for name, said in wanted.digests.items() if state.digests.get(name) != said]
    if other:
        restart = any(name in wanted.restart for name in other)
        yield look(
            "daemon-settings",
            f"it goes by other settings than doctor reads: {', '.join(other)}",
            f"{'restart it' if restart else 'pbs-watch reload'}, or name its settings with "
            "--config",
        )
    else:
        yield fine("daemon-settings", "it goes by the settings that doctor reads")
