"""Jobs through the queue: the relay that empties the outbox, and the consumer that works.

Rules: a job is taken out of the outbox only when the server has it on disk; it is published under the outbox row's
id, so that a repeated publication is dropped (`storage.jobs` has the whole promise); it is delivered again when its
consumer has given no sign of life for ACK_WAIT_S; whoever handles jobs must bear to see one twice.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from storage.errors import Unavailable
from transcription.errors import Malformed, QueueUnavailable
from transcription.jetstream import Queue, QueueAddress, QueueState
from transcription.jobs import Again, Done, Job

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from storage.records import OutboxRow
    from transcription.jetstream import Deliveries, Delivery

__all__ = ["Again", "Consumer", "Done", "Job", "Outbox", "Queue", "QueueAddress", "QueueState", "Relay"]

log = logging.getLogger(__name__)

ACK_WAIT_S = 30.0
"""Silence of a consumer after which its job goes to another."""

BEAT_S = 10.0
"""A working consumer says so this often: two beats may be lost."""

FETCH_S = 5.0
"""Length of one wait for a job; a stop is seen at once all the same, because waiting is cancelled."""

RELAY_EVERY_S = 0.25
"""How often the outbox is looked at: part of hang-up → transcript."""

BACKOFF_S_MAX = 5.0
"""Longest pause between two attempts while the server is away."""

RELAY_BATCH = 100


class Outbox(Protocol):
    """What the relay needs of the store."""

    def outbox_pending(self, limit: int = RELAY_BATCH) -> Sequence[OutboxRow]: ...

    def outbox_sent(self, ids: Sequence[str]) -> None: ...


class Relay:
    """Carries jobs from the outbox to the queue."""

    def __init__(self, outbox: Outbox, queue: Queue) -> None:
        self._outbox = outbox
        self._queue = queue
        self.published = 0
        """Jobs that the queue has acknowledged."""
        self.held_back = False
        """Whether jobs wait because the last attempt failed."""

    async def step(self) -> int:
        """Publishes what waits, then marks it as sent; returns how many. Raises QueueUnavailable, StoreError."""
        rows = await asyncio.to_thread(self._outbox.outbox_pending, RELAY_BATCH)
        for row in rows:
            await self._queue.publish(row.subject, row.body, row.id)
        if rows:
            await asyncio.to_thread(self._outbox.outbox_sent, [row.id for row in rows])
            self.published += len(rows)
        return len(rows)

    async def run(self) -> None:
        """Carries jobs until it is cancelled; a server or store that is away is waited for."""
        pause_s = RELAY_EVERY_S
        while True:
            try:
                sent = await self.step()
                pause_s = 0.0 if sent == RELAY_BATCH else RELAY_EVERY_S
                self.held_back = False
            except (QueueUnavailable, Unavailable) as error:
                pause_s = min(max(pause_s, RELAY_EVERY_S) * 2, BACKOFF_S_MAX)
                if not self.held_back:
                    log.warning("jobs_held_back", extra={"reason": str(error)})
                self.held_back = True
            _heed_cancellation()
            await asyncio.sleep(pause_s)


class Consumer:
    """Takes jobs of one kind, one at a time, and says whether they are done."""

    def __init__(self, queue: Queue, kind: str, *, ack_wait_s: float = ACK_WAIT_S, beat_s: float = BEAT_S) -> None:
        self._queue = queue
        self._kind = kind
        self._ack_wait_s = ack_wait_s
        self._beat_s = beat_s

    async def run(self, work: Callable[[Job], Awaitable[Done | Again]]) -> None:
        """Works until it is cancelled; a job that is cancelled in mid-work goes back to the queue at once."""
        deliveries: Deliveries | None = None
        pause_s = RELAY_EVERY_S
        while True:
            try:
                if deliveries is None:
                    deliveries = await self._queue.deliveries(self._kind, self._ack_wait_s)
                delivery = await deliveries.next(FETCH_S)
                pause_s = RELAY_EVERY_S
            except QueueUnavailable as error:
                log.warning("queue_unreachable", extra={"reason": str(error), "pause_s": pause_s})
                deliveries = None
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, BACKOFF_S_MAX)
                continue
            if delivery is not None:
                await self._handle(delivery, work)
            _heed_cancellation()

    async def _handle(self, delivery: Delivery, work: Callable[[Job], Awaitable[Done | Again]]) -> None:
        try:
            job = Job.from_json(delivery.body, delivery.number)
        except Malformed:  # nobody of ours wrote it, and it names no call that could be told
            log.error("job_malformed", extra={"bytes": len(delivery.body)})
            await delivery.done()
            return
        beat = asyncio.create_task(self._beat(delivery))
        verdict: Done | Again = Again(0.0)  # what cancellation leaves
        try:
            verdict = await work(job)
        finally:
            beat.cancel()
            await (delivery.done() if isinstance(verdict, Done) else delivery.again(verdict.after_s))

    async def _beat(self, delivery: Delivery) -> None:
        while True:
            await asyncio.sleep(self._beat_s)
            await delivery.working()


def _heed_cancellation() -> None:
    """Ends a cancelled task whose cancellation was lost: nats uses `asyncio.wait_for`, which loses one that comes
    together with the result (bpo-37658, until Python 3.12)."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
