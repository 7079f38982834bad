"""Finding logins, ends, cuts and near misses in blocks of whole lines.

A block is not walked line by line.  The literals that every line of a kind contains are searched
in the whole block, and lines long enough to be cut with one regular expression; only the lines
around these hits are read.  While some tag is under doubt (:mod:`pbs_watch.log.cuts`) each message
of the tags is read as well.

Pure: bytes and ``now`` in, values out.  The cut state of the source is handed in and updated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from pbs_watch.grants.address import literal
from pbs_watch.grants.events import (
    NEAR_BYTES,
    NEAR_MISSES,
    End,
    Event,
    Login,
    NearMiss,
    Part,
    Scanned,
)
from pbs_watch.log.clock import Clock
from pbs_watch.log.cuts import Cuts
from pbs_watch.log.header import Header
from pbs_watch.pattern.combine import Combined, Reading, combine
from pbs_watch.pattern.cutting import COLLECTORS, is_cut, is_loss, looks_like_login, strictest
from pbs_watch.pattern.format import Format
from pbs_watch.pattern.parts import cancelled, gap, is_true, part_of
from pbs_watch.pattern.search import Search, count_lines

_AHEAD = 300.0
"""Seconds a stamp may lie in the future (design.md, Time)."""
_AHEAD_BSD = 86400.0
"""The same for a stamp without a zone: its zone may be another one than ours."""

_MONTH = 3
"""Bytes before the first space of a BSD stamp; every other stamp has more."""
_BSD_STAMP = 15
"""Bytes of a BSD stamp with its day padded."""

_SOLARIS = b"[ID "
"""What Solaris puts between header and message."""

_tuple = tuple.__new__

_ORIGINS = 4096
"""Origins remembered; a tag with a pid makes one for each process."""


class _Writer:
    """What the messages of a tag may be, by the formats that have the tag."""

    def __init__(self, formats: Sequence[Format]) -> None:
        self._formats = formats
        self.cut = strictest([fmt.cut for fmt in formats if fmt.cut])
        self.near = tuple((near.literal, fmt.name) for fmt in formats for near in fmt.near)

    @cached_property
    def combined(self) -> Combined:
        """The rules; compiled when the tag is first seen, as that takes some milliseconds."""
        return combine(self._formats)


class _Origin:
    """Who wrote a line: host, tag and pid, and what messages of the tag may be."""

    __slots__ = ("cut", "host", "match", "near", "readings", "tag", "who")

    def __init__(self, host: bytes, tag: bytes, pid: bytes, writer: _Writer) -> None:
        self.host = host
        self.tag = tag
        self.who = (host, tag, pid)
        self.cut = writer.cut
        self.near = writer.near
        self.match = writer.combined.regex.match
        self.readings = writer.combined.readings

    def nothing(self, block: bytes, start: int, end: int) -> bool:
        """Whether a message that fits no rule says nothing: not cut, not near, not begun later."""
        if block.startswith(_SOLARIS, start):
            return False
        if self.cut is not None and is_cut(block, start, end, self.cut):
            return False
        return looks_like_login(block, start, end, self.near, self.cut) is None


class _Line(NamedTuple):
    """One line whose header and tag fit: when it was written, by whom, where its message is."""

    time: float | None
    ahead: float
    fraction: bool
    origin: _Origin
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Family:
    """The writers that share a header, by tag."""

    header: Header
    by_tag: dict[bytes, _Writer]


@dataclass(slots=True)
class _Pass:
    """One block being scanned: the hits to come, and what was found."""

    block: bytes
    end: int
    cuts: Cuts
    now: float
    base: int
    hits: list[int]
    next_hit: int = 0
    events: list[Event | Part] = field(default_factory=list)
    cut_tags: list[tuple[bytes, bytes]] = field(default_factory=list)
    suspects: list[Event] = field(default_factory=list)
    latest: float = 0.0
    near: list[NearMiss] = field(default_factory=list)
    nears: int = 0


class Scanner:
    """Scans blocks for the lines of some formats."""

    def __init__(self, formats: Sequence[Format], clock: Clock) -> None:
        self.joins = any(fmt.join is not None for fmt in formats)
        """Whether parts may be found that have to be joined."""
        self._clock = clock
        self._families = _families(formats)
        tags = {tag for family in self._families for tag in family.by_tag}
        self._search = Search(formats, tags)
        self._origins: dict[bytes, _Origin] = {}
        self._begun = False

    @property
    def years_follow(self) -> bool:
        """Whether a stamp's year depends on the stamps before it, so that order matters."""
        return self._clock.years_follow

    def scan(
        self, block: bytes, start: int, end: int, cuts: Cuts, now: float, *, base: int = 0
    ) -> Scanned:
        """Scan the whole lines in ``block[start:end]``, which ends in a newline or is empty.

        ``now`` (epoch seconds) only decides the year of stamps that carry none.  ``base``: the
        offset of ``block[0]`` in the log, in bytes.
        """
        if not self._begun:
            # The clock's first stamp, and so its year, is that of the very first line.
            self._begun = True
            self.date_of(block, start, end, now)
        # After a gap whoever is heard of for the first time is under doubt, whatever he says.
        hits = self._search.hits(block, start, end, whole=cuts.gapped)
        going = _Pass(block, end, cuts, now, base, hits)
        at = start
        while at < end:
            # A cut ends the quick way, the end of all doubt the careful one.
            at = self._carefully(going, at) if cuts.active else self._quickly(going, at)
        latest = going.latest or None
        last_line = max(block.rfind(b"\n", start, end - 1) + 1, start)
        # A login that has just been written is a block of its own, whose stamp has been read.
        if not (going.events and going.events[-1].offset == base + last_line):
            last = self.date_of(block, last_line, end, now)
            if last is not None and (latest is None or last > latest):
                latest = last
        return Scanned(
            count_lines(block, start, end),
            going.events,
            going.suspects,
            going.cut_tags,
            latest,
            going.near,
            going.nears,
        )

    def date_of(self, data: bytes, start: int, end: int, now: float) -> float | None:
        """Epoch seconds of the first line in ``data[start:end]`` that has a stamp."""
        while start < end:
            for family in self._families:
                header = family.header.regex.match(data, start, end)
                if header is not None:
                    return self._stamp(header.groupdict(), now)[0]
            start = data.find(b"\n", start, end) + 1 or end
        return None

    # The quick way

    def _quickly(self, going: _Pass, start: int) -> int:
        """Read the hits from ``start`` on, until the end or a cut; returns where that is."""
        block, hits, end, now = going.block, going.hits, going.end, going.now
        find, rfind, base = block.find, block.rfind, going.base
        origins, known, long = self._origins, self._clock.known, self._search.long or end
        add, latest = going.events.append, going.latest
        unsettled = going.cuts.unsettled if going.cuts.gapped else None
        for index in range(going.next_hit, len(hits)):
            hit = hits[index]
            if hit < start:
                continue
            line_start = rfind(b"\n", start, hit) + 1 or start
            line_end = find(b"\n", hit, end)
            start = line_end + 1
            # An origin that is known saves reading the header again.
            written = find(b" ", line_start, hit)
            if written - line_start <= _MONTH:
                written = line_start + _BSD_STAMP
            message = find(b": ", written, line_end) + 2
            origin = origins.get(block[written:message])
            if (
                origin is not None
                and line_end - line_start < long
                and not (unsettled and unsettled((origin.host, origin.tag)))
            ):
                found = origin.match(block, message, line_end)
                if found is None:
                    if origin.nothing(block, message, line_end):
                        continue
                elif (time := known(block[line_start:written], now)) is not None:
                    ahead = _AHEAD_BSD if written - line_start == _BSD_STAMP else _AHEAD
                    reading = origin.readings[found.lastindex or 0]
                    event: Event | Part | None
                    stamp = (time, ahead)
                    if reading.join is None:
                        event = _event(found, reading, origin, stamp, base + line_start)
                    else:
                        event = part_of(found, reading, origin.who, stamp, base + line_start)
                        # A login without a true address is looked at again, as a near miss.
                        event = event if is_true(event) else None
                    if event is not None:
                        latest = max(latest, time)
                        add(event)
                        continue
            going.latest = latest
            self._read(going, line_start, line_end)
            if going.cuts.active:
                going.next_hit = index + 1
                return start
            latest = going.latest
        going.latest = latest
        going.next_hit = len(hits)
        return end

    # The careful way

    def _carefully(self, going: _Pass, start: int) -> int:
        """Read every message of the tags from ``start`` on, until the end or all doubt is over."""
        block, end = going.block, going.end
        tagged = -1
        while start < end and going.cuts.active:
            if tagged < start:
                tagged = self._search.tagged(block, start, end)
            line_start = min(self._line_of_next_hit(going, start), tagged)
            if line_start >= end:
                going.cuts.passed(end - start)
                return end
            line_end = block.find(b"\n", line_start, end)
            self._read(going, line_start, line_end)
            going.cuts.passed(line_end + 1 - start)
            start = line_end + 1
        return start

    @staticmethod
    def _line_of_next_hit(going: _Pass, start: int) -> int:
        while going.next_hit < len(going.hits):
            hit = going.hits[going.next_hit]
            if hit >= start:
                return going.block.rfind(b"\n", start, hit) + 1 or start
            going.next_hit += 1
        return going.end

    # One line

    def _read(self, going: _Pass, start: int, end: int) -> None:
        """Read one line by header, tag and rules: doubts and cuts, then what it says."""
        line = self._read_header(going, start, end)
        if line is None:
            return
        time, origin = line.time, line.origin
        if time is not None and time > going.latest:
            going.latest = time
        suspect, cut = _doubt(going.block, line, going.cuts)
        at = going.base + start
        if cut:
            going.cut_tags.append((origin.host, origin.tag))
            if self.joins:
                going.events += cancelled(origin.readings.values(), origin.who, at)
            return
        found = origin.match(going.block, line.start, end)
        if found is None:
            near = looks_like_login(going.block, line.start, end, origin.near, origin.cut)
        else:
            reading = origin.readings[found.lastindex or 0]
            near = reading.format if reading.login else None
            if reading.join is not None:
                stamp = (time, line.ahead)
                part = part_of(found, reading, origin.who, stamp, at, suspect=suspect)
                going.events.append(part)
                near = None if time is not None and is_true(part) else near
            elif time is not None:
                event = _event(found, reading, origin, (time, line.ahead), at)
                if event is not None:
                    if suspect:
                        going.suspects.append(event)
                    else:
                        going.events.append(event)
                    return
        if near is not None and not suspect:
            self._near(going, line, near, start)

    @staticmethod
    def _near(going: _Pass, line: _Line, name: str, start: int) -> None:
        """A near miss of the format ``name``."""
        going.nears += 1
        if len(going.near) < NEAR_MISSES:
            message = going.block[line.start : min(line.end, line.start + NEAR_BYTES)]
            host, tag = line.origin.host, line.origin.tag
            going.near.append(NearMiss(line.time, host, tag, name, going.base + start, message))

    def _read_header(self, going: _Pass, start: int, end: int) -> _Line | None:
        block, now = going.block, going.now
        for family in self._families:
            header = family.header.regex.match(block, start, end)
            if header is None:
                continue
            fields = header.groupdict()
            tag = fields.get("tag") or b""
            writer = family.by_tag.get(tag)
            if writer is None:
                if tag.startswith(COLLECTORS):
                    self._collector(going, fields.get("host") or b"", tag, header.end(), end)
                continue
            time, ahead, fraction = self._stamp(fields, now)
            host, pid = fields.get("host") or b"", fields.get("pid") or b""
            origin = _Origin(host, tag, pid, writer)
            if family.header.name == "syslog":
                self._remember(origin, header, block)
            return _Line(time, ahead, fraction, origin, header.end(), end)
        return None

    def _collector(self, going: _Pass, host: bytes, tag: bytes, start: int, end: int) -> None:
        """A message of the log's collector itself: it may say that it dropped others."""
        if is_loss(going.block, start, end):
            going.cuts.doubt_all()
            going.cut_tags.append((host, tag))
            if self.joins:
                going.events.append(gap(going.base + start))

    def _remember(self, origin: _Origin, header: re.Match[bytes], block: bytes) -> None:
        """Remember the origin by the bytes between stamp and message.

        They say the same behind every stamp, if they end where :meth:`_quickly` will think they do
        and the stamp begins the line.
        """
        stamp = "rfc3339" if header["rfc3339"] else "bsd"
        begun, written = header.span(stamp)
        if begun != header.start() or (stamp == "bsd" and written - begun != _BSD_STAMP):
            return
        between = block[written : header.end()]
        if between.find(b": ") == len(between) - 2:
            if len(self._origins) >= _ORIGINS:
                self._origins.clear()
            self._origins[between] = origin

    def _stamp(
        self, fields: dict[str, bytes | None], now: float
    ) -> tuple[float | None, float, bool]:
        """Time, how far ahead it may be, and whether it has a fraction."""
        time = self._clock.of(fields, now)
        if stamp := fields.get("rfc3339"):
            return time, _AHEAD, b"." in stamp
        if not fields.get("tai64n"):
            return time, _AHEAD_BSD, False
        return time, _AHEAD, True


