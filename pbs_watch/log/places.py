"""The files of a log, and the place in them to read on from.

They are the one at the log's path and its rotated siblings, compressed or not.  A place is found
again by inode and anchor, or by the anchor alone where the file was copied or compressed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

from pbs_watch.errors import SourceError
from pbs_watch.log.file import LogFile, see
from pbs_watch.log.packed import ENDINGS, PackedFile
from pbs_watch.log.position import Position
from pbs_watch.log.rotation import Sibling, is_sibling, oldest_first

READ_WHOLE = 64 << 20
"""Bytes that a first start reads without looking for the place where the window begins."""

RUN_UP = 1 << 20
"""Bytes read before that place, so that the doubts of a beginning in the middle are over there."""

_BEGINNING = 4096
"""Bytes by which a file and its compressed copy are known to be the same: some lines."""

_LOOKS = 3
"""How often a directory is listed again when its files were renamed meanwhile."""

File = LogFile | PackedFile
"""One file of a log."""

DateOf = Callable[[bytes], float | None]
"""Epoch seconds of the first line in some bytes that start at a line's beginning."""

Notice = Callable[[str], None]
"""Takes one line about the source for the operator."""


def unsaid(_notice: str) -> None:
    """For who looks at files that others have reported on, or will."""


def rotated(path: str, since: float) -> list[str]:
    """The files of the log at ``path`` that were written to since then, the oldest first.

    ``since``: epoch seconds.  Raises OSError.
    """
    found = [(one, seen) for one in _siblings(path) if (seen := see(one)) is not None]
    order = oldest_first(
        _name(path),
        [Sibling(one, seen.modified) for one, seen in found if seen.modified >= since * 1e9],
    )
    return [*(sibling.path for sibling in order), *([path] if see(path) is not None else [])]


def _name(path: str) -> str:
    return os.path.basename(os.path.realpath(path))


def _siblings(path: str) -> list[str]:
    """The paths beside the log at ``path`` that have names of its rotated files, newest first.

    A compressed file beside its uncompressed one is still being written, or left over.
    """
    directory, name = os.path.split(os.path.realpath(path))
    try:
        names = {one for one in os.listdir(directory) if is_sibling(name, one)}
    except FileNotFoundError:
        return []
    whole = [
        one for one in names if not (one.endswith(ENDINGS) and one.rpartition(".")[0] in names)
    ]
    order = oldest_first(name, [Sibling(one, 0) for one in whole])
    return [os.path.join(directory, sibling.path) for sibling in reversed(order)]


def siblings(path: str, notice: Notice) -> list[File]:
    """The rotated files beside the log at ``path``, open, the oldest first.

    Raises OSError where the directory cannot be listed.
    """
    names = _siblings(path)
    files = _opened(names, notice)
    for _ in range(_LOOKS):
        known, names = names, _siblings(path)
        if names == known:
            break
        close(files)
        files = _opened(names, notice)
    order = oldest_first(_name(path), [Sibling(file.path, file.see().modified) for file in files])
    by_path = {file.path: file for file in files}
    return [by_path[sibling.path] for sibling in order]


def _opened(paths: Iterable[str], notice: Notice) -> list[File]:
    # The newest first: what is renamed to an older name meanwhile is found twice rather than not.
    files: list[File] = []
    for one in paths:
        try:
            if see(one) is not None:
                file = PackedFile(one) if one.endswith(ENDINGS) else LogFile(one)
                files.append(file)
        except FileNotFoundError:
            continue  # rotated on while we looked
        except (OSError, SourceError) as error:
            notice(f"{one}: cannot be read ({error}); its lines are left out")
    return without(files, [])


def without(files: Sequence[File], others: Sequence[File]) -> list[File]:
    """``files`` that are none of ``others``, each once; the rest is closed."""
    known = {_identity(file) for file in others}
    kept = []
    for file in files:
        if _identity(file) in known:
            file.close()
        else:
            known.add(_identity(file))
            kept.append(file)
    return kept


def _identity(file: File) -> tuple[int, int]:
    return file.position.device, file.position.inode


def close(files: Iterable[File]) -> None:
    """Close all of ``files``."""
    for file in files:
        file.close()


def family(path: str, notice: Notice) -> list[File]:
    """The rotated files, and last the one at ``path`` if there is one; raises OSError for that."""
    # The path first: what is renamed in between is then found twice rather than not at all.
    at_path = LogFile(path) if see(path) is not None else None
    files: list[File] = []
    try:
        files = siblings(path, notice)
    except OSError as error:
        notice(f"{path}: its directory cannot be listed ({error.strerror}); no older file is read")
    return files if at_path is None else [*without(files, [at_path]), at_path]


def find(position: Position, files: Sequence[File]) -> LogFile | None:
    """The file that was read up to ``position``: the one with its inode first, then the newest.

    Compressed ones are not looked into: :class:`pbs_watch.log.search.Search` does that.
    """
    newest_first = [file for file in reversed(files) if isinstance(file, LogFile)]
    for file in sorted(newest_first, key=lambda file: not file.see().names(position)):
        if holds(file, position):
            return file
    return None


def holds(file: LogFile, position: Position) -> bool:
    """Whether ``file`` was read up to ``position``; one that cannot be read holds nothing."""
    try:
        return bool(position.anchor) and file.holds(position)
    except OSError:
        return False


def later_than(file: LogFile, files: Sequence[File]) -> list[File]:
    """Those of ``files`` (the oldest first) that had the log's name after ``file`` had it."""
    later: list[File] = []
    for other in reversed(files):
        older = other.see().modified < file.see().modified
        if other.see().names(file.position) or older or _same_beginning(file, other):
            break
        later.append(other)
    return later[::-1]


def _same_beginning(file: LogFile, other: File) -> bool:
    """Whether ``other`` is a copy of ``file``, which may have grown since, or have been removed."""
    try:
        copied = other.first_bytes(0, _BEGINNING)
        # NULs, which stand where a log was truncated, tell no two files apart.
        return bool(copied.strip(b"\0")) and file.first_bytes(0, len(copied)) == copied
    except OSError:
        return False


def reaching(files: Sequence[File], since: float, date_of: DateOf) -> int:
    """Index of the file in which the window begins that reaches back to ``since``."""
    first = len(files) - 1
    while first > 0 and not _older(files[first], since, date_of):
        if files[first - 1].see().modified < since * 1e9:
            break  # all of its lines are older
        first -= 1
    return max(first, 0)


def _older(file: File, since: float, date_of: DateOf) -> bool:
    """Whether the first line of ``file`` is older than ``since``."""
    try:
        date = date_of(file.first_bytes(0, 65536))
    except OSError:
        return False
    return date is not None and date < since


def skip_to(file: File, since: float, date_of: DateOf) -> bool:
    """Go to a line before ``since`` without reading all of a large file.

    Bisects on the lines' time.  Returns whether the file is begun in the middle.
    """
    low, high = 0, file.see().size
    if high <= READ_WHOLE or isinstance(file, PackedFile):
        return False
    while high - low > RUN_UP:
        middle = (low + high) // 2
        date = date_of(_from_line_start(file.first_bytes(middle, 65536)))
        if date is None or date >= since:
            high = middle
        else:
            low = middle
    file.begins_at(max(low - RUN_UP, 0))
    return low > RUN_UP


def _from_line_start(data: bytes) -> bytes:
    return data[data.find(b"\n") + 1 :]
