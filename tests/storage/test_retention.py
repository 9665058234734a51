"""Ends of terms: by the calendar of the tenant's zone, never later than promised, never earlier than a law asks."""

from __future__ import annotations

import calendar
import itertools
import zoneinfo
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.model import Kind
from storage.policy.library import profile
from storage.policy.model import Policy
from storage.policy.overrides import Override, overridden
from storage.policy.term import Term
from storage.records import Day
from storage.retention import LAST_S, Keep, after, due

ZONES = (
    "UTC",
    "Europe/Amsterdam",
    "Europe/London",
    "America/New_York",
    "America/St_Johns",
    "Atlantic/Azores",
    "Africa/Cairo",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Pacific/Kiritimati",
    "Pacific/Chatham",
)
DAYS = st.dates(date(2020, 1, 1), date(2037, 12, 31))
TERMS = st.one_of(
    st.integers(1, 130).map(lambda n: Term.parse(f"{n} months")),
    st.integers(2, 800).map(lambda n: Term.parse(f"{n} days")),
)


def when(second: int | None) -> str:
    assert second is not None
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M")


def ends(day: str, term: str, zone: str = "UTC", keep: Keep = Keep.AT_MOST) -> str:
    return when(due(Day(day), Term.parse(term), zone, keep))


def slow_promise(second: int, term: Term, zone: str, keep: Keep) -> int:
    """The same, of one instant, another way: months are counted one by one, and the clock on the wall is looked at
    for every quarter of an hour around the day, forwards only."""
    here = zoneinfo.ZoneInfo(zone)
    wall = datetime.fromtimestamp(second, UTC).astimezone(here).replace(tzinfo=None)
    count, word = str(term).split(" ")
    day = wall.date()
    if word.startswith("day"):
        for _ in range(int(count)):
            day += timedelta(days=1)
    else:
        year, month = day.year, day.month
        for _ in range(int(count) * (12 if word.startswith("year") else 1)):
            year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        day = date(year, month, min(day.day, calendar.monthrange(year, month)[1]))
    target = datetime.combine(day, wall.time())
    rough = int(target.replace(tzinfo=UTC).timestamp())
    first = rough - rough % 900 - 30 * 3600  # clocks change at a quarter of an hour
    around = range(first, first + 60 * 3600, 900)
    distances = [(at, _wall(at, here) - datetime.fromtimestamp(at, UTC).replace(tzinfo=None)) for at in around]
    offsets = {distance for _, distance in distances}
    readings = {rough - int(offset.total_seconds()) for offset in offsets}
    shown = {at for at in readings if _wall(at, here) == target}
    if not shown:  # skipped: read by the clock of before, and by that of after
        before, later = next(
            (old, new)
            for (at, old), (_, new) in itertools.pairwise(distances)
            if old != new and _wall(at + 899, here) < target < _wall(at + 900, here) + timedelta(seconds=1)
        )
        shown = {rough - int(before.total_seconds()), rough - int(later.total_seconds())}
    return min(shown) if keep is Keep.AT_MOST else max(shown)


def _wall(second: int, here: zoneinfo.ZoneInfo) -> datetime:
    return datetime.fromtimestamp(second, UTC).astimezone(here).replace(tzinfo=None)


