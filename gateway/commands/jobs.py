"""`callvault jobs`: what waits on its way to a transcript, and what was given up; retry it or drop it."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import asdict

from gateway.commands.store import administering
from gateway.config import Settings
from gateway.processes.queue_address import queue_address
from storage.recordings import Recordings
from transcription.errors import QueueUnavailable
from transcription.queue import Queue, QueueAddress, QueueState

ALL = "all"


def command(arguments: argparse.Namespace) -> int:
    """List, or retry or drop jobs of the dead list. Exit 1 when the store cannot be used or no such job is there."""
    if arguments.action != "list" and not arguments.id:
        sys.stderr.write(f"callvault: say which job to {arguments.action}, or `all`\n")
        return 2

    def run(settings: Settings, recordings: Recordings) -> int:
        if arguments.action == "list":
            _list(recordings, _held(queue_address(settings)), as_json=arguments.json)
        else:
            _settle(recordings, arguments.action, arguments.id)
        return 0

    return administering(arguments, run)


def _held(address: Callable[[], QueueAddress]) -> QueueState | None:
    """What the queue's server holds; None if it does not answer."""

    async def ask() -> QueueState:
        async with Queue(address) as queue:
            return await queue.state()

    try:
        return asyncio.run(ask())
    except QueueUnavailable:
        return None


def _list(recordings: Recordings, held: QueueState | None, *, as_json: bool) -> None:
    dead, count, waiting = recordings.jobs.dead(), recordings.jobs.dead_count(), recordings.jobs.waiting()
    if as_json:
        found = {
            "outbox": waiting,
            "queue": asdict(held) if held else None,
            "dead_total": count,
            "dead": [asdict(job) for job in dead],
        }
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    queue = f"{held.waiting} in the queue, {held.in_work} of them under work" if held else "the queue does not answer"
    sys.stdout.write(f"{waiting} in the outbox, {queue}, {count} given up\n")
    for job in dead:
        sys.stdout.write(
            f"{job.id}  {job.day}  {job.subject}  call {job.call}  {job.reason} after {job.deliveries} deliveries\n"
        )


def _settle(recordings: Recordings, action: str, id: str) -> None:
    """Retries or drops one job, or all that are on the dead list now."""
    ids = [job.id for job in recordings.jobs.dead()] if id == ALL else [id]
    for each in ids:
        job = recordings.jobs.retry(each) if action == "retry" else recordings.jobs.drop(each)
        sys.stdout.write(f"{'to be tried again' if action == 'retry' else 'dropped'}: {job.id}  call {job.call}\n")
