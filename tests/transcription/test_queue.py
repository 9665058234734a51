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

from storage.errors import Unavailable
from storage.model import CallId, TenantId
from storage.records import OutboxRow
from transcription.errors import Malformed, QueueUnavailable
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


LIMIT_S = 60.0


class Outbox:
    """An outbox in memory; `forgets` of its first confirmations are lost, as in a crash after publishing, and the
    first `locked` looks at it fail."""

    def __init__(self, rows: Sequence[OutboxRow], *, forgets: int = 0, locked: int = 0) -> None:
        self.rows = list(rows)
        self._forgets = forgets
        self._locked = locked
        self.empty = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def outbox_pending(self, limit: int = 100) -> list[OutboxRow]:
        if self._locked:
            self._locked -= 1
            raise Unavailable("locked")
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


class Recorder:
    """Work that remembers its jobs, and answers with the next of its verdicts; the last one stays."""

    def __init__(self, *verdicts: Done | Again) -> None:
        self.jobs: list[Job] = []
        self._verdicts = list(verdicts or [Done()])

    async def __call__(self, job: Job) -> Done | Again:
        self.jobs.append(job)
        return self._verdicts.pop(0) if len(self._verdicts) > 1 else self._verdicts[0]


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not await true():
            await asyncio.sleep(0.02)


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def emptied(queue: Queue, work: Callable[[Job], Awaitable[Done | Again]], **options: float) -> None:
    """Works until the queue holds nothing; what is not held will not be delivered again."""
    consuming = asyncio.create_task(Consumer(queue, "transcribe", **options).run(work))

    async def empty() -> bool:
        try:
            return (await queue.state()).waiting == 0
        except QueueUnavailable:
            return False

    await until(empty)
    await stopped(consuming)


def rows_of(count: int) -> list[OutboxRow]:
    return [OutboxRow(f"row {number}", "transcribe", job_of(number).to_json()) for number in range(count)]


def job_of(number: int) -> Job:
    return Job(TenantId("a" * 32), CallId(f"{number:032x}"))


def test_a_job_published_twice_is_delivered_once(tmp_path: Path) -> None:
    async def scenario(_address: QueueAddress, queue: Queue) -> None:
        work = Recorder()
        await queue.publish("transcribe", JOB.to_json(), "row 1")
        await queue.publish("transcribe", JOB.to_json(), "row 1")
        assert (await queue.state()).waiting == 1
        await emptied(queue, work)
        await queue.publish("transcribe", JOB.to_json(), "row 1")  # its id is remembered beyond its end
        assert (await queue.state()).waiting == 0
        assert work.jobs == [JOB]

    with_server(tmp_path, scenario)


def test_relay_that_crashed_between_publishing_and_marking_sends_no_second_job(tmp_path: Path) -> None:
    async def scenario(_address: QueueAddress, queue: Queue) -> None:
        outbox = Outbox(rows_of(3), forgets=1)
        relay = Relay(outbox, queue)
        assert [await relay.step() for _ in range(3)] == [3, 3, 0]
        assert (await queue.state()).waiting == 3
        assert outbox.rows == []

    with_server(tmp_path, scenario)


def test_running_relay_carries_what_is_written_later(tmp_path: Path) -> None:
    async def scenario(_address: QueueAddress, queue: Queue) -> None:
        outbox = Outbox([])
        relay = Relay(outbox, queue)
        running = asyncio.create_task(relay.run())
        await asyncio.sleep(0.05)
        outbox.rows.append(OutboxRow("late", "transcribe", JOB.to_json()))
        async with asyncio.timeout(LIMIT_S):
            await outbox.empty.wait()
        await stopped(running)
        assert (await queue.state()).waiting == 1

    with_server(tmp_path, scenario)


def test_jobs_wait_in_the_outbox_until_there_is_a_server_and_go_to_wherever_it_is_then(tmp_path: Path) -> None:
    async def scenario() -> None:
        outbox = Outbox(rows_of(3))
        place = [tmp_path / "nowhere"]
        second = QueueServer(tmp_path / "second")
        async with Queue(lambda: QueueAddress.read(place[0])) as queue:
            relay = Relay(outbox, queue)
            running = asyncio.create_task(relay.run())

            async def held_back() -> bool:
                return relay.held_back

            await until(held_back)
            assert (len(outbox.rows), queue.up) == (3, False)
            await second.start()
            place[0] = tmp_path / "second"
            async with asyncio.timeout(LIMIT_S):
                await outbox.empty.wait()
            assert (queue.up, (await queue.state()).waiting) == (True, 3)
            await stopped(running)
        await second.stop()

    asyncio.run(scenario())


