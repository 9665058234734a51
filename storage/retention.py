"""When a term ends: calendar arithmetic in the tenant's zone, from a UTC day to Unix seconds.

A bucket knows its UTC day and not the hour, so its end has to be right for everything made on that day:

- *at most* (content): no later than the promise to anything made that day. Counted from the day's first instant. Month
  ends can make that too late: of a day that holds 30 January, 23:00 and 31 January, 02:00 of the zone, a month later
  is 28 February for both, and the later one's promise ends first. So the earliest of the day's promises counts.
- *at least* (statutory): no earlier. Counted from the day's end, and the latest of its promises counts.

A time of day that the clocks skip, or show twice, is read both ways: the earlier one ends what is kept at most, the
later one what is kept at least.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache

from storage.policy.term import Term
from storage.records import Day

LAST_S = 253_402_214_400
"""9999-12-31T00:00:00Z: what would end later ends then, a day before the calendar that computes it does."""

NIGHT_HOUR = 3
"""When a tenant's day is over for expiry: what has become due since the night before shares one change of epoch."""

_STEP = timedelta(minutes=15)
"""Zones differ from UTC by quarters of an hour, and change between them at such: within one, promises keep order."""


class Keep(StrEnum):
    """What a term is: a promise to people, or a duty to keep."""

    AT_MOST = "at most"
    AT_LEAST = "at least"


@lru_cache(maxsize=4096)  # asked for each bucket that is made, and for each kind of what is shown
def due(day: Day, term: Term, zone: str, keep: Keep) -> int | None:
    """The Unix second at which what was made on a UTC day ends; None if the term has no end."""
    if term.open:
        return None
    first = datetime.fromisoformat(day).replace(tzinfo=UTC)
    steps = [first + number * _STEP for number in range(96)]
    return _extreme(steps, term, zone, keep, timedelta(0) if keep is Keep.AT_MOST else _STEP)


def after(instant_s: float, term: Term, zone: str, keep: Keep) -> int | None:
    """The Unix second so much after an instant that is known; None if the term has no end."""
    return None if term.open else _extreme([datetime.fromtimestamp(instant_s, UTC)], term, zone, keep)


def last_night(now_s: float, zone: str) -> int:
    """The last `NIGHT_HOUR` of the zone, up to now."""
    here = zoneinfo.ZoneInfo(zone)
    today = datetime.fromtimestamp(now_s, here).date()
    nights = (datetime.combine(today - timedelta(days=ago), datetime.min.time(), here) for ago in range(3))
    return next(s for night in nights if (s := int(night.replace(hour=NIGHT_HOUR).timestamp())) <= now_s)


def _extreme(instants: Iterable[datetime], term: Term, zone: str, keep: Keep, lasting: timedelta = timedelta(0)) -> int:
    """The earliest or latest end of a term among those that begin at these instants, or up to `lasting` later."""
    here = zoneinfo.ZoneInfo(zone)
    dates: dict[date, date] = {}
    ends = []
    for instant in instants:
        local = instant.astimezone(here).replace(tzinfo=None)
        began = local.date()
        try:
            dates.setdefault(began, term.after(began))
            ends.append(datetime.combine(dates[began], local.time()) + lasting)
        except OverflowError:
            return LAST_S
    return min(_readings(ends, zone, min if keep is Keep.AT_MOST else max), LAST_S)


def _readings(ends: Iterable[datetime], zone: str, choose: Callable[[Iterable[int]], int]) -> int:
    """One of all instants at which a clock of the zone shows one of these times."""
    here = zoneinfo.ZoneInfo(zone)
    try:
        return choose(int(end.replace(tzinfo=here, fold=fold).timestamp()) for end in set(ends) for fold in (0, 1))
    except (OverflowError, ValueError):  # within a day of the calendar's end
        return LAST_S
