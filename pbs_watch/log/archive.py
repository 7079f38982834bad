"""Reading log files from beginning to end, compressed or not, for replay.

What a file is compressed with is told by its first bytes, not by its name.
"""

from __future__ import annotations

import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import BinaryIO, Protocol

from pbs_watch.errors import SourceError

CHUNK = 1 << 20
"""Bytes read at once: large enough for the scanner, small enough for the processor's cache."""


_GZIP, _XZ, _ZSTD = _MAGICS = (b"\x1f\x8b", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
"""What compressed files begin with (RFC 1952, xz and RFC 8878)."""

_ZSTD_CHUNK = 64 << 10
"""Compressed bytes taken at once: a log shrinks to a tenth or less."""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def size_of(path: str) -> int | None:
    """Bytes of the file as it lies on disk; ``None`` for standard input, pipes and no file."""
    if path == "-":
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None  # reading it will say why
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def is_compressed(path: str) -> bool:
    """Whether :func:`chunks` would decompress the file; raises :class:`SourceError`."""
    with opened(path) as descriptor:
        return os.pread(descriptor, 6, 0).startswith(_MAGICS)


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
            reader = _decompressed(raw)
            done = 0
            while data := reader.read(CHUNK):
                done += len(data)
                progress(raw.tell() if raw.seekable() else done)
                yield data
        except Exception as error:
            if not isinstance(error, (OSError, EOFError, *_broken())):
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


def _decompressed(raw: BinaryIO) -> _Readable:
    magic = raw.peek(6)[:6] if hasattr(raw, "peek") else b""
    if magic.startswith(_GZIP):
        import gzip  # noqa: PLC0415 - as the others here: only where such a file is read

        return gzip.GzipFile(fileobj=raw)
    if magic.startswith(_XZ):
        import lzma  # noqa: PLC0415

        return lzma.LZMAFile(raw)
    if magic.startswith(_ZSTD):
        return _Zstd(raw)
    return raw


class _Zstd:
    """Frames of zstd one after the other; the library's own reader takes half a frame for whole."""

    def __init__(self, raw: BinaryIO) -> None:
        import zstandard  # noqa: PLC0415

        self._raw = raw
        self._new = zstandard.ZstdDecompressor().decompressobj
        self._frame = self._new()
        self._begun = False

    def read(self, _size: int, /) -> bytes:
        """What some compressed bytes hold, however much that is; nothing at the end."""
        while True:
            if self._frame.eof:
                compressed, self._frame, self._begun = self._frame.unused_data, self._new(), False
            else:
                compressed = b""
            compressed = compressed or self._raw.read(_ZSTD_CHUNK)
            if not compressed:
                if self._begun:
                    raise EOFError("the file ends in the middle of a zstd frame")
                return b""
            self._begun = True
            data: bytes = self._frame.decompress(compressed)
            if data:
                return data


def _broken() -> tuple[type[Exception], ...]:
    """The errors of damaged archives, of those libraries that were needed at all."""
    names = (("lzma", "LZMAError"), ("zstandard", "ZstdError"))
    loaded = [(sys.modules[module], name) for module, name in names if module in sys.modules]
    return (zlib.error, *(getattr(module, name) for module, name in loaded))
