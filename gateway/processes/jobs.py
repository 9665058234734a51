"""The work queue as `serve` runs it: the embedded server, the relay, the workers, and what is known of them.

Calls never wait for any of it. With the server away, jobs stay in the outbox and are carried when it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from gateway.config import Settings
from gateway.events import Hub, LiveEvent
from gateway.operations.alarms import Alarm, Alarms
from gateway.processes.queue_address import queue_address
from gateway.processes.supervisor import Child
from storage.model import CallId, TenantId
from storage.recordings import Recordings
from transcription.errors import QueueUnavailable
from transcription.queue import Queue, QueueState, Relay
from transcription.queue_server import QueueServer

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
"""How often the queue is asked how it is: two small requests."""

START_LOOK_EVERY_S = 0.2
"""The same while it does not answer: at a start, readiness waits for it."""

_ALARMS = {"speech_model": Alarm.SPEECH_MODEL_MISSING, "names_model": Alarm.NAMES_MODEL_MISSING}


class Jobs:
    """Everything between a call's end and its transcript; `run` it as a service."""

    def __init__(self, settings: Settings, recordings: Recordings, hub: Hub, alarms: Alarms) -> None:
        self._settings = settings
        self._recordings = recordings
        self._hub = hub
        self._alarms = alarms
        self._workers: list[Child] = []
        self.held: QueueState | None = None
        """What the queue's server holds; None while it does not answer."""
        self.models: dict[str, str] = {}
        """The models that our workers have, by "speech_model" and "names_model": a name, "missing" or "off"."""
        self.counters: Counter[str] = Counter()
        """Since the start: `transcripts`, `jobs_given_up`."""

    @property
    def up(self) -> bool:
        """Whether the queue's server answers."""
        return self.held is not None

    def restarts(self) -> Mapping[str, int]:
        """How often each worker was started again."""
        return {worker.name: worker.restarts for worker in self._workers}

    async def run(self) -> None:
        """Until cancelled: then the workers hand their jobs back, and after them the server ends."""
        settings_json = self._settings.model_dump_json()
        module = "gateway.processes.worker"
        self._workers = [
            Child(f"transcription-{number}", module, settings_json, on_line=self.hear_worker)
            for number in range(self._settings.transcription.workers)
        ]
        async with self._server(), Queue(queue_address(self._settings)) as queue, asyncio.TaskGroup() as tasks:
            tasks.create_task(Relay(self._recordings, queue).run())
            tasks.create_task(self._look(queue))
            for worker in self._workers:
                tasks.create_task(worker.run())

    def hear_worker(self, line: Mapping[str, object]) -> None:
        """A line that a worker printed."""
        match line:
            case {"transcript_ready": [str(tenant), str(call)]}:
                self.counters["transcripts"] += 1
                self._hub.publish(LiveEvent("transcript_ready", TenantId(tenant), CallId(call)))
            case {"job_dead": [str(), str()]}:
                self.counters["jobs_given_up"] += 1
            case {"speech_model": str(name)}:
                self._model("speech_model", name)
            case {"names_model": str(name)}:
                self._model("names_model", name)
            case _:
                log.warning("worker line not understood", extra={"fields": len(line)})

    def _model(self, which: str, name: str) -> None:
        self.models[which] = name
        self._alarms.set(_ALARMS[which], name == "missing", time.monotonic())

    @asynccontextmanager
    async def _server(self) -> AsyncIterator[None]:
        """The embedded server for as long as the context lasts; nothing, if the queue is somebody else's."""
        if self._settings.queue.url != "embedded":
            yield
            return
        keeping = asyncio.create_task(QueueServer(self._settings.data_folder / "queue").keep())
        try:
            yield
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping

    async def _look(self, queue: Queue) -> None:
        """Asks the server again and again; that also makes the connection before there is a job."""
        while True:
            try:
                self.held = await queue.state()
            except QueueUnavailable:
                self.held = None
            await asyncio.sleep(LOOK_EVERY_S if self.up else START_LOOK_EVERY_S)
