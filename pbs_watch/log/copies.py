"""The copies that copying and truncating leaves of a log: what was not read before is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pbs_watch.log.file import LogFile
from pbs_watch.log.packed import PackedFile
from pbs_watch.log.places import File, Notice, close, find, holds, siblings, without
from pbs_watch.log.position import Position


@dataclass(frozen=True, slots=True)
class Copies:
    """The copies of the log at ``path``.

    ``known``: how far files have been read, ``being_read``: those that still are; these are left
    out.
    """

    path: str
    known: Sequence[Position]
    being_read: Sequence[File]
    notice: Notice

    def since(self, position: Position) -> list[File]:
        """The copy that was made of a file when it had been read so far, and later ones.

        Empty where there is none, or where it was compressed.
        """
        others = self._older_than(position)
        copy = find(position, others)
        copies = others[others.index(copy) :] if copy is not None else []
        close(file for file in others if file not in copies)
        if copy is not None:
            copy.go_to(position)
        return copies

    def after(self, copy: PackedFile, position: Position) -> list[File]:
        """``copy``, a compressed one in which ``position`` was found, and later ones."""
        others = self._older_than(position)
        seen = [file.see() for file in others]
        first = seen.index(copy.see()) + 1 if copy.see() in seen else len(others)
        close(others[:first])
        return [copy, *others[first:]]

    def _older_than(self, position: Position) -> list[File]:
        """The rotated files that have not been read, older than the file of ``position``."""
        try:
            beside = siblings(self.path, self.notice)
        except OSError as error:
            self.notice(f"{self.path}: a copy of it cannot be looked for ({error.strerror})")
            return []
        own = [index for index, file in enumerate(beside) if file.see().names(position)]
        older = beside[: own[0]] if own else beside
        close(beside[len(older) :])
        unread = [file for file in older if not self._was_read(file)]
        close(file for file in older if file not in unread)
        return without(unread, self.being_read)

    def _was_read(self, file: File) -> bool:
        return isinstance(file, LogFile) and any(
            file.see().names(one) and holds(file, one) for one in self.known
        )
