"""Decompressing .gz, .xz and .zst a piece at a time.

What a file is compressed with is told by its first bytes, not by its name.
"""

from __future__ import annotations

import sys
import zlib
from typing import BinaryIO, Protocol

_GZIP, _XZ, _ZSTD = MAGICS = (b"\x1f\x8b", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
"""What compressed files begin with (RFC 1952, xz and RFC 8878)."""

_LEAST, _MOST = 64, 16 << 10
"""Compressed bytes taken at once.  A client that repeats itself makes a log shrink ten thousand
times: how much is taken follows from what the last took."""


class Readable(Protocol):
    """What can be read from its beginning to its end."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; none at the end."""


def decompressed(raw: BinaryIO) -> Readable:
    """What ``raw`` holds, decompressed if it is compressed.

    Reading raises OSError, EOFError or what :func:`broken` names on a damaged file.
    """
    magic = raw.peek(6)[:6] if hasattr(raw, "peek") else b""
    if magic.startswith(_GZIP):
        import gzip  # noqa: PLC0415 - as the others here: only where such a file is read

        return _Pieces(gzip.GzipFile(fileobj=raw))
    if magic.startswith(_XZ):
        import lzma  # noqa: PLC0415

        return _Pieces(lzma.LZMAFile(raw))
    if magic.startswith(_ZSTD):
        return _Zstd(raw)
    return raw


class _Buffered(Protocol):
    def read1(self, size: int, /) -> bytes: ...


class _Pieces:
    """Reads what is there rather than all that was asked for: what stands before damage is kept."""

    def __init__(self, file: _Buffered) -> None:
        self._file = file

    def read(self, size: int, /) -> bytes:
        return self._file.read1(size)


class _Zstd:
    """Frames of zstd one after the other; the library's own reader takes half a frame for whole."""

    def __init__(self, raw: BinaryIO) -> None:
        import zstandard  # noqa: PLC0415

        self._raw = raw
        self._new = zstandard.ZstdDecompressor().decompressobj
        self._frame = self._new()
        self._begun = False
        self._take = _LEAST
        self._ready = b""
        self._at = 0

    def read(self, size: int, /) -> bytes:
        while self._at >= len(self._ready):
            if self._frame.eof:
                compressed, self._frame, self._begun = self._frame.unused_data, self._new(), False
            else:
                compressed = b""
            compressed = compressed or self._raw.read(self._take)
            if not compressed:
                if self._begun:
                    raise EOFError("the file ends in the middle of a zstd frame")
                return b""
            self._begun = True
            self._ready, self._at = self._frame.decompress(compressed), 0
            wanted = size * len(compressed) // max(len(self._ready), 1)
            self._take = min(max(wanted, _LEAST), 2 * self._take, _MOST)
        data = self._ready[self._at : self._at + size]
        self._at += len(data)
        return data


def broken() -> tuple[type[Exception], ...]:
    """The errors of damaged archives, of those libraries that were needed at all.

    One that asks for more memory than there is counts as damaged.
    """
    names = (("lzma", "LZMAError"), ("zstandard", "ZstdError"))
    loaded = [(found, name) for module, name in names if (found := sys.modules.get(module))]
    return (EOFError, MemoryError, zlib.error, *(getattr(module, name) for module, name in loaded))
