"""Results as a picture: how far each target is away.  Needs matplotlib (the extra ``bench``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks.result import Judged, Row

_COLOURS = {"pass": "#2a7f3e", "stretch": "#14532d", "fail": "#b3261e"}


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write an SVG.  Bars to the right of the line are better than the target asks for."""
    import matplotlib as mpl  # noqa: PLC0415 - only where a picture is drawn

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "pbs-watch"  # the same numbers give the same picture
    from matplotlib import pyplot as plt  # noqa: PLC0415

    bars = [(row, judged) for row in rows for judged in row.judged()]
    figure, axes = plt.subplots(figsize=(11, 1 + 0.32 * len(bars)), layout="tight")
    places = range(len(bars))
    axes.barh(
        places,
        [math.log2(_better(judged)) for _, judged in bars],
        color=[_COLOURS[judged.verdict] for _, judged in bars],
    )
    axes.set_yticks(places, [_label(row, judged) for row, judged in bars], fontsize=8)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=1)
    axes.xaxis.set_major_formatter(lambda power, _place: f"{2**power:g} x")
    axes.set_xlabel("how much better than the target asks for")
    figure.savefig(path, metadata={"Date": None})


def _better(judged: Judged) -> float:
    """How many times better than asked for, within what can be drawn."""
    limit, value = judged.target.limit, judged.value
    ratio = value / limit if judged.target.least else _quotient(limit, value)
    return min(max(ratio, 1 / 16), 16.0)


def _quotient(limit: float, value: float) -> float:
    if value == 0:
        return 16.0
    return limit / value


def _label(row: Row, judged: Judged) -> str:
    against = judged.target.against
    return f"{row.what} / {against}" if against else row.what
