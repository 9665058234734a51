"""The last day of a request is the calendar's, in the tenant's zone, and the stricter of policy and law."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as some

from gateway.rights.deadlines import Deadlines, months_after, promised, today
from storage.policy.library import profile

UPCALL = Deadlines(days=30, months=0)
CIRCLELOOP = Deadlines(days=14, months=0, extension_months=0)
MONTH = Deadlines()


@pytest.mark.parametrize(
    ("deadlines", "received", "last"),
    [
        (UPCALL, "2026-03-01", "2026-03-31"),  # 30 days are a day less than March's month
        (UPCALL, "2026-02-01", "2026-03-01"),  # a month of February is less than 30 days: the stricter wins
        (UPCALL, "2026-01-31", "2026-02-28"),
        (CIRCLELOOP, "2026-02-20", "2026-03-06"),
        (MONTH, "2026-01-31", "2026-02-28"),
        (MONTH, "2028-01-31", "2028-02-29"),
        (MONTH, "2026-12-15", "2027-01-15"),
    ],
)
def test_up_18_cl_08_ip_09_the_last_day(deadlines: Deadlines, received: str, last: str) -> None:
    assert deadlines.last_day(date.fromisoformat(received)).isoformat() == last


def test_cl_08_the_stricter_of_policy_and_law_wins() -> None:
    lax = Deadlines(days=90, months=0)
    assert lax.last_day(date(2026, 3, 10)) == date(2026, 4, 10)
    assert CIRCLELOOP.last_day(date(2026, 3, 10)) == date(2026, 3, 24)


def test_ip_09_an_extension_is_two_months_at_most() -> None:
    assert MONTH.last_day(date(2026, 1, 31), extended=True) == date(2026, 4, 30)
    generous = Deadlines(extension_months=12)
    assert generous.last_day(date(2026, 1, 31), extended=True) == date(2026, 4, 30)
    assert CIRCLELOOP.last_day(date(2026, 3, 10), extended=True) == date(2026, 3, 24)


def test_the_last_day_counts_to_its_end_in_the_tenants_zone() -> None:
    due_s = MONTH.due_s(date(2026, 2, 28), "Europe/Amsterdam")  # the last day, 28 March, is the eve of summer time
    assert datetime.fromtimestamp(due_s, UTC) == datetime(2026, 3, 28, 23, tzinfo=UTC)
    later = MONTH.due_s(date(2026, 3, 1), "Europe/Amsterdam")
    assert datetime.fromtimestamp(later, UTC) == datetime(2026, 4, 1, 22, tzinfo=UTC)
    west = MONTH.due_s(date(2026, 2, 28), "America/New_York")
    assert west - due_s == 5 * 3600  # there summer time is three weeks old by then


def test_up_18_warnings_come_at_half_and_at_four_fifths() -> None:
    received, zone = date(2026, 3, 1), "UTC"
    start = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    end = UPCALL.due_s(received, zone)
    expected = [(0.5, start + 0.5 * (end - start)), (0.8, start + 0.8 * (end - start))]
    assert UPCALL.warnings_s(received, zone) == expected


@given(some.dates(date(2000, 1, 1), date(2100, 1, 1)), some.integers(0, 60))
def test_months_are_the_calendars(day: date, months: int) -> None:
    after = months_after(day, months)
    assert (after.year * 12 + after.month) - (day.year * 12 + day.month) == months
    assert after.day == day.day or (after.day < day.day and (after.month != months_after(after, 0).month + 1))
    assert after.day <= day.day


@pytest.mark.parametrize(
    "wrong",
    [
        {"days": 14},  # and a month
        {"days": 0, "months": 0},
        {"warnings": (1.5,)},
        {"extension_months": -1},
    ],
)
def test_a_deadline_is_one_thing(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"deadline|extension"):
        Deadlines(**wrong)  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize(
    ("name", "last", "extended"),
    [
        ("upcall", "2026-03-31", "2026-05-31"),
        ("circleloop", "2026-03-15", "2026-05-15"),
        ("speakup", "2026-04-01", "2026-06-01"),
        ("ipcallme", "2026-04-01", "2026-06-01"),
    ],
)
def test_up_18_cl_08_ip_09_a_profiles_promise_counts(name: str, last: str, extended: str) -> None:
    deadlines = promised(profile(name))
    received = date(2026, 3, 1)
    assert deadlines.last_day(received).isoformat() == last
    assert deadlines.last_day(received, extended=True).isoformat() == extended
    assert deadlines.warnings == (0.5, 0.8)


def test_a_day_is_the_zones() -> None:
    now_s = datetime(2026, 3, 1, 23, 30, tzinfo=UTC).timestamp()
    assert (today(now_s, "UTC"), today(now_s, "Europe/Amsterdam")) == (date(2026, 3, 1), date(2026, 3, 2))
