"""Following logs: which file to read next, through rotation, truncation and restarts.

Polling is the truth; whatever wakes the poller early is a hint.  A renamed file is drained and
watched for :data:`GRACE` after its last growth while the new one is read; those that came and went
between two looks are read in between.  A file that shrank, or whose bytes before the position
changed, is read again from its beginning, after what a copy of it still holds.  Whenever bytes may
have been lost the source reports a gap, which puts every tag under doubt
(:mod:`pbs_watch.log.cuts`).

Where reading begins after a restart, or on a first start, is told by :mod:`pbs_watch.log.begin`.
Rotated files may have been compressed: what is looked for in them (:mod:`pbs_watch.log.search`) is
looked for a slice with each read, and nothing else is read meanwhile.

Followed files are read in :mod:`pbs_watch.log.file` and :mod:`pbs_watch.log.packed` only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pbs_watch.errors import SourceError
from pbs_watch.log.begin import Beginning, Begun
from pbs_watch.log.copies import Copies
from pbs_watch.log.file import LogFile, Truncated, glance, see
from pbs_watch.log.lines import Block
from pbs_watch.log.packed import PackedFile
from pbs_watch.log.places import DateOf, File, Notice, close, later_than, siblings, without
from pbs_watch.log.position import Position
from pbs_watch.log.rotation import Fate, Seen, fate
from pbs_watch.log.search import Search

GRACE = 60.0
"""Seconds without growth after which a renamed file is left: syslog daemons reopen their files
after logrotate has gone through all logs of one script."""

_LEFT = 128
"""Positions remembered of files that were left, or passed by: they are not read again."""


@dataclass(slots=True)
class _Retired:
    """A file that is drained before the current one.

    ``since``: monotonic time of its last growth.  ``size``: when it was looked at last, -1 before.
    ``gap``: whether lines may be missing before what is read of it next.
    """

    file: File
    since: float
    size: int = -1
    gap: bool = False


class Source:
    """One followed log.

    ``gap`` is called when lines may have been lost, in the order of the log.
    """

    def __init__(self, path: str, gap: Callable[[], None], notice: Notice) -> None:
        self.name = self.known_as(path)
        self._gap = gap
        self._notice = notice
        self._current: LogFile | None = None
        self._retired: list[_Retired] = []
        self._left: list[Position] = []
        self._beginning: Beginning | None = None
        """Until it is known where to begin."""
        self._truncated_at: Position | None = None
        """Where the current file had been read up to, while a copy of it is drained.

        It stands for the current file until then, so that a restart finds the gap again.
        """
        self._before: Position | None = None
        """Where the file before the current one ended, until something of this one was read.

        A file of which nothing was read could not be told from others after a restart.
        """
        self._search: Search | None = None
        """Looks for the places to begin, or for the copy of a truncated file."""
        self._seen: Seen | None = None
        self._quiet: tuple[int, int, int, int] | None = None
        self._trouble = ""
        self._unreadable = False
        """Whether the last read failed, though the log can be seen."""
        self.blind = False
        """Whether the log could not be observed when it was looked at last; absent is not."""
        self.restarts = 0
        """How often a file was read again from its beginning: what waits must be asked anew."""

    @staticmethod
    def known_as(path: str) -> str:
        """The ``name`` of the source of a path."""
        return os.path.abspath(path)

    @property
    def positions(self) -> tuple[Position, ...]:
        """How far the files of this source have been read, the oldest first."""
        if self._beginning is not None:
            return self._beginning.positions
        found = [retired.file.position for retired in self._retired]
        if self._before is not None:
            found.insert(0, self._before)
        if self._truncated_at is not None:
            found.append(self._truncated_at)
        elif self._current is not None:
            found.append(self._current.position)
        return tuple(found)

    @property
    def unsure(self) -> bool:
        """Whether compressed files are searched or read: nobody knows how much is in them."""
        return self._search is not None or any(
            isinstance(retired.file, PackedFile) and not retired.file.ended
            for retired in self._retired
        )

    def close(self) -> None:
        """Close all files."""
        close(retired.file for retired in self._retired)
        if self._current is not None:
            self._current.close()
        if self._search is not None:
            self._search.close()

    # Looking

    def look(self, now: float) -> int:
        """See what became of the log; returns how many bytes are waiting to be read.

        ``now``: monotonic seconds.
        """
        if self._quiet is not None and glance(self.name) == self._quiet:
            return 0
        waiting = self._look(now)
        seen = self._seen
        if waiting or self._retired or self.blind or seen is None or self._current is None:
            self._quiet = None
        else:
            # All has been read, and only one file matters: until it changes there is no more.
            self._quiet = (seen.device, seen.inode, seen.size, seen.modified)
        return waiting

    def _look(self, now: float) -> int:
        if self._search is not None:
            return self._search.left
        try:
            if self._beginning is not None:
                self._begin(self._beginning.begin())
            if self._search is None:
                self._seen = see(self.name)
                self._follow_name(now)
        except FileNotFoundError:
            self._seen = None  # gone again since it was seen; not blind
        except (OSError, SourceError) as error:
            self._seen = None  # what is open can still be read
            self._say_error(error)
        else:
            if self._current is not None and not self._unreadable:
                self._say_well()
        return self._search.left if self._search is not None else self._waiting(now)

    def _follow_name(self, now: float) -> None:
        if self._current is None:
            if self._seen is None:
                self._say_trouble("no such file yet, waiting for it", blind=False)
            else:
                self._current, missed = self._successor(self._last_retired())
                self._retired += [_Retired(file, now) for file in missed]
            return
        what = fate(self._current.position, self._seen)
        if what is Fate.SHRUNK:
            self._truncated(self._current)
        elif what is Fate.REPLACED:
            old = self._current
            successor, missed = self._successor(old)
            self._finish_copy()
            self._retired += [_Retired(old, now, old.position.offset)]
            self._retired += [_Retired(file, now) for file in missed]
            self._current = successor
            self._seen = successor.see()

    def _last_retired(self) -> LogFile | None:
        last = self._retired[-1].file if self._retired else None
        return last if isinstance(last, LogFile) else None

    def _successor(self, before: LogFile | None) -> tuple[LogFile, list[File]]:
        """The file that has the name now, and those that had it since ``before`` lost it."""
        successor = LogFile(self.name)
        for retired in self._retired:
            file = retired.file
            if isinstance(file, LogFile) and successor.see().names(file.position):
                # The name is back at a file that is still being drained.
                successor.close()
                self._retired.remove(retired)
                successor = file
                break
        missed: list[File] = []
        if before is not None:
            beside = self._beside()
            later = self._later_than(before, beside)
            close(file for file in beside if file not in later)
            known = [retired.file for retired in self._retired]
            missed = without(later, [*known, before, successor])
        for file in (successor, *missed):
            if isinstance(file, LogFile):
                self._go_to_where_it_was_left(file)
        return successor, missed

    def _beside(self) -> list[File]:
        """The rotated files; where some cannot be seen or read, lines may have been missed."""
        try:
            return siblings(self.name, self._leave_out)
        except OSError as error:
            self._leave_out(f"{self.name}: its directory cannot be listed ({error.strerror})")
            return []

    def _later_than(self, before: LogFile, beside: Sequence[File]) -> list[File]:
        try:
            return later_than(before, beside)
        except OSError as error:  # ESTALE: removed on the server of a network file system
            self._leave_out(f"{before.path}: cannot be read any more ({error.strerror})")
            return []

    def _leave_out(self, notice: str) -> None:
        self._notice(notice)
        self._gap()

    def _waiting(self, now: float) -> int:
        waiting = 0
        for retired in list(self._retired):
            waiting += self._waiting_in_retired(retired, now)
        if not waiting:
            self._finish_copy()
        if self._current is not None:
            try:
                # Without its name the file is still written to: descriptor, not path.
                if self._seen is None or not self._seen.names(self._current.position):
                    self._seen = self._current.see()
                waiting += self._current.behind(self._seen)
            except OSError as error:
                self._say_error(error)
        return waiting

    def _waiting_in_retired(self, retired: _Retired, now: float) -> int:
        file = retired.file
        try:
            seen = file.see()
        except OSError as error:  # ESTALE: removed on the server of a network file system
            self._leave_out(f"{file.path}: cannot be read any more ({error.strerror})")
            self._retired.remove(retired)
            file.close()
            return 0
        if seen.size != retired.size:
            retired.since, retired.size = now, seen.size
        behind = file.behind(seen)
        # A copy tells how far it was read as long as its file's truncation is still to be told.
        grace = 0.0 if isinstance(file, PackedFile) and self._truncated_at is None else GRACE
        over = (not behind or self._unreadable) and now - retired.since >= grace
        if over and (retired is self._retired[0] or not self._unread_current):
            if isinstance(file, PackedFile) and file.broken:
                self._notice(file.broken)
            if behind or file.unfinished(seen):
                self._gap()
            self._retired.remove(retired)
            self._leave(file)
        return behind

    def _leave(self, file: File) -> None:
        if isinstance(file, LogFile):
            self._remember(file.position)
        if self._unread_current and file.position.anchor:
            self._before = file.position
        file.close()

    def _remember(self, position: Position) -> None:
        if position.anchor:  # without one, any file under its inode would seem to be it
            self._left = [*self._left, position][-_LEFT:]

    @property
    def _unread_current(self) -> bool:
        """Whether nothing has been read of the current file: its place tells nothing yet."""
        return self._current is None or not self._current.position.anchor

    def _go_to_where_it_was_left(self, file: LogFile) -> None:
        """A file that was left may be written to, or get a name of the log, again."""
        if file.position.offset == 0:
            for position in self._left:
                if file.see().names(position) and file.holds(position):
                    file.go_to(position)

    def _pass_by(self, files: Sequence[File]) -> None:
        """Remember which files are not to be read, and how long they were."""
        for file in files:
            if isinstance(file, LogFile):
                # One that cannot be read is not read again either.
                with suppress(OSError):
                    file.go_to_end()
                    self._remember(file.position)
            file.close()

    # Reading

    def read(self, limit: int) -> tuple[list[Block], int]:
        """Some whole lines, and how many bytes further the source is now.

        Reads up to about ``limit`` bytes of the oldest file that has any; 0 bytes when nothing is
        waiting, or only part of a line.  ``limit`` is more than :data:`lines.LINE_LIMIT`.
        """
        try:
            return self._read_next(limit)
        except (OSError, SourceError) as error:
            self._say_error(error)
            return [], 0

    def _read_next(self, limit: int) -> tuple[list[Block], int]:
        if self._search is not None:
            return [], self._go_on_searching(self._search, limit)
        restarts = self.restarts
        found = self._read_oldest(limit)
        if not found[1] and self.restarts != restarts and self._search is None:
            # A file was truncated: its copy, or it itself from its beginning.
            found = self._read_oldest(limit)
        return found

    def _read_oldest(self, limit: int) -> tuple[list[Block], int]:
        for retired in self._retired:
            file = retired.file
            if retired.gap and file.behind(file.see()):
                retired.gap = False
                self._gap()
            if isinstance(file, PackedFile):
                blocks, size = self._read_packed(file, limit)
            else:
                restarts = self.restarts
                blocks, size = self._read(file, None, limit)
                if self.restarts != restarts:
                    return [], 0  # it was truncated: before anything newer, it is read again
            if size:
                return blocks, size
        if self._current is None:
            return [], 0
        self._finish_copy()
        blocks, size = self._read(self._current, self._seen, limit)
        if size:
            self._before = None
        return blocks, size

    def _read_packed(self, file: PackedFile, limit: int) -> tuple[list[Block], int]:
        before = file.position.offset
        blocks = file.read(file.see(), limit)
        return blocks, file.position.offset - before

    def _read(self, file: LogFile, seen: Seen | None, limit: int) -> tuple[list[Block], int]:
        before = file.position.offset
        try:
            seen = seen or file.see()
            if file.behind(seen):
                blocks = file.read(seen, limit)
                self._unreadable = False
                return blocks, file.position.offset - before
        except Truncated:
            self._unreadable = False
            self._truncated(file)
        except OSError as error:
            self._unreadable = True
            self._say_error(error)
        return [], 0

    # Truncated

    def _truncated(self, file: LogFile) -> None:
        self._notice(f"{self.name}: was truncated; reading it again from its beginning")
        position = file.position
        file.go_to(position.restarted())
        self.restarts += 1
        copies = self._copies().since(position)
        taken = [_Retired(copy, 0.0) for copy in copies]
        for index, retired in enumerate(self._retired):
            if retired.file is file:
                retired.gap = True
                self._retired[index:index] = taken
                return
        self._finish_copy()
        self._truncated_at = position
        self._retired += taken
        if not copies:
            self._search_copy(position)

    def _search_copy(self, position: Position) -> None:
        """Look whether the copy was compressed at once, with the next reads."""
        try:
            search = Search(self.name, [position], self._notice)
        except OSError as error:
            self._notice(f"{self.name}: a copy of it cannot be looked for ({error.strerror})")
            return
        if not search.over:
            self._search = search

    def _take_packed_copies(self, search: Search) -> None:
        for position, copy in search.found.items():
            copies = self._copies().after(copy, position)
            self._retired += [_Retired(one, 0.0) for one in copies]

    def _copies(self) -> Copies:
        being_read = [retired.file for retired in self._retired]
        return Copies(self.name, [*self._left, *self.positions], being_read, self._notice)

    def _finish_copy(self) -> None:
        """The copy has been read: what was written until the file was truncated is lost."""
        if self._truncated_at is not None:
            self._truncated_at = None
            self._gap()

    # Starting

    def start(self, positions: Sequence[Position], since: float, date_of: DateOf) -> None:
        """Find the places to read on from.

        ``positions``: as they were committed, empty on a first start, which reads back to
        ``since`` (epoch seconds).  While the log cannot be observed, each look tries again.
        """
        self._beginning = Beginning(self.name, positions, since, date_of, self._notice)
        try:
            self._begin(self._beginning.begin())
        except (OSError, SourceError) as error:
            self._say_error(error)

    def _go_on_searching(self, search: Search, limit: int) -> int:
        size = search.step(limit)
        if search.over:
            self._search = None
            self.restarts += 1
            try:
                if self._beginning is None:
                    self._take_packed_copies(search)
                else:
                    self._begin(self._beginning.go_on(search))
            except (OSError, SourceError) as error:
                search.close()
                self._say_error(error)
        return size

    def _begin(self, begun: Begun | Search) -> None:
        """Take the files, the last of which is the one at the path if there is one."""
        if isinstance(begun, Search):
            self._search = begun
            return
        self._pass_by(begun.passed)
        if begun.gap:
            self._gap()
        files = list(begun.files)
        at_path = see(self.name)
        last = files[-1] if files else None
        if isinstance(last, LogFile) and at_path is not None and at_path.names(last.position):
            self._current = last
            files.remove(last)
        self._retired = [_Retired(file, 0.0) for file in files]
        self._truncated_at = begun.truncated_at
        self._beginning = None

    # Saying

    def _say_error(self, error: OSError | SourceError) -> None:
        """What keeps us from reading; a :class:`SourceError` names the log itself."""
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        self._say_trouble(reason.removeprefix(f"{self.name}: "), blind=True)

    def _say_trouble(self, reason: str, *, blind: bool) -> None:
        """Tell the operator once, not with every look."""
        self.blind = blind
        if reason != self._trouble:
            self._trouble = reason
            self._notice(f"{self.name}: {reason}")

    def _say_well(self) -> None:
        self.blind = False
        if self._trouble:
            self._trouble = ""
            self._notice(f"{self.name}: is there and readable, following it")
