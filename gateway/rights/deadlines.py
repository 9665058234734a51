"""When a request has to be answered: by the calendar of the tenant's zone, and by the stricter of policy and law.

The law's month (Art. 12(3) GDPR) counts as Regulation 1182/71 does: the day of receipt is not counted, a month ends on
the day of the same number or, where there is none, on the month's last, and the day itself counts to its end. A policy
may promise less, in days or months; the stricter wins. One extension, by up to two months of the law's, is possible
while the first time has not run out, and with a reason. That a last day is a holiday moves nothing here: earlier is
never wrong.
"""

from __future__ import annotations

import calendar
import zoneinfo
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from storage.policy.model import Policy
from storage.policy.term import Unit

LAW_MONTHS = 1
LAW_EXTENSION_MONTHS = 2


@dataclass(frozen=True, slots=True)
class Deadlines:
    """What a tenant promises. Either days or months; `warnings` are shares of the time."""

    days: int = 0
    months: int = LAW_MONTHS
    extension_months: int = LAW_EXTENSION_MONTHS
    warnings: tuple[float, ...] = (0.5, 0.8)

    def __post_init__(self) -> None:
        if not (self.days > 0) ^ (self.months > 0):
            raise ValueError("a deadline is in days or in months")
        if self.extension_months < 0 or not all(0 < share < 1 for share in self.warnings):
            raise ValueError("an extension is not negative, and warnings come before the end")

    def last_day(self, received: date, *, extended: bool = False) -> date:
        """The day to the end of which there is time."""
        law = LAW_MONTHS + (LAW_EXTENSION_MONTHS if extended else 0)
        own = months_after(received + timedelta(days=self.days), self.months + self.extension_months * extended)
        return min(own, months_after(received, law))

    def due_s(self, received: date, zone: str, *, extended: bool = False) -> float:
        """The end of that day in a zone, in Unix seconds."""
        return _midnight_s(self.last_day(received, extended=extended) + timedelta(days=1), zone)

    def warnings_s(self, received: date, zone: str, *, extended: bool = False) -> list[tuple[float, float]]:
        """Each warning's share, and when it is due."""
        first, end = _midnight_s(received, zone), self.due_s(received, zone, extended=extended)
        return [(share, first + share * (end - first)) for share in sorted(self.warnings)]


def promised(policy: Policy) -> Deadlines:
    """What a tenant's policy says of requests."""
    asked = policy.requests
    counted = {"days": asked.term.count, "months": 0} if asked.term.unit is Unit.DAYS else {"months": asked.term.count}
    extension = asked.extension.count if asked.extension.unit is Unit.MONTHS else 0
    warnings = tuple(percent / 100 for percent in asked.warn_percent)
    return Deadlines(**counted, extension_months=extension, warnings=warnings)


def months_after(day: date, months: int) -> date:
    """The day of the same number so many months later, or that month's last."""
    month = day.year * 12 + day.month - 1 + months
    year, of_year = divmod(month, 12)
    return date(year, of_year + 1, min(day.day, calendar.monthrange(year, of_year + 1)[1]))


def today(now_s: float, zone: str) -> date:
    """The calendar day in a zone."""
    return datetime.fromtimestamp(now_s, zoneinfo.ZoneInfo(zone)).date()


def _midnight_s(day: date, zone: str) -> float:
    """When a day begins in a zone; where the clock skips midnight, its first moment."""
    return datetime(day.year, day.month, day.day, tzinfo=zoneinfo.ZoneInfo(zone)).timestamp()
