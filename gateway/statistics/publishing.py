"""Publishes a period's statistics once it is over: days, or months where a tenant has too few calls for days.

A period is published once and never changed, and no call is in two of them: so nothing is learnt by comparing one with
a later one, or with what was erased meanwhile. A month of a tenant that publishes days is those days added up. Periods
follow each other without a hole, whether there were calls or not.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from gateway.policy import Tenant
from gateway.statistics.cells import cells_of, empty
from gateway.statistics.disclosure import COUNT_MIN, Told, added, disclose
from media.errors import Malformed
from media.timeline import TrackFacts
from storage.errors import AlreadyExists, NotFound, NotReady, StoreError
from storage.model import TenantId
from storage.recordings import Recordings
from storage.statistics import Counted, Described, days_of

log = logging.getLogger(__name__)

EVERY_S = 3600.0
WAIT_DAYS = 2
"""After its end, a period waits so long for calls that go on or whose recording is not closed; then without them."""


async def keep_published(recordings: Recordings, tenants: Callable[[], Sequence[Tenant]]) -> None:
    """Publish what is due, hourly until cancelled; what fails is tried again."""
    while True:
        await asyncio.sleep(EVERY_S)
        for tenant in tenants():
            try:
                await asyncio.to_thread(publish_due, recordings, tenant, time.time())
            except StoreError as error:
                log.warning("statistics wait for the store", extra={"reason": type(error).__name__})
            except Exception:  # a fault of ours ends no call
                log.exception("statistics could not be published", extra={"tenant": tenant.name})


def publish_due(recordings: Recordings, tenant: Tenant, now_s: float) -> list[str]:
    """Publish each period of the tenant that is over, in order; gives which. Raises what the store does."""
    return _publish(recordings, recordings.tenant(tenant.name), now_s, monthly=tenant.statistics == "month")


def publish_closed(recordings: Recordings, of: TenantId, now_s: float, *, last: bool) -> list[str]:
    """The same of a tenant that is closed; `last`: its content is about to end, and the running period gets no calls.

    Periods go on as they were, whatever the configuration says of it, if it still does.
    """
    periods = recordings.statistics.periods(of)
    monthly = bool(periods) and len(periods[-1]) == len("YYYY-MM")
    return _publish(recordings, of, now_s, monthly=monthly, closed=last)


def _publish(recordings: Recordings, of: TenantId, now_s: float, *, monthly: bool, closed: bool = False) -> list[str]:
    book = recordings.statistics
    today = datetime.fromtimestamp(now_s, UTC).date()
    published: list[str] = []
    while (period := _next(recordings, of, monthly=monthly)) is not None:
        first, last = map(date.fromisoformat, days_of(period))
        if closed and first > today:
            break
        waits = today <= last or (today <= last + timedelta(days=WAIT_DAYS) and not book.settled(of, period))
        if waits and not closed:
            break
        try:
            told = disclose(count(book.described(of, period)))
            book.publish(of, period, Counted(COUNT_MIN, told.total, told.tables))
        except AlreadyExists:  # by another process: what it says stands
            continue
        published.append(period)
        log.info("statistics published", extra={"tenant": of, "period": period})
    return published


def count(described: Iterable[Described]) -> dict[str, dict[str, int]]:
    """How many calls fall in each cell. One that nothing can be told of is in none."""
    counts = empty()
    for call in described:
        try:
            detail = json.loads(call.detail) if call.detail else {}
            tracks = [TrackFacts.from_json(facts) for text in call.tracks if (facts := json.loads(text).get("facts"))]
            cells = cells_of(call.state, detail, tracks)
            counted = [counts[table][cell] for table, cell in cells.items()]  # each is there, or it counts nowhere
        except (Malformed, KeyError, TypeError, ValueError):
            log.warning("a call cannot be counted in the statistics")
            continue
        assert len(counted) == len(counts)
        for table, cell in cells.items():
            counts[table][cell] += 1
    return counts


def shown(recordings: Recordings, tenant: TenantId, period: str) -> dict[str, Any]:
    """What was published of a period, or of all days of a month; null is fewer than the minimum.

    Refused for what is no period; NotReady before it is published, NotFound of one that never will be.
    """
    first, last = days_of(period)
    published = [(name, *days_of(name)) for name in recordings.statistics.periods(tenant)]
    parts = [(name, start, end) for name, start, end in published if first <= start and end <= last]
    if not parts or (parts[0][1], parts[-1][2]) != (first, last):
        if published and last <= published[-1][2]:  # before the first, or a part of one
            raise NotFound(f"there are no statistics of {period} by itself")
        raise NotReady(f"the statistics of {period} are not published yet")
    told = recordings.statistics.read(tenant, [name for name, _, _ in parts])
    found = added([Told(counted.calls, counted.tables) for counted in told.values()])
    tables = {name: {cell: n or None for cell, n in table.items()} for name, table in found.tables.items()}
    return {"period": period, "count_min": COUNT_MIN, "calls": found.total or None, "tables": tables}


def _next(recordings: Recordings, tenant: TenantId, *, monthly: bool) -> str | None:
    """The period after the last one that was published; it begins with the month of the tenant's first call."""
    published = recordings.statistics.periods(tenant)
    if published:
        start = date.fromisoformat(days_of(published[-1])[1]) + timedelta(days=1)
    elif (first := recordings.statistics.first_day(tenant)) is not None:
        start = date.fromisoformat(first).replace(day=1)
    else:
        return None
    return f"{start:%Y-%m}" if monthly and start.day == 1 else f"{start:%Y-%m-%d}"
