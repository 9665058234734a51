"""Unix time as the store writes it down."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from storage.records import Day

_DAY_S = 86_400


def utc(now_s: float) -> str:
    """To the second, `2026-03-01T12:00:00Z`: what ledger and certificates say."""
    return datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day_of(now_s: float, ahead: int = 0) -> Day:
    """The UTC day, or one that many days ahead."""
    return _day(int(now_s // _DAY_S) + ahead)


def day_ends_s(now_s: float, ahead: int = 0) -> float:
    """The Unix second at which that day is over."""
    return float((now_s // _DAY_S + ahead + 1) * _DAY_S)


@lru_cache(maxsize=64)  # asked for every call, and the answer changes once a day
def _day(number: int) -> Day:
    return Day((date(1970, 1, 1) + timedelta(days=number)).isoformat())
