"""A rotated log that was compressed, read like the other files of a log.

It is as it was when its log was rotated: it never grows.  Nothing can be read in it without
decompressing all that comes before, so whoever looks for a place in it does so a slice at a time.
"""

from __future__ import annotations

import os
from dataclasses import replace

from pbs_watch.log.decompress import Readable, broken, decompressed
from pbs_watch.log.file import opener, seen_in
from pbs_watch.log.lines import Block, blocks_of
from pbs_watch.log.position import ANCHOR_BYTES, Position
from pbs_watch.log.rotation import Seen

ENDINGS = (".gz", ".xz", ".zst")
"""What compressed logs are named like."""

_BUFFER = 64 << 10
_SHRINKS = 32
"""How much smaller compressing makes a log, to guess what is left in one; it may be more."""


class PackedFile:
    """An open compressed log and how far it has been read; offsets are those of its content."""

    def __init__(self, path: str) -> None:
        """Open ``path`` at its beginning; raises OSError or :class:`SourceError`."""
        self._raw = open(path, "rb", buffering=_BUFFER, opener=opener)  # noqa: SIM115 - close()
        try:
            self._seen = seen_in(path, os.fstat(self._raw.fileno()))
        except BaseException:
            self._raw.close()
            raise
        self.path = path
        self.position = Position(
            self._seen.device, self._seen.inode, 0, b"", modified=self._seen.modified
        )
        self.ended = False
        """Whether all of it has been decompressed, or all that can be."""
        self.broken = ""
        """Why the rest of it cannot be decompressed."""
        self.unpacked = 0
        """Bytes of the content that have been decompressed so far."""
        self._reader: Readable | None = None
        self._content = b""
        """What has been decompressed and not been read; it begins at the position."""
        self._beginning: bytes | None = None

    def close(self) -> None:
        """Close the file."""
        self._raw.close()

    def see(self) -> Seen:
        """What fstat said; a compressed log does not change."""
        return self._seen

    def first_bytes(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes of the content, 64 KiB at most, from near its beginning.

        Empty where it cannot be decompressed, or only the beginning of it has been written yet.
        """
        if self._beginning is None:
            self._fill(_BUFFER)
            self._beginning = self._content[:_BUFFER]
        return self._beginning[offset : offset + size]

    def seek(self, position: Position, limit: int) -> bool | None:
        """Whether the bytes before ``position`` stand where they should; then it stands there.

        ``None``: not known yet, after up to ``limit`` bytes more.
        """
        self._fill(limit)
        start = self.position.offset
        anchor = position.anchor
        if start + len(self._content) >= position.offset:
            begins = position.offset - len(anchor) - start
            held = self._content[begins : begins + len(anchor)] == anchor
            if held:
                self._content = self._content[position.offset - start :]
                own = self.position
                self.position = replace(
                    own, offset=position.offset, anchor=anchor, skipping=position.skipping
                )
            return held
        if self.ended:
            return False
        passed = max(len(self._content) - ANCHOR_BYTES, 0)
        self._content = self._content[passed:]
        self.position = replace(self.position, offset=start + passed)
        return None

    def behind(self, _seen: Seen) -> int:
        """About how many bytes have not been read yet; 0 at the end."""
        if self.ended:
            return 0
        return (self._seen.size - self._raw.tell()) * _SHRINKS + _BUFFER

    def unfinished(self, _seen: Seen) -> bool:
        """Whether its content ends in the middle of a line."""
        return bool(self._content or self.broken) or self.position.skipping

    def read(self, _seen: Seen, limit: int) -> list[Block]:
        """Whole lines from up to ``limit`` more bytes; none at the end."""
        before = self.position
        blocks: list[Block] = []
        while self.position is before:
            blocks, self.position = blocks_of(self._content, 0, before)
            if self.ended or self.position is not before:
                break
            # A decompressor may give less than a line.
            self._fill(limit)
        self._content = self._content[self.position.offset - before.offset :]
        return blocks

    def _fill(self, limit: int) -> None:
        if self.ended:
            return
        data = b""
        try:
            if self._reader is None:
                self._reader = decompressed(self._raw)
            data = self._reader.read(limit)
        except Exception as error:
            if not isinstance(error, (OSError, *broken())):
                raise
            self.broken = f"{self.path}: cannot be read to its end ({error})"
        self.unpacked += len(data)
        self._content += data
        self.ended = not data
