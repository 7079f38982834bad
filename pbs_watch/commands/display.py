"""How ``status`` and ``top`` write the daemon's state: texts, names and values, columns.  Pure.

What programs may look for, the names and the columns, stays as it is; new ones are added.
"""

from __future__ import annotations

from collections.abc import Iterator

from pbs_watch.commands.reasons import REASONS
from pbs_watch.commands.state import Near, State, Step
from pbs_watch.durations import local

LOOKUPS = {
    "found": "found",
    "absent": "not found",
    "unknown": "cannot say",
    "names": "for names",
    "limited": "limited",
    "shadowed": "in the shadow",
}
"""How lookups are answered, as said to people."""

SHARED = {
    "engine": "engine",
    "reachable": "reachable",
    "error": "error",
    "waiting": "waiting to be told",
    "telling": "seconds to tell, at most",
    "sent": "told",
    "learned": "orders learned",
    "asked": "asked",
    "found": "found",
    "late": "late",
    "refused": "not asked",
    "opened": "times unreachable",
}
"""How sharing grants goes, as said to people."""

SELDOM = frozenset({"limited", "shadowed"})
"""Those that stand on a page only where there are any: they need a setting."""

SHADOW = 'on: every lookup is answered "not found"'


def settings_of(state: State) -> dict[str, str]:
    """The settings that matter, as the operator writes them, but for ``shadow``."""
    return {
        "window": span(state.window),
        "session limit": span(state.session_limit),
        "cuts": state.cut_mode,
        "witness": state.witness,
    }


def refused_of(state: State) -> dict[str, int]:
    """How much was refused for which reason, in words; reasons without any are left out."""
    found = {name: count for name, count in state.refused.items() if count}
    # An older or newer daemon may have others.
    return {REASONS[name].many if name in REASONS else name: found[name] for name in found}


def span(seconds: float) -> str:
    """A duration as in the settings: ``30m``, ``4h``; the largest unit that gives a whole one."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:g}s"


def age(seconds: float) -> str:
    """How long something has lasted, its two largest units: ``3d 4h``, ``12m 5s``."""
    left = max(int(seconds), 0)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or parts or unit == "s":
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def size(count: float) -> str:
    """Bytes in five or six characters: ``12 B``, ``3.4 kB``, ``120 MB``."""
    if count < 1000:
        return f"{count:.0f} B"
    units = iter(("kB", "MB", "GB"))
    unit = next(units)
    count /= 1000
    while count >= 999.5 and (larger := next(units, "")):
        unit = larger
        count /= 1000
    return f"{count:.1f} {unit}" if count < 9.95 else f"{count:.0f} {unit}"


def per_second(rate: float | None) -> str:
    """A rate, ``-`` where nobody knows it."""
    if rate is None:
        return "-"
    return f"{rate:.1f}" if rate < 999.95 else f"{rate:.0f}"


def when(moment: float | None, now: float) -> str:
    """A time in the last day by the clock, another one by its date."""
    if moment is None:
        return "-"
    day, _, clock = local(moment).partition(" ")
    return clock if abs(now - moment) < 86400 else day


# For programs: a name and a value a line


def facts(state: State) -> Iterator[tuple[str, object]]:
    """Names and values of the whole state; scripts look for them."""
    yield "version", state.version
    yield "pid", state.pid
    yield "running since", local(state.started)
    yield "map", state.path
    if state.map_error:
        yield "map error", state.map_error
    yield from state.rows.items()
    for name, setting in settings_of(state).items():
        yield f"setting {name}", setting
    yield "setting shadow", SHADOW if state.shadow else "off"
    for source in state.sources:
        name = f"source {source.name}"
        yield name, source.trouble or "readable"
        yield f"{name} lines", source.lines
        yield f"{name} bytes", source.bytes
        yield f"{name} bytes per second", f"{source.rate:.1f}"
        yield f"{name} bytes waiting", source.waiting
        yield f"{name} seconds behind", f"{source.lag:.1f}"
        yield f"{name} latest line", "none" if source.latest is None else local(source.latest)
    yield "logins", state.logins
    yield "ends", state.ends
    for name, count in sorted(state.formats.items()):
        yield f"format {name}", count
    yield "refused", state.all_refused
    for reason, count in refused_of(state).items():
        yield f"refused {reason}", count
    yield "alarms", state.alarms
    yield "cuts", state.cuts
    yield "near misses", state.near
    for miss in state.near_misses:
        yield "near miss", f"{_stamp(miss)} {miss.tag}: {miss.message}"
    for answer, said in LOOKUPS.items():
        yield f"lookups {said}", state.lookups[answer]
    for name, said in SHARED.items():
        if name in state.shared and (value := state.shared[name]) != "":
            yield f"shared {said}", ("no", "yes")[value] if isinstance(value, bool) else value
    yield "warnings", state.warnings
    if state.last_warning:
        yield "last warning", state.last_warning
    yield "log lines dropped", state.dropped


def _stamp(miss: Near) -> str:
    return "at no time" if miss.time is None else local(miss.time)


# For programs: one line a step

_COLUMNS = (
    ("time", 8),
    ("lines/s", 8),
    ("logins/s", 8),
    ("found/s", 8),
    ("absent/s", 8),
    ("cannot/s", 8),
    ("waiting", 8),
    ("lag", 6),
    ("grants", 8),
)
"""The columns of ``top`` in a pipe, in 79 characters.  New ones are added behind."""

HEADING = " ".join(f"{name:>{width}}" for name, width in _COLUMNS)


def columns(clock: str, made: Step | None) -> str:
    """A line of columns; ``-`` for what nobody knows; ``None``: no daemon answers."""
    values = [clock]
    if made is None:
        values += ["-"] * (len(_COLUMNS) - 1)
    else:
        state = made.state
        values += [per_second(made.rate("lines")), per_second(made.rate("logins"))]
        values += [per_second(made.lookups(answer)) for answer in ("found", "absent", "unknown")]
        values.append(str(sum(source.waiting for source in state.sources)))
        values.append(f"{max((source.lag for source in state.sources), default=0.0):.1f}")
        values.append(str(state.rows.get("grants", "-")))
    return " ".join(f"{value:>{width}}" for value, (_, width) in zip(values, _COLUMNS, strict=True))
