"""Which moment a stamp means: years, zones, daylight saving, dates that do not exist."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbs_watch.log.clock import Clock
from tests.logs import DAY, HOUR, Watched, at

BERLIN = ZoneInfo("Europe/Berlin")


def bsd(stamp: str, now: float, zone: tzinfo = UTC) -> float | None:
    return Clock(zone).bsd(stamp.encode(), now)


def stamp_of(moment: datetime) -> str:
    return f"{moment:%b} {moment.day:2} {moment:%H:%M:%S}"


@pytest.mark.parametrize(
    ("stamp", "now", "means"),
    [
        ("Nov 22 08:44:00", "2026-11-22 08:44:00", "2026-11-22 08:44:00"),
        # New Year: a line of the old year read in the new one, and the other way round.
        ("Dec 31 23:59:59", "2027-01-01 00:00:01", "2026-12-31 23:59:59"),
        ("Jan  1 00:00:00", "2027-01-01 00:00:01", "2027-01-01 00:00:00"),
        ("Jan  1 00:00:30", "2026-12-31 23:59:59", "2027-01-01 00:00:30"),
        ("Jan  1 14:00:00", "2026-12-31 23:59:59", "2027-01-01 14:00:00"),
        # More than a day ahead: last year's.
        ("Nov 23 08:44:00", "2026-11-22 08:44:00", "2026-11-23 08:44:00"),
        ("Nov 23 08:44:01", "2026-11-22 08:44:00", "2025-11-23 08:44:01"),
        ("Dec 31 00:00:00", "2026-06-01 00:00:00", "2025-12-31 00:00:00"),
        # 29 February: the latest year that has one.
        ("Feb 29 12:00:00", "2028-02-29 12:00:01", "2028-02-29 12:00:00"),
        ("Feb 29 12:00:00", "2028-02-28 12:00:01", "2028-02-29 12:00:00"),
        ("Feb 29 12:00:00", "2028-02-27 12:00:00", "2024-02-29 12:00:00"),
        ("Feb 29 12:00:00", "2027-03-01 12:00:00", "2024-02-29 12:00:00"),
        ("Feb 29 12:00:00", "2100-03-01 12:00:00", "2096-02-29 12:00:00"),
        ("Feb 29 12:00:00", "2104-02-28 11:00:00", "2096-02-29 12:00:00"),
        # A leap second is the second after 59.
        ("Dec 31 23:59:60", "2027-01-01 00:00:01", "2027-01-01 00:00:00"),
    ],
)
def test_the_year_is_the_latest_that_is_not_a_day_ahead(stamp: str, now: str, means: str) -> None:
    assert bsd(stamp, at(now)) == at(means)


@given(
    now=st.datetimes(datetime(1975, 1, 1), datetime(2090, 1, 1)),
    ago=st.floats(-DAY + 61, 363.9 * DAY),
    zone=st.sampled_from(
        [UTC, BERLIN, ZoneInfo("Pacific/Kiritimati"), ZoneInfo("Pacific/Pago_Pago")]
    ),
)
def test_a_stamp_of_the_last_year_means_when_it_was_written(
    now: datetime, ago: float, zone: tzinfo
) -> None:
    present = now.replace(tzinfo=UTC)
    written = (present - timedelta(seconds=ago)).replace(microsecond=0).astimezone(zone)
    found = bsd(stamp_of(written), present.timestamp(), zone)
    twice = {written.replace(fold=fold).timestamp() for fold in (0, 1)}
    assert found in twice
    if len(twice) == 1:
        assert found == written.timestamp()


@pytest.mark.parametrize(
    "stamp", ["Feb 30 08:00:00", "Apr 31 08:00:00", "Nov  0 08:00:00", "Nov 22 24:00:00"]
)
def test_a_date_that_no_year_has_means_nothing(stamp: str) -> None:
    clock = Clock(UTC)
    assert clock.bsd(stamp.encode(), at("2026-11-22 08:44:00")) is None
    assert Clock(UTC, 2026).bsd(stamp.encode(), at("2026-11-22 08:44:00")) is None
    # And it keeps meaning nothing.
    assert clock.known(stamp.encode(), at("2026-11-22 08:44:00")) is None


def test_stamps_without_a_zone_are_in_the_configured_one() -> None:
    now = at("2026-11-22 12:00:00")
    assert bsd("Nov 22 09:44:00", now, BERLIN) == at("2026-11-22 08:44:00")
    assert bsd("Jul  1 09:44:00", now, BERLIN) == at("2026-07-01 07:44:00")
    assert Clock(BERLIN).slash(b"2026/11/22 09:44:00", now) == at("2026-11-22 08:44:00")


def test_stamps_with_a_zone_do_not_care_about_the_configured_one() -> None:
    assert Clock(BERLIN).rfc3339(b"2026-11-22T08:44:00Z") == at("2026-11-22 08:44:00")


@pytest.mark.parametrize("now", ["2026-11-22 08:44:00", "2026-07-01 08:44:00"])
def test_the_zone_of_the_machine_is_the_default(now: str) -> None:
    local = datetime.fromtimestamp(at(now))
    assert Clock().bsd(stamp_of(local).encode(), at(now)) == at(now)


# In Berlin 02:00 to 03:00 comes twice on 25 October 2026: at 00:00 UTC and at 01:00 UTC.
REPEATED = "Oct 25 02:30:00"
FIRST, SECOND = "2026-10-25 00:30:00", "2026-10-25 01:30:00"


@pytest.mark.parametrize(
    ("now", "means"),
    [
        (FIRST, FIRST),
        ("2026-10-25 00:30:05", FIRST),
        ("2026-10-25 01:29:59", FIRST),
        (SECOND, SECOND),
        ("2026-10-25 02:00:00", SECOND),
        ("2026-10-25 00:29:59", FIRST),  # a second ahead of us, not an hour and a second
    ],
)
def test_in_the_repeated_hour_the_later_reading_that_is_not_in_the_future_counts(
    now: str, means: str
) -> None:
    assert bsd(REPEATED, at(now), BERLIN) == at(means)


def test_a_stamp_of_the_repeated_hour_is_read_anew_an_hour_later() -> None:
    clock = Clock(BERLIN)
    assert clock.bsd(REPEATED.encode(), at(FIRST) + 1) == at(FIRST)
    assert clock.known(REPEATED.encode(), at(SECOND) + 1) is None
    assert clock.bsd(REPEATED.encode(), at(SECOND) + 1) == at(SECOND)


def test_a_log_followed_through_the_repeated_hour_grants_each_login() -> None:
    watching = Watched()
    watching.chain.scanner._clock = Clock(BERLIN)
    began = at("2026-10-24 23:50:00")
    for number in range(20):
        now = began + number * 600
        moment = datetime.fromtimestamp(now, BERLIN)
        login = f"LOGIN, user=u, ip=[198.18.0.{number}], port=[1]"
        watching.feed(f"{stamp_of(moment)} mail pop3d: {login}\n".encode(), now, replayed=False)
        assert f"198.18.0.{number}" in watching.allowed(now)
        assert f"198.18.0.{number}" in watching.allowed(now + 0.49 * HOUR)
        assert f"198.18.0.{number}" not in watching.allowed(now + 0.51 * HOUR)


def test_the_hour_that_spring_skips_is_read_as_one_beside_it() -> None:
    """No clock shows it; a log that does has its times wrong by an hour at most."""
    found = bsd("Mar 29 02:30:00", at("2026-03-29 12:00:00"), BERLIN)
    assert found is not None
    assert abs(found - at("2026-03-29 01:00:00")) <= HOUR


@pytest.mark.parametrize("zone", [UTC, BERLIN])
def test_years_follow_the_stamps_of_a_replayed_log(zone: tzinfo) -> None:
    """Through four New Years, one 29 February and a few lines that are out of order."""
    clock = Clock(zone, 2022)
    moment = datetime(2022, 11, 1, 12, tzinfo=zone)
    while moment < datetime(2026, 3, 1, tzinfo=zone):
        for jitter in (0, -5, 3):
            stamped = moment + timedelta(seconds=jitter)
            assert (
                clock.bsd(stamp_of(stamped).encode(), at("2027-01-01 00:00:00"))
                == stamped.timestamp()
            )
        moment += timedelta(days=29, hours=7)


def test_lines_out_of_order_around_new_year_keep_their_years() -> None:
    clock = Clock(UTC, 2025)
    now = at("2027-01-01 00:00:00")
    stamps = [b"Dec 31 23:59:58", b"Jan  1 00:00:01", b"Dec 31 23:59:59", b"Jan  1 00:00:02"]
    assert [clock.bsd(stamp, now) for stamp in stamps] == [
        at("2025-12-31 23:59:58"),
        at("2026-01-01 00:00:01"),
        at("2025-12-31 23:59:59"),
        at("2026-01-01 00:00:02"),
    ]


def test_the_first_year_is_that_of_the_first_line_whatever_it_says() -> None:
    """Even where it is not a line that the scanner looks for."""
    watching = Watched(year=2025)
    watching.feed(
        b"Dec 31 23:59:00 mail postfix/smtpd[1]: connect from unknown\n"
        b"Jan  1 00:00:10 mail pop3d: LOGIN, user=bob, ip=[198.18.0.1], port=[1]\n"
        b"Jan  1 00:00:20 mail postfix/smtpd[1]: disconnect from unknown\n",
        at("2026-06-01 00:00:00"),
    )
    assert watching.chain.counts.latest == at("2026-01-01 00:00:20")
    assert watching.allowed(at("2026-01-01 00:20:00")) == {"198.18.0.1"}


def test_a_leap_second_of_rfc3339_is_the_second_after_59() -> None:
    clock = Clock(UTC)
    for _ in range(2):
        assert clock.rfc3339(b"2016-12-31T23:59:60.5+00:00") == at("2017-01-01 00:00:00.5")
        assert clock.rfc3339(b"2016-12-31T23:59:61+00:00") is None


def test_tai64n_is_read() -> None:
    """The example of D. J. Bernstein's page on TAI64: 1992-06-02 08:07:09 TAI."""
    found = Clock.tai64n(b"@400000002a2b2c2d00000000")
    assert found == at("1992-06-02 08:07:09") - 37


@given(
    moment=st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1)),
    offset=st.integers(-14 * 60, 14 * 60),
)
def test_any_rfc3339_stamp_is_read_as_the_library_reads_it(moment: datetime, offset: int) -> None:
    from datetime import timezone

    zone = timezone(timedelta(minutes=offset))
    whole = moment.replace(tzinfo=zone)
    stamp = whole.isoformat(timespec="microseconds").encode()
    clock = Clock(BERLIN)
    assert clock.known(stamp, 0.0) is None
    assert clock.rfc3339(stamp) == pytest.approx(whole.timestamp(), abs=1e-5)
    assert clock.known(stamp, 0.0) == clock.rfc3339(stamp)
