"""The chain from blocks of lines to changes: scan, join, then judge.  `run` and `replay` share it.

Pure: what the followed files or a replayed file gave comes in, changes and counts go out.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple, cast

from pbs_watch.grants.changes import Changes
from pbs_watch.grants.events import Event, NearMiss, Scanned
from pbs_watch.grants.joins import Joins
from pbs_watch.grants.judge import Judged, judge, refuse
from pbs_watch.grants.policy import Policy
from pbs_watch.grants.screens import NOTHING, Standing, Tell
from pbs_watch.log.cuts import Cuts
from pbs_watch.log.lines import Block
from pbs_watch.pattern.scan import Scanner

_NEAR_KEPT = 10
"""Near misses that are kept to be shown."""


@dataclass(slots=True)
class Counts:
    """What went through the chain so far.

    ``suspect``: logins and ends that stood where a piece of a cut line may stand.  ``cuts``:
    messages that were cut.  ``near``: messages that look like logins and fit no rule, the last of
    which are ``misses``, and when they were ``met``.  ``hits``: logins and ends by the format that
    they fit.  ``latest``: epoch seconds of the latest line.
    """

    lines: int = 0
    suspect: int = 0
    cuts: int = 0
    near: int = 0
    latest: float | None = None
    judged: Judged = field(default_factory=Judged)
    hits: Counter[str] = field(default_factory=Counter)
    misses: deque[NearMiss] = field(default_factory=lambda: deque(maxlen=_NEAR_KEPT))
    met: deque[float] = field(default_factory=lambda: deque(maxlen=_NEAR_KEPT))

    def forget_misses(self, before: float) -> None:
        """Show no near misses any more that were met before a time."""
        while self.met and self.met[0] < before:
            self.met.popleft()
            self.misses.popleft()

    def add(self, later: Counts) -> None:
        """Add the counts of what came next."""
        self.lines += later.lines
        self.suspect += later.suspect
        self.cuts += later.cuts
        self.near += later.near
        self.misses.extend(later.misses)
        self.met.extend(later.met)
        self.hits.update(later.hits)
        self.judged.add(later.judged)
        self._seen(later.latest)

    def _seen(self, latest: float | None) -> None:
        if latest is not None:
            self.latest = max(latest, self.latest or latest)

    def take(
        self,
        scanned: Scanned,
        judged: Judged,
        events: list[Event],
        suspects: list[Event],
        *,
        now: float | None,
    ) -> None:
        """Add what was scanned, joined and judged; ``now`` as for :meth:`Chain.take`."""
        self.lines += scanned.lines
        self.suspect += len(suspects)
        self.cuts += len(scanned.cuts)
        self.near += scanned.nears
        self.misses.extend(scanned.near)
        self.met.extend([now or 0.0] * len(scanned.near))
        self.hits.update(map(_FORMAT, events))
        self.judged.add(judged)
        self._seen(scanned.latest)


_FORMAT = attrgetter("format")


class Fed(NamedTuple):
    """What one feeding took in: as in :class:`Counts`."""

    lines: int
    cuts: int
    near: int
    latest: float | None


@dataclass(slots=True)
class Chain:
    """Scans and judges the blocks of one source after another.

    ``standing``: what is known beyond the lines.  ``horizon``: epoch seconds; what is over by then
    need not be collected.  ``joins``: the lines that wait for a second one, of the one log there is
    where callers do not say of which log.
    """

    scanner: Scanner
    policy: Policy
    standing: Standing = NOTHING
    horizon: float = 0.0
    counts: Counts = field(default_factory=Counts)
    joins: Joins = field(default_factory=Joins)

    def feed(
        self,
        blocks: Iterable[Block],
        source: int,
        cuts: Cuts,
        now: float,
        into: Changes,
        *,
        joins: Joins | None = None,
        tell: Tell | None = None,
    ) -> Fed:
        """Take whole lines of ``source`` (its id), as they came, to changes.

        ``now``: epoch seconds.  ``joins``: of this source.  ``tell`` is called with each event and
        what became of it.
        """
        lines = cuts_seen = near = 0
        latest: float | None = None
        joins = self.joins if joins is None else joins
        # Where among the blocks lines may be missing is not known.
        gapped = joins.lost(cuts.gaps, into)
        for block in blocks:
            if gapped:
                joins.clear(into)
            scanned = self.scanner.scan(
                block.data, block.start, block.end, cuts, now, base=block.base
            )
            self.take(scanned, now, into, (source, block.file), joins=joins, tell=tell)
            lines += scanned.lines
            cuts_seen += len(scanned.cuts)
            near += scanned.nears
            if scanned.latest is not None:
                latest = max(scanned.latest, latest or scanned.latest)
        if gapped:
            joins.clear(into)
        return Fed(lines, cuts_seen, near, latest)

    def take(
        self,
        scanned: Scanned,
        now: float | None,
        into: Changes,
        place: tuple[int, int] = (0, 0),
        *,
        joins: Joins | None = None,
        tell: Tell | None = None,
    ) -> None:
        """Take what the scanner found; ``now`` ``None``: judge each line as when it was new.

        ``place``: the source and the file of the lines.
        """
        joins = self.joins if joins is None else joins
        events, suspects = cast("list[Event]", scanned.events), scanned.suspects
        if self.scanner.joins:
            events, joined = joins.take(scanned.events, into, now or 0.0)
            suspects = joined + suspects
        if self.policy.fold:
            events, suspects = self.policy.folded(events), self.policy.folded(suspects)
        judged = judge(
            events,
            self.policy,
            now,
            into,
            standing=self.standing,
            place=place,
            tell=tell,
            horizon=self.horizon,
        )
        for event in suspects:
            refuse(into, event, "suspect", place, now)
            if tell is not None:
                tell(event, "suspect")
        self.counts.take(scanned, judged, events, suspects, now=now)
