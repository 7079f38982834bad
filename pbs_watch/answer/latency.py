"""How long lookups took, in buckets.  Pure.

Lookups are only counted one by one, 100 to 200 ns each; the clock is looked at once a turn of the
loop, for all that were answered in it.  Where nobody collects metrics, nothing of this happens.
"""

from __future__ import annotations

from bisect import bisect_left

BOUNDS = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
)
"""Seconds up to which a lookup belongs to a bucket; what took longer belongs to one more."""


class Latency:
    """``counts`` of lookups by bucket, the longest last, and their ``seconds`` in all."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        """So many lookups took so long each, from their arrival to their answers."""
        self.counts[bisect_left(BOUNDS, seconds)] += times
        self.seconds += seconds * times
