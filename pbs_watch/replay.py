"""Replaying log files through the chain: the same rules, with the clock of the log.

Each line is judged as when it was new.  The clock at the end, ``at``, decides what is still
granted then; lines after it have no effect.  Without a map of its own a throw-away one is used,
so that memory stays flat however long the log is.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter

from pbs_watch.chain import Chain, Counts
from pbs_watch.grants.changes import Changes
from pbs_watch.grants.environment import Mode
from pbs_watch.grants.events import NEAR_MISSES, Scanned
from pbs_watch.grants.joins import Joins
from pbs_watch.grants.owner import Owner
from pbs_watch.grants.rows import source_id
from pbs_watch.grants.standing import Connections, Known
from pbs_watch.grants.store import Map
from pbs_watch.log.archive import chunks, is_compressed, number_of, opened, size_of
from pbs_watch.log.cuts import Cuts
from pbs_watch.log.lines import LINE_LIMIT, Block, Taken, take
from pbs_watch.log.segments import boundaries, pieces
from pbs_watch.parallel import scans
from pbs_watch.pattern.scan import Scanner

_BATCH = 30_000
"""Rows of the map that are collected before they are written."""

_LARGE = 64 << 20
"""Bytes of a file that are worth more than one process."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay found; ``at``: epoch seconds of the clock at the end, ``seconds`` it took."""

    counts: Counts
    bytes: int
    at: float
    seconds: float


@contextmanager
def opened_map(path: Path | None) -> Iterator[Map]:
    """The map at ``path``, made if missing, or a throw-away one.

    Raises :class:`MapError`, also where a running daemon has the map: its settings would not hold.
    """
    with ExitStack() as closing:
        mode: Mode = "scratch"
        if path is None:
            scratch = tempfile.TemporaryDirectory(prefix="pbs-watch-replay-")
            path = Path(closing.enter_context(scratch))
        else:
            closing.callback(Owner(path).release)
            mode = "daemon"
        grants = Map(path, mode)
        closing.callback(grants.close)
        yield grants


def replay(
    files: Sequence[str],
    chain: Chain,
    cuts: Cuts,
    grants: Map,
    *,
    now: float,
    until: float | None,
    processes: int = 1,
    witness: Connections | None = None,
    progress: Callable[[str, int], None] = lambda _path, _done: None,
) -> Replayed:
    """Replay ``files`` in the order given into ``grants``.

    ``now``: epoch seconds of the present, ``until``: of the last line that has an effect.
    ``witness``: who knows the connections, for a policy that asks; ``None``: all are believed.
    ``processes``: how many may work on a large file.  ``progress`` gets each file's name and how
    many of its bytes on disk have been read.  Raises :class:`SourceError` and :class:`MapError`.
    """
    started = perf_counter()
    # The caller's counts, and a standing of our own; the files are one log.
    chain = replace(chain, standing=Known(grants, lambda: [going.changes], witness), joins=Joins())
    going = _Replay(chain, cuts, grants, now if until is None else until, until)
    for path in files:
        going.begin(path)
        if processes > 1 and (size_of(path) or 0) >= _LARGE and not is_compressed(path):
            going.in_parallel(path, processes, partial(progress, path))
        else:
            going.in_order(chunks(path, partial(progress, path)))
    grants.commit(going.changes)
    latest = chain.counts.latest
    at = until if until is not None else latest if latest is not None else now
    return Replayed(chain.counts, going.size, at, perf_counter() - started)


