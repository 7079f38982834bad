"""Whether the daemon runs, as whom, and how it fares, by the state that it tells.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """What the settings say now, to see whether the daemon was started with them."""

    version: str
    window: float
    session_limit: float
    cuts: str
    witness: str
    shadow: bool
    logs: Sequence[str]


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
    pairs = (
        ("window", state.window, wanted.window),
        ("session_limit", state.session_limit, wanted.session_limit),
        ("cuts", state.cut_mode, wanted.cuts),
        ("witness", state.witness, wanted.witness),
        ("shadow", state.shadow, wanted.shadow),
        ("log", sorted(source.name for source in state.sources), sorted(set(wanted.logs))),
        ("version", state.version, wanted.version),
    )
    other = [name for name, running, said in pairs if running != said]
    if other:
        yield look(
            "daemon-settings",
            f"it was started with other settings than doctor reads: {', '.join(other)}",
            "restart it, or name its settings with --config",
        )
    else:
        yield fine("daemon-settings", "it was started with the settings that doctor reads")
