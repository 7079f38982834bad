"""Results as a table for people, as reStructuredText and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from benchmarks.machine import Machine
from benchmarks.result import OURS, Judged, Row, Series

if TYPE_CHECKING:
    from rich.table import Table

HEADINGS = ("what", "pbs-watch", "others", "target", "reached", "")

_COLOURS = {"pass": "green", "stretch": "bold green", "fail": "bold red"}


def number(value: float) -> str:
    """A number with three significant digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def _shown(series: Series, unit: str = "") -> str:
    """A median with its spread."""
    spread = f" ±{50 * series.spread:.0f} %" if len(series.runs) > 1 else ""
    return f"{number(series.median)}{' ' + unit if unit else ''}{spread}"


def _target(judged: Judged) -> str:
    target = judged.target
    bound = "≥" if target.least else "≤"
    if target.against is None:
        return f"{bound} {number(target.limit)}"
    return f"{bound} {number(target.limit)} x {target.against}"


def cells(row: Row) -> list[tuple[str, ...]]:
    """The lines of the table that a row makes: one for each target, one at least."""
    others = ", ".join(
        f"{who} {_shown(series)}" for who, series in row.series.items() if who != OURS
    )
    first = (row.what, _shown(row.series[OURS], row.unit), others)
    ratios = [
        (
            _target(judged),
            number(judged.value) + (" x" if judged.target.against else ""),
            judged.verdict,
        )
        for judged in row.judged()
    ]
    if not ratios:
        return [(*first, "", "", "")]
    return [(*first, *ratios[0]), *(("", "", "", *ratio) for ratio in ratios[1:])]


def table(rows: Sequence[Row]) -> Table:
    """The table for a terminal."""
    from rich.table import Table  # noqa: PLC0415 - for terminals only

    drawn = Table()
    for heading in HEADINGS:
        drawn.add_column(heading)
    for row in rows:
        for *texts, verdict in cells(row):
            colour = _COLOURS.get(verdict, "default")
            drawn.add_row(*texts, f"[{colour}]{verdict}[/]" if verdict else "")
    return drawn


def rst(rows: Sequence[Row], machine: Machine) -> str:
    """The table for docs/performance.rst, with the machine it was measured on."""
    lines = ["Measured on:", "", *(f"* {line}" for line in machine.lines()), ""]
    lines += [".. list-table::", "   :header-rows: 1", ""]
    for texts in [HEADINGS, *(line for row in rows for line in cells(row))]:
        lines += [f"   {'*' if i == 0 else ' '} - {text}".rstrip() for i, text in enumerate(texts)]
    return "\n".join(lines) + "\n"


def as_json(rows: Sequence[Row], machine: Machine, scale: str) -> str:
    """All runs of all rows, with what became of the targets."""
    return json.dumps(
        {
            "scale": scale,
            "machine": asdict(machine),
            "rows": [
                {
                    "key": row.key,
                    "what": row.what,
                    "unit": row.unit,
                    "series": {
                        who: {
                            "median": series.median,
                            "spread": series.spread,
                            "runs": series.runs,
                        }
                        for who, series in row.series.items()
                    },
                    "targets": [
                        {
                            "limit": judged.target.limit,
                            "against": judged.target.against,
                            "at_least": judged.target.least,
                            "reached": judged.value,
                            "verdict": judged.verdict,
                        }
                        for judged in row.judged()
                    ],
                }
                for row in rows
            ],
        },
        indent=1,
    )