def test_a_server_killed_in_mid_publishing_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    """The acknowledged ones are on its disk, the others still in the outbox; the client finds it by itself."""

    async def scenario() -> None:
        server = QueueServer(tmp_path)
        keeping = asyncio.create_task(server.keep())
        outbox, work = Outbox(rows_of(500), forgets=2), Recorder()
        async with Queue(lambda: QueueAddress.read(tmp_path)) as queue:
            relay = Relay(outbox, queue)
            relaying = asyncio.create_task(relay.run())

            async def halfway() -> bool:
                return relay.published >= 200

            await until(halfway)
            os.kill(int((tmp_path / "nats.pid").read_text()), signal.SIGKILL)
            async with asyncio.timeout(LIMIT_S):
                await outbox.empty.wait()
            await stopped(relaying)
            await emptied(queue, work)
        await stopped(keeping)
        assert sorted(job.call for job in work.jobs) == [job_of(number).call for number in range(500)]

    asyncio.run(scenario())


def test_a_job_of_a_killed_consumer_is_delivered_again(tmp_path: Path) -> None:
    async def scenario(_address: QueueAddress, queue: Queue) -> None:
        await queue.publish("transcribe", JOB.to_json(), "row 1")
        victim = await asyncio.create_subprocess_exec(
            sys.executable, "-c", VICTIM, str(tmp_path), stdout=asyncio.subprocess.PIPE
        )
        assert victim.stdout is not None
        assert await victim.stdout.readline() == b"taken\n"
        await asyncio.sleep(1.5)  # past the wait: signs of life have kept the job
        os.kill(victim.pid, signal.SIGKILL)
        assert await victim.wait() == -signal.SIGKILL
        work = Recorder()
        await emptied(queue, work, ack_wait_s=1.0)
        assert [job.delivery for job in work.jobs] == [2]

    with_server(tmp_path, scenario)


def test_a_job_under_work_when_the_server_is_killed_is_answered_for_when_it_is_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = QueueServer(tmp_path)
        keeping = asyncio.create_task(server.keep())
        seen: list[int] = []

        async def long(job: Job) -> Done:
            seen.append(job.delivery)
            if len(seen) == 1:
                os.kill(int((tmp_path / "nats.pid").read_text()), signal.SIGKILL)
                await asyncio.sleep(1.5)
            return Done()

        async with Queue(lambda: QueueAddress.read(tmp_path)) as queue:

            async def published() -> bool:
                with suppress(QueueUnavailable):
                    await queue.publish("transcribe", JOB.to_json(), "row 1")
                    return True
                return False

            await until(published)
            await emptied(queue, long, beat_s=0.3)
        await stopped(keeping)
        # An answer that was lost on the way costs a second delivery; the killed server may have forgotten the first.
        assert seen in ([1], [1, 2], [1, 1])

    asyncio.run(scenario())


def test_a_job_put_off_comes_again_after_its_time(tmp_path: Path) -> None:
    async def scenario(_address: QueueAddress, queue: Queue) -> None:
        times: list[float] = []
        verdicts = Recorder(Again(0.5), Done())

        async def work(job: Job) -> Done | Again:
            times.append(asyncio.get_running_loop().time())
            return await verdicts(job)

        await queue.publish("transcribe", JOB.to_json(), "row 1")
        await emptied(queue, work)
        assert [job.delivery for job in verdicts.jobs] == [1, 2]
        assert times[1] - times[0] > 0.4

    with_server(tmp_path, scenario)


def test_a_cancelled_consumer_hands_its_job_back_at_once(tmp_path: Path) -> None:
    async def scenario(_address: QueueAddress, queue: Queue) -> None:
        taken = asyncio.Event()

        async def hang(_job: Job) -> Done:
            taken.set()
            await asyncio.sleep(60)
            return Done()

        await queue.publish("transcribe", JOB.to_json(), "row 1")
        consuming = asyncio.create_task(Consumer(queue, "transcribe").run(hang))
        async with asyncio.timeout(LIMIT_S):
            await taken.wait()
        assert (await queue.state()).in_work == 1
        await stopped(consuming)
        work = Recorder()
        await emptied(queue, work)
        assert [job.delivery for job in work.jobs] == [2]

    with_server(tmp_path, scenario)


def test_what_is_no_job_is_taken_out_of_the_queue(tmp_path: Path) -> None:
    async def scenario(_address: QueueAddress, queue: Queue) -> None:
        work = Recorder()
        await queue.publish("transcribe", b"not a job", "row 1")
        await emptied(queue, work)
        assert work.jobs == []

    with_server(tmp_path, scenario)


def test_a_store_that_is_away_holds_the_relay_back_and_does_not_end_it(tmp_path: Path) -> None:
    async def scenario(_address: QueueAddress, queue: Queue) -> None:
        outbox = Outbox(rows_of(1), locked=2)
        relay = Relay(outbox, queue)
        running = asyncio.create_task(relay.run())
        async with asyncio.timeout(LIMIT_S):
            await outbox.empty.wait()
        await stopped(running)

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
