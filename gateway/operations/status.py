"""How the whole program fares, put together from its parts: for metrics, for health, and as standing alarms.

What is quick is read when somebody asks; what costs a query or a look at the disk, every few seconds in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.calls.admission import SPOOL_MS_MAX
from gateway.calls.keyless import Held
from gateway.operations.alarms import Alarm, Alarms
from gateway.operations.clock import UNKNOWN, ClockState, clock_state
from gateway.operations.key_care import KeysAhead
from gateway.operations.metrics import Metrics, Snapshot, Sweeping, Uploads
from media.messages import Stats
from storage.errors import StoreError
from storage.recordings import Recordings

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0  # a third of a usual scrape interval; a look costs some milliseconds
FILLING_SHARE = 0.8  # of the spool's limit: a fifth is left for whoever is woken by the alarm


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the quick figures come from; all are called on the event loop."""

    counters: Callable[[], Mapping[str, int]]
    calls: Callable[[], int]
    stats: Callable[[], Stats | None]
    media_complete: Callable[[], bool]  # whether as many media workers as are wanted take calls
    media_workers: Callable[[], Mapping[str, int]]  # how many there are, by state
    media_spare_missing: Callable[[], bool]  # whether none stands by to go on with a dead one's calls
    registrations: Callable[[], Mapping[str, int]]  # how many of our own there are, by how they fare
    restarts: Callable[[], Mapping[str, int]]
    queue_up: Callable[[], bool]
    sweeping: Callable[[], Sweeping] = Sweeping
    requests: Callable[[], Mapping[str, int]] = dict  # of people who were recorded, by where they stand
    deletions: Callable[[], Mapping[str, int]] = dict  # requests to recipients of copies, by where they stand
    keys_ahead: Callable[[], KeysAhead] = KeysAhead
    held: Callable[[], Held] = Held  # calls that wait in memory for their keys
    breaches: Callable[[], Mapping[str, int]] = dict  # of personal data, by where they stand


@dataclass(frozen=True, slots=True)
class _Slow:
    spool_bytes: int | None = None
    jobs_waiting: int | None = None
    jobs_dead: int | None = None
    clock: ClockState = UNKNOWN
    witness_away: bool = False


class Status:
    """The figures of one running server; `watch` keeps the slow ones fresh until it is cancelled."""

    def __init__(self, recordings: Recordings, spool_limit_bytes: int, parts: Parts) -> None:
        self.metrics = Metrics()
        self.alarms = Alarms()
        self._recordings = recordings
        self._spool_limit_bytes = spool_limit_bytes
        self._parts = parts
        self._uploads = Uploads()
        self._slow = _Slow()
        self._refused_before = 0  # for want of memory, when nothing was held

    async def watch(self) -> None:
        """Look every few seconds, and raise or end alarms by what is seen."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """One look at what is slow to read."""
        self._slow = await asyncio.to_thread(_look, self._recordings)
        self._judge(time.monotonic())

    def hear(self, line: Mapping[str, object], now: float) -> None:
        """A line of the uploader: the object store is "away" or "back", `uploads` are its figures so far."""
        if "store" in line:
            self.alarms.set(Alarm.STORE_AWAY, line["store"] == "away", now)
        if "uploads" in line:
            self._uploads = Uploads.of(line["uploads"])

    def snapshot(self) -> Snapshot:
        """Everything now; on the event loop."""
        parts, slow = self._parts, self._slow
        return Snapshot(
            counters=dict(parts.counters()),
            calls=parts.calls(),
            stats=parts.stats(),
            media_workers=dict(parts.media_workers()),
            registrations=dict(parts.registrations()),
            restarts=dict(parts.restarts()),
            alarms=self.alarms.standing(),
            uploads=self._uploads,
            keys=self._recordings.key_operations(),
            spool_bytes=slow.spool_bytes,
            jobs_waiting=slow.jobs_waiting,
            jobs_dead=slow.jobs_dead,
            clock=slow.clock,
            sweeping=parts.sweeping(),
            requests=dict(parts.requests()),
            deletions=dict(parts.deletions()),
            keys_ahead=parts.keys_ahead(),
            held=parts.held(),
            breaches=dict(parts.breaches()),
        )

    async def render(self) -> bytes:
        """The metrics, rendered in a thread: set-ups do not wait for whoever scrapes."""
        return await asyncio.to_thread(self.metrics.render, self.snapshot())

    def _judge(self, now: float) -> None:
        parts, slow, stats = self._parts, self._slow, self._parts.stats()
        alarms = self.alarms
        alarms.set(Alarm.MEDIA_LOST, not parts.media_complete(), now)
        alarms.set(Alarm.MEDIA_SPARE_MISSING, parts.media_spare_missing(), now)
        alarms.set(Alarm.REGISTRATION_LOST, parts.registrations().get("failed", 0) > 0, now)
        alarms.set(Alarm.QUEUE_AWAY, not parts.queue_up(), now)
        alarms.set(Alarm.CLOCK_UNSYNCHRONISED, slow.clock.synchronised is False, now)
        alarms.set(Alarm.WITNESS_AWAY, slow.witness_away, now)
        alarms.set(Alarm.CALLS_HELD, parts.held().calls > 0, now)
        alarms.set(Alarm.HELD_MEMORY_FULL, self._is_memory_full(stats), now)
        if slow.jobs_dead is not None:
            alarms.set(Alarm.JOBS_DEAD, slow.jobs_dead > 0, now)
        if slow.spool_bytes is not None:
            alarms.set(Alarm.SPOOL_FILLING, slow.spool_bytes > FILLING_SHARE * self._spool_limit_bytes, now)
        if stats is not None:
            alarms.set(Alarm.SPOOL_FULL, stats.full, now)
            alarms.set(Alarm.SPOOL_BEHIND, max(stats.spool_lag_ms, stats.fsync_ms) > SPOOL_MS_MAX, now)

    def _is_memory_full(self, stats: Stats | None) -> bool:
        """Whether held calls have lost audio, or new ones were refused for want of memory, since calls are held."""
        refused = self._parts.counters().get("calls_not_held", 0) + (0 if stats is None else stats.held_refused)
        if not self._parts.held().calls:
            self._refused_before = refused
        return refused > self._refused_before


def _look(recordings: Recordings) -> _Slow:
    waiting = dead = None
    witness_away = True
    try:
        waiting, dead = recordings.jobs.waiting(), recordings.jobs.dead_count()
    except StoreError:
        log.exception("jobs could not be counted")
    try:
        witness_away = not recordings.safekeeping.tell_witness()
    except StoreError:
        log.exception("the witness contradicts the ledger: nothing is destroyed any more")
    return _Slow(spool_size(recordings.spool_folder), waiting, dead, clock_state(), witness_away)


def spool_size(folder: Path) -> int:
    """Bytes that the spool's files take on the disk; a file that goes meanwhile counts as gone."""
    size = 0
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                size += path.stat().st_blocks * 512
    return size
