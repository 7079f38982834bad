"""The daemon's state as ``status`` and ``top`` take it in (:mod:`pbs_watch.live`).  Pure.

Names, messages and warnings come from the network: what could steer a terminal is written out when
the state is taken in, so that no view can forget it, and is bounded.  A key that is missing counts
as nothing, since ``top`` goes on while a daemon is upgraded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from pbs_watch.escape import printable

_LONGEST = 400
"""Characters of a name, a message or a warning."""

ANSWERS = ("found", "absent", "unknown", "names", "limited", "shadowed")
"""What lookups are counted by."""

_ROWS = ("grants", "sessions", "orders")
"""The tables of the map that tell an operator something."""


def safe_text(text: object, longest: int = _LONGEST) -> str:
    """A text in which nothing steers a terminal, of at most so many characters."""
    safe = printable(str(text)[:longest])
    return safe if len(safe) <= longest else safe[: longest - 3] + "..."


@dataclass(frozen=True, slots=True)
class Followed:
    """A source; ``rate`` in bytes per second, ``lag`` in seconds, ``waiting`` in bytes."""

    name: str
    lines: int
    bytes: int
    rate: float
    waiting: int
    lag: float
    latest: float | None
    readable: bool
    searching: bool

    @property
    def trouble(self) -> str:
        """Why lookups may be answered "cannot say"; empty: nothing is wrong with it."""
        if not self.readable:
            return "cannot be read"
        return "searching" if self.searching else ""


@dataclass(frozen=True, slots=True)
class Near:
    """A near miss."""

    time: float | None
    tag: str
    message: str


@dataclass(frozen=True, slots=True)
class State:
    """The daemon's state, its texts made safe to be shown; ``rows``: of the map, by table.

    ``digests``: of the settings, by their names.  ``shared``: how sharing grants goes, empty where
    they are not shared.
    """

    version: str
    pid: int
    started: float
    now: float
    uptime: float
    path: str
    rows: Mapping[str, int]
    map_error: str
    window: float
    session_limit: float
    cut_mode: str
    witness: str
    shadow: bool
    digests: Mapping[str, str]
    sources: tuple[Followed, ...]
    formats: Mapping[str, int]
    logins: int
    ends: int
    refused: Mapping[str, int]
    alarms: int
    cuts: int
    near: int
    near_misses: tuple[Near, ...]
    lookups: Mapping[str, int]
    shared: Mapping[str, int | float | str]
    warnings: int
    last_warning: str
    dropped: int

    @property
    def lines(self) -> int:
        """Lines read of all sources."""
        return sum(source.lines for source in self.sources)

    @property
    def all_refused(self) -> int:
        """Lines refused for whatever reason."""
        return sum(self.refused.values())

    @property
    def same_process(self) -> tuple[int, float]:
        """What is equal in two states of one daemon."""
        return self.pid, self.started


def taken(raw: Mapping[str, Any]) -> State:
    """The state that the daemon told."""
    rows, settings = raw.get("map", {}), raw.get("settings", {})
    return State(
        version=safe_text(raw.get("version", "?")),
        pid=int(raw.get("pid", 0)),
        started=float(raw.get("started", 0.0)),
        now=float(raw.get("now", 0.0)),
        uptime=float(raw.get("uptime", 0.0)),
        path=safe_text(rows.get("path", "")),
        rows={name: int(rows[name]) for name in _ROWS if name in rows},
        map_error=safe_text(rows.get("error", "")),
        window=float(settings.get("window", 0.0)),
        session_limit=float(settings.get("session_limit", 0.0)),
        cut_mode=safe_text(settings.get("cuts", "?")),
        witness=safe_text(settings.get("witness", "?")),
        shadow=bool(settings.get("shadow")),
        digests={
            safe_text(name): safe_text(value) for name, value in settings.get("digests", {}).items()
        },
        sources=tuple(map(_followed, raw.get("sources", ()))),
        formats=_counts(raw.get("formats", {})),
        logins=int(raw.get("logins", 0)),
        ends=int(raw.get("ends", 0)),
        refused=_counts(raw.get("refused", {})),
        alarms=int(raw.get("alarms", 0)),
        cuts=int(raw.get("cuts", 0)),
        near=int(raw.get("near", 0)),
        near_misses=tuple(
            Near(one.get("time"), safe_text(one.get("tag", "")), safe_text(one.get("message", "")))
            for one in raw.get("near_misses", ())
        ),
        lookups={**dict.fromkeys(ANSWERS, 0), **_counts(raw.get("lookups", {}))},
        shared={
            safe_text(name): value if isinstance(value, int | float) else safe_text(value)
            for name, value in (raw.get("shared") or {}).items()
        },
        warnings=int(raw.get("warnings", 0)),
        last_warning=safe_text(raw.get("last_warning", "")),
        dropped=int(raw.get("dropped", 0)),
    )


def _counts(raw: Mapping[str, Any]) -> dict[str, int]:
    return {safe_text(name): int(count) for name, count in raw.items()}


def _followed(raw: Mapping[str, Any]) -> Followed:
    return Followed(
        name=safe_text(raw.get("name", "?")),
        lines=int(raw.get("lines", 0)),
        bytes=int(raw.get("bytes", 0)),
        rate=float(raw.get("rate", 0.0)),
        waiting=int(raw.get("waiting", 0)),
        lag=float(raw.get("lag", 0.0)),
        latest=raw.get("latest"),
        readable=bool(raw.get("readable", True)),
        searching=bool(raw.get("searching", False)),
    )


@dataclass(frozen=True, slots=True)
class Step:
    """Two states of one daemon: what was counted between them; ``None``: there is only one."""

    state: State
    before: State | None = None

    def rate(self, count: str) -> float | None:
        """Per second, of an attribute of the state; ``None``: nobody knows."""
        if self.before is None:
            return None
        of = attrgetter(count)
        return _per_second(of(self.before), of(self.state), self.seconds)

    def lookups(self, answer: str) -> float | None:
        """Lookups per second with that answer."""
        if self.before is None:
            return None
        return _per_second(self.before.lookups[answer], self.state.lookups[answer], self.seconds)

    def of(self, source: Followed, count: str) -> float | None:
        """Per second, of an attribute of a source."""
        known = self.before.sources if self.before is not None else ()
        before = next((one for one in known if one.name == source.name), None)
        if before is None:
            return None
        of = attrgetter(count)
        return _per_second(of(before), of(source), self.seconds)

    @property
    def seconds(self) -> float:
        """Between the two, by the daemon's clock: whoever looks may have waited meanwhile."""
        return 0.0 if self.before is None else self.state.uptime - self.before.uptime


def _per_second(before: int, after: int, seconds: float) -> float:
    return max(after - before, 0) / max(seconds, 1e-3)


def step(state: State, before: State | None) -> Step:
    """The step from one state to the next; another daemon counts anew."""
    if before is None or before.same_process != state.same_process:
        return Step(state)
    return Step(state, before)
