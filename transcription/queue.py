"""Jobs through NATS JetStream: the relay that empties the outbox, and the consumer that works; the home of nats.

A job names a call and nothing else. Rules: a job is taken out of the outbox only when the server has it on disk; it
is published under the outbox row's id, so that a repeated publication is dropped; it is delivered again when its
consumer has given no sign of life for ACK_WAIT_S; whoever handles jobs must bear to see one twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, Self

import nats
import nats.errors
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NoStreamResponseError

from storage.model import CallId, TenantId, is_id
from transcription.errors import Malformed, QueueUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

    from storage.records import OutboxRow

log = logging.getLogger(__name__)

STREAM: Final = "CALLVAULT_JOBS"
SUBJECTS: Final = "callvault.jobs"
"""Jobs of kind K go to `callvault.jobs.K`."""

MESSAGE_ID_HEADER: Final = "Nats-Msg-Id"

DUPLICATE_WINDOW_S = 3600.0
"""How long a published id is remembered: far above any pause between publishing and marking the outbox row as sent."""

ACK_WAIT_S = 30.0
"""Silence of a consumer after which its job goes to another."""

BEAT_S = 10.0
"""A working consumer says so this often: two beats may be lost."""

FETCH_S = 5.0
"""Length of one wait for a job; a stop is seen at once all the same, because waiting is cancelled."""

ANSWER_S = 5.0
"""Longest wait for the server's answer to one request."""

RELAY_EVERY_S = 0.25
"""How often the outbox is looked at: part of hang-up → transcript."""

BACKOFF_S_MAX = 5.0
"""Longest pause between two attempts while the server is away."""

RELAY_BATCH = 100
JOB_BYTES_MAX = 1024
PENDING_MAX = 100_000
"""Jobs handed out or put off at once; what is put off for lack of a model must not block the rest."""


@dataclass(frozen=True, slots=True)
class QueueAddress:
    """Where the server is, and the token that it asks for."""

    FILE: ClassVar[str] = "address.json"

    url: str
    token: str = field(repr=False)

    def to_json(self) -> str:
        return json.dumps({"url": self.url, "token": self.token})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The address that a running server left in its folder; raises QueueUnavailable."""
        try:
            value = json.loads((folder / cls.FILE).read_bytes())
            return cls(str(value["url"]), str(value["token"]))
        except (OSError, ValueError, LookupError, TypeError):
            raise QueueUnavailable(f"no queue server has left its address in {folder}: start it first") from None


@dataclass(frozen=True, slots=True)
class Job:
    """Something to be done about one call; `delivery` counts from 1."""

    tenant: TenantId
    call: CallId
    delivery: int = 1

    def to_json(self) -> bytes:
        return json.dumps({"tenant": self.tenant, "call": self.call}, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, body: bytes, delivery: int = 1) -> Self:
        """The inverse of `to_json`; raises Malformed."""
        try:
            value = json.loads(body) if len(body) <= JOB_BYTES_MAX else None
        except ValueError:
            value = None
        match value:
            case {"tenant": str(tenant), "call": str(call)} if is_id(tenant) and is_id(call):
                return cls(TenantId(tenant), CallId(call), delivery)
            case _:
                raise Malformed(f"a job of {len(body)} bytes names no tenant and call")


@dataclass(frozen=True, slots=True)
class Done:
    """The job needs no further work: done, or no longer wanted."""


@dataclass(frozen=True, slots=True)
class Again:
    """The job is to be delivered again after this time."""

    after_s: float


class Outbox(Protocol):
    """What the relay needs of the store."""

    def outbox_pending(self, limit: int = RELAY_BATCH) -> Sequence[OutboxRow]: ...

    def outbox_sent(self, ids: Sequence[str]) -> None: ...


class Queue:
    """A connection to the server; it reconnects by itself for as long as it is open."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.stream: JetStreamContext = client.jetstream(timeout=ANSWER_S)

    @classmethod
    async def connect(cls, address: QueueAddress) -> Self:
        """Connects and makes sure that the stream of jobs exists; raises QueueUnavailable."""
        try:
            async with asyncio.timeout(ANSWER_S):
                client = await nats.connect(
                    address.url,
                    token=address.token,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.2,
                    error_cb=_quiet,
                )
        except (OSError, TimeoutError, nats.errors.Error) as error:
            raise QueueUnavailable(f"the queue server does not answer: {type(error).__name__}") from error
        queue = cls(client)
        try:
            await queue.stream.add_stream(
                StreamConfig(
                    name=STREAM,
                    subjects=[f"{SUBJECTS}.>"],
                    retention=RetentionPolicy.WORK_QUEUE,
                    storage=StorageType.FILE,
                    discard=DiscardPolicy.NEW,
                    duplicate_window=DUPLICATE_WINDOW_S,
                    max_msg_size=JOB_BYTES_MAX * 2,
                )
            )
        except (TimeoutError, nats.errors.Error, APIError) as error:
            await client.close()
            raise QueueUnavailable(f"the queue server has no stream: {type(error).__name__}") from error
        return queue

    async def close(self) -> None:
        await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def publish(self, kind: str, body: bytes, message_id: str) -> None:
        """Returns when the server has the job on disk, now or from an earlier publication; raises QueueUnavailable."""
        try:
            await self.stream.publish(f"{SUBJECTS}.{kind}", body, headers={MESSAGE_ID_HEADER: message_id})
        except (OSError, TimeoutError, NoStreamResponseError, nats.errors.Error, APIError) as error:
            raise QueueUnavailable(f"the queue server does not take jobs: {type(error).__name__}") from error


