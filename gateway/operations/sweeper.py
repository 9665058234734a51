"""What ends by itself: buckets whose time is over, and tenants that have left. Looked at every few minutes.

A sweep looks at the clocks first, which also keeps the heartbeat that the next one is judged by. While they are in
doubt nothing is destroyed, what is due by the latest of them is refused, and alarms stand. Else what has become due by
each tenant's last night is dropped, and closed tenants whose grace is over are emptied: first their statistics are
published, then their live calls end, then the content root is destroyed. At last what erasures have left
to be swept is swept.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from gateway.operations.alarms import Alarm, Alarms
from gateway.operations.metrics import Sweeping
from gateway.statistics.publishing import publish_closed
from storage.clocks import Doubt, Verdict
from storage.closings import Closing, State
from storage.errors import StoreError
from storage.model import TenantId
from storage.recordings import Recordings

log = logging.getLogger(__name__)

EVERY_S = 300.0
"""A jump of the clock is seen against the last look, so looks are much closer than the hour that is one. Drops could
come seldomer: reads are refused at the second without any sweep."""
CLOSINGS_EVERY_S = 5.0
"""A tenant that is closed by command has no new calls from then on: one small query."""
OVERDUE_S = 36 * 3600.0
"""What is due goes in the night after at the latest; half a day more, and something keeps it."""

_ALARMS = {
    Doubt.APART: Alarm.CLOCKS_APART,
    Doubt.JUMPED: Alarm.CLOCK_JUMPED,
    Doubt.WENT_BACK: Alarm.CLOCK_WENT_BACK,
    Doubt.UNSETTLED: Alarm.CLOCK_UNSETTLED,
    Doubt.SILENT: Alarm.CLOCK_SILENT,
}


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep came to. `waiting` closed tenants could be forgotten, but that the configuration names them."""

    verdict: Verdict
    dropped: int = 0
    emptied: int = 0
    waiting: int = 0


def sweep(recordings: Recordings, configured: Callable[[], Collection[TenantId]], *, nightly: bool = True) -> Swept:
    """One sweep; what fails of one tenant is logged and tried again. Live calls have been ended where `has_ended`."""
    verdict = recordings.timekeeper.look()
    emptied = waiting = 0
    for closing in recordings.closings.standing():
        try:
            emptied += _close(recordings, closing, verdict)
            waiting += not _forget(recordings, closing.tenant, verdict, configured())
        except StoreError as error:
            told = {"tenant": closing.tenant, "reason": type(error).__name__}
            log.error("closing not finished, it is tried again", extra=told)
    dropped = recordings.expiry.run(verdict, nightly=nightly)
    recordings.sweep_erased()
    return Swept(verdict, dropped, emptied, waiting)


def has_ended(closing: Closing, now_s: float) -> bool:
    """Whether nothing of a closed tenant's content is kept any more, so that its live calls have no end to wait for."""
    return closing.state is not State.CLOSED or (closing.content_s is not None and closing.content_s <= now_s)


def _close(recordings: Recordings, closing: Closing, verdict: Verdict) -> bool:
    """Whether the tenant was emptied now."""
    if closing.state is not State.CLOSED:
        recordings.closings.retire(closing)
        return False
    now_s = verdict.refuse_until_s
    publish_closed(recordings, closing.tenant, now_s, last=now_s >= closing.reopens_until_s)
    recordings.closings.mark(closing, now_s)
    if verdict.drop_until_s is None or verdict.drop_until_s < closing.ends_s:
        return False
    if not recordings.timekeeper.agrees(closing.tenant, verdict):
        return False
    recordings.closings.empty(closing, verdict.drop_until_s)
    after = recordings.closings.of(closing.tenant)
    emptied = after is not None and after.state is State.EMPTIED
    if emptied:
        log.info("a closed tenant is emptied", extra={"tenant": closing.tenant})
    return emptied


def _forget(recordings: Recordings, tenant: TenantId, verdict: Verdict, configured: Collection[TenantId]) -> bool:
    """False if only the configuration keeps it from being forgotten."""
    current = recordings.closings.of(tenant)
    if verdict.drop_until_s is None or current is None or current.state is not State.EMPTIED:
        return True
    if tenant in configured:
        return current.account_s > verdict.drop_until_s
    if recordings.closings.forget(current, verdict.drop_until_s):
        recordings.closings.retire(current)
    return True


class Sweeper:
    """The service in the server. `on_closed` and `end_calls` are called on the event loop."""

    def __init__(
        self,
        recordings: Recordings,
        alarms: Alarms,
        configured: Callable[[], Collection[TenantId]],
        on_closed: Callable[[Collection[TenantId]], None],
        end_calls: Callable[[TenantId], None],
        clock: Callable[[], float] = time.time,
        telemetry_days: Callable[[TenantId], int] = lambda tenant: 0,
    ) -> None:
        self._recordings = recordings
        self._alarms = alarms
        self._configured = configured
        self._on_closed = on_closed
        self._end_calls = end_calls
        self._clock = clock
        self._telemetry_days = telemetry_days
        self._figures = Sweeping()
        self._swept_at: float | None = None

    @property
    def figures(self) -> Sweeping:
        """For metrics."""
        since = None if self._swept_at is None else time.monotonic() - self._swept_at
        return replace(self._figures, since_s=since)

    async def run(self, every_s: float = EVERY_S, closings_every_s: float = CLOSINGS_EVERY_S) -> None:
        """Sweep until cancelled; a store that is away is no end."""
        sweep_at = time.monotonic()
        while True:
            try:
                await self.heed()
                if time.monotonic() >= sweep_at:
                    sweep_at = time.monotonic() + every_s
                    await self.sweep()
            except StoreError as error:
                log.warning("not swept, it is tried again", extra={"reason": type(error).__name__})
            await asyncio.sleep(closings_every_s)

    async def heed(self) -> None:
        """One look at who has left: they have no new calls, and no live ones where their content has ended."""
        closings = await asyncio.to_thread(self._recordings.closings.standing)
        self._on_closed(frozenset(closing.tenant for closing in closings))
        for closing in closings:
            if has_ended(closing, self._clock()):
                self._end_calls(closing.tenant)

    async def sweep(self) -> Swept:
        """One sweep, with its alarms and figures."""
        swept = await asyncio.to_thread(sweep, self._recordings, self._configured)
        left = await asyncio.to_thread(self._recordings.expiry.standing)
        now, age_s = time.monotonic(), 0.0 if left.oldest_s is None else self._clock() - left.oldest_s
        for doubt, alarm in _ALARMS.items():
            self._alarms.set(alarm, doubt in swept.verdict.doubts, now)
        overdue = swept.verdict.may_drop and age_s > OVERDUE_S  # while the clocks are in doubt they are why
        self._alarms.set(Alarm.EXPIRY_OVERDUE, overdue, now)
        self._alarms.set(Alarm.CLOSED_CONFIGURED, swept.waiting > 0, now)
        if swept.verdict.may_drop:
            await asyncio.to_thread(self._recordings.telemetry.rotate, self._telemetry_days)
            self._swept_at = now
        if swept.dropped:
            log.info("expired buckets destroyed", extra={"buckets": swept.dropped})
        self._figures = Sweeping(
            buckets_due=left.buckets,
            oldest_due_s=age_s,
            dropped=self._figures.dropped + swept.dropped,
            emptied=self._figures.emptied + swept.emptied,
            may_drop=swept.verdict.may_drop,
        )
        return swept
