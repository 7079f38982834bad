"""Reading log files from beginning to end, compressed or not, for replay."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import BinaryIO

from pbs_watch.errors import SourceError
from pbs_watch.log.decompress import MAGICS, broken, decompressed

CHUNK = 1 << 20
"""Bytes read at once: large enough for the scanner, small enough for the processor's cache."""


def size_of(path: str) -> int | None:
    """Bytes of the file as it lies on disk; ``None`` for standard input, pipes and no file."""
    if path == "-":
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None  # reading it will say why
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def number_of(path: str) -> int:
    """The number (inode) of a file; 0 for standard input and no file."""
    try:
        return 0 if path == "-" else os.stat(path).st_ino
    except OSError:
        return 0  # reading it will say why


def is_compressed(path: str) -> bool:
    """Whether :func:`chunks` would decompress the file; raises :class:`SourceError`."""
    with opened(path) as descriptor:
        return os.pread(descriptor, 6, 0).startswith(MAGICS)


_TAIL = 64 << 10
"""Bytes at the end of a file in which its last line is looked for."""


def last_line(path: str) -> bytes:
    """The last whole line of a plain file; empty where nobody can tell without reading it all."""
    size = size_of(path)
    if not size or is_compressed(path):
        return b""
    with opened(path) as descriptor:
        tail = os.pread(descriptor, _TAIL, max(size - _TAIL, 0))
    end = tail.rfind(b"\n") + 1
    begin = tail.rfind(b"\n", 0, max(end - 1, 0)) + 1
    return tail[begin:end] if begin or size <= _TAIL else b""


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A descriptor to read a file with; raises :class:`SourceError`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); name a log file") from None
    try:
        yield descriptor
    except OSError as error:
        raise SourceError(
            f"{path}: cannot be read to its end ({error}); what came before took effect"
        ) from None
    finally:
        os.close(descriptor)


def chunks(path: str, progress: Callable[[int], None]) -> Iterator[bytes]:
    """The bytes of a log in pieces; ``-`` is standard input.

    ``progress`` is called with the bytes read on disk so far.  Raises :class:`SourceError`.
    """
    try:
        raw: BinaryIO = sys.stdin.buffer if path == "-" else open(path, "rb", buffering=CHUNK)  # noqa: SIM115 - closed below
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); name a log file") from None
    # Standard input may be named twice; it then has nothing more to say.
    with nullcontext() if path == "-" else raw:
        if path != "-" and stat.S_ISDIR(os.fstat(raw.fileno()).st_mode):
            raise SourceError(f"{path}: is a directory; name the files in it")
        try:
            _refuse_unknown(path, raw.peek(4) if hasattr(raw, "peek") else b"")
            reader = decompressed(raw)
            done = 0
            while data := reader.read(CHUNK):
                done += len(data)
                progress(raw.tell() if raw.seekable() else done)
                yield data
        except Exception as error:
            if not isinstance(error, (OSError, *broken())):
                raise
            raise SourceError(
                f"{path}: cannot be read to its end ({error}); what came before took effect"
            ) from None


_UNKNOWN = {b"BZh": ("bzip2", "bzcat"), b"PK\x03\x04": ("zip", "unzip -p")}
"""What other compressed files begin with, their names and what unpacks them."""


def _refuse_unknown(path: str, magic: bytes) -> None:
    for start, (name, unpack) in _UNKNOWN.items():
        if magic.startswith(start):
            raise SourceError(
                f"{path}: {name} is not understood; unpack it: {unpack} {path} | pbs-watch replay -"
            )


_LONGEST_SHOWN = 1024
"""Bytes of a line that are read to be shown."""

_SIBLINGS = 1000
"""Names beside a log that are looked at."""


def line_at(path: str, number: int, offset: int) -> bytes | None:
    """The line at ``offset`` of the file with that number (inode): ``path``, or rotated beside it.

    Without its newline, and no more than 1024 bytes.  ``None`` where there is no such file any
    more, it is compressed or may not be read, or no line begins there.
    """
    for name in (path, *_rotated(path)):
        try:
            if os.stat(name).st_ino != number:
                continue
            # A fifo that took the file's number must not keep us waiting.
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            return _line_of(descriptor, number, offset)
        except OSError:
            return None
        finally:
            os.close(descriptor)
    return None


def _rotated(path: str) -> Iterator[str]:
    directory, name = os.path.split(path)
    try:
        with os.scandir(directory or ".") as entries:
            found = [entry.path for entry in entries if entry.name.startswith(name)]
    except OSError:
        return
    yield from sorted(found)[:_SIBLINGS]


def _line_of(descriptor: int, number: int, offset: int) -> bytes | None:
    found = os.fstat(descriptor)
    if found.st_ino != number or not stat.S_ISREG(found.st_mode):
        return None
    before = min(offset, 1)
    data = os.pread(descriptor, before + _LONGEST_SHOWN, offset - before)
    line, newline, _ = data[before:].partition(b"\n")
    # NULs stand where a log was truncated under a writer that kept its place.
    if data[:before] not in {b"", b"\n", b"\0"} or os.pread(descriptor, 6, 0).startswith(MAGICS):
        return None
    whole = newline or len(line) == _LONGEST_SHOWN
    return line if whole and line else None
