"""How sharing grants goes, as it is told to people, metrics and the doctor.  Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """For metrics and ``status``: counts since the start, and the present.

    ``asked``: questions for the engine; ``found``: addresses that it knew; ``late``: questions
    without an answer in time; ``refused``: not asked, since it was unreachable or too many waited.
    ``opened``: how often it was found unreachable.  ``sent``: logins and orders told; ``learned``:
    orders of others; ``offered``: how often all was told anew.

    ``round_trip``: seconds of the last one.  ``telling``: the longest time of the last half minute
    from when a login was read to when the engine had it.  ``in_flight``: questions that wait;
    ``waiting``: rows of the outbox.  ``reachable``: whether the engine counts as such; ``error``:
    why not, or why it could not be told; empty: nothing is wrong.
    """

    engine: str = ""
    asked: int = 0
    found: int = 0
    late: int = 0
    refused: int = 0
    opened: int = 0
    sent: int = 0
    learned: int = 0
    offered: int = 0
    round_trip: float = 0.0
    telling: float = 0.0
    in_flight: int = 0
    waiting: int = 0
    reachable: bool = True
    error: str = ""