@pytest.mark.parametrize(
    ("day", "term", "zone", "expected"),
    [
        ("2026-03-01", "12 months", "UTC", "2027-03-01 00:00"),
        ("2026-03-01", "4 months", "UTC", "2026-07-01 00:00"),
        ("2024-02-29", "12 months", "UTC", "2025-02-28 00:00"),
        ("2024-02-29", "48 months", "UTC", "2028-02-29 00:00"),
        ("2023-02-28", "12 months", "UTC", "2024-02-28 00:00"),
        ("2026-01-31", "1 month", "UTC", "2026-02-28 00:00"),
        ("2024-01-31", "1 month", "UTC", "2024-02-29 00:00"),
        ("2026-08-31", "1 month", "UTC", "2026-09-30 00:00"),
        ("2099-02-28", "12 months", "UTC", "2100-02-28 00:00"),
        ("2096-02-29", "48 months", "UTC", "2100-02-28 00:00"),  # no leap year
        ("2026-01-01", "90 days", "UTC", "2026-04-01 00:00"),
        ("2026-01-15", "4 months", "Europe/Amsterdam", "2026-05-14 23:00"),  # 01:00 CET, and then 01:00 CEST
        ("2026-03-27", "2 days", "Europe/Amsterdam", "2026-03-29 00:00"),  # 01:00 that night, before the clocks change
        ("2026-03-28", "2 days", "Europe/Amsterdam", "2026-03-29 23:00"),  # a day of 23 hours
        ("2025-12-31", "2 months", "America/New_York", "2026-02-28 05:00"),  # 30 December there; the 31st ends first
    ],
)
def test_a_term_ends_on_the_same_day_of_the_calendar(day: str, term: str, zone: str, expected: str) -> None:
    assert ends(day, term, zone) == expected


@pytest.mark.parametrize(
    ("day", "term", "zone", "expected"),
    [
        ("2026-03-01", "7 years", "UTC", "2033-03-02 00:00"),
        ("2026-01-31", "1 month", "UTC", "2026-03-01 00:00"),
        ("2024-02-29", "12 months", "UTC", "2025-03-01 00:00"),
        ("2026-01-31", "1 month", "America/New_York", "2026-03-01 05:00"),
    ],
)
def test_what_a_law_keeps_is_counted_from_the_days_end(day: str, term: str, zone: str, expected: str) -> None:
    assert ends(day, term, zone, Keep.AT_LEAST) == expected


def test_a_time_that_the_clocks_skip_or_repeat_is_read_for_the_one_it_protects() -> None:
    skipped = datetime(2026, 2, 28, 1, 30, tzinfo=UTC).timestamp()  # 02:30 in Amsterdam; a month later there is none
    spring = Term.parse("29 days")
    assert when(after(skipped, spring, "Europe/Amsterdam", Keep.AT_MOST)) == "2026-03-29 00:30"
    assert when(after(skipped, spring, "Europe/Amsterdam", Keep.AT_LEAST)) == "2026-03-29 01:30"
    repeated = datetime(2026, 9, 25, 0, 30, tzinfo=UTC).timestamp()  # 02:30 again, which 25 October has twice
    autumn = Term.parse("1 month")
    assert when(after(repeated, autumn, "Europe/Amsterdam", Keep.AT_MOST)) == "2026-10-25 00:30"
    assert when(after(repeated, autumn, "Europe/Amsterdam", Keep.AT_LEAST)) == "2026-10-25 01:30"


@settings(max_examples=80, deadline=None)
@given(DAYS, TERMS, st.sampled_from(ZONES), st.integers(0, 86_399))
def test_nothing_made_on_a_day_is_kept_longer_than_promised_or_shorter_than_the_law_asks(
    day: date, term: Term, zone: str, second: int
) -> None:
    made = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) + second
    most = due(Day(day.isoformat()), term, zone, Keep.AT_MOST)
    least = due(Day(day.isoformat()), term, zone, Keep.AT_LEAST)
    assert most is not None and least is not None
    assert most <= slow_promise(made, term, zone, Keep.AT_MOST)
    assert least >= slow_promise(made, term, zone, Keep.AT_LEAST)


@settings(max_examples=20, deadline=None)
@given(DAYS, TERMS, st.sampled_from(ZONES))
def test_a_days_end_is_the_first_of_its_promises_and_no_earlier(day: date, term: Term, zone: str) -> None:
    began = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    promises = [slow_promise(at, term, zone, Keep.AT_MOST) for at in range(began, began + 86_400, 900)]
    assert due(Day(day.isoformat()), term, zone, Keep.AT_MOST) == min(promises)
    latest = max(slow_promise(at + 899, term, zone, Keep.AT_LEAST) + 1 for at in range(began, began + 86_400, 900))
    assert due(Day(day.isoformat()), term, zone, Keep.AT_LEAST) == latest


