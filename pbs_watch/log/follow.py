"""Following logs: which file to read next, through rotation, truncation and restarts.

Polling is the truth; whatever wakes the poller early is a hint.  A renamed file is drained and
watched for :data:`GRACE` after its last growth while the new one is read; those that came and went
between two looks are read in between.  A file that shrank, or whose bytes before the position
changed, is read again from its beginning, after what a copy of it still holds.  Whenever bytes may
have been lost the source reports a gap, which puts every tag under doubt
(:mod:`pbs_watch.log.cuts`).

After a restart the positions are found again (:mod:`pbs_watch.log.places`).  On a first start the
file, and before it its predecessors, are read as far back as the window reaches.

Followed files are opened and read in :mod:`pbs_watch.log.file` only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pbs_watch.errors import SourceError
from pbs_watch.log.file import Block, LogFile, Truncated, glance, see
from pbs_watch.log.places import (
    DateOf,
    Notice,
    family,
    find,
    has_compressed,
    reaching,
    siblings,
    skip_to,
)
from pbs_watch.log.position import Position
from pbs_watch.log.rotation import Fate, Seen, fate

GRACE = 60.0
"""Seconds without growth after which a renamed file is left: syslog daemons reopen their files
after logrotate has gone through all logs of one script."""

_LEFT = 128
"""Positions remembered of files that were left, or passed by: they are not read again."""


@dataclass(slots=True)
class _Retired:
    """A file that is drained before the current one.

    ``since``: monotonic time of its last growth.  ``size``: when it was looked at last, -1 before.
    """

    file: LogFile
    since: float
    size: int = -1


class Source:
    """One followed log.

    ``gap`` is called when lines may have been lost, in the order of the log.
    """

    def __init__(self, path: str, gap: Callable[[], None], notice: Notice) -> None:
        self.name = os.path.abspath(path)
        self._gap = gap
        self._notice = notice
        self._current: LogFile | None = None
        self._retired: list[_Retired] = []
        self._left: list[Position] = []
        self._unstarted: Callable[[], None] | None = None
        self._truncated_at: Position | None = None
        """Where the current file had been read up to, while a copy of it is drained.

        It stands for the current file until then, so that a restart finds the gap again.
        """
        self._seen: Seen | None = None
        self._quiet: tuple[int, int, int, int] | None = None
        self._trouble = ""
        self._unreadable = False
        """Whether the last read failed, though the log can be seen."""
        self.blind = False
        """Whether the log could not be observed when it was looked at last; absent is not blind."""
        self.restarts = 0
        """How often a file was read again from its beginning: what waits must be asked anew."""

    @property
    def positions(self) -> tuple[Position, ...]:
        """How far the files of this source have been read, the oldest first."""
        found = [retired.file.position for retired in self._retired]
        if self._truncated_at is not None:
            found.append(self._truncated_at)
        elif self._current is not None:
            found.append(self._current.position)
        return tuple(found)

    def close(self) -> None:
        """Close all files."""
        for retired in self._retired:
            retired.file.close()
        if self._current is not None:
            self._current.close()

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
        try:
            if self._unstarted is not None:
                self._unstarted()
                self._unstarted = None
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
        return self._waiting(now)

    def _follow_name(self, now: float) -> None:
        if self._current is None:
            if self._seen is None:
                self._say_trouble("no such file yet, waiting for it", blind=False)
            else:
                self._current, missed = self._successor(self._retired[-1:])
                self._retired += [_Retired(file, now) for file in missed]
            return
        what = fate(self._current.position, self._seen)
        if what is Fate.SHRUNK:
            self._truncated(self._current)
        elif what is Fate.REPLACED:
            old = _Retired(self._current, now, self._current.position.offset)
            successor, missed = self._successor([old])
            self._finish_copy()
            self._retired += [old, *(_Retired(file, now) for file in missed)]
            self._current = successor
            self._seen = successor.see()

    def _successor(self, before: Sequence[_Retired]) -> tuple[LogFile, list[LogFile]]:
        """The file that has the name now, and those that had it since ``before`` lost it."""
        successor = LogFile(self.name)
        for retired in self._retired:
            if successor.see().names(retired.file.position):
                # The name is back at a file that is still being drained.
                successor.close()
                self._retired.remove(retired)
                successor = retired.file
                break
        known = [retired.file for retired in (*self._retired, *before)]
        missed = []
        for file in self._beside() if before else []:
            # The file system's clock has ticks of some milliseconds: rather one too many.
            newer = file.see().modified >= before[0].file.see().modified
            if newer and not any(file.see().names(one.position) for one in (*known, successor)):
                missed.append(file)
            else:
                file.close()
        for file in (successor, *missed):
            self._go_to_where_it_was_left(file)
        return successor, missed

    def _beside(self) -> list[LogFile]:
        """The rotated files; where they cannot be listed, some may have been missed."""
        try:
            return siblings(self.name, self._notice)
        except OSError as error:
            self._notice(f"{self.name}: its directory cannot be listed ({error.strerror})")
            self._gap()
            return []

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
        try:
            seen = retired.file.see()
        except OSError:
            return 0
        if seen.size != retired.size:
            retired.since, retired.size = now, seen.size
        behind = retired.file.behind(seen)
        if (not behind or self._unreadable) and now - retired.since > GRACE:
            if behind or retired.file.unfinished(seen):
                self._gap()
            self._leave(retired.file)
            self._retired.remove(retired)
        return behind

    def _leave(self, file: LogFile) -> None:
        if file.position.anchor:  # without one, any file under its inode would seem to be it
            self._left = [*self._left, file.position][-_LEFT:]
        file.close()

    def _go_to_where_it_was_left(self, file: LogFile) -> None:
        """A file that was left may be written to, or get a name of the log, again."""
        if file.position.offset == 0:
            for position in self._left:
                if file.see().names(position) and file.holds(position):
                    file.go_to(position)

    def _pass_by(self, files: Sequence[LogFile]) -> None:
        for file in files:
            file.go_to_end()
            self._leave(file)

    # Reading

    def read(self, limit: int) -> tuple[list[Block], int]:
        """Some whole lines, and how many bytes further the source is now.

        Reads up to about ``limit`` bytes of the oldest file that has any; 0 bytes when nothing is
        waiting, or only part of a line.  ``limit`` is more than :data:`lines.LINE_LIMIT`.
        """
        restarts = self.restarts
        found = self._read_oldest(limit)
        if not found[1] and self.restarts != restarts:
            # A file was truncated: its copy, or it itself from its beginning.
            found = self._read_oldest(limit)
        return found

    def _read_oldest(self, limit: int) -> tuple[list[Block], int]:
        for retired in self._retired:
            blocks, size = self._read(retired.file, None, limit)
            if size:
                return blocks, size
        if self._current is None:
            return [], 0
        self._finish_copy()
        return self._read(self._current, self._seen, limit)

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

    def _truncated(self, file: LogFile) -> None:
        self._notice(f"{self.name}: was truncated; reading it again from its beginning")
        position = file.position
        copies: list[LogFile] = []
        if file is self._current:
            try:
                copies = self._copies_since(position)
            except (OSError, SourceError) as error:
                self._notice(f"{self.name}: a copy of it cannot be looked for ({error})")
        self._finish_copy()
        file.go_to(position.restarted())
        self.restarts += 1
        if copies:
            self._truncated_at = position
            self._retired += [_Retired(copy, 0.0) for copy in copies]
        else:
            self._gap()

    def _copies_since(self, position: Position) -> list[LogFile]:
        """The copy of the current file that was made where reading stopped, and later ones."""
        files = siblings(self.name, self._notice)
        known = [*self._left, *self.positions]
        others = [
            file
            for file in files
            if not any(file.see().names(one) and file.holds(one) for one in known)
        ]
        copy = find(position, others) if position.anchor else None
        copies = others[others.index(copy) :] if copy is not None else []
        for file in files:
            if file not in copies:
                file.close()
        if copy is not None:
            copy.go_to(position)
        return copies

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
        self._unstarted = lambda: self._begin(positions, since, date_of)
        try:
            self._unstarted()
        except (OSError, SourceError) as error:
            self._say_error(error)
        else:
            self._unstarted = None

    def _begin(self, positions: Sequence[Position], since: float, date_of: DateOf) -> None:
        if positions and self._resume(positions):
            return
        if positions:
            self._notice(
                f"{self.name}: the place where reading stopped was not found again; "
                "reading back as far as the window reaches"
            )
            self._gap()
        self._read_back(since, date_of)

    def _resume(self, positions: Sequence[Position]) -> bool:
        """Open the files of ``positions`` again, and those that came after the last of them."""
        files = family(self.name, self._notice)
        found = [find(position, files) for position in positions]
        last = found[-1]
        if last is None:
            for file in files:
                file.close()
            return False
        newer = files[files.index(last) :]
        keep = [file for file in files if file in found or file in newer]
        self._pass_by([file for file in files if file not in keep])
        # The last first: it may stand for a copy that has been read farther.
        for place, position in reversed(list(zip(found, positions, strict=True))):
            if place is not None:
                place.go_to(position)
        if any(place is None for place in found):
            self._gap()
        self._open(list(keep))
        if any(file.see().names(positions[-1]) for file in newer if file is not last):
            # Found in a copy, with the file itself still there: that was truncated meanwhile.
            self._truncated_at = positions[-1]
        return True

    def _read_back(self, since: float, date_of: DateOf) -> None:
        """Open the file at the path, and older ones as long as they reach into the window."""
        files = family(self.name, self._notice)
        first = reaching(files, since, date_of)
        self._pass_by(files[:first])
        keep = files[first:]
        if keep and (skip_to(keep[0], since, date_of) or first > 0 or self._has_compressed()):
            self._gap()
        self._open(keep)

    def _has_compressed(self) -> bool:
        """Whether there are older files, the end of which is not known."""
        try:
            return has_compressed(self.name)
        except OSError:
            return True

    def _open(self, files: list[LogFile]) -> None:
        """Take ``files``, the oldest first; the last is the one at the path, if there is one."""
        at_path = see(self.name)
        if files and at_path is not None and at_path.names(files[-1].position):
            self._current = files.pop()
        self._retired = [_Retired(file, 0.0) for file in files]

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
