"""The spool's writing side: seals records as they come and commits them four times a second.

`append` only seals and queues. One thread of the writer's own writes and syncs what is queued, so that no disk is ever
waited for on the audio path; producer and thread share nothing but a deque and counters that each has one writer.
What cannot be written stays in memory up to a bound; beyond it new records are dropped, counted for each stream, and
the count is sealed into the stream's end. What must not be written yet is `spoolheld`'s.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from storage.errors import Unavailable
from storage.model import ArtefactRef, Secret
from storage.spoolformat import (
    INDEXES_MAX,
    OPENINGS_MAX,
    RECORD_DATA_MAX,
    RUN_SALT_BYTES,
    RecordSeal,
    RecordType,
    pack_lost,
)
from storage.spoolheld import HELD, HeldLimits, HeldRecords
from storage.spoollog import SpoolLog

FILE_BYTES = 64 << 20
"""A file is deleted as a whole, when its last record is uploaded: eight seconds of 1,000 G.711 streams."""
LIMIT_BYTES = 4 << 30
"""What the spool may hold while the object store is away: nine minutes of 1,000 streams, a day of ten."""
COMMIT_S = 0.25
"""With the media worker's 250 ms flush, at most 0.5 s of audio is not yet durable, half of what is promised."""
GATHER_S = 0.02
"""How long the commit that a closed stream asks for waits for company: a call's tracks close one after the other."""
WAITING_BYTES_MAX = 64 << 20
"""Sealed records in memory while the disk is full or slow: eight seconds of 1,000 streams."""
UNRELEASED_S = 60.0
"""How long a closed stream that is not held waits for its key row; whoever opened it has given up long before."""
DRAIN_BYTES = 8 << 20
"""Of held streams in one commit: some 50 ms of a disk, so that others' records do not wait for a gigabyte."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SpoolHealth:
    """How far the disk is behind: for admission, and to say what a power cut would cost."""

    lag_ms: float  # since everything appended was last known to be durable
    fsync_ms: float  # the last commit, or the one under way if that is longer
    full: bool  # the last commit found no room, or the disk failed
    exposure_ms: float = 0.0  # age of the oldest record that is in memory only, at most `lag_ms` for released streams
    exposure_ms_max: float = 0.0  # the longest that any record has been in memory only, since the start
    dropped: int = 0  # records that found no room, since the start
    held_streams: int = 0  # that wait for keys of a provider that is away
    held_bytes: int = 0  # of these, in memory only: no part of `exposure_ms`
    held_refused: int = 0  # records among `dropped` that found no room there


class _Stream:
    """One open stream. Only the producer's thread touches it."""

    __slots__ = ("asked", "closed_at", "lost", "next_seq", "released", "seal", "seq_end")

    def __init__(self, seal: RecordSeal, opening: int) -> None:
        self.seal = seal
        self.next_seq = opening << 32
        self.seq_end = (opening << 32) + INDEXES_MAX - 1
        self.asked = False  # its key row is durable
        self.released = False  # and what was appended before that is queued
        self.lost = 0
        self.closed_at: float | None = None