@settings(max_examples=80, deadline=None)
@given(st.integers(1_577_836_800, 2_145_916_799), TERMS, st.sampled_from(ZONES), st.sampled_from(Keep))
def test_an_instants_end_is_what_looking_at_the_clock_says(second: int, term: Term, zone: str, keep: Keep) -> None:
    assert after(second, term, zone, keep) == slow_promise(second, term, zone, keep)


@given(st.dates(date(1970, 1, 3), date(9999, 12, 31)), st.integers(0, 1200), st.sampled_from(ZONES))
def test_no_day_and_no_term_lead_beyond_the_calendar(day: date, months: int, zone: str) -> None:
    for keep in Keep:
        found = due(Day(day.isoformat()), Term.parse(f"{months} months"), zone, keep)
        assert found is not None and 0 < found <= LAST_S


@given(DAYS, st.integers(1, 60), st.integers(1, 60), st.sampled_from(ZONES))
def test_a_longer_term_never_ends_earlier(day: date, one: int, other: int, zone: str) -> None:
    terms = [Term.parse(f"{months} months") for months in sorted((one, other))]
    first, second = (due(Day(day.isoformat()), term, zone, Keep.AT_MOST) for term in terms)
    assert first is not None and second is not None and first <= second


def term_of(policy: Policy, kind: Kind, purpose: str = "service") -> str:
    return str(policy.rule(kind, purpose).term)


def test_up_02_twelve_months_by_default_and_by_the_calendar() -> None:
    term = term_of(profile("upcall"), Kind.AUDIO)
    assert term == "12 months"
    assert ends("2024-02-29", term, "Europe/Amsterdam") == "2025-02-28 00:00"
    assert ends("2026-03-29", term, "Europe/Amsterdam") == "2027-03-28 23:00"  # from 01:00 CET to 01:00 CEST
    assert ends("2026-10-25", term, "Europe/Amsterdam") == "2027-10-25 00:00"


def test_sp_04_recordings_end_after_four_calendar_months() -> None:
    speakup = profile("speakup")
    for kind in (Kind.AUDIO, Kind.REDACTED_AUDIO, Kind.TRANSCRIPT, Kind.VOICEMAIL, Kind.DTMF):
        assert term_of(speakup, kind) == "4 months"
    assert ends("2025-10-31", "4 months", "Europe/Amsterdam") == "2026-02-28 00:00"
    assert ends("2026-10-31", "4 months", "Europe/Amsterdam") == "2027-02-28 00:00"


def test_sp_05_call_detail_ends_a_month_before_its_recording() -> None:
    speakup = profile("speakup")
    terms = [term_of(speakup, kind) for kind in (Kind.CALL_DETAIL, Kind.IDENTITY, Kind.AUDIO)]
    assert [ends("2026-06-15", term, "Europe/Amsterdam") for term in terms] == [
        "2026-09-15 00:00",
        "2026-09-15 00:00",
        "2026-10-15 00:00",
    ]


def test_sp_07_two_purposes_of_one_day_have_their_own_ends() -> None:
    shorter = Override("*", "training", Term.parse("1 month"))
    policy = overridden(profile("speakup"), [shorter], "Europe/Amsterdam")
    found = {purpose: term_of(policy, Kind.AUDIO, purpose) for purpose in ("training", "quality")}
    assert found == {"training": "1 month", "quality": "4 months"}
    assert ends("2026-01-31", found["training"], policy.zone) == "2026-02-28 00:00"
    assert ends("2026-01-31", found["quality"], policy.zone) == "2026-05-30 23:00"  # the 31st, 01:00 there
