"""The page that ``status`` and ``top`` show on a terminal, made with rich.

What matters most stands at the top: ``top`` cuts the page where the screen ends.  It holds no more
than fits 80 columns; what is longer is folded by ``status`` and cut by ``top``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from pbs_watch.commands.display import (
    LOOKUPS,
    SELDOM,
    SHADOW,
    age,
    per_second,
    refused_of,
    settings_of,
    size,
    when,
)
from pbs_watch.commands.state import Step
from pbs_watch.durations import local

_SHORTEST = 12
"""Cells that a source's name has, however narrow the screen."""

_GAP = 2
"""Cells between two columns."""

_ALARM = "bold red"


class Page:
    """The state as a renderable, for any size of a terminal.

    ``live``: with rates, cut to the screen; otherwise whole.  ``notice``: said under the heading.
    """

    def __init__(self, made: Step, *, live: bool = False, notice: str = "") -> None:
        self._made = made
        self._live = live
        self._notice = notice

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        most = max(console.height // 5, 1) if self._live else None
        yield from self._heading()
        yield Text()
        yield self._sources(options.max_width, most)
        yield self._counts()
        yield from self._near_misses()

    def _line(self, *parts: str | tuple[str, str]) -> Text:
        """A line, which gives way first where it stands in a table."""
        text = Text.assemble(*parts)
        if self._live:
            text.no_wrap, text.overflow = True, "crop"
        return text

    def _heading(self) -> Iterator[Text]:
        state = self._made.state
        yield self._line(
            (f"pbs-watch {state.version}", "bold"),
            f"  pid {state.pid}  running since {local(state.started)}",
            f" ({age(state.uptime)})",
        )
        yield self._line("  ".join(f"{name} {text}" for name, text in settings_of(state).items()))
        rows = "  ".join(f"{name} {count:,}" for name, count in state.rows.items())
        yield self._line((rows, "bold"), f"{'  ' if rows else ''}map {state.path}")
        if self._notice:
            yield self._line((self._notice, _ALARM))
        if state.map_error:
            yield self._line((state.map_error, _ALARM))
        if state.shadow:
            yield self._line((f"SHADOW {SHADOW}", _ALARM))

    def _sources(self, width: int, most: int | None) -> RenderableType:
        made, state = self._made, self._made.state
        titles = ("LINES/S" if self._live else "LINES", "BYTES/S", "WAITING", "LAG", "LATEST")
        # The worst first: those at the end may not be seen.
        sources = sorted(
            state.sources, key=lambda one: (one.readable, not one.searching, -one.waiting)
        )
        rows: list[tuple[str, ...]] = []
        for source in sources[:most]:
            lines = per_second(made.of(source, "lines")) if self._live else f"{source.lines:,}"
            rate = made.of(source, "bytes") if self._live else source.rate
            speed = "-" if rate is None else size(rate)
            latest = source.trouble or when(source.latest, state.now)
            rows.append((lines, speed, size(source.waiting), age(source.lag), latest))
        taken = sum(max(map(cell_len, column)) + _GAP for column in zip(titles, *rows, strict=True))
        table = _table()
        table.add_column("SOURCE", no_wrap=True, overflow="crop")
        for title in titles:
            justify: Literal["left", "right"] = "left" if title == "LATEST" else "right"
            table.add_column(title, justify=justify, no_wrap=True, overflow="crop")
        for source, (*numbers, latest) in zip(sources, rows, strict=False):
            name = Text(_tail(source.name, max(width - taken, _SHORTEST)))
            style = _ALARM if source.trouble else ""
            table.add_row(name, *numbers, Text(latest, style=style))
        if most is not None and len(sources) > most:
            table.add_row(f"and {len(sources) - most} more")
        return table

    def _counts(self) -> RenderableType:
        made, state = self._made, self._made.state
        table = _table()
        table.add_column("", no_wrap=True)
        table.add_column("TOTAL", justify="right", no_wrap=True)
        if self._live:
            table.add_column("/S", justify="right", no_wrap=True, width=7)
        table.add_column("", overflow="fold")

        def row(name: str, count: int, rate: float | None, text: str = "", style: str = "") -> None:
            rates = [per_second(rate)] if self._live else []
            table.add_row(Text(name), f"{count:,}", *rates, self._line(text), style=style)

        for answer, said in LOOKUPS.items():
            if answer in SELDOM and not state.lookups[answer]:
                continue
            row(f"lookups {said}", state.lookups[answer], made.lookups(answer))
        row("logins", state.logins, made.rate("logins"), _listed(state.formats))
        row("ends", state.ends, made.rate("ends"))
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in refused_of(state).items())
        row("refused", state.all_refused, made.rate("all_refused"), reasons)
        row("alarms", state.alarms, made.rate("alarms"), style=_ALARM if state.alarms else "")
        row("cuts", state.cuts, made.rate("cuts"), style=_ALARM if state.cuts else "")
        if state.shared:
            error = str(state.shared.get("error", ""))
            asked = int(state.shared.get("asked", 0))
            row("asked elsewhere", asked, None, error, style=_ALARM if error else "")
        row("warnings", state.warnings, made.rate("warnings"), state.last_warning)
        if state.dropped:
            row("log lines dropped", state.dropped, made.rate("dropped"), style=_ALARM)
        row("near misses", state.near, made.rate("near"))
        return table

    def _near_misses(self) -> Iterator[RenderableType]:
        state = self._made.state
        if not state.near_misses:
            return
        table = _table(header=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, overflow="crop", max_width=16)
        table.add_column("", overflow="fold")
        for miss in reversed(state.near_misses):
            table.add_row(when(miss.time, state.now), Text(miss.tag), self._line(miss.message))
        yield table


def _table(*, header: bool = True) -> Table:
    return Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=header)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


def _tail(name: str, width: int) -> str:
    """The end of a name, which tells more than its beginning."""
    if cell_len(name) <= width:
        return name
    while cell_len(name) > width - 3:
        name = name[1:]
    return "..." + name