@dataclass(slots=True)
class _Replay:
    """A replay under way; ``now`` says the year of stamps that carry none."""

    chain: Chain
    cuts: Cuts
    grants: Map
    now: float
    until: float | None
    size: int = 0
    changes: Changes = field(default_factory=Changes)
    _place: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        self.changes.orders = self.grants.obey().version

    def begin(self, path: str) -> None:
        """What comes next stands in ``path``."""
        name = path if path == "-" else str(Path(path).absolute())
        self._place = (source_id(name), number_of(path))
        self.changes.names[self._place[0]] = name

    def in_order(self, pieces: Iterable[bytes], at: int = 0) -> None:
        """Take the lines in ``pieces``, which end with half a line or none, through the chain.

        ``at``: where the first piece stands in its file, in bytes.
        """
        for block in _blocks(pieces, self.cuts, at):
            data, start, end = block.data, block.start, block.end
            self.size += end - start
            self._take(
                self.chain.scanner.scan(data, start, end, self.cuts, self.now, base=block.base)
            )

    def in_parallel(self, path: str, processes: int, progress: Callable[[int], None]) -> None:
        """Take the lines of a large plain file through the chain with several processes."""
        with opened(path) as descriptor:
            size = os.fstat(descriptor).st_size
            bounds = boundaries(descriptor, size)

            def scan(segment: int) -> Scanned | None:
                """In another process: a segment as if nothing before it had been cut."""
                begin, end = bounds[segment : segment + 2]
                parts = pieces(descriptor, begin, end)
                return _scan(parts, self.chain.scanner, self.now, begin)

            with scans(len(bounds) - 1, scan, processes) as found:
                for segment, scanned in enumerate(found):
                    begin, end = bounds[segment : segment + 2]
                    if scanned is None or self.cuts.active or self.cuts.gapped:
                        self.in_order(pieces(descriptor, begin, end), begin)
                    else:
                        self.size += end - begin
                        self._take(scanned)
                    progress(end)
            if bounds[-1] < size:
                self.cuts.gap()

    def _take(self, scanned: Scanned) -> None:
        """Judge what was found, each line as when it was new; those after ``until`` do nothing."""
        self.chain.joins.lost(self.cuts.gaps)
        until = self.until
        if until is not None:
            events = [one for one in scanned.events if one.time is None or one.time <= until]
            scanned = scanned._replace(events=events)
        self.chain.take(scanned, None, self.changes, self._place)
        if self.changes.rows >= _BATCH:
            self.grants.commit(self.changes)
            self.changes = Changes(self.grants.orders.version)


def _scan(pieces: Iterable[bytes], scanner: Scanner, now: float, at: int) -> Scanned | None:
    """All that is found in ``pieces``, ``None`` where some line was cut."""
    cuts = Cuts()
    found = Scanned(0, [], [], [], None)
    for block in _blocks(pieces, cuts, at):
        more = scanner.scan(block.data, block.start, block.end, cuts, now, base=block.base)
        if cuts.version:
            return None
        found.events.extend(more.events)
        latest = max((t for t in (found.latest, more.latest) if t is not None), default=None)
        found = found._replace(
            lines=found.lines + more.lines,
            latest=latest,
            near=[*found.near, *more.near][:NEAR_MISSES],
            nears=found.nears + more.nears,
        )
    return None if cuts.version else found


def _blocks(pieces: Iterable[bytes], cuts: Cuts, at: int) -> Iterator[Block]:
    """The whole lines in ``pieces`` of a file in blocks; half a line at the end is a gap.

    ``at``: where the first piece stands in the file.
    """
    rest = b""
    skipping = False
    for piece in pieces:
        begun = 0
        if rest:
            # Only the line that the last piece left unfinished is copied together.
            begun = piece.find(b"\n") + 1 or len(piece)
            base = at - len(rest)
            rest += piece[:begun]
            taken = take(rest, 0, skipping=False)
            yield from _taken_blocks(rest, taken, base)
            rest, skipping = rest[taken.rest :], taken.skipping
        if begun < len(piece):
            taken = take(piece, begun, skipping=skipping)
            yield from _taken_blocks(piece, taken, at)
            rest, skipping = piece[taken.rest :], taken.skipping
        at += len(piece)
    if rest or skipping:
        cuts.gap()


def _taken_blocks(data: bytes, taken: Taken, base: int) -> Iterator[Block]:
    if taken.end > taken.start:
        yield Block(data, taken.start, taken.end, base=base)
    if taken.shortened:
        line = data[taken.end : taken.end + LINE_LIMIT] + b"\n"
        yield Block(line, 0, len(line), base=base + taken.end)
