"""The clock is set back and forth, and summer comes and goes: nobody is granted for longer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from pbs_watch.chain import Chain
from pbs_watch.grants.changes import Changes
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.store import Map
from pbs_watch.log.clock import Clock
from pbs_watch.log.cuts import Cuts
from pbs_watch.log.lines import Block
from pbs_watch.pattern.scan import Scanner
from tests.daemon import NO, OK, Daemon, Log, login, rfc3339
from tests.logs import COURIER, HOUR, MINUTE, WINDOW, at, policy

NOW = at("2026-11-22 08:44:00")
ADDRESS = b"198.18.0.1"

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]

Stamp = Callable[[float], str]
Start = Callable[..., Daemon]


def bsd_in(zone: str) -> Stamp:
    """BSD stamps as a logger in that zone writes them."""

    def stamp(when: float) -> str:
        local = datetime.fromtimestamp(when, ZoneInfo(zone))
        return f"{local:%b} {local.day:2} {local:%H:%M:%S}"

    return stamp


class Watching:
    """A log that is read line by line, each when the clock says so."""

    def __init__(self, zone: str = "UTC", stamp: Stamp = rfc3339) -> None:
        self._chain = Chain(Scanner(COURIER, Clock(ZoneInfo(zone))), policy())
        self._cuts = Cuts("strict")
        self._stamp = stamp
        self.pending = Pending()

    def read(self, written: float, now: float) -> None:
        """A login of :data:`ADDRESS` that was logged at ``written`` is read at ``now``."""
        block = login(ADDRESS.decode(), at=written, stamp=self._stamp)
        self._chain.feed([Block(block, 0, len(block))], 0, self._cuts, now, self.pending.making)

    def expires(self) -> float | None:
        grant = self.pending.making.grants.get(ADDRESS)
        return None if grant is None else grant.expires

    def allows(self, now: float) -> bool:
        return self.pending.allows(ADDRESS, now)


# Set back and forth

STAMPS = {"bsd": bsd_in("UTC"), "rfc3339": rfc3339}


@pytest.mark.parametrize("stamp", STAMPS.values(), ids=STAMPS)
@pytest.mark.parametrize("step", [-HOUR, -MINUTE, HOUR])
def test_a_grant_ends_when_its_window_does_by_the_clock_as_it_is_now(
    step: float, stamp: Stamp
) -> None:
    watching = Watching(stamp=stamp)
    watching.read(NOW, NOW)
    # The clock is set; the same line is read once more, as after a kill.
    watching.read(NOW, NOW + step)
    assert watching.expires() == NOW + WINDOW
    assert not watching.allows(NOW + WINDOW)


def test_a_login_after_the_clock_was_set_back_shortens_nothing() -> None:
    watching = Watching()
    watching.read(NOW, NOW)
    watching.read(NOW - HOUR, NOW - HOUR)
    assert watching.expires() == NOW + WINDOW


@pytest.mark.parametrize(
    ("stamp", "expires"),
    [(rfc3339, None), (bsd_in("UTC"), NOW - HOUR + WINDOW)],
    ids=["rfc3339", "bsd"],
)
def test_what_was_logged_before_the_clock_was_set_back_counts_as_now_at_most(
    stamp: Stamp, expires: float | None
) -> None:
    """An hour ahead is what a stamp without a zone may be, and no other."""
    watching = Watching(stamp=stamp)
    watching.read(NOW, NOW - HOUR)
    assert watching.expires() == expires


@pytest.mark.parametrize("stamp", STAMPS.values(), ids=STAMPS)
def test_what_was_logged_before_the_clock_was_set_forward_is_as_old_as_it_looks(
    stamp: Stamp,
) -> None:
    watching = Watching(stamp=stamp)
    watching.read(NOW, NOW + HOUR)
    assert watching.expires() is None
    watching.read(NOW, NOW + 10 * MINUTE)
    assert watching.expires() == NOW + WINDOW


def test_a_sweep_after_the_clock_was_set_back_removes_nothing_that_lives(tmp_path: Path) -> None:
    watching = Watching()
    watching.read(NOW, NOW)
    grants = Map(tmp_path / "map", "scratch")
    grants.commit(watching.pending.making)
    for step in (-10 * HOUR, -HOUR, 0.0, WINDOW - 1):
        assert grants.sweep(NOW + step).looked == 0
        assert grants.allows(ADDRESS, NOW + step)
    # Swept while it was in the index as due earlier: renewed at a time before.
    grants.commit(Changes(0, watching.pending.making.logins, watching.pending.making.grants))
    assert grants.sweep(NOW + WINDOW).looked == 1
    assert not grants.allows(ADDRESS, NOW)
    grants.close()


# Summer and winter

TURNS = {
    "Berlin, spring": ("Europe/Berlin", "2026-03-29 01:00:00"),
    "Berlin, autumn": ("Europe/Berlin", "2026-10-25 01:00:00"),
    "New York, spring": ("America/New_York", "2026-03-08 07:00:00"),
    "New York, autumn": ("America/New_York", "2026-11-01 06:00:00"),
    # By half an hour.
    "Lord Howe, spring": ("Australia/Lord_Howe", "2026-10-03 15:30:00"),
    "Lord Howe, autumn": ("Australia/Lord_Howe", "2026-04-04 15:00:00"),
    "Berlin, New Year": ("Europe/Berlin", "2026-12-31 23:00:00"),
    "New York, New Year": ("America/New_York", "2027-01-01 05:00:00"),
    "Lord Howe, New Year": ("Australia/Lord_Howe", "2026-12-31 13:00:00"),
}
"""Zones, and the moment (UTC) at which their clocks do something out of the ordinary."""


def offset(zone: str, when: float) -> float:
    """Seconds by which the zone is ahead of UTC."""
    found = datetime.fromtimestamp(when, ZoneInfo(zone)).utcoffset()
    assert found is not None
    return found.total_seconds()


def around(moment: str) -> range:
    """Every seven minutes of three hours before and after."""
    middle = int(at(moment))
    return range(middle - 10_800, middle + 10_800, 420)


def test_the_turns_are_turns() -> None:
    for name, (zone, moment) in TURNS.items():
        turned = offset(zone, at(moment)) - offset(zone, at(moment) - 1)
        if "New Year" in name:
            stamps = [bsd_in(zone)(at(moment) + second)[:6] for second in (-1, 0)]
            assert stamps == ["Dec 31", "Jan  1"]
        else:
            expected = 1800 if "Lord Howe" in name else 3600
            assert turned == (expected if "spring" in name else -expected)


@pytest.mark.parametrize(("zone", "moment"), TURNS.values(), ids=TURNS)
@pytest.mark.parametrize("late", [0, 1, 90])
def test_a_login_grants_one_window_through_every_turn_of_the_clock(
    zone: str, moment: str, late: float
) -> None:
    for written in around(moment):
        watching = Watching(zone, bsd_in(zone))
        watching.read(written, written + late)
        assert watching.expires() == written + WINDOW
        assert watching.allows(written + late)


@pytest.mark.parametrize(("zone", "moment"), TURNS.values(), ids=TURNS)
@pytest.mark.parametrize("late", [20 * MINUTE, 29 * MINUTE, 50 * MINUTE, 2 * HOUR])
def test_a_login_read_late_grants_no_more_than_a_new_one(
    zone: str, moment: str, late: float
) -> None:
    """A stamp of the hour that comes twice may mean either: never one that is to come."""
    repeated = max(offset(zone, at(moment) - 1) - offset(zone, at(moment)), 0.0)
    for written in around(moment):
        watching = Watching(zone, bsd_in(zone))
        now = written + late
        watching.read(written, now)
        expires = watching.expires()
        if expires is None:
            assert late >= WINDOW
        else:
            assert now < expires <= now + WINDOW
            assert expires - WINDOW - written in {0.0, repeated}


@pytest.mark.parametrize(
    ("zone", "stamp", "before", "after"),
    [
        ("Europe/Berlin", "Mar 29 02:30:00", "2026-03-29 00:30:00", "2026-03-29 01:30:00"),
        ("America/New_York", "Mar  8 02:30:00", "2026-03-08 06:30:00", "2026-03-08 07:30:00"),
        ("Australia/Lord_Howe", "Oct  4 02:15:00", "2026-10-03 15:15:00", "2026-10-03 15:45:00"),
    ],
)
def test_a_time_that_no_clock_shows_grants_no_longer_than_one_beside_it(
    zone: str, stamp: str, before: str, after: str
) -> None:
    """Such a logger is wrong by the hour that it did not skip: its logins may be too old."""
    granted = []
    for now in (at(before), at(before) + 10 * MINUTE, at(after), at(after) + 10 * MINUTE):
        watching = Watching(zone, lambda _when: stamp)
        watching.read(0, now)
        granted.append(watching.expires())
        assert granted[-1] in {None, at(before) + WINDOW, at(after) + WINDOW, now + WINDOW}
        assert granted[-1] is None or granted[-1] <= now + WINDOW
    assert granted[0] == at(before) + WINDOW


@pytest.mark.parametrize("zone", ZONES)
def test_a_daemon_reads_stamps_in_the_zone_it_is_told(start: Start, log: Log, zone: str) -> None:
    daemon = start("--zone", zone)
    now = datetime.now(UTC).timestamp()
    log.write(login("198.18.0.1", stamp=bsd_in(zone)))
    log.write(login("198.18.0.2", at=now - WINDOW - MINUTE, stamp=bsd_in(zone)))
    log.write(login("198.18.0.3", at=now - WINDOW + MINUTE, stamp=bsd_in(zone)))
    asked = [daemon.ask(f"198.18.0.{number}") for number in (1, 2, 3)]
    assert asked == [OK, NO, OK]
