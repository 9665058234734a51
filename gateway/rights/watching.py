"""Watches deadlines, of requests and of breach cases: warnings and ends are told once each; what stands is counted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence

from gateway.operations.alarms import Alarm, Alarms
from gateway.rights.breaches import Breaches, Overdue
from gateway.rights.requests import ALL, Reminder, Requests
from storage.errors import StoreError
from storage.model import TenantId
from storage.recordings import Recordings

log = logging.getLogger(__name__)

EVERY_S = 600.0
"""Deadlines are days, of a breach three; ten minutes are soon enough, and opening some hundreds takes little time."""


class Watch:
    """Looks at every tenant's requests from time to time; `counts` is what the last look found, of all tenants,
    `breaches` the same of the operator's breach cases."""

    def __init__(
        self,
        recordings: Recordings,
        tenants: Callable[[], Sequence[TenantId]],
        alarms: Alarms,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.counters: Counter[str] = Counter()
        self.breaches: Counter[str] = Counter()
        self._requests = Requests(recordings)
        self._recordings = recordings
        self._tenants = tenants
        self._alarms = alarms
        self._clock = clock

    async def run(self) -> None:
        """Look until cancelled; what fails is tried again."""
        while True:
            try:
                await asyncio.to_thread(self.look)
            except StoreError as error:
                log.warning("requests wait for the store", extra={"reason": type(error).__name__})
            except Exception:  # a fault of ours ends no call
                log.exception("requests could not be looked at")
            await asyncio.sleep(EVERY_S)

    def look(self) -> list[Reminder | Overdue]:
        """One look; gives what was told now."""
        counts, told, now_s = Counter[str](), list[Reminder | Overdue](), self._clock()
        cases = Breaches(self._recordings)
        for due in cases.remind(now_s):
            told.append(due)
            self._tell_breach(due)
        self.breaches = cases.counts(now_s)
        self._alarms.set(Alarm.BREACH_OVERDUE, self.breaches["overdue"] > 0, time.monotonic())
        for tenant in self._tenants():
            for reminder in self._requests.remind(tenant, now_s):
                told.append(reminder)
                self._tell(reminder)
            counts += self._requests.counts(tenant, now_s)
        self.counts = counts
        self._alarms.set(Alarm.REQUESTS_OVERDUE, counts["overdue"] > 0, time.monotonic())
        return told

    def _tell_breach(self, due: Overdue) -> None:
        facts = {"breach": due.case, "percent": round(100 * due.share)}
        if due.share == ALL:
            self.counters["breach_deadlines_broken"] += 1
            log.error("breach deadline broken", extra=facts)
        else:
            self.counters["breach_warnings"] += 1
            log.warning("breach deadline comes near", extra=facts)

    def _tell(self, reminder: Reminder) -> None:
        facts = {"tenant": reminder.tenant, "request": reminder.request, "percent": round(100 * reminder.share)}
        if reminder.share == ALL:
            self.counters["request_deadlines_broken"] += 1
            log.error("request deadline broken", extra=facts)
        else:
            self.counters["request_warnings"] += 1
            log.warning("request deadline comes near", extra=facts)
