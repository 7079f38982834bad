"""Looking for places in compressed logs, a slice at a time.

All that comes before a place has to be decompressed to look at it, which takes seconds for a
gigabyte; lookups are answered in between.
"""

from __future__ import annotations

from collections.abc import Sequence

from pbs_watch.log.packed import PackedFile
from pbs_watch.log.places import Notice, close, siblings, unsaid
from pbs_watch.log.position import Position

_CLOCK_STEPS = 86400 * 10**9
"""Nanoseconds by which the clock may have been set back since a position was read: what was
written longer before it cannot hold it."""


class Search:
    """Looks for ``positions`` in the compressed files of the log at ``path``.

    Raises OSError where these cannot be listed.  ``found`` holds a file for each position that was
    found, standing there; several positions may be in one file, which then stands at the first.
    """

    def __init__(self, path: str, positions: Sequence[Position], notice: Notice) -> None:
        self._path = path
        self._notice = notice
        self.positions = tuple(positions)
        self._wanted = [position for position in positions if position.anchor]
        self._candidates: list[PackedFile] = []
        self.found: dict[Position, PackedFile] = {}
        self._next_position()

    @property
    def over(self) -> bool:
        """Whether there is nothing left to look at."""
        return not self._wanted

    @property
    def left(self) -> int:
        """About how many bytes are left to look at, if it comes to the worst."""
        return 1 + sum(file.behind(file.see()) for file in self._candidates)

    def step(self, limit: int) -> int:
        """Look at up to about ``limit`` more bytes; returns about how many.  Raises OSError."""
        if not self._candidates:
            self._next_position()  # they could not be listed the last time
        if self.over:
            return 0
        file, wanted = self._candidates[0], self._wanted[0]
        known = file.unpacked
        held = file.seek(wanted, limit)
        size = file.unpacked - known
        if file.broken and not held:
            self._notice(file.broken)
        if held:
            self._found(wanted, file)
            self._next_position(done=True)
        elif held is False:
            self._candidates.pop(0).close()
            if not self._candidates:
                self._next_position(done=True)
        return max(size, 1)  # 0 would say that nothing is left

    def close(self) -> None:
        """Close all files, also those that were found."""
        close([*self._candidates, *self.found.values()])

    def _found(self, wanted: Position, file: PackedFile) -> None:
        self._candidates.remove(file)
        for earlier in self.found.values():
            if earlier.see().names(file.position):
                file.close()
                file = earlier
        self.found[wanted] = file

    def _next_position(self, *, done: bool = False) -> None:
        """Open the files that may hold the next position; skip those that none can hold."""
        if done:
            self._wanted.pop(0)
        close(self._candidates)
        self._candidates = []
        while self._wanted and not self._candidates:
            self._candidates = self._may_hold(self._wanted[0])
            if not self._candidates:
                self._wanted.pop(0)

    def _may_hold(self, position: Position) -> list[PackedFile]:
        """The one that was read to ``position`` when it was compressed already, then the newest."""
        files = siblings(self._path, unsaid)
        packed = [file for file in reversed(files) if isinstance(file, PackedFile)]
        earliest = position.modified - _CLOCK_STEPS
        candidates = [file for file in packed if file.see().modified >= earliest]
        close(file for file in files if file not in candidates)
        return sorted(candidates, key=lambda file: not file.see().names(position))
