"""Reading all sources of the daemon, slice by slice, through the chain into the pending changes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from time import monotonic, time

from pbs_watch.chain import Chain
from pbs_watch.config import Config
from pbs_watch.drain import Pace, Rate, Round
from pbs_watch.errors import MapError
from pbs_watch.grants.events import Half, JoinKey
from pbs_watch.grants.joins import Joins
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.rows import source_id
from pbs_watch.grants.store import Map
from pbs_watch.log.cuts import Cuts
from pbs_watch.log.follow import Source
from pbs_watch.log.journal import PREFIX, Journal
from pbs_watch.log.lines import Block
from pbs_watch.log.places import DateOf
from pbs_watch.log.position import SourceState
from pbs_watch.log.stream import StandardInput
from pbs_watch.notices import Notices
from pbs_watch.trail import Trail

log = logging.getLogger("pbs_watch")

_AHEAD = 300.0
"""Seconds by which a stamp may lie in the future (design.md, Time)."""

SLICE = 128 << 10
"""Bytes read at once: some milliseconds, by which another lookup may be delayed."""


@dataclass(slots=True)
class Followed:
    """A source, its cut state, what waits in it, and what of it is already to be saved.

    ``joins``: its lines that wait for a second one; these are saved with the changes they made.
    ``lines``, ``bytes``: read since the start, and ``rate`` of these bytes; ``latest``: epoch
    seconds of the latest line.
    """

    source: Source | StandardInput | Journal
    cuts: Cuts
    joins: Joins
    waiting: int = 0
    saved: object = None
    id: int = 0
    lines: int = 0
    bytes: int = 0
    rate: Rate = field(default_factory=Rate)
    latest: float | None = None

    def start(
        self,
        state: SourceState | None,
        kept: Mapping[JoinKey, Half],
        since: float,
        date_of: DateOf,
    ) -> None:
        """Find the place to read on from: where ``state`` ends, or ``since`` (epoch seconds).

        ``kept``: what waited to be joined where ``state`` ends.
        """
        if state is not None:
            try:
                self.cuts.load(state.cuts)
            except (ValueError, KeyError, TypeError):
                self.cuts.gap()
            self.joins.load(kept)
        source = self.source
        if isinstance(source, Source):
            source.start(state.positions if state is not None else (), since, date_of)
        elif isinstance(source, Journal):
            source.start(state.cursor if state is not None else "", since)

    def state(self) -> SourceState | None:
        """What to save of this source; ``None`` where nothing has changed."""
        source = self.source
        positions = source.positions if isinstance(source, Source) else ()
        cursor = source.cursor if isinstance(source, Journal) else ""
        mark = (positions, cursor, self.cuts.version)
        if mark == self.saved or not (positions or cursor):
            return None
        self.saved = mark
        return SourceState(positions, self.cuts.dump(), cursor)


class Reading:
    """The sources of the daemon, and how far behind they are."""

    def __init__(
        self,
        config: Config,
        chain: Chain,
        pending: Pending,
        *,
        grants: Map,
        notices: Notices,
        trail: Trail,
    ) -> None:
        self._config = config
        self._chain = chain
        self._pending = pending
        self._map = grants
        self._notices = notices
        self._trail = trail
        self._followed = [self._follow(name, config) for name in dict.fromkeys(config.log)]
        self._pace = Pace()
        self.behind = False
        """Whether something waits to be read, as far as the last look told."""

    def _follow(self, name: str, config: Config) -> Followed:
        cuts, known = Cuts(config.cuts), source_id(name)
        notice = partial(self._notices.told, f"log {name}")
        if name == "-":
            # What comes while nobody reads is lost: nothing of it waits for the next start.
            return Followed(StandardInput(cuts.gap, notice), cuts, Joins(), id=known)
        joins = Joins(known)
        if name.startswith(PREFIX):
            journal = Journal(name, config.journal_trust, cuts.gap, notice)
            return Followed(journal, cuts, joins, id=known)
        return Followed(Source(name, cuts.gap, notice), cuts, joins, id=known)

    def start(self, saved: Mapping[str, SourceState]) -> None:
        """Find the place in each source where reading goes on; raises :class:`MapError`."""
        for followed in self._followed:
            self._start(followed, saved)

    def _start(self, followed: Followed, saved: Mapping[str, SourceState]) -> None:
        now = time()
        scanner = self._chain.scanner
        state, kept = saved.get(followed.source.name), self._waiting(followed.id)
        if state is None:
            # Of a place that nobody knows any more.
            making = self._pending.making.joins
            making.update(dict.fromkeys((followed.id, key) for key in kept))
        followed.start(
            state,
            kept,
            now - self._config.longest_window,
            lambda data: scanner.date_of(data, 0, len(data), now),
        )

    def _waiting(self, source: int) -> dict[JoinKey, Half]:
        """The lines of a source that wait for a second one, as far as they are known."""
        kept = self._map.joins(source)
        for changes in self._pending.changes():
            for (where, key), half in changes.joins.items():
                if where == source and half is None:
                    kept.pop(key, None)
                elif where == source and half is not None:
                    kept[key] = half[1]
        return kept

    def change(self, config: Config) -> None:
        """Follow what other settings name, each from where it was left.

        Raises :class:`SourceError` or :class:`MapError`: then all is as before.
        """
        saved = self._map.sources()
        again = config.journal_trust != self._config.journal_trust
        kept = {
            one.source.name: one
            for one in self._followed
            if not (again and isinstance(one.source, Journal))
        }
        names = dict.fromkeys(config.log)
        now = {name: kept.get(_known_as(name)) or self._follow(name, config) for name in names}
        for pending in self._pending.changes():
            saved |= pending.sources
        staying = {id(one) for one in now.values()}
        for one in self._followed:
            one.cuts.judge_as(config.cuts)
            if id(one) not in staying:
                if (state := one.state()) is not None:
                    name = one.source.name
                    saved[name] = self._pending.making.sources[name] = state
                one.source.close()
        known = {id(one) for one in self._followed}
        self._config, self._followed = config, list(now.values())
        for one in self._followed:
            if id(one) not in known:
                self._start(one, saved)

    @property
    def has_pipes(self) -> bool:
        """Whether something else than files is read."""
        return any(not isinstance(one.source, Source) for one in self._followed)

    def close(self) -> None:
        """Let go of all sources."""
        for followed in self._followed:
            followed.source.close()

    @property
    def followed(self) -> tuple[Followed, ...]:
        """The sources, to be looked at."""
        return tuple(self._followed)

    @property
    def files(self) -> list[str]:
        """The paths of the followed files."""
        sources = [followed.source for followed in self._followed]
        return [source.name for source in sources if isinstance(source, Source)]

    @property
    def descriptors(self) -> set[int]:
        """What becomes readable when a pipe has something to read."""
        found = {
            followed.source.descriptor
            for followed in self._followed
            if not isinstance(followed.source, Source)
        }
        return {descriptor for descriptor in found if descriptor is not None}

    @property
    def waiting(self) -> dict[str, int]:
        """Bytes that wait to be read, of the sources that have any."""
        return {
            followed.source.name: followed.waiting
            for followed in self._followed
            if followed.waiting
        }

    @property
    def blind(self) -> bool:
        """Whether some log cannot be read, so that "not found" cannot be said."""
        return any(followed.source.blind for followed in self._followed)

    @property
    def unsure(self) -> bool:
        """Whether "not found" cannot be said, though all may have been read that a look found."""
        sources = [followed.source for followed in self._followed]
        return self.blind or any(isinstance(one, Source) and one.unsure for one in sources)

    @property
    def far_behind(self) -> bool:
        """Whether more waits than can be read while a question waits."""
        return self.behind and self._pace.too_long(list(self.waiting.values()))

    def look(self, now: float) -> bool:
        """See what the sources have gained; ``now``: monotonic seconds.  Whether they have any."""
        self.behind = False
        for followed in self._followed:
            followed.waiting = followed.source.look(now)
            self.behind = self.behind or followed.waiting > 0
        return self.behind

    def read(self, now: float, current: Round | None) -> None:
        """Read a slice of each source that has any, and tell the round of it."""
        for followed in self._followed:
            if followed.waiting:
                self._read_slice(followed, now, current)
        self.behind = any(followed.waiting for followed in self._followed)

    def _read_slice(self, followed: Followed, now: float, current: Round | None) -> None:
        source = followed.source
        started, restarts = monotonic(), source.restarts
        blocks, size = source.read(SLICE)
        if blocks:
            self._feed(followed, blocks)
        followed.bytes += size
        followed.rate.add(size, started)
        self._pace.measured(size, monotonic() - started)
        if source.restarts != restarts:
            followed.waiting = source.look(now)
            if current is not None:
                current.again(source.name, followed.waiting)
            return
        # Nothing to read though something waits: the rest of a line has not been written yet.
        followed.waiting = max(followed.waiting - size, 0) if size else 0
        if current is not None:
            current.read(source.name, size)

    def _feed(self, followed: Followed, blocks: list[Block]) -> None:
        self.obey()
        making = self._pending.making
        making.names[followed.id] = followed.source.name
        policy = self._chain.policy
        tell = None
        if self._trail.written or policy.alarms:
            tell = partial(self._trail.judged, followed.source.name, policy)
        now = time()
        fed = self._chain.feed(
            blocks, followed.id, followed.cuts, now, making, joins=followed.joins, tell=tell
        )
        followed.lines += fed.lines
        # A line that is stamped far ahead tells nothing of how far the log has been read.
        if fed.latest is not None and fed.latest <= now + _AHEAD:
            followed.latest = max(fed.latest, followed.latest or fed.latest)
        if fed.cuts:
            self._notices.count(
                "cuts",
                fed.cuts,
                "cut lines in the mail log: somebody may be trying to forge logins; "
                "what follows a cut grants nothing; see README, Forged lines",
            )
        if fed.near:
            self._notices.count(
                "near",
                fed.near,
                "lines look like a login and fit no pattern: they grant nothing; "
                "pbs-watch status shows it, pbs-watch match tells why",
            )

    def obey(self) -> None:
        """Take in what the operator has ordered meanwhile."""
        try:
            orders = self._map.obey()
        except MapError:
            return  # lookups report it, and a commit obeys all orders there are
        if orders is not self._pending.orders:
            self._pending.obey(orders)

    def save(self) -> None:
        """Add the places of all sources to the batch in the making, which holds their events."""
        for followed in self._followed:
            state = followed.state()
            if state is not None:
                self._pending.making.sources[followed.source.name] = state


def _known_as(name: str) -> str:
    """The name of the source that a setting names."""
    return name if name == "-" or name.startswith(PREFIX) else Source.known_as(name)
