"""Where in a block to look: the lines that may matter, found without walking line by line.

Pure: bytes in, offsets out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from pbs_watch.pattern.cutting import LOSS
from pbs_watch.pattern.format import Format
from pbs_watch.pattern.rare import SHORTEST, together

_SHORTEST_HEADER = 16
"""Bytes before any message: at least a BSD stamp and a space (``tai64n`` has 25)."""


class Search:
    """Finds lines by what every line of a kind contains.

    ``long``: lines of this many bytes are hits, since their message may be long enough to be cut;
    0 where no length counts.
    """

    def __init__(self, formats: Sequence[Format], tags: Collection[bytes]) -> None:
        self._texts = [re.compile(text) for text in _expressions(formats)]
        self._tags = _tag_search(tags, syslog=all(f.header.name == "syslog" for f in formats))
        lengths = [fmt.cut.length for fmt in formats if fmt.cut and fmt.cut.length]
        self.long = min(lengths) + _SHORTEST_HEADER if lengths else 0

    def hits(self, block: bytes, start: int, end: int) -> list[int]:
        """Offsets in the lines that may matter, sorted; a line may be hit more than once."""
        hits = [found.start() for text in self._texts for found in text.finditer(block, start, end)]
        # find() is quicker than an expression where the first byte is everywhere.
        hit = block.find(LOSS, start, end)
        while hit >= 0:
            hits.append(hit)
            hit = block.find(LOSS, hit + len(LOSS), end)
        if self.long:
            hits += _long_lines(block, start, end, self.long)
        hits.sort()
        return hits

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


def _expressions(formats: Sequence[Format]) -> list[bytes]:
    """Regular expressions for all the texts to search for, each for those that begin alike.

    A search takes its time for the bytes it goes over: two texts in one cost half as much as one
    by one, if the expression begins with what both begin with.
    """
    alike: dict[bytes, list[tuple[bytes, bytes]]] = {}
    for text, condition in sorted(_texts(formats).items()):
        alike.setdefault(text[:SHORTEST], []).append((text, condition))
    expressions = []
    for texts in alike.values():
        # Sorted, so what the first and the last have in common all have.
        first, last = texts[0][0], texts[-1][0]
        pairs = enumerate(zip(first, last, strict=False))
        same = next((i for i, (a, b) in pairs if a != b), min(len(first), len(last)))
        rests = [re.escape(text[same:]) + condition for text, condition in texts]
        expressions.append(re.escape(first[:same]) + b"(?:%b)" % b"|".join(rests))
    return expressions


def _texts(formats: Sequence[Format]) -> dict[bytes, bytes]:
    """What to search for, and the condition that must hold after it, as a regular expression.

    A text that contains another adds nothing.  A near literal is no hit where a rule's follows in
    it: ``LOGIN, `` in ``LOGIN, user=``, which ``, user=`` finds.
    """
    near = {near.literal for fmt in formats for near in fmt.near}
    rules = [(rule.texts, rule.literals) for fmt in formats for rule in fmt.rules]
    found = together(rules, sorted(near))
    texts = {text: b"" for text in found if not any(o in text for o in found if o != text)}
    # What serves some rule is looked at wherever it stands.
    for text in near & texts.keys() - together(rules, []):
        rests = (_rest(text, other) for other in texts.keys() - near)
        texts[text] = b"".join(b"(?!%b)" % re.escape(rest) for rest in rests if rest)
    for fmt in formats:
        for cut in fmt.cut.rules if fmt.cut else ():
            # The space that ends the header is looked at last, since spaces are everywhere.
            syslog = fmt.header.name == "syslog"
            behind = b"(?<=%b)" % re.escape(b" " + cut.starts) if syslog else b""
            texts[cut.starts] = behind if texts.get(cut.starts, behind) == behind else b""
    return texts


def _rest(text: bytes, other: bytes) -> bytes:
    """What must follow ``text`` for ``other`` to begin in it; empty: nothing makes it so."""
    sizes = range(min(len(text), len(other) - 1), 0, -1)
    return next((other[size:] for size in sizes if text.endswith(other[:size])), b"")


def _long_lines(block: bytes, start: int, end: int, size: int) -> Iterator[int]:
    """Where lines of ``size`` bytes or more begin, striding from newline to newline."""
    rfind = block.rfind
    while start + size <= end:
        newline = rfind(b"\n", start, start + size)
        if newline < 0:
            yield start
            newline = block.find(b"\n", start, end)
        start = newline + 1


def _tag_search(tags: Collection[bytes], *, syslog: bool) -> re.Pattern[bytes]:
    """Finds a line that may be a message of one of the tags; any line where there is no tag."""
    if b"" in tags:
        return re.compile(rb"^", re.MULTILINE)
    names = b"|".join(re.escape(tag) for tag in sorted(tags, key=len, reverse=True))
    # Only the syslog header is known to have a colon after the tag or its pid.
    return re.compile(rb"(?:" + names + (rb")(?:\[\d{1,10}\])?:" if syslog else rb")"))
