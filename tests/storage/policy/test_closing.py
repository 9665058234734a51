"""A tenant leaves: its content goes as its policy says, its account data on a clock of their own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from storage.model import Kind
from storage.policy.closing import due_after_closing, ending
from storage.policy.library import profile
from storage.policy.model import Policy
from storage.records import Day
from storage.retention import Keep, due

CLOSED = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


def day(second: int | None) -> str | None:
    return None if second is None else datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d")


def own(policy: Policy, kind: Kind, made: str) -> int | None:
    keep = Keep.AT_LEAST if kind is Kind.RATING else Keep.AT_MOST
    return due(Day(made), policy.rule(kind, "service").term, policy.zone, keep)


def test_cl_04_ninety_days_after_closing_the_content_root_ends() -> None:
    found = ending(profile("circleloop"), CLOSED)
    assert day(found.content_root_s) == "2026-05-30"
    for kind in (Kind.AUDIO, Kind.CALL_DETAIL):
        ends = due_after_closing(profile("circleloop"), kind, "service", Day("2019-01-01"), CLOSED)
        assert ends == found.content_root_s


def test_cl_04_in_the_tenants_zone_at_the_hour_of_closing() -> None:
    london = replace(profile("circleloop"), zone="Europe/London")
    assert ending(london, CLOSED).content_root_s == datetime(2026, 5, 30, 11, tzinfo=UTC).timestamp()  # noon, in summer


def test_ct_05_the_content_root_ends_at_once() -> None:
    assert ending(profile("cloudtalk"), CLOSED).content_root_s == CLOSED


def test_up_04_account_data_two_years_and_calls_keep_their_own_clock() -> None:
    upcall = profile("upcall")
    found = ending(upcall, CLOSED)
    assert day(found.account_s) == "2028-03-01" and found.content_root_s is None
    for made in ("2025-03-02", "2026-02-28"):
        ends = due_after_closing(upcall, Kind.AUDIO, "service", Day(made), CLOSED)
        assert ends == own(upcall, Kind.AUDIO, made)


def test_ip_01_account_data_six_months_and_calls_keep_their_own_clock() -> None:
    ipcallme = profile("ipcallme")
    found = ending(ipcallme, CLOSED)
    assert day(found.account_s) == "2026-09-01" and found.content_root_s is None
    made = "2026-02-01"
    assert due_after_closing(ipcallme, Kind.AUDIO, "training", Day(made), CLOSED) == own(ipcallme, Kind.AUDIO, made)


def test_ip_02_what_a_law_keeps_outlives_the_closing() -> None:
    for name in ("upcall", "circleloop", "cloudtalk", "ipcallme", "speakup"):
        policy = profile(name)
        ends = due_after_closing(policy, Kind.RATING, "service", Day("2026-02-01"), CLOSED)
        assert ends == own(policy, Kind.RATING, "2026-02-01")


def test_a_closing_never_keeps_anything_longer() -> None:
    default = profile("default")  # 3 months, or 30 days after closing
    assert day(due_after_closing(default, Kind.AUDIO, "service", Day("2025-12-10"), CLOSED)) == "2026-03-10"
    assert day(due_after_closing(default, Kind.AUDIO, "service", Day("2026-02-20"), CLOSED)) == "2026-03-31"
