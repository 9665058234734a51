"""Who got a copy of an erased call is told to delete it: the signed request is sent until it is received.

It goes to where a destination of the configuration says, and nowhere else: the copy's record names its destination, or
an address, which counts only while some destination of the tenant has it. Copies without one are told by people, who
fetch the request. Each is sent at least once: what is not recorded as received is sent again, also after a crash, and
the receiver knows it by its copy. An authorisation that is over does not end this.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.operations.alarms import Alarm, Alarms
from gateway.outside import Destination
from gateway.posting import NoAnswer, post
from storage.errors import Erased, NotReady, StoreError
from storage.model import CallId, TenantId
from storage.recordings import Recordings
from storage.times import utc

log = logging.getLogger(__name__)

EVERY_S = 30.0
"""Between looks: a query for each tenant."""
AT_ONCE = 8
"""Requests under way: each is up to a megabyte, and waits for up to 15 s."""
FIRST_AGAIN_S, AGAIN_S_MAX = 60, 6 * 3_600
"""After a failure, doubled with each: a receiver that is away for a week is asked some forty times."""
OVERDUE_S = 3 * 86_400
"""After so long somebody has to look at it: a weekend's outage is over by then, and a month (Art. 12(3)) is not."""


@dataclass(frozen=True, slots=True)
class Due:
    """A request that is to be sent now."""

    tenant: TenantId
    copy: CallId
    url: str
    ca_file: Path | None
    body: bytes
    calls: Sequence[CallId]
    attempts: int
    since_s: int


class Telling:
    """Sends what is due; `counts` is what waited at the last look, `counters` what was sent."""

    def __init__(
        self,
        recordings: Recordings,
        destinations: Callable[[], Mapping[TenantId, Sequence[Destination]]],
        alarms: Alarms,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.counters: Counter[str] = Counter()
        self._recordings = recordings
        self._destinations = destinations
        self._alarms = alarms
        self._clock = clock

    async def run(self) -> None:
        """Look until cancelled; what fails is tried again."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                log.warning("requests to delete wait for the store", extra={"reason": type(error).__name__})
            except Exception:  # a fault of ours ends no call
                log.exception("requests to delete could not be sent")
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Send everything that is due now."""
        counts = Counter[str]()
        for tenant, destinations in self._destinations().items():
            due = await asyncio.to_thread(self._due, tenant, destinations, counts)
            for first in range(0, len(due), AT_ONCE):
                async with asyncio.TaskGroup() as group:
                    for one in due[first : first + AT_ONCE]:
                        group.create_task(self._send(one, counts))
        self.counts = counts
        self._alarms.set(Alarm.DELETIONS_UNTOLD, counts["overdue"] > 0, time.monotonic())

    def _due(self, tenant: TenantId, destinations: Sequence[Destination], counts: Counter[str]) -> list[Due]:
        ledger, now_s, found = self._recordings.egress, self._clock(), list[Due]()
        for copy in ledger.waiting(tenant):
            try:
                record = ledger.read(tenant, copy.id)
                target = receiver(record, destinations)
                if target is None:
                    counts["to_fetch"] += 1
                    continue
                sending = record.get("sending", {})
                since_s = int(sending.get("since_s", now_s))
                counts["overdue" if now_s - since_s > OVERDUE_S else "sending"] += 1
                if now_s >= sending.get("next_s", 0):
                    notice = ledger.notice(tenant, copy.id)
                    body = json.dumps(notice, separators=(",", ":")).encode()
                    one = (target.address, target.ca_file, body, list(notice["calls"]))
                    found.append(Due(tenant, copy.id, *one, int(sending.get("attempts", 0)), since_s))
            except (Erased, NotReady):
                continue  # its record's time is over since a moment ago
        return found

    async def _send(self, due: Due, counts: Counter[str]) -> None:
        try:
            status = await post(due.url, due.body, ca_file=due.ca_file)
            outcome = str(status)
        except NoAnswer as error:
            status, outcome = 0, str(error)
        facts = {"tenant": due.tenant, "copy": due.copy, "outcome": outcome}
        if 200 <= status < 300:  # RFC 9110 §15.3: received
            await asyncio.to_thread(self._recordings.egress.told, due.tenant, due.copy, "sent", due.calls)
            self.counters["deletion_requests_sent"] += 1
            counts["overdue" if self._clock() - due.since_s > OVERDUE_S else "sending"] -= 1
            log.info("request to delete received", extra=facts)
            return
        self.counters["deletion_requests_failed"] += 1
        await asyncio.to_thread(self._recordings.egress.tried, due.tenant, due.copy, self._failed(due, outcome))
        log.warning("request to delete not received", extra=facts)

    def _failed(self, due: Due, outcome: str) -> dict[str, Any]:
        now_s = int(self._clock())
        again_s = min(FIRST_AGAIN_S << min(due.attempts, 16), AGAIN_S_MAX)
        return {
            **{"attempts": due.attempts + 1, "outcome": outcome, "last": utc(now_s), "next": utc(now_s + again_s)},
            **{"since_s": due.since_s, "next_s": now_s + again_s},
        }


def receiver(record: Mapping[str, Any], destinations: Sequence[Destination]) -> Destination | None:
    """The destination that a copy's recipient is told through, as it is configured now; None: people tell."""
    for one in destinations:
        if one.address and one.name == record.get("destination"):
            return one
    return next((one for one in destinations if one.address and one.address == record.get("address")), None)