def _event(
    found: re.Match[bytes],
    reading: Reading,
    origin: _Origin,
    stamp: tuple[float, float],
    offset: int,
) -> Event | None:
    """What a message says; one without a true address says nothing."""
    # Built as plain tuples, and at once: a named tuple's own constructor takes twice as long.
    tag, name, host, flag = origin.tag, reading.format, origin.host, reading.flag
    time, ahead = stamp
    if reading.login:
        user, written, port = found.group(*reading.fields)
        if (address := literal(written)) is None:
            return None
        return _tuple(
            Login, (time, ahead, address, user, port or b"", tag, name, host, flag, offset)
        )
    user, written, port, lasted = found.group(*reading.fields)
    if (address := literal(written)) is None:
        return None
    seconds = int(lasted) if lasted else None
    by = (time, ahead, address, user, port or b"", tag, name, host)
    return _tuple(End, (*by, flag, reading.held, seconds, offset))


def _doubt(block: bytes, line: _Line, cuts: Cuts) -> tuple[bool, bool]:
    """Whether the message is suspect, and whether it is cut itself."""
    origin = line.origin
    rule = origin.cut
    if rule is None:
        return False, False
    tag = (origin.host, origin.tag)
    suspect = (cuts.active or cuts.gapped) and cuts.suspect(
        tag, rule, line.time, line.end - line.start, fraction=line.fraction
    )
    cut = is_cut(block, line.start, line.end, rule)
    if cut:
        cuts.cut(tag)
    return suspect, cut


def _families(formats: Sequence[Format]) -> tuple[_Family, ...]:
    headers = {fmt.header.regex.pattern: fmt.header for fmt in formats}
    families = []
    for pattern, header in headers.items():
        sharing = [fmt for fmt in formats if fmt.header.regex.pattern == pattern]
        tags = {tag for fmt in sharing for tag in fmt.tags or {b""}}
        writers: dict[tuple[str, ...], _Writer] = {}
        by_tag = {}
        for tag in tags:
            having = [fmt for fmt in sharing if tag in (fmt.tags or {b""})]
            names = tuple(fmt.name for fmt in having)
            by_tag[tag] = writers.setdefault(names, _Writer(having))
        families.append(_Family(header, by_tag))
    return tuple(families)
