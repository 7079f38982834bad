"""From a stamp in a log to the time it means.

A BSD stamp carries neither year nor zone.  The year is the latest that puts the stamp not more
than a day after ``now``, or, when a first year is given (``replay --year``), the one that puts it
nearest to the latest stamp before it.  The zone is configurable, the machine's by default.  In the
hour that the end of daylight saving repeats, the later reading that is not in the future counts.
(design.md, Time.)

Nothing here reads a clock: ``now`` is a parameter.  A stamp that is not a date (30 February) gives
``None``; the line then has no effect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo

_Date = tuple[int, int, int, int, int]
"""Month, day, hour, minute, second: what a BSD stamp says."""

_DAY = 86400.0
_TAI_OFFSET = 37
"""Seconds by which TAI is ahead of UTC since 2017 (IERS Bulletin C 52)."""
_TAI_EPOCH = 1 << 62

_MONTHS = {
    name: number
    for number, name in enumerate(
        b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), start=1
    )
}

_REMEMBERED = 4096
"""Minutes remembered, of either kind of stamp."""
_FRESH = 30 * _DAY
"""Seconds for which a BSD stamp keeps its year, whatever the present is."""
_BSD_BYTES = 15
"""Bytes of a BSD stamp whose day is padded."""
_LEAP_SECOND = 60
_SECONDS = re.compile(rb"(?:[0-5][0-9]|60)(?:\.[0-9]{1,9})?").fullmatch

_LEAP_YEARS_APART = 8
"""29 February is at most eight years away (1896 to 1904)."""


class Clock:
    """Reads stamps in one zone.

    ``zone`` is the zone of stamps that carry none, ``None`` for the machine's.  ``year`` is the
    year of the first BSD stamp that is read; from there on years follow the order of the stamps.
    """

    def __init__(self, zone: tzinfo | None = None, year: int | None = None) -> None:
        self._zone = zone
        self._year = year
        self._latest: float | None = None
        self._rfc3339: dict[bytes, float] = {}
        self._bsd: dict[bytes, float] = {}
        self._bsd_kept_at = 0.0
        self._ambiguous = False
        """Whether the stamp read last is one of an hour that daylight saving repeats, or skips."""

    @property
    def years_follow(self) -> bool:
        """Whether the year of a BSD stamp depends on the stamps read before it."""
        return self._year is not None

    def of(self, header: Mapping[str, bytes | None], now: float) -> float | None:
        """Epoch seconds of the stamp among the groups of a header; ``now`` as for the others."""
        if stamp := header.get("rfc3339"):
            return self.rfc3339(stamp)
        if stamp := header.get("bsd"):
            return self.bsd(stamp, now)
        if stamp := header.get("slash"):
            return self.slash(stamp, now)
        if stamp := header.get("bsdyear"):
            return self.bsdyear(stamp, now)
        return self.tai64n(header.get("tai64n") or b"")

    def bsd(self, stamp: bytes, now: float) -> float | None:
        """Epoch seconds of ``Nov 22 08:41:27``."""
        second = int(stamp[-2:])
        if second > _LEAP_SECOND:
            return None
        if not self._bsd_holds(now) or len(self._bsd) > _REMEMBERED:
            self._bsd.clear()
            self._bsd_kept_at = self._reference(now)
        minute = self._bsd.get(stamp[:-2])
        if minute is None:
            minute = self._read_minute(stamp, second, now)
            if minute is None:
                return None
            if self._year is not None or (minute <= now and not self._ambiguous):
                # It has begun and comes once, so that now decides neither its year nor its hour.
                self._bsd[stamp[:-2]] = minute
        return minute + second

    def rfc3339(self, stamp: bytes) -> float | None:
        """Epoch seconds of ``2026-11-22T08:42:16.762812+00:00``; fractions of 0 to 9 digits."""
        cut = -1 if stamp.endswith(b"Z") else -6
        seconds = stamp[17:cut]
        key = stamp[:17] + stamp[cut:]
        minute = self._rfc3339.get(key)
        if minute is None:
            try:
                minute = datetime.fromisoformat(
                    (stamp[:17] + b"00" + stamp[cut:]).decode()
                ).timestamp()
            except (ValueError, OverflowError):
                return None
            if len(self._rfc3339) > _REMEMBERED:
                self._rfc3339.clear()
            self._rfc3339[key] = minute
        return minute + float(seconds) if seconds < b"61" else None

    def known(self, stamp: bytes, now: float) -> float | None:
        """Epoch seconds of a stamp in a minute that was read before, ``None`` for any other.

        For a caller in a hurry, who has not looked what ``stamp`` is: a padded BSD stamp, an RFC
        3339 stamp, or other bytes.
        """
        if len(stamp) == _BSD_BYTES:
            minute = self._bsd.get(stamp[:-2]) if self._bsd_holds(now) else None
            seconds = stamp[-2:]
        else:
            cut = -1 if stamp.endswith(b"Z") else -6
            minute = self._rfc3339.get(stamp[:17] + stamp[cut:])
            seconds = stamp[17:cut]
        if minute is None or _SECONDS(seconds) is None:
            return None
        return minute + float(seconds)

    def _reference(self, now: float) -> float:
        """What decides the year of a stamp: the present, or the latest stamp."""
        return now if self._year is None else (self._latest or 0.0)

    def _bsd_holds(self, now: float) -> bool:
        """Whether remembered minutes still mean the same."""
        return 0 <= self._reference(now) - self._bsd_kept_at < _FRESH

    def slash(self, stamp: bytes, now: float) -> float | None:
        """Epoch seconds of nginx's ``2026/11/22 08:00:00``."""
        return self._written_as("%Y/%m/%d %H:%M:%S", stamp, now)

    def bsdyear(self, stamp: bytes, now: float) -> float | None:
        """Epoch seconds of Apple's ``Nov 22 2026 08:00:00``."""
        month = _MONTHS.get(stamp[:3])
        return self._written_as("%m %d %Y %H:%M:%S", b"%d%b" % (month or 0, stamp[3:]), now)

    def _written_as(self, form: str, stamp: bytes, now: float) -> float | None:
        try:
            naive = datetime.strptime(stamp.decode(), form)
        except ValueError:
            return None
        return self._in_zone(naive, now)

    @staticmethod
    def tai64n(stamp: bytes) -> float | None:
        """Epoch seconds of multilog's ``@40000000...``: 16 hex digits TAI64, 8 of nanoseconds."""
        return int(stamp[1:17], 16) - _TAI_EPOCH - _TAI_OFFSET + int(stamp[17:], 16) / 1e9

    def _read_minute(self, stamp: bytes, second: int, now: float) -> float | None:
        """Epoch seconds of the minute of a BSD stamp."""
        month = _MONTHS.get(stamp[:3])
        if month is None:
            return None
        second = min(second, _LEAP_SECOND - 1)
        date = (month, int(stamp[3:-9]), int(stamp[-8:-6]), int(stamp[-5:-3]), second)
        read = self._latest_year if self._year is None else self._nearest_year
        found = read(date, now)
        return None if found is None else found - second

    def _latest_year(self, date: _Date, now: float) -> float | None:
        year = datetime.fromtimestamp(now, UTC).year + 1
        for back in range(_LEAP_YEARS_APART + 2):
            epoch = self._dated(year - back, date, now)
            if epoch is not None and epoch <= now + _DAY:
                return epoch
        return None

    def _nearest_year(self, date: _Date, now: float) -> float | None:
        latest = self._latest
        if latest is None:
            epoch = self._dated(self._year or 0, date, now)
        else:
            around = datetime.fromtimestamp(latest, UTC).year
            readings = [self._dated(around + step, date, now) for step in (-1, 0, 1)]
            epoch = min(
                (reading for reading in readings if reading is not None),
                key=lambda reading: abs(reading - latest),
                default=None,
            )
        if epoch is not None:
            self._latest = epoch if latest is None else max(epoch, latest)
        return epoch

    def _dated(self, year: int, date: _Date, now: float) -> float | None:
        try:
            return self._in_zone(datetime(year, *date), now)
        except (ValueError, OverflowError):
            return None

    def _in_zone(self, naive: datetime, now: float) -> float:
        local = naive.replace(tzinfo=self._zone)
        later = local.replace(fold=1).timestamp()
        earlier = local.replace(fold=0).timestamp()
        self._ambiguous = later != earlier
        return later if later <= now else earlier
