"""What the object store needs beside uploads: its peculiarities said at start, and later what could not go before."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from gateway.operations.alarms import Alarm, Alarms
from storage.checks import remarks
from storage.errors import StoreError
from storage.recordings import Recordings

log = logging.getLogger(__name__)

EVERY_S = 3600.0
"""Bucket keys reach 48 h ahead; an hour's delay is nothing to that."""
AGAIN_S = 5.0
"""While keys cannot be prepared: calls may wait in memory for them."""


async def look_after(
    recordings: Recordings,
    prepare: Callable[[], None],
    alarms: Alarms,
    every_s: float = EVERY_S,
    again_s: float = AGAIN_S,
    *,
    away: bool = False,
) -> None:
    """Prepares keys ahead and tidies, hourly until cancelled. A provider that is away is an alarm, not an end.

    `away`: the first time has been, and one was.
    """
    pause_s = again_s if away else every_s
    alarms.set(Alarm.KEYS_AWAY, away, time.monotonic())
    while True:
        await asyncio.sleep(pause_s)
        try:
            await asyncio.to_thread(prepare)
        except StoreError as error:
            log.debug("keys not prepared, it is tried again", extra={"reason": type(error).__name__})
            pause_s = again_s
        else:
            pause_s = every_s
            await asyncio.to_thread(tidy, recordings)
        alarms.set(Alarm.KEYS_AWAY, pause_s == again_s, time.monotonic())


def say_remarks(objects_url: str) -> None:
    """Logs what an operator should know of the store, such as locks, versions, or that it is away. Asks it: slow."""
    for code, text in remarks(objects_url):
        log.warning("object store remark", extra={"remark": code, "means": text})


def tidy(recordings: Recordings) -> None:
    """Finishes erasures that could not sweep, and deletes objects whose lock has ended; hourly. What fails waits."""
    try:
        erasures = recordings.resume_erasures()
        objects = recordings.sweep_leftovers()
    except StoreError as error:
        log.warning("object store not tidied, it is tried again", extra={"reason": type(error).__name__})
        return
    if erasures or objects:
        log.info("object store tidied", extra={"erasures": erasures, "objects": objects})
