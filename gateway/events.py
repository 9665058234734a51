"""Live events to subscribers: bounded, per tenant, never waiting for a slow reader."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from storage.model import CallId, ParticipantId, TenantId
from storage.processor import Notice

QUEUE_EVENTS_MAX = 1000  # a reader this far behind loses its oldest events
SUBSCRIBERS_MAX = 256  # for each tenant; one more is refused


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """Something that happened on a call, or to a tenant. Identifiers and times only, and of a notice what its tenant is
    told; `at_ms` is milliseconds of call time."""

    name: str
    tenant: TenantId
    call: CallId | None = None
    participant: ParticipantId | None = None
    at_ms: float | None = None
    detail: dict[str, object] = field(default_factory=dict)

    def fields(self) -> dict[str, object]:
        """The JSON object that subscribers get."""
        fields: dict[str, object] = {} if self.call is None else {"call": self.call}
        if self.participant is not None:
            fields["participant"] = self.participant
        if self.at_ms is not None:
            fields["at_ms"] = round(self.at_ms, 1)
        return fields | self.detail


def event_of(tenant: TenantId, notice: Notice) -> LiveEvent:
    """A notice as an event: `notice` is its number."""
    return LiveEvent(notice.event, tenant, detail={"notice": notice.seq, "at": notice.at, **notice.facts})


class TooMany(Exception):
    """A tenant has as many subscribers as are allowed."""


class Hub:
    """Hands each tenant's events to that tenant's subscribers."""

    def __init__(self) -> None:
        self._queues: dict[TenantId, set[asyncio.Queue[tuple[int, LiveEvent]]]] = {}
        self._numbers = itertools.count(1)

    def publish(self, event: LiveEvent) -> None:
        """Give the event to every subscriber of its tenant; a full queue loses its oldest event."""
        number = next(self._numbers)
        for queue in self._queues.get(event.tenant, ()):
            if queue.full():
                queue.get_nowait()
            queue.put_nowait((number, event))

    @contextmanager
    def subscribe(self, tenant: TenantId) -> Iterator[asyncio.Queue[tuple[int, LiveEvent]]]:
        """A queue of (number, event) for one tenant, as long as the context lasts; numbers grow, with gaps."""
        queues = self._queues.setdefault(tenant, set())
        if len(queues) >= SUBSCRIBERS_MAX:
            raise TooMany
        queue: asyncio.Queue[tuple[int, LiveEvent]] = asyncio.Queue(QUEUE_EVENTS_MAX)
        queues.add(queue)
        try:
            yield queue
        finally:
            queues.discard(queue)
            if not queues:
                self._queues.pop(tenant, None)
