"""The connection to NATS JetStream; the home of nats.

The server keeps a job on its disk from the acknowledgement of its publication until a consumer has answered for it.
It drops a second publication under the same id for DUPLICATE_WINDOW_S, and delivers a job again when its consumer
has given no sign of life for the time that the consumer asked for.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

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
from nats.js.errors import APIError, BadRequestError, NoStreamResponseError

from transcription.errors import QueueUnavailable
from transcription.jobs import JOB_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

log = logging.getLogger(__name__)

STREAM: Final = "CALLVAULT_JOBS"
SUBJECTS: Final = "callvault.jobs"
"""Jobs of kind K go to `callvault.jobs.K`."""

MESSAGE_ID_HEADER: Final = "Nats-Msg-Id"

DUPLICATE_WINDOW_S = 3600.0
"""How long a published id is remembered: far above any pause between publishing and marking the outbox row as sent."""

ANSWER_S = 5.0
"""Longest wait for the server's answer to one request."""

RECONNECT_EVERY_S = 0.4
RECONNECTS_MAX = 25
"""Ten seconds of trying the known address; after that it is looked up again, because the server may have moved."""

PENDING_MAX = 100_000
"""Jobs handed out or put off at once; what is put off must not block the rest."""

_UNAVAILABLE = (OSError, TimeoutError, nats.errors.Error, APIError)


@dataclass(frozen=True, slots=True)
class QueueAddress:
    """Where the server is, and what it asks for: a token, or user and password, over TLS if the URL says `tls:`."""

    FILE: ClassVar[str] = "address.json"

    url: str
    token: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    ca_file: str = ""
    """Certificates that vouch for the server, in PEM; empty for the system's."""

    def to_json(self) -> str:
        return json.dumps({"url": self.url, "token": self.token})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The address that a running server of ours left in its folder; raises QueueUnavailable."""
        try:
            value = json.loads((folder / cls.FILE).read_bytes())
            return cls(str(value["url"]), str(value["token"]))
        except (OSError, ValueError, LookupError, TypeError):
            raise QueueUnavailable(f"no queue server has left its address in {folder}: start it first") from None

    def options(self) -> dict[str, Any]:
        """The client's arguments; raises QueueUnavailable if the certificates cannot be read."""
        options: dict[str, Any] = {"servers": [self.url]}
        if self.token:
            options["token"] = self.token
        if self.user:
            options |= {"user": self.user, "password": self.password}
        if self.url.startswith("tls:"):
            try:
                options["tls"] = ssl.create_default_context(cafile=self.ca_file or None)
            except (OSError, ssl.SSLError) as error:
                raise QueueUnavailable(f"{self.ca_file} holds no certificates: {type(error).__name__}") from error
        return options


@dataclass(frozen=True, slots=True)
class QueueState:
    """How many jobs the server holds, and how many of them a consumer has under work or has put off."""

    waiting: int
    in_work: int


class Delivery:
    """A job as it was delivered. An answer that gets lost costs another delivery and nothing else."""

    def __init__(self, message: Msg) -> None:
        self._message = message

    @property
    def body(self) -> bytes:
        return self._message.data

    @property
    def number(self) -> int:
        """How often the job was delivered, this time included."""
        return int(self._message.metadata.num_delivered)

    async def done(self) -> None:
        await _tell(self._message.ack_sync(ANSWER_S))

    async def again(self, after_s: float) -> None:
        await _tell(self._message.nak(after_s))

    async def working(self) -> None:
        """A sign of life: the server waits from here on."""
        await _tell(self._message.in_progress())


class Deliveries:
    """What comes for one kind of job."""

    def __init__(self, subscription: JetStreamContext.PullSubscription) -> None:
        self._subscription = subscription

    async def next(self, wait_s: float) -> Delivery | None:
        """The next job, or None if none comes in that time; raises QueueUnavailable."""
        try:
            messages = await self._subscription.fetch(1, timeout=wait_s)
        except TimeoutError:  # nats' own is a kind of it: nothing to do
            return None
        except _UNAVAILABLE as error:
            raise QueueUnavailable(f"the queue server gives no jobs: {type(error).__name__}") from error
        return Delivery(messages[0]) if messages else None


