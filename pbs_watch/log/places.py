"""Finding the place in a log's files to read on from: after a restart, a rotation, a first start.

The files of a log are the one at its path and its rotated siblings.  Compressed ones are not looked
into.  A place is found again by inode and anchor, or by the anchor alone where the file was copied.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from pbs_watch.errors import SourceError
from pbs_watch.log.file import LogFile, see
from pbs_watch.log.position import Position
from pbs_watch.log.rotation import Sibling, is_sibling, oldest_first

READ_WHOLE = 64 << 20
"""Bytes that a first start reads without looking for the place where the window begins."""

RUN_UP = 1 << 20
"""Bytes read before that place, so that the doubts of a beginning in the middle are over there."""

DateOf = Callable[[bytes], float | None]
"""Epoch seconds of the first line in some bytes that start at a line's beginning."""

Notice = Callable[[str], None]
"""Takes one line about the source for the operator."""

_COMPRESSED = (".gz", ".xz", ".zst")


def rotated(path: str, since: float) -> list[str]:
    """The files of the log at ``path`` that were written to since then, the oldest first.

    Compressed ones are among them; ``since``: epoch seconds.  Raises OSError.
    """
    found = [(one, seen) for one in _siblings(path) if (seen := see(one)) is not None]
    order = oldest_first(
        Sibling(one, seen.modified) for one, seen in found if seen.modified >= since * 1e9
    )
    return [*(sibling.path for sibling in order), *([path] if see(path) is not None else [])]


def _siblings(path: str) -> list[str]:
    """The paths beside the log at ``path`` that have names of its rotated files."""
    directory, name = os.path.split(os.path.realpath(path))
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return [os.path.join(directory, one) for one in names if is_sibling(name, one)]


def has_compressed(path: str) -> bool:
    """Whether the log at ``path`` has older files that are not looked into; raises OSError."""
    return any(one.endswith(_COMPRESSED) for one in _siblings(path))


def siblings(path: str, notice: Notice) -> list[LogFile]:
    """The rotated, uncompressed files beside the log at ``path``, open, the oldest first.

    Raises OSError where the directory cannot be listed.
    """
    files: dict[str, LogFile] = {}
    for one in _siblings(path):
        if one.endswith(_COMPRESSED):
            continue
        try:
            if see(one) is not None:
                files[one] = LogFile(one)
        except FileNotFoundError:
            continue  # rotated on while we looked
        except (OSError, SourceError) as error:
            notice(f"{one}: cannot be read ({error}); its lines are left out")
    order = oldest_first(Sibling(one, file.see().modified) for one, file in files.items())
    return [files[sibling.path] for sibling in order]


def family(path: str, notice: Notice) -> list[LogFile]:
    """The rotated files, and last the one at ``path`` if there is one; raises OSError for that."""
    # The path first: what is renamed in between is then found twice rather than not at all.
    at_path = LogFile(path) if see(path) is not None else None
    try:
        files = siblings(path, notice)
    except OSError as error:
        notice(f"{path}: its directory cannot be listed ({error.strerror}); no older file is read")
        files = []
    if at_path is None:
        return files
    for file in list(files):
        if file.see().names(at_path.position):
            files.remove(file)
            file.close()
    return [*files, at_path]


def find(position: Position, files: Sequence[LogFile]) -> LogFile | None:
    """The file that was read up to ``position``: the one with its inode first, then the newest."""
    newest_first = files[::-1]
    for file in sorted(newest_first, key=lambda file: not file.see().names(position)):
        if position.anchor:
            if file.holds(position):
                return file
        elif file.see().names(position):
            return file
    return None


def reaching(files: Sequence[LogFile], since: float, date_of: DateOf) -> int:
    """Index of the file in which the window begins that reaches back to ``since``."""
    first = len(files) - 1
    while first > 0 and not _older(files[first], since, date_of):
        first -= 1
    return max(first, 0)


def _older(file: LogFile, since: float, date_of: DateOf) -> bool:
    """Whether the first line of ``file`` is older than ``since``."""
    date = date_of(file.first_bytes(0, 65536))
    return date is not None and date < since


def skip_to(file: LogFile, since: float, date_of: DateOf) -> bool:
    """Go to a line before ``since`` without reading all of a large file.

    Bisects on the lines' time.  Returns whether the file is begun in the middle.
    """
    low, high = 0, file.see().size
    if high <= READ_WHOLE:
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
