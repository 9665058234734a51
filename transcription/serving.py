"""The worker's process: models first, then jobs, at low priority, until it is told to stop.

While there is no speech model no job is taken, so that waiting for one does not count as failing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from transcription.queue import Consumer, Queue
from transcription.worker import ENGINE_RETRY_S, JOB

if TYPE_CHECKING:
    from collections.abc import Callable

    from storage.recordings import Recordings
    from transcription.jobs import Again, Done, Job
    from transcription.queue import QueueAddress
    from transcription.worker import Worker

log = logging.getLogger(__name__)

NICENESS = 10
"""Transcription is never in a hurry against calls."""


async def serve(worker: Worker, find_address: Callable[[], QueueAddress]) -> None:
    """Takes jobs until it is cancelled; waits for the models, and for the queue's server, as long as there are none."""
    threads = ThreadPoolExecutor(1, thread_name_prefix="transcription")
    loop = asyncio.get_running_loop()

    async def work(job: Job) -> Done | Again:
        return await loop.run_in_executor(threads, worker.work, job)

    try:
        while not await loop.run_in_executor(threads, worker.ready):  # noqa: ASYNC110  # a package is being installed
            await asyncio.sleep(ENGINE_RETRY_S)
        async with Queue(find_address) as queue:
            await Consumer(queue, JOB).run(work)
    finally:
        worker.stop()
        threads.shutdown(wait=False, cancel_futures=True)


def run(worker: Worker, recordings: Recordings, find_address: Callable[[], QueueAddress]) -> None:
    """Works until SIGTERM or SIGINT, hands the job under work back, and exits.

    Does not return: speech recognition under way cannot be interrupted, and nothing of it is kept.
    """
    os.nice(NICENESS)

    async def until_signalled() -> None:
        serving = asyncio.create_task(serve(worker, find_address))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
        await asyncio.wait([serving])
        if not serving.cancelled() and serving.exception() is not None:
            log.error("worker_failed", extra={"error": type(serving.exception()).__name__})
            os._exit(1)

    asyncio.run(until_signalled())
    recordings.close()
    logging.shutdown()
    os._exit(0)
