"""Replaying log files through the chain: the same rules, with the clock of the log.

Each line is judged as when it was new.  The clock at the end, ``at``, decides what is still
granted then; lines after it have no effect.  Without a map of its own a throw-away one is used,
so that memory stays flat however long the log is; what is over by the end is not put into it.
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
from typing import cast

from pbs_watch.chain import Chain, Counts
from pbs_watch.grants.changes import Changes, Packed
from pbs_watch.grants.environment import Mode
from pbs_watch.grants.events import Scanned
from pbs_watch.grants.joins import Joins
from pbs_watch.grants.owner import Owner
from pbs_watch.grants.rows import source_id
from pbs_watch.grants.standing import Connections, Known
from pbs_watch.grants.store import Map
from pbs_watch.log.archive import chunks, is_compressed, last_line, number_of, opened, size_of
from pbs_watch.log.cuts import Cuts
from pbs_watch.log.lines import LINE_LIMIT, Block, Taken, take
from pbs_watch.log.segments import boundaries, pieces
from pbs_watch.parallel import Tally, working
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
    alone = not chain.policy.remembers and not chain.scanner.years_follow
    horizon = 0.0
    if alone and not grants.retention:
        # Nobody will ever see what is over by then.
        horizon = _end_at_least(files, chain.scanner, now) if until is None else until
    # The caller's counts, and a standing of our own; the files are one log.
    standing = Known(grants, lambda: [going.changes], witness)
    chain = replace(chain, standing=standing, horizon=horizon, joins=Joins())
    going = _Replay(chain, cuts, grants.commit, now if until is None else until, until)
    going.changes.orders = grants.obey().version
    alone = alone and not chain.scanner.joins
    for path in files:
        going.begin(path)
        parts = processes if alone and _is_large(path) else 1
        if parts > 1:
            _in_parts(going, path, parts, partial(progress, path))
        else:
            going.in_order(chunks(path, partial(progress, path)))
    grants.commit(going.changes)
    latest = chain.counts.latest
    at = until if until is not None else latest if latest is not None else now
    return Replayed(chain.counts, going.size, at, perf_counter() - started)


def _is_large(path: str) -> bool:
    """Whether a file is worth more than one process, and can be read in parts."""
    return (size_of(path) or 0) >= _LARGE and not is_compressed(path)


def _end_at_least(files: Sequence[str], scanner: Scanner, now: float) -> float:
    """A time (epoch seconds) that the latest line does not come before: that of a last line."""
    found = (scanner.date_of(tail, 0, len(tail), now) for tail in map(last_line, files))
    return max((time for time in found if time is not None), default=0.0)


@dataclass(slots=True)
class _Replay:
    """A replay under way; ``now`` says the year of stamps that carry none.

    ``store`` takes the changes whenever there are many.
    """

    chain: Chain
    cuts: Cuts
    store: Callable[[Changes], object]
    now: float
    until: float | None
    size: int = 0
    changes: Changes = field(default_factory=Changes)
    place: tuple[int, int] = (0, 0)

    def begin(self, path: str) -> None:
        """What comes next stands in ``path``."""
        name = path if path == "-" else str(Path(path).absolute())
        self.place = (source_id(name), number_of(path))
        self.changes.names[self.place[0]] = name

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

    def _take(self, scanned: Scanned) -> None:
        """Judge what was found, each line as when it was new; those after ``until`` do nothing."""
        self.chain.joins.lost(self.cuts.gaps)
        until = self.until
        if until is not None:
            events = [one for one in scanned.events if one.time is None or one.time <= until]
            scanned = scanned._replace(events=events)
        self.chain.take(scanned, None, self.changes, self.place)
        self.store_if_many()

    def store_if_many(self) -> None:
        """Let the changes go where they are to go, so that memory stays flat."""
        if self.changes.rows >= _BATCH:
            self.store(self.changes)
            self.changes = Changes(self.changes.orders)

    def apart(self, store: Callable[[Changes], object]) -> _Replay:
        """A replay of another part of the same file, as if nothing before it had been cut."""
        chain = replace(self.chain, counts=Counts())
        changes = Changes(self.changes.orders)
        return replace(
            self, chain=chain, cuts=self.cuts.clean(), store=store, size=0, changes=changes
        )


def _in_parts(going: _Replay, path: str, parts: int, progress: Callable[[int], None]) -> None:
    """Take the lines of a large plain file through the chain, by several processes at once.

    That gives the same as one process does, since judging a line depends on no other (``alone`` in
    :func:`replay`), but for lines that are cut: a part that begins while some tag is under doubt is
    done again in order.
    """
    with opened(path) as descriptor:
        size = os.fstat(descriptor).st_size
        bounds = boundaries(descriptor, size, parts)
        read = Tally(len(bounds) - 1)

        def lines(part: int) -> Iterator[bytes]:
            begin, end = bounds[part : part + 2]
            for data in pieces(descriptor, begin, end):
                read.add(part, len(data))
                yield data

        def work(part: int, put: Callable[[object], None]) -> None:
            """In a process of its own."""
            other = going.apart(lambda changes: put(changes.packed()))
            other.in_order(lines(part), bounds[part])
            put(other.changes.packed())
            put(_Rest(other.chain.counts, other.size, other.cuts.dump()))

        with working(range(1, len(bounds) - 1), work, lambda: progress(read.total)) as made:
            for part, begin in enumerate(bounds[:-1]):
                results = made(part) if part and going.cuts.settled else None
                if results is None:
                    read.reset(part)
                    going.in_order(_told(lines(part), lambda: progress(read.total)), begin)
                else:
                    _join(going, results)
        if bounds[-1] < size:
            going.cuts.gap()


@dataclass(frozen=True, slots=True)
class _Rest:
    """What a process tells of its part, after the changes."""

    counts: Counts
    size: int
    doubts: dict[str, object]


def _told(pieces: Iterator[bytes], tell: Callable[[], None]) -> Iterator[bytes]:
    for data in pieces:
        yield data
        tell()


def _join(going: _Replay, results: Iterator[object]) -> None:
    """Add what was made of the next part of the file."""
    for made in results:
        if isinstance(made, _Rest):
            going.chain.counts.add(made.counts)
            going.size += made.size
            going.cuts.load(made.doubts)
        else:
            going.changes.append_packed(cast("Packed", made))
            going.store_if_many()


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
