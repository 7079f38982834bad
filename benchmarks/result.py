"""What was measured, and whether it reaches its targets.  Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

OURS = "pbs-watch"


@dataclass(frozen=True, slots=True)
class Series:
    """The same thing measured several times."""

    runs: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the runs."""
        return statistics.median(self.runs)

    @property
    def spread(self) -> float:
        """The distance of the slowest from the fastest run, as a share of the median."""
        return (max(self.runs) - min(self.runs)) / self.median if self.median else 0.0


@dataclass(frozen=True, slots=True)
class Target:
    """What pbs-watch's median is to be, against another's median or by itself.

    ``least``: at least ``limit`` instead of at most.  ``stretch`` would be better still.
    """

    limit: float
    against: str | None = None
    least: bool = False
    stretch: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was measured, of pbs-watch and of the others.  ``series`` begins with ours."""

    key: str
    what: str
    unit: str
    series: dict[str, Series]
    targets: tuple[Target, ...] = field(default=())

    @property
    def ours(self) -> float:
        """Our median."""
        return self.series[OURS].median

    def judged(self) -> Iterator[Judged]:
        """How it stands with each target."""
        for target in self.targets:
            value = self.ours
            if target.against is not None:
                other = self.series[target.against].median
                value = value / other if other else float("inf")
            yield Judged(target, value)


@dataclass(frozen=True, slots=True)
class Judged:
    """A target and what was reached: a ratio, or the value itself."""

    target: Target
    value: float

    def _reaches(self, limit: float) -> bool:
        return self.value >= limit if self.target.least else self.value <= limit

    @property
    def passed(self) -> bool:
        """Whether the target is reached."""
        return self._reaches(self.target.limit)

    @property
    def verdict(self) -> str:
        """``pass``, ``fail`` or, where there is a stretch goal and it is reached, ``stretch``."""
        stretch = self.target.stretch
        if stretch is not None and self._reaches(stretch):
            return "stretch"
        return "pass" if self.passed else "fail"


def series(runs: Sequence[float]) -> Series:
    """The runs of one contender."""
    return Series(tuple(runs))