class Relay:
    """Carries jobs from the outbox to the queue."""

    def __init__(self, outbox: Outbox, queue: Queue) -> None:
        self._outbox = outbox
        self._queue = queue
        self._nudged = asyncio.Event()

    def nudge(self) -> None:
        """Says that a job was just written: the relay looks at once. Call it in the relay's own loop."""
        self._nudged.set()

    async def step(self) -> int:
        """Publishes what waits, then marks it as sent; returns how many. Raises QueueUnavailable, StoreError."""
        rows = await asyncio.to_thread(self._outbox.outbox_pending, RELAY_BATCH)
        for row in rows:
            await self._queue.publish(row.subject, row.body, row.id)
        if rows:
            await asyncio.to_thread(self._outbox.outbox_sent, [row.id for row in rows])
        return len(rows)

    async def run(self) -> None:
        """Carries jobs until it is cancelled; a server that is away is waited for."""
        pause_s = RELAY_EVERY_S
        while True:
            try:
                sent = await self.step()
                pause_s = 0.0 if sent == RELAY_BATCH else RELAY_EVERY_S
            except QueueUnavailable:
                log.warning("jobs_held_back", extra={"pause_s": pause_s})
                pause_s = min(max(pause_s, RELAY_EVERY_S) * 2, BACKOFF_S_MAX)
            _heed_cancellation()
            self._nudged.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._nudged.wait()


class Consumer:
    """Takes jobs of one kind, one at a time, and says whether they are done."""

    def __init__(self, queue: Queue, kind: str, *, ack_wait_s: float = ACK_WAIT_S, beat_s: float = BEAT_S) -> None:
        self._queue = queue
        self._kind = kind
        self._ack_wait_s = ack_wait_s
        self._beat_s = beat_s

    async def run(self, work: Callable[[Job], Awaitable[Done | Again]]) -> None:
        """Works until it is cancelled; a job that is cancelled in mid-work goes back to the queue at once."""
        subscription: JetStreamContext.PullSubscription | None = None
        while True:
            try:
                if subscription is None:
                    subscription = await self._subscribe()
                messages = await subscription.fetch(1, timeout=FETCH_S)
            except TimeoutError:  # nats' own is a kind of it: nothing to do
                _heed_cancellation()
                continue
            except (OSError, nats.errors.Error, APIError) as error:
                log.warning("queue_unreachable", extra={"error": type(error).__name__})
                subscription = None
                await asyncio.sleep(1.0)
                continue
            for message in messages:
                await self._handle(message, work)
            _heed_cancellation()

    async def _subscribe(self) -> JetStreamContext.PullSubscription:
        return await self._queue.stream.pull_subscribe(
            f"{SUBJECTS}.{self._kind}",
            durable=self._kind,
            stream=STREAM,
            config=ConsumerConfig(
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=self._ack_wait_s,
                max_deliver=-1,
                max_ack_pending=PENDING_MAX,
            ),
        )

    async def _handle(self, message: Msg, work: Callable[[Job], Awaitable[Done | Again]]) -> None:
        try:
            job = Job.from_json(message.data, message.metadata.num_delivered)
        except Malformed:
            log.error("job_malformed", extra={"bytes": len(message.data)})
            await _tell(message.term())
            return
        beat = asyncio.create_task(self._beat(message))
        verdict: Done | Again = Again(0.0)  # what cancellation leaves
        try:
            verdict = await work(job)
        finally:
            beat.cancel()
            await _tell(message.ack_sync(ANSWER_S) if isinstance(verdict, Done) else message.nak(verdict.after_s))

    async def _beat(self, message: Msg) -> None:
        while True:
            await asyncio.sleep(self._beat_s)
            await _tell(message.in_progress())


async def _tell(answer: Awaitable[Any]) -> None:
    """Sends an answer about a job; one that gets lost costs a second delivery and nothing else."""
    try:
        await answer
    except (OSError, TimeoutError, nats.errors.Error) as error:
        log.warning("job_answer_lost", extra={"error": type(error).__name__})


def _heed_cancellation() -> None:
    """Ends a cancelled task whose cancellation was lost: nats uses `asyncio.wait_for`, which loses one that comes
    together with the result (bpo-37658, until Python 3.12)."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _quiet(error: Exception) -> None:
    """The client's asynchronous errors: named by type, since their text may quote a server's."""
    log.warning("queue_client_error", extra={"error": type(error).__name__})
