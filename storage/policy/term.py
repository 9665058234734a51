"""How long: calendar months, calendar days, or as long as something lasts. One line of text, and back."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Self

from storage.errors import Malformed

MONTHS_MAX = 1200
"""A hundred years: a longer period is a mistake, or "for ever", which has to be said as such."""
DAYS_MAX = 36_525
"""The same in days."""

_COUNTED = re.compile(r"(0|[1-9]\d{0,4}) (day|month|year)(s?)\Z", re.ASCII)


class Unit(StrEnum):
    """What a term is counted in. The last three have no end that could be told beforehand, shorter ones first."""

    DAYS = "days"
    MONTHS = "months"
    USE = "while-in-use"
    ACCOUNT = "account-life"
    EVER = "for ever"


_OPEN = (Unit.USE, Unit.ACCOUNT, Unit.EVER)


@dataclass(frozen=True, slots=True)
class Term:
    """`90 days`, `4 months`, `7 years`, `while-in-use`, `account-life`, `for ever`."""

    unit: Unit
    count: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """The term that a text names; Malformed if it names none."""
        for unit in _OPEN:
            if text == unit.value:
                return cls(unit)
        match = _COUNTED.match(text)
        if match is None:
            raise Malformed(f'{text[:40]!r} is no term: say "90 days", "4 months", "2 years", or {_choices()}')
        count, word = int(match[1]), match[2]
        found = cls(Unit.DAYS, count) if word == "day" else cls(Unit.MONTHS, count * (12 if word == "year" else 1))
        if found.count > (DAYS_MAX if found.unit is Unit.DAYS else MONTHS_MAX):
            raise Malformed(f"{text!r} is more than a hundred years: a mistake, or {Unit.EVER.value!r}")
        return found

    def __str__(self) -> str:
        count, word = self.spelled
        return self.unit.value if self.open else f"{count} {word}{'s' * (count != 1)}"

    @property
    def spelled(self) -> tuple[int, str]:
        """Number and word as people say them: `(4, "month")`; years from two on."""
        if self.unit is Unit.MONTHS and self.count >= 24 and self.count % 12 == 0:
            return self.count // 12, "year"
        return self.count, {Unit.DAYS: "day", Unit.MONTHS: "month"}.get(self.unit, self.unit.value)

    @property
    def open(self) -> bool:
        """Whether no end can be told beforehand: flagged wherever terms are shown (Art. 5(1)(e) GDPR)."""
        return self.unit in _OPEN

    @property
    def days_min(self) -> int:
        """The fewest days that it can last, whatever day it begins on."""
        return _bounds(self.count)[0] if self.unit is Unit.MONTHS else self.count

    @property
    def days_max(self) -> int:
        """The most days that it can last."""
        return _bounds(self.count)[1] if self.unit is Unit.MONTHS else self.count

    def after(self, day: date) -> date:
        """The day so much later: the same of its month, or that month's last. OverflowError beyond the year 9999."""
        if self.open:
            raise ValueError(f"{self} has no end")
        return day + timedelta(days=self.count) if self.unit is Unit.DAYS else add_months(day, self.count)

    def outlasts(self, other: Term) -> bool:
        """Whether it can last longer than the other, begun on some same day."""
        if self.open or other.open:
            return self.open and (not other.open or _OPEN.index(self.unit) > _OPEN.index(other.unit))
        if self.unit is other.unit:
            return self.count > other.count
        return self.days_max > other.days_min


def add_months(day: date, months: int) -> date:
    """The same day of a later month, or its last: 31 January and a month is the last of February."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    if year > date.max.year:
        raise OverflowError("a day beyond the year 9999")
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


@lru_cache(maxsize=256)
def _bounds(months: int) -> tuple[int, int]:
    """Over every day of a dozen years, among them leap years and 2100, which is none."""
    first = date(2093, 1, 1)
    days = [first + timedelta(days=number) for number in range(366 * 12)]
    lengths = [(add_months(day, months) - day).days for day in days]
    return min(lengths), max(lengths)


def _choices() -> str:
    return ", ".join(f'"{unit.value}"' for unit in _OPEN)