class SpoolWriter:
    """Writes one run of the spool. All methods but `health` are for one thread, the producer's; `start` comes first."""

    def __init__(
        self,
        folder: Path,
        *,
        node: str,
        file_bytes: int = FILE_BYTES,
        commit_s: float = COMMIT_S,
        limit_bytes: int = LIMIT_BYTES,
        waiting_bytes_max: int = WAITING_BYTES_MAX,
        held: HeldLimits = HELD,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run = secrets.token_hex(16)
        """Random id of this run; it names the files."""
        self._salt = secrets.token_bytes(RUN_SALT_BYTES)
        self._log = SpoolLog(folder, self.run, node, self._salt, file_bytes=file_bytes, limit_bytes=limit_bytes)
        self._commit_s = commit_s
        self._waiting_bytes_max = waiting_bytes_max
        self._clock = clock
        self._streams: dict[int, _Stream] = {}
        self._lost: dict[int, int] = {}
        self._openings = 0
        self._unreleased: dict[int, _Stream] = {}  # those closed and not released
        self._held = HeldRecords(held, clock)  # those not released
        self._dropped = 0
        # Between the threads. Records go right; (stream, END record) are told apart by their type.
        self._queue: deque[bytes | tuple[int, bytes]] = deque()
        self._durable: deque[int] = deque()
        self._queued_bytes = 0  # written by the producer only
        self._written_bytes = 0  # written by the thread only
        # The thread's.
        self._batch: list[bytes] = []
        self._ending: list[int] = []
        self._durable_until = clock()
        self._commit_began: float | None = None
        self._commit_ms = 0.0
        self._exposed_ms_max = 0.0
        self._full = False
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Make the first file and the thread. `Unavailable` if the folder cannot be written; a full disk can wait."""
        try:
            self._log.make_file()
        except Unavailable:
            self._full = True
            if not self._log.is_folder_usable():
                raise
        self._durable_until = self._clock()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def open(self, stream: int, ref: ArtefactRef, key: Secret) -> None:
        """Begin the stream of `ref` under a number that is not open now. Nothing reaches the disk before `release`."""
        if self._thread is None or stream in self._streams:
            raise ValueError("the writer is not started, or the stream is open already")
        if self._openings == OPENINGS_MAX:
            raise Unavailable("this run of the spool has opened all the streams it can; restart the process")
        self._lost.pop(stream, None)
        self._streams[stream] = _Stream(RecordSeal(ref, key, self._salt), self._openings)
        self._openings += 1

    def hold(self, stream: int) -> None:
        """The stream's keys are away, maybe for long: it waits for its release within the bounds of what is held."""
        state = self._streams.get(stream)
        if state is not None and not state.asked:
            self._held.hold(stream)

    def release(self, stream: int) -> None:
        """The stream's key row is durable: what was appended, and what follows, may be committed."""
        state = self._streams.get(stream)
        if state is None or state.asked:
            return
        state.asked = True
        self._unreleased.pop(stream, None)
        records = self._held.release(stream)
        if records is not None:
            self._queue_records(records)
            self._flow(stream, state)

    def append(self, stream: int, start: int, end: int, data: bytes) -> None:
        """Queue one record of media time [start, end). Never blocks or raises; what finds no room is counted as lost.

        A closed or unknown stream takes nothing: its sender was told.
        """
        state = self._streams.get(stream)
        if state is None or state.closed_at is not None:
            return
        seq = state.next_seq
        waiting = self._queued_bytes - self._written_bytes
        no_room = not state.released and not self._held.takes(stream, len(data))
        if waiting > self._waiting_bytes_max or len(data) > RECORD_DATA_MAX or seq >= state.seq_end or no_room:
            state.lost += 1
            self._dropped += 1
            return
        state.next_seq = seq + 1
        record = state.seal.seal(RecordType.DATA, seq, start, end, data)
        if state.released:
            self._queued_bytes += len(record)
            self._queue.append(record)
        else:
            self._held.add(stream, record)

    def close(self, stream: int) -> None:
        """End the stream: its end record is queued and committed at once; `poll` tells when it is durable.

        If the stream is neither released within a minute nor held it is given up: `poll` tells it, and `lost` counts
        its records.
        """
        state = self._streams.get(stream)
        if state is None or state.closed_at is not None:
            return
        state.closed_at = self._clock()
        if state.released:
            self._finish(stream, state)
        elif not state.asked:
            self._unreleased[stream] = state

    def discard(self, stream: int) -> bool | None:
        """Forget a stream that was never released, with all its records, as if it had not been opened.

        Whether it was closed (nothing more is told of it); None if there is no such stream.
        """
        state = self._streams.get(stream)
        if state is None or state.asked:
            return None
        del self._streams[stream]
        self._held.forget(stream)
        self._unreleased.pop(stream, None)
        return state.closed_at is not None

    def poll(self) -> list[int]:
        """The streams that were closed and have become durable, or were given up, since the last time."""
        done = []
        while self._durable:
            done.append(self._durable.popleft())
        if self._held.going:
            self._drain(DRAIN_BYTES - (self._queued_bytes - self._written_bytes))
        if self._unreleased:
            done += self._give_up(self._clock() - UNRELEASED_S)
        return done

    def lost(self, stream: int) -> int:
        """How many records of the stream were dropped; known until its number is opened again."""
        state = self._streams.get(stream)
        return state.lost if state is not None else self._lost.get(stream, 0)

    def health(self) -> SpoolHealth:
        """See `SpoolHealth`; safe from any thread."""
        now = self._clock()
        began = self._commit_began
        under_way_ms = (now - began) * 1000 if began is not None else 0.0
        lag_ms = (now - self._durable_until) * 1000
        exposure_ms = lag_ms if self._queued_bytes != self._written_bytes else 0.0
        waited_ms, waited_ms_max = self._held.waited_ms(now)
        exposure_ms = max(exposure_ms, waited_ms)
        worst_ms = max(exposure_ms, waited_ms_max, self._exposed_ms_max)
        fsync_ms = max(self._commit_ms, under_way_ms)
        held = self._held.count, self._held.size, self._held.refused
        return SpoolHealth(lag_ms, fsync_ms, self._full, exposure_ms, worst_ms, self._dropped, *held)

    def stop(self) -> None:
        """Commit what is queued, give the file back, end the thread. Streams still open end without an end record."""
        if self._thread is None:
            return
        while self._held.going:
            self._drain(DRAIN_BYTES)
        self._stopping = True
        self._wake.set()
        self._thread.join()
        self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _flow(self, stream: int, state: _Stream) -> None:
        """Nothing of the stream is held any more."""
        state.released = True
        if state.closed_at is not None:
            self._finish(stream, state)

    def _drain(self, room: int) -> None:
        """Queue up to so many bytes of what was held and has its keys by now."""
        if room <= 0:
            return
        for stream, records, last in self._held.take(room):
            self._queue_records(records)
            if last:
                self._flow(stream, self._streams[stream])

    def _queue_records(self, records: Collection[bytes]) -> None:
        self._queue.extend(records)
        self._queued_bytes += sum(map(len, records))

    def _give_up(self, before: float) -> list[int]:
        """Forget the streams that were closed before that time, never released, and are not held."""
        late = [
            stream
            for stream, state in self._unreleased.items()
            if (state.closed_at or 0.0) < before and not self._held.is_held(stream)
        ]
        for stream in late:
            state = self._unreleased.pop(stream)
            records = self._held.forget(stream)
            del self._streams[stream]
            self._dropped += len(records)
            self._lost[stream] = state.lost + len(records)
            _log.warning("spool stream given up, never released", extra={"run": self.run, "stream": stream})
        return late

    def _finish(self, stream: int, state: _Stream) -> None:
        """Queue the end record. It is never dropped, however full the memory: it is what tells of the losses."""
        record = state.seal.seal(RecordType.END, state.next_seq, 0, 0, pack_lost(state.lost))
        del self._streams[stream]
        if state.lost:
            self._lost[stream] = state.lost
        self._queued_bytes += len(record)
        self._queue.append((stream, record))
        self._wake.set()

    # From here on: the thread.

    def _run(self) -> None:
        while not self._stopping:
            if self._wake.wait(self._commit_s) and not self._stopping:
                time.sleep(GATHER_S)
            self._wake.clear()
            self._commit()
        self._commit()
        if self._batch:
            _log.error("spool stopped with records unwritten", extra={"run": self.run})
        self._log.close()

    def _commit(self) -> None:
        """Make durable all that is queued now; if that fails, keep it for the next time."""
        began = self._clock()
        for _ in range(len(self._queue)):
            item = self._queue.popleft()
            if isinstance(item, tuple):
                self._ending.append(item[0])
                item = item[1]
            self._batch.append(item)
        if not self._batch and not self._full:
            self._durable_until = began
            return
        self._commit_began = began
        size = sum(map(len, self._batch))
        exposed_since = self._durable_until
        try:
            self._log.ensure_file()
            self._log.write(self._batch)
        except Unavailable:
            self._log.abandon_file()
            if not self._full:
                _log.warning("spool cannot write", extra={"run": self.run})
            self._full = True
        else:
            self._durable.extend(self._ending)
            self._ending = []
            self._full = False
            self._durable_until = began
        if size:  # the oldest of it may have been queued just after the last commit began
            self._exposed_ms_max = max(self._exposed_ms_max, (self._clock() - exposed_since) * 1000)
        self._written_bytes += size - sum(map(len, self._batch))
        self._commit_ms = (self._clock() - began) * 1000
        self._commit_began = None
