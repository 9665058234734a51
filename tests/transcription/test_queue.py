"""Jobs on the real server: delivered once for all publications, and again when a consumer dies."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from storage.model import CallId, TenantId
from storage.records import OutboxRow
from transcription.errors import Malformed
from transcription.queue import Again, Consumer, Done, Job, Queue, QueueAddress, Relay
from transcription.queue_server import QueueServer

JOB = Job(TenantId("a" * 32), CallId("b" * 32))

VICTIM = """
import asyncio, sys, time
from pathlib import Path
from transcription.queue import Consumer, Queue, QueueAddress

async def main():
    async def hang(job):
        print("taken", flush=True)
        await asyncio.sleep(60)
    async with await Queue.connect(QueueAddress.read(Path(sys.argv[1]))) as queue:
        await Consumer(queue, "transcribe", ack_wait_s=1.0, beat_s=0.3).run(hang)

asyncio.run(main())
"""


class Outbox:
    """An outbox in memory; `forgets` of its first confirmations are lost, as in a crash after publishing."""

    def __init__(self, rows: Sequence[OutboxRow], *, forgets: int = 0) -> None:
        self.rows = list(rows)
        self._forgets = forgets
        self.empty = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def outbox_pending(self, limit: int = 100) -> list[OutboxRow]:
        return self.rows[:limit]

    def outbox_sent(self, ids: Sequence[str]) -> None:
        if self._forgets:
            self._forgets -= 1
            return
        self.rows = [row for row in self.rows if row.id not in ids]
        if ids and not self.rows:
            self._loop.call_soon_threadsafe(self.empty.set)


def with_server(folder: Path, scenario: Callable[[QueueAddress, Queue], Awaitable[None]]) -> None:
    async def run() -> None:
        server = QueueServer(folder)
        address = await server.start()
        try:
            async with await Queue.connect(address) as queue:
                await scenario(address, queue)
        finally:
            await server.stop()

    asyncio.run(run())


async def work_for(consumer: Consumer, work: Callable[[Job], Awaitable[Done | Again]], seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await consumer.run(work)


def test_a_job_published_twice_is_delivered_once(tmp_path: Path) -> None:
    async def scenario(_address: QueueAddress, queue: Queue) -> None:
        seen: list[Job] = []

        async def work(job: Job) -> Done:
            seen.append(job)
            return Done()

        await queue.publish("transcribe", JOB.to_json(), "row 1")
        await queue.publish("transcribe", JOB.to_json(), "row 1")
        await work_for(Consumer(queue, "transcribe"), work, 1.0)
        assert seen == [JOB]

    with_server(tmp_path, scenario)


def test_relay_that_crashed_between_publishing_and_marking_sends_no_second_job(tmp_path: Path) -> None:
    async def scenario(_address: QueueAddress, queue: Queue) -> None:
        rows = [OutboxRow(f"row {number}", "transcribe", JOB.to_json()) for number in range(3)]
        outbox = Outbox(rows, forgets=1)
        relay = Relay(outbox, queue)
        assert [await relay.step() for _ in range(3)] == [3, 3, 0]
        assert (await queue.stream.stream_info("CALLVAULT_JOBS")).state.messages == 3
        assert outbox.rows == []

    with_server(tmp_path, scenario)


def test_running_relay_carries_what_is_written_later(tmp_path: Path) -> None:
    async def scenario(_address: QueueAddress, queue: Queue) -> None:
        outbox = Outbox([])
        relay = Relay(outbox, queue)
        running = asyncio.create_task(relay.run())
        await asyncio.sleep(0.05)
        outbox.rows.append(OutboxRow("late", "transcribe", JOB.to_json()))
        relay.nudge()
        async with asyncio.timeout(5):
            await outbox.empty.wait()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    with_server(tmp_path, scenario)


def test_a_job_of_a_killed_consumer_is_delivered_again(tmp_path: Path) -> None:
    async def scenario(_address: QueueAddress, queue: Queue) -> None:
        await queue.publish("transcribe", JOB.to_json(), "row 1")
        victim = await asyncio.create_subprocess_exec(
            sys.executable, "-c", VICTIM, str(tmp_path), stdout=asyncio.subprocess.PIPE
        )
        assert victim.stdout is not None
        assert await victim.stdout.readline() == b"taken\n"
        await asyncio.sleep(2.0)  # past the wait: signs of life have kept the job
        os.kill(victim.pid, signal.SIGKILL)
        assert await victim.wait() == -signal.SIGKILL
        seen: list[int] = []

        async def work(job: Job) -> Done:
            seen.append(job.delivery)
            return Done()

        await work_for(Consumer(queue, "transcribe", ack_wait_s=1.0), work, 3.0)
        assert seen == [2]

    with_server(tmp_path, scenario)


def test_a_job_put_off_comes_again_after_its_time(tmp_path: Path) -> None:
    async def scenario(_address: QueueAddress, queue: Queue) -> None:
        times: list[float] = []

        async def work(job: Job) -> Done | Again:
            times.append(asyncio.get_running_loop().time())
            return Again(0.5) if job.delivery == 1 else Done()

        await queue.publish("transcribe", JOB.to_json(), "row 1")
        await work_for(Consumer(queue, "transcribe"), work, 2.0)
        assert len(times) == 2
        assert times[1] - times[0] > 0.4

    with_server(tmp_path, scenario)


def test_a_cancelled_consumer_hands_its_job_back_at_once(tmp_path: Path) -> None:
    async def scenario(_address: QueueAddress, queue: Queue) -> None:
        async def hang(_job: Job) -> Done:
            await asyncio.sleep(60)
            return Done()

        seen: list[int] = []

        async def work(job: Job) -> Done:
            seen.append(job.delivery)
            return Done()

        await queue.publish("transcribe", JOB.to_json(), "row 1")
        await work_for(Consumer(queue, "transcribe"), hang, 0.5)
        await work_for(Consumer(queue, "transcribe"), work, 1.0)
        assert seen == [2]

    with_server(tmp_path, scenario)


def test_what_is_no_job_is_taken_out_of_the_queue(tmp_path: Path) -> None:
    async def scenario(_address: QueueAddress, queue: Queue) -> None:
        async def work(_job: Job) -> Done:
            raise AssertionError

        await queue.publish("transcribe", b"not a job", "row 1")
        await work_for(Consumer(queue, "transcribe"), work, 0.5)
        assert (await queue.stream.stream_info("CALLVAULT_JOBS")).state.messages == 0

    with_server(tmp_path, scenario)


def test_job_reads_back() -> None:
    assert Job.from_json(JOB.to_json()) == JOB


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"tenant":"a","call":"b"}', b'{"tenant":1,"call":2}', b'{"tenant":"' + b"a" * 2000 + b'"}'],
)
def test_malformed_jobs_are_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        Job.from_json(body)
