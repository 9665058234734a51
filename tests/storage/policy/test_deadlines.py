"""Requests have the policy's deadline: warned in time, extended only in time, and a breach is a breach."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from storage.errors import Refused
from storage.policy.deadlines import RequestClock, Standing, begin, strictest
from storage.policy.library import profile
from storage.policy.model import Policy
from storage.policy.term import Term

REASON = "some 4,000 calls have to be listened to"
HOUR = 3600


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def of(name: str, zone: str = "Europe/Amsterdam") -> Policy:
    return replace(profile(name), zone=zone)


def due(clock: RequestClock) -> str:
    return datetime.fromtimestamp(clock.due_s, UTC).strftime("%Y-%m-%d %H:%M")


def test_up_18_thirty_days_with_warnings_at_half_and_four_fifths() -> None:
    clock = begin(of("upcall"), at("2026-03-02T10:00"))
    assert due(clock) == "2026-04-01 22:00"  # the end of 1 April there
    half, late = clock.warn_at_s
    assert clock.standing(half - 1) is Standing.OPEN and clock.warnings(half - 1) == 0
    assert clock.standing(half) is Standing.WARNED and clock.warnings(half) == 1
    assert clock.warnings(late) == 2
    assert (half - clock.received_s) * 2 == pytest.approx(clock.due_s - clock.received_s, abs=2)
    assert (late - clock.received_s) * 10 == pytest.approx((clock.due_s - clock.received_s) * 8, abs=10)


def test_up_18_past_its_end_a_request_is_a_breach() -> None:
    clock = begin(of("upcall"), at("2026-03-02T10:00"))
    assert clock.standing(clock.due_s - 1) is Standing.WARNED
    assert clock.standing(clock.due_s) is Standing.BREACHED
    assert clock.answer(clock.due_s - 1).standing(clock.due_s + HOUR) is Standing.IN_TIME
    late = clock.answer(clock.due_s)
    assert late.standing(clock.due_s) is Standing.LATE
    assert late.answer(clock.received_s) == late


def test_cl_08_fourteen_days_and_the_strictest_wins() -> None:
    received = at("2026-03-02T10:00")
    assert due(begin(of("circleloop", "Europe/London"), received)) == "2026-03-17 00:00"
    policies = [of("upcall"), of("ipcallme"), of("circleloop")]
    assert strictest(policies, received) == begin(policies[2], received)


def test_ip_09_a_month_by_the_calendar() -> None:
    for received, expected in (
        ("2026-01-31T09:00", "2026-02-28 23:00"),
        ("2024-01-31T09:00", "2024-02-29 23:00"),
        ("2026-02-28T09:00", "2026-03-28 23:00"),
        ("2026-03-31T21:59", "2026-04-30 22:00"),
        ("2026-03-31T22:00", "2026-05-01 22:00"),  # 1 April there
    ):
        assert due(begin(of("ipcallme"), at(received))) == expected


def test_ip_09_extended_by_two_months_before_the_end_with_a_reason() -> None:
    clock = begin(of("ipcallme"), at("2026-01-31T09:00"))
    longer = clock.extend(clock.due_s - 1, REASON)
    assert due(longer) == "2026-04-28 22:00"
    assert longer.extended == REASON
    assert longer.standing(clock.due_s) is Standing.WARNED  # both were due when it was extended
    early = clock.extend(clock.received_s + HOUR, REASON)
    assert early.standing(clock.warn_at_s[1]) is Standing.OPEN
    assert clock.due_s < early.warn_at_s[1] < early.due_s


@pytest.mark.parametrize("late", [0, 1, 86_400])
def test_ip_09_no_extension_once_the_time_is_over(late: int) -> None:
    clock = begin(of("ipcallme"), at("2026-01-31T09:00"))
    with pytest.raises(Refused, match="only before its end"):
        clock.extend(clock.due_s + late, REASON)
    assert clock.standing(clock.due_s + late) is Standing.BREACHED


@pytest.mark.parametrize("reason", ["", "busy", "ask Jan at +31 6 12345678", "mail jan@example.org about it"])
def test_ip_09_no_extension_without_a_reason_that_can_be_kept(reason: str) -> None:
    with pytest.raises(Refused):
        begin(of("ipcallme"), at("2026-01-31T09:00")).extend(at("2026-02-01T09:00"), reason)


def test_a_request_is_extended_once_and_not_after_its_answer() -> None:
    clock = begin(of("ipcallme"), at("2026-01-31T09:00"))
    with pytest.raises(Refused, match="once"):
        clock.extend(at("2026-02-01T09:00"), REASON).extend(at("2026-02-02T09:00"), REASON)
    with pytest.raises(Refused, match="answered"):
        clock.answer(at("2026-02-01T09:00")).extend(at("2026-02-02T09:00"), REASON)
    none = replace(of("ipcallme"), requests=replace(of("ipcallme").requests, extension=Term.parse("0 months")))
    with pytest.raises(Refused, match="no extension"):
        begin(none, clock.received_s).extend(at("2026-02-01T09:00"), REASON)
