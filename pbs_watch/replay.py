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
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter

from pbs_watch.chain import Chain, Counts
from pbs_watch.grants.changes import Changes
from pbs_watch.grants.events import Scanned
from pbs_watch.grants.owner import Owner
from pbs_watch.grants.store import Map, Mode
from pbs_watch.log.archive import chunks, is_compressed, opened, size_of
from pbs_watch.log.cuts import Cuts
from pbs_watch.log.lines import LINE_LIMIT, Taken, take
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
    progress: Callable[[str, int], None] = lambda _path, _done: None,
) -> Replayed:
    """Replay ``files`` in the order given into ``grants``.

    ``now``: epoch seconds of the present, ``until``: of the last line that has an effect.
    ``processes``: how many may work on a large file.  ``progress`` gets each file's name and how
    many of its bytes on disk have been read.  Raises :class:`SourceError` and :class:`MapError`.
    """
    started = perf_counter()
    going = _Replay(chain, cuts, grants, now if until is None else until, until)
    for path in files:
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

    def in_order(self, pieces: Iterable[bytes]) -> None:
        """Take the lines in ``pieces``, which end with half a line or none, through the chain."""
        for data, start, end in _blocks(pieces, self.cuts):
            self.size += end - start
            self._take(self.chain.scanner.scan(data, start, end, self.cuts, self.now))

    def in_parallel(self, path: str, processes: int, progress: Callable[[int], None]) -> None:
        """Take the lines of a large plain file through the chain with several processes."""
        with opened(path) as descriptor:
            size = os.fstat(descriptor).st_size
            bounds = boundaries(descriptor, size)

            def scan(segment: int) -> Scanned | None:
                """In another process: a segment as if nothing before it had been cut."""
                begin, end = bounds[segment : segment + 2]
                return _scan(pieces(descriptor, begin, end), self.chain.scanner, self.now)

            with scans(len(bounds) - 1, scan, processes) as found:
                for segment, scanned in enumerate(found):
                    begin, end = bounds[segment : segment + 2]
                    if scanned is None or self.cuts.active or self.cuts.gapped:
                        self.in_order(pieces(descriptor, begin, end))
                    else:
                        self.size += end - begin
                        self._take(scanned)
                    progress(end)
            if bounds[-1] < size:
                self.cuts.gap()

    def _take(self, scanned: Scanned) -> None:
        """Judge what was found, each line as when it was new; those after ``until`` do nothing."""
        until = self.until
        if until is not None:
            events = [event for event in scanned.events if event.time <= until]
            scanned = scanned._replace(events=events)
        self.chain.take(scanned, None, self.changes)
        if self.changes.rows >= _BATCH:
            self.grants.commit(self.changes)
            self.changes = Changes()


def _scan(pieces: Iterable[bytes], scanner: Scanner, now: float) -> Scanned | None:
    """All that is found in ``pieces``, ``None`` where some line was cut."""
    cuts = Cuts()
    found = Scanned(0, [], [], [], None)
    for data, start, end in _blocks(pieces, cuts):
        more = scanner.scan(data, start, end, cuts, now)
        if cuts.version:
            return None
        found.events.extend(more.events)
        latest = max((t for t in (found.latest, more.latest) if t is not None), default=None)
        found = found._replace(lines=found.lines + more.lines, latest=latest)
    return None if cuts.version else found


def _blocks(pieces: Iterable[bytes], cuts: Cuts) -> Iterator[tuple[bytes, int, int]]:
    """The whole lines in ``pieces`` of a file in blocks; half a line at the end is a gap."""
    rest = b""
    skipping = False
    for piece in pieces:
        begun = 0
        if rest:
            # Only the line that the last piece left unfinished is copied together.
            begun = piece.find(b"\n") + 1 or len(piece)
            rest += piece[:begun]
            taken = take(rest, 0, skipping=False)
            yield from _taken_blocks(rest, taken)
            rest, skipping = rest[taken.rest :], taken.skipping
        if begun < len(piece):
            taken = take(piece, begun, skipping=skipping)
            yield from _taken_blocks(piece, taken)
            rest, skipping = piece[taken.rest :], taken.skipping
    if rest or skipping:
        cuts.gap()


def _taken_blocks(data: bytes, taken: Taken) -> Iterator[tuple[bytes, int, int]]:
    if taken.end > taken.start:
        yield data, taken.start, taken.end
    if taken.shortened:
        line = data[taken.end : taken.end + LINE_LIMIT] + b"\n"
        yield line, 0, len(line)
