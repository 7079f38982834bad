"""The chain from blocks of lines to changes: scan, then judge.  `run` and `replay` share it.

Pure: what the followed files or a replayed file gave comes in, changes and counts go out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pbs_watch.grants.changes import Changes
from pbs_watch.grants.events import Event, Scanned
from pbs_watch.grants.judge import Judged, Policy, judge
from pbs_watch.log.cuts import Cuts
from pbs_watch.pattern.scan import Scanner


@dataclass(slots=True)
class Counts:
    """What went through the chain so far.

    ``suspect``: logins and ends that stood where a piece of a cut line may stand.  ``cuts``:
    messages that were cut.  ``latest``: epoch seconds of the latest line.
    """

    lines: int = 0
    suspect: int = 0
    cuts: int = 0
    latest: float | None = None
    judged: Judged = field(default_factory=Judged)

    def add(self, other: Counts) -> None:
        """Add what went through another chain."""
        self.lines += other.lines
        self.suspect += other.suspect
        self.cuts += other.cuts
        self.judged.add(other.judged)
        if other.latest is not None:
            self.latest = max(other.latest, self.latest or other.latest)


@dataclass(slots=True)
class Chain:
    """Scans and judges the blocks of one source after another."""

    scanner: Scanner
    policy: Policy
    counts: Counts = field(default_factory=Counts)

    def feed(
        self,
        block: tuple[bytes, int, int],
        cuts: Cuts,
        now: float,
        into: Changes,
        witness: Callable[[Event, str], None] | None = None,
    ) -> None:
        """Take the whole lines ``data[start:end]`` of ``block``, as they came, to changes.

        ``now``: epoch seconds.  ``witness`` is called with each event and what became of it.
        """
        data, start, end = block
        self.take(self.scanner.scan(data, start, end, cuts, now), now, into, witness)

    def take(
        self,
        scanned: Scanned,
        now: float | None,
        into: Changes,
        witness: Callable[[Event, str], None] | None = None,
    ) -> None:
        """Take what the scanner found; ``now`` ``None``: judge each line as when it was new."""
        judged = judge(scanned.events, self.policy, now, into, witness)
        if witness is not None:
            for event in scanned.suspects:
                witness(event, "suspect")
        self.counts.add(
            Counts(scanned.lines, len(scanned.suspects), len(scanned.cuts), scanned.latest, judged)
        )