class Queue:
    """A connection to the server, made at its first use and again whenever it is lost, for as long as it is open."""

    def __init__(self, find_address: Callable[[], QueueAddress]) -> None:
        self._find_address = find_address
        self._client: Client | None = None
        self._stream: JetStreamContext | None = None
        self._connecting = asyncio.Lock()

    @classmethod
    async def connect(cls, address: QueueAddress) -> Self:
        """Connects at once; raises QueueUnavailable."""
        queue = cls(lambda: address)
        await queue._connected()
        return queue

    @property
    def up(self) -> bool:
        """Whether the server is there, as far as is known without asking it."""
        return self._client is not None and self._client.is_connected

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def publish(self, kind: str, body: bytes, message_id: str) -> None:
        """Returns when the server has the job on disk, now or from an earlier publication; raises QueueUnavailable."""
        stream = await self._connected()
        try:
            await stream.publish(f"{SUBJECTS}.{kind}", body, headers={MESSAGE_ID_HEADER: message_id})
        except (*_UNAVAILABLE, NoStreamResponseError) as error:
            raise QueueUnavailable(f"the queue server does not take jobs: {type(error).__name__}") from error

    async def deliveries(self, kind: str, ack_wait_s: float) -> Deliveries:
        """What comes for that kind of job, with the server waiting that long for a sign of life; QueueUnavailable."""
        stream = await self._connected()
        config = ConsumerConfig(
            ack_policy=AckPolicy.EXPLICIT, ack_wait=ack_wait_s, max_deliver=-1, max_ack_pending=PENDING_MAX
        )
        try:
            return Deliveries(
                await stream.pull_subscribe(f"{SUBJECTS}.{kind}", durable=kind, stream=STREAM, config=config)
            )
        except _UNAVAILABLE as error:
            raise QueueUnavailable(f"the queue server takes no consumer: {type(error).__name__}") from error

    async def state(self) -> QueueState:
        """Asks the server; raises QueueUnavailable."""
        stream = await self._connected()
        try:
            held = (await stream.stream_info(STREAM)).state
            consumers = await stream.consumers_info(STREAM)
        except _UNAVAILABLE as error:
            raise QueueUnavailable(f"the queue server does not answer: {type(error).__name__}") from error
        return QueueState(int(held.messages), sum(int(each.num_ack_pending or 0) for each in consumers))

    async def _connected(self) -> JetStreamContext:
        """The stream, on a connection that was not given up."""
        async with self._connecting:
            if self._client is None or self._client.is_closed or self._stream is None:
                await self.close()
                client = await _connection(self._find_address())
                try:
                    stream = client.jetstream(timeout=ANSWER_S)
                    await _make_stream(stream)
                except BaseException:
                    await client.close()
                    raise
                self._client, self._stream = client, stream
            return self._stream


async def _connection(address: QueueAddress) -> Client:
    try:
        async with asyncio.timeout(ANSWER_S):
            return await nats.connect(
                **address.options(),
                max_reconnect_attempts=RECONNECTS_MAX,
                reconnect_time_wait=RECONNECT_EVERY_S,
                error_cb=_quiet,
            )
    except (OSError, TimeoutError, nats.errors.Error) as error:
        raise QueueUnavailable(f"the queue server does not answer: {type(error).__name__}") from error


async def _make_stream(stream: JetStreamContext) -> None:
    """Makes sure that the stream of jobs exists; one that an operator made (with replicas, say) is taken as it is."""
    wanted = StreamConfig(
        name=STREAM,
        subjects=[f"{SUBJECTS}.>"],
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        duplicate_window=DUPLICATE_WINDOW_S,
        max_msg_size=JOB_BYTES_MAX * 2,
    )
    try:
        try:
            await stream.add_stream(wanted)
        except BadRequestError:
            found = (await stream.stream_info(STREAM)).config
            if found.retention != RetentionPolicy.WORK_QUEUE or found.storage != StorageType.FILE:
                raise
            if (found.duplicate_window or 0) < DUPLICATE_WINDOW_S:
                log.warning("queue_forgets_ids_early", extra={"window_s": found.duplicate_window})
    except (TimeoutError, nats.errors.Error, APIError) as error:
        raise QueueUnavailable(f"the queue server has no stream: {type(error).__name__}") from error


async def _tell(answer: Awaitable[Any]) -> None:
    try:
        await answer
    except (OSError, TimeoutError, nats.errors.Error) as error:
        log.warning("job_answer_lost", extra={"error": type(error).__name__})


async def _quiet(_error: Exception) -> None:
    """The client tells of every attempt; whoever asked for something says what is worth a line."""
