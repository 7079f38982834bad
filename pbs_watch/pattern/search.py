"""Where in a block to look: the lines that may matter, found without walking line by line.

Pure: bytes in, offsets out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property

from pbs_watch.pattern.cutting import LOSS
from pbs_watch.pattern.format import Format
from pbs_watch.pattern.wanted import expressions

_SHORTEST_HEADER = 16
"""Bytes before any message: at least a BSD stamp and a space (``tai64n`` has 25)."""

_LOSS = re.compile(rb"ges (?<=%b)" % re.escape(LOSS))
"""Begins with its rarest letter: the others are in most words."""


class Search:
    """Finds lines by what every line of a kind contains.

    ``long``: lines of this many bytes are hits, since their message may be long enough to be cut;
    0 where no length counts.
    """

    def __init__(self, formats: Sequence[Format], tags: Collection[bytes]) -> None:
        self._formats = formats
        self._texts = [re.compile(text) for text in expressions(formats, whole=False)]
        self._tags = _tag_search(tags, syslog=all(f.header.name == "syslog" for f in formats))
        lengths = [fmt.cut.length for fmt in formats if fmt.cut and fmt.cut.length]
        self.long = min(lengths) + _SHORTEST_HEADER if lengths else 0
        # As many short lines as there are: from newline to newline, the farthest that may be next.
        self._short_lines = re.compile(rb"(?s:(?:.{0,%d}\n)*)" % max(self.long - 1, 0)).match

    @cached_property
    def _all_texts(self) -> list[re.Pattern[bytes]]:
        return [re.compile(text) for text in expressions(self._formats, whole=True)]

    def hits(self, block: bytes, start: int, end: int, *, whole: bool = False) -> list[int]:
        """Offsets in the lines that may matter, sorted; a line may be hit more than once.

        ``whole``: whole lines that might have been cut matter too (:mod:`.wanted`).
        """
        texts = self._all_texts if whole else self._texts
        hits = [found.start() for text in texts for found in text.finditer(block, start, end)]
        hits += [found.start() for found in _LOSS.finditer(block, start, end)]
        if self.long:
            hits += self._long_lines(block, start, end)
        hits.sort()
        return hits

    def _long_lines(self, block: bytes, start: int, end: int) -> Iterator[int]:
        """Where lines of ``long`` bytes or more begin."""
        while (short := self._short_lines(block, start, end)) and short.end() < end:
            yield short.end()
            start = block.find(b"\n", short.end(), end) + 1 or end

    def tagged(self, block: bytes, start: int, end: int) -> int:
        """Start of the first line that may be a message of one of the tags; ``end``: none is."""
        found = self._tags.search(block, start, end)
        return block.rfind(b"\n", start, found.start()) + 1 or start if found else end


def count_lines(block: bytes, start: int, end: int) -> int:
    """How many newlines; CPython's count() of one byte takes three times as long as this.

    Those outside are taken off afterwards: a copy of what is inside would take as long again.
    """
    outside = block.count(b"\n", 0, start) + block.count(b"\n", end)
    return len(block) - len(block.replace(b"\n", b"")) - outside


def _tag_search(tags: Collection[bytes], *, syslog: bool) -> re.Pattern[bytes]:
    """Finds a line that may be a message of one of the tags; any line where there is no tag."""
    if b"" in tags:
        return re.compile(rb"^", re.MULTILINE)
    names = b"|".join(re.escape(tag) for tag in sorted(tags, key=len, reverse=True))
    # Only the syslog header is known to have a colon after the tag or its pid.
    return re.compile(rb"(?:" + names + (rb")(?:\[\d{1,10}\])?:" if syslog else rb")"))
