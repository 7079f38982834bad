"""Where reading of a log begins: at a start, and after a restart.

After a restart reading goes on in the files that were being read, and in those that came after
them.  On a first start the log is read as far back as the window reaches, its predecessors
included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pbs_watch.log.file import LogFile
from pbs_watch.log.packed import PackedFile
from pbs_watch.log.places import (
    DateOf,
    File,
    Notice,
    close,
    family,
    find,
    reaching,
    skip_to,
    unsaid,
)
from pbs_watch.log.position import Position
from pbs_watch.log.search import Search


@dataclass(frozen=True, slots=True)
class Begun:
    """``files``: to be read, the oldest first, each standing where it is to be read on.

    ``passed``: older ones.  ``gap``: whether lines may be missing before the first.
    ``truncated_at``: a position whose file was truncated; a copy of it is among the files.
    ``lost``: positions that are nowhere.
    """

    files: list[File]
    passed: list[File]
    gap: bool
    truncated_at: Position | None = None
    lost: frozenset[Position] = frozenset()


class Beginning:
    """Finds where reading of the log at ``path`` begins.

    ``positions``: as they were committed, empty on a first start, which reads back to ``since``
    (epoch seconds).  All methods raise OSError or :class:`pbs_watch.errors.SourceError` while the
    log cannot be observed; :meth:`begin` may be tried again then.
    """

    def __init__(
        self,
        path: str,
        positions: Sequence[Position],
        since: float,
        date_of: DateOf,
        notice: Notice,
    ) -> None:
        self.positions = tuple(positions)
        self._path = path
        self._since = since
        self._date_of = date_of
        self._notice = notice
        self._left_out = False
        self._wanted = [position for position in positions if position.anchor]
        """Without an anchor nothing had been read of a file: that tells nothing."""

    def begin(self) -> Begun | Search:
        """Where to begin; or what has to be searched for in compressed files before."""
        if not self._wanted:
            return self._read_back()
        search = Search(self._path, self._missing(), self._notice)
        return self.go_on(search) if search.over else search

    def go_on(self, search: Search) -> Begun | Search:
        """What :meth:`begin` said, when the search that it gave is over."""
        self._left_out = False
        begun = resume(self._path, self._wanted, search.found, self._leave_out)
        if begun.lost.difference(search.positions):
            # Compressed while others were looked for, or since.
            close([*begun.files, *begun.passed])
            return self.begin()
        if begun.lost.issuperset(self._wanted):
            return self._read_back_instead()
        return replace(begun, gap=begun.gap or self._left_out)

    def _leave_out(self, notice: str) -> None:
        self._notice(notice)
        self._left_out = True

    def _read_back(self) -> Begun:
        self._left_out = False
        begun = read_back(self._path, self._since, self._date_of, self._leave_out)
        return replace(begun, gap=begun.gap or self._left_out)

    def _missing(self) -> list[Position]:
        """The positions that are in no uncompressed file."""
        files = family(self._path, unsaid)
        found = [position for position in self._wanted if find(position, files) is None]
        close(files)
        return found

    def _read_back_instead(self) -> Begun:
        self._notice(
            f"{self._path}: the place where reading stopped was not found again; "
            "reading back as far as the window reaches"
        )
        return replace(self._read_back(), gap=True)


def resume(
    path: str,
    positions: Sequence[Position],
    packed: Mapping[Position, PackedFile],
    notice: Notice,
) -> Begun:
    """The files of ``positions`` and those that came after the newest of them.

    ``packed``: the compressed files in which some of them were found.  No file where none was
    found: all that is left is newer then.  Raises OSError.
    """
    files = _with(family(path, notice), packed.values())
    places = [packed.get(position) or find(position, files) for position in positions]
    lost = frozenset(position for position, file in zip(positions, places, strict=True) if not file)
    known = [file for file in places if file is not None]
    if not known:
        close(files)
        return Begun([], [], gap=True, lost=lost)
    newer = files[max(files.index(file) for file in known) :]
    # The last first: it may stand for a copy that has been read farther.
    for file, position in reversed(list(zip(places, positions, strict=True))):
        if isinstance(file, LogFile):
            file.go_to(position)
    return Begun(
        [file for file in files if file in known or file in newer],
        [file for file in files if file not in known and file not in newer],
        gap=bool(lost),
        truncated_at=_truncated(positions[-1], places[-1], newer),
        lost=lost,
    )


def _truncated(last: Position, found: File | None, newer: Sequence[File]) -> Position | None:
    """The last position, if it was found in a copy while its file itself is still there.

    That was truncated meanwhile.  Where the file system does not tell apart who had an inode, it
    may have been used again as well.
    """
    others = [file for file in newer if file is not found and isinstance(file, LogFile)]
    return last if any(file.position.same_file(last) for file in others) else None


def _with(files: list[File], found: Iterable[PackedFile]) -> list[File]:
    """``files`` (the oldest first) with those that are open already in their places."""
    joined = list(files)
    for file in dict.fromkeys(found):
        for index, other in enumerate(joined):
            if other.see().names(file.position):
                other.close()
                joined[index] = file
                break
        else:
            joined.insert(0, file)  # removed meanwhile, as the oldest are
    return joined


def read_back(path: str, since: float, date_of: DateOf, notice: Notice) -> Begun:
    """The file at the path, and older ones as long as they reach back to ``since``.

    ``since``: epoch seconds.  Raises OSError.
    """
    files = family(path, notice)
    first = reaching(files, since, date_of)
    keep = files[first:]
    gap = bool(keep) and (skip_to(keep[0], since, date_of) or first > 0)
    return Begun(keep, files[:first], gap)
