"""Turns spool records into slices, and deletes spool files of which nothing is needed any more.

`step` is called a few times a second by a process of its own. It follows the spool files, keeps for each stream where
its records lie (never what they say), and, when a stream has a megabyte, a minute, or its end, reads them back, seals
a slice, stores it and commits its row; of many streams at once, since a transaction costs more than what stands in it.
The catalogue is the only memory: after a restart everything is read again and what is committed is passed over, so
each record is in exactly one committed slice. Rules:

- A record counts as done when its slice is committed, its artefact is erased, or it does not open (counted, and the
  stream is marked interrupted). A file goes when it is finished and all of its records are done.
- An object is stored before its row is committed: whatever stops in between leaves an object that no row names.
- A stream without end is ended, as interrupted, when its run is dead. Another run may go on with it: a call is closed
  only when the spool, looked at after the call's end, has nothing more of its streams.
- What is wrong with one stream holds up that stream alone.
- If catalogue or objects are away, nothing is dropped: the spool holds, and the uploader tries again with back-off.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from storage.cut import SLICE_BYTES, Cut, cut_slice, is_whole
from storage.errors import AlreadyExists, Erased, NotFound, Refused, StoreError, Unavailable
from storage.lease import LEASE_S
from storage.model import ArtefactId, CallId, TenantId
from storage.objects import ObjectStore
from storage.puts import PUTS_AT_ONCE, Puts, Uploads
from storage.slices import SliceRow, Slices, StreamKey
from storage.spoolformat import RecordSeal
from storage.spooltail import SpoolTail, TailedStream

__all__ = ["SLICE_BYTES", "Progress", "SliceRow", "Slices", "StreamKey", "Uploader"]

SLICE_S = 60.0
"""Age of its oldest record at which a slice is cut, so that spool files of slow streams can go."""
BATCH_BYTES = PUTS_AT_ONCE * SLICE_BYTES
"""Of slices that are sealed, stored and committed together: bounds memory, and what a failed commit does again."""
BATCH_STREAMS = 64
"""Streams in one transaction: its cost is spread, and other processes wait for it some milliseconds."""
BATCHES_PER_STEP = 8
"""So that a step ends, and files are followed, while a long backlog drains."""
MANIFESTS_AT_ONCE = 16
"""Manifests in one transaction: each takes half a millisecond to make, and new calls wait for the write lock."""
KEY_S = LEASE_S / 2
"""No slice is begun with a key that was read longer ago: so its use ends within the lease that erasure waits for."""
RETRY_S_MIN, RETRY_S_MAX = 0.5, 30.0
"""Back-off while objects or catalogue are away: a short fault is not felt, a long one is not hammered."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Progress:
    """What one step did, and how things stand after it."""

    slices: int = 0
    records: int = 0  # committed in those slices
    erased: int = 0  # records passed over because their artefact is erased
    broken: int = 0  # records that did not open, and broken places in files
    completed: int = 0  # streams
    stored: list[tuple[TenantId, CallId]] = field(default_factory=list)  # calls whose manifest was written
    files_deleted: int = 0
    waiting_bytes: int = 0  # of spool records not yet in slices
    oldest_s: float = 0.0  # since when the oldest of them waits; a minute is usual, for streams that go on
    held: str | None = None  # what is away, if something is
    away_s: float | None = None  # since when the object store takes nothing; None if it does, as far as was tried
    held_streams: int = 0  # left alone for a while: something is wrong with them alone
    unreadable: int = 0  # spool files that cannot be read now
    busy: bool = False  # there is more to do at once


class Uploader:
    """The only uploader of its spool folder; a second one is held off by a lock and says so."""

    def __init__(
        self,
        spool_folder: Path,
        slices: Slices,
        objects: ObjectStore,
        on_closing: Callable[[Sequence[tuple[TenantId, CallId]]], None] = lambda _due: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_closing` is told of calls that are about to get their manifests, for what it has to add to them.

        `clock` gives the monotonic seconds for which keys may be used.
        """
        self._folder = spool_folder
        self._slices = slices
        self._on_closing = on_closing
        self._clock = clock
        self._tail = SpoolTail(spool_folder)
        self._puts = Puts(objects)
        self._lock = -1
        self._begun = False
        self._retry_at = 0.0
        self._retry_s = RETRY_S_MIN

    def step(self, now_s: float) -> Progress:
        """Do what is due at `now_s` (monotonic seconds). What waiting may mend is in `Progress.held`, not raised."""
        progress = Progress()
        try:
            self._take_lock()
            progress.broken += self._tail.follow(now_s)
            if now_s < self._retry_at:
                progress.held = "waiting to try again"
            else:
                self._begin(now_s)
                self._upload(now_s, progress)
                self._complete(now_s, progress)
                self._write_manifests(now_s, progress)
                self._retry_s = RETRY_S_MIN
            progress.files_deleted = self._tail.delete_done_files()
        except Unavailable as error:
            progress.held = str(error)
            self._retry_at = now_s + self._retry_s
            self._retry_s = min(self._retry_s * 2, RETRY_S_MAX)
            _log.warning("uploader held")
        progress.unreadable = len(self._tail.unreadable)
        progress.held_streams = sum(stream.held_until_s > now_s for stream in self._tail.streams.values())
        waiting = [stream for stream in self._tail.streams.values() if stream.places]
        progress.waiting_bytes = sum(stream.waiting_bytes for stream in waiting)
        progress.oldest_s = max((now_s - stream.since_s for stream in waiting), default=0.0)
        progress.away_s = self._puts.away_s(now_s)
        return progress

    @property
    def uploads(self) -> Uploads:
        """What was put into the store so far."""
        return self._puts.uploads

    def close(self) -> None:
        """End the threads and let go of all files; what was not committed is found again by the next uploader."""
        self._puts.close()
        self._tail.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _take_lock(self) -> None:
        if self._lock >= 0:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self._folder / "uploader.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1
            raise Unavailable(f"spool folder: {error.strerror}; is another uploader running?") from error

    def _begin(self, now_s: float) -> None:
        """Learn once of streams begun before our time: with nothing left in the spool only the catalogue has them."""
        if not self._begun:
            for artefact, run in self._slices.writing():
                self._tail.expect(artefact, run, now_s)
            self._begun = True

    # Slices.

    def _upload(self, now_s: float, progress: Progress) -> None:
        """Cut what is due, some streams at once, a stream's own slices one after the other."""
        due = [stream for stream in self._tail.streams.values() if self._is_due(stream, now_s)]
        for _ in range(BATCHES_PER_STEP):
            if not due:
                return
            batch, later = _divide(due)
            self._upload_batch(batch, now_s, progress)
            due = [stream for stream in batch if self._is_due(stream, now_s)] + later
        progress.busy = bool(due)

    def _is_due(self, stream: TailedStream, now_s: float) -> bool:
        if not stream.places or now_s < stream.held_until_s:
            return False
        return stream.waiting_bytes >= SLICE_BYTES or now_s - stream.since_s >= SLICE_S or self._tail.is_over(stream)

    def _upload_batch(self, streams: Sequence[TailedStream], now_s: float, progress: Progress) -> None:
        """One slice of each, stored side by side and committed together. What failed of some does not stop others."""
        cuts: list[Cut] = []
        for stream, key in self._with_keys(streams, now_s, progress):
            if isinstance(key, StoreError):
                self._forget(stream, key, progress)
                continue
            try:
                cut = self._cut(stream, key, now_s, progress)
            except Unavailable as error:  # a bad sector in the spool
                _hold(stream, error, now_s, progress)
            else:
                if cut is not None:
                    cuts.append(cut)
        # Only now, and not while others are cut: threads that come back from the disk slow the reading down.
        stored, failed = self._puts.store(cuts, now_s)
        if stored:
            self._commit(stored, now_s, progress)
        if failed is not None:
            raise failed

    def _with_keys(
        self, streams: Sequence[TailedStream], now_s: float, progress: Progress
    ) -> Iterator[tuple[TailedStream, StreamKey | Erased | NotFound]]:
        """Each stream with its key, as long as keys may be used; the rest stays due. `streams` is a whole batch.

        A stream whose key is damaged is left alone for a while.
        """
        asked_s, first = self._clock(), True
        keys = self._slices.artefact_keys(list(dict.fromkeys(stream.artefact for stream in streams)))
        for stream in streams:
            key = keys[stream.artefact]
            if isinstance(key, StreamKey):
                if self._clock() - asked_s > KEY_S and not first:  # at least one gets on, however slow the answer
                    return
                first = False
                stream.pass_over(key.uploaded.get(stream.run, -1))
                yield stream, key
            elif isinstance(key, Erased | NotFound):
                yield stream, key
            else:
                _hold(stream, key, now_s, progress)

    def _cut(self, stream: TailedStream, key: StreamKey, now_s: float, progress: Progress) -> Cut | None:
        """Seal the next slice of the stream; None if the catalogue has what was due, or nothing of it opens."""
        if not self._is_due(stream, now_s):
            return None
        cut = cut_slice(self._tail, stream, key)
        progress.broken += cut.places - cut.records
        if cut.row is None:
            stream.done(cut.places)
            return None
        return cut

    def _commit(self, cuts: Sequence[Cut], now_s: float, progress: Progress) -> None:
        """One transaction for slices, and for the ends of the streams that end with them."""
        rows = [cut.row for cut in cuts if cut.row is not None]
        ends = {cut.stream.artefact: cut.interrupted for cut in cuts if cut.interrupted is not None}
        unused = []
        for cut, refusal in zip(cuts, self._slices.commit(rows, ends), strict=True):
            if refusal is None:
                self._take_off(cut, now_s, progress)
                continue
            unused.append(cut.name)
            if isinstance(refusal, AlreadyExists):  # the stream stays due, and what the catalogue has is asked again
                _log.warning("slice committed by another", extra={"artefact": cut.stream.artefact})
            else:
                self._forget(cut.stream, refusal, progress)
        self._puts.discard(unused)

    def _take_off(self, cut: Cut, now_s: float, progress: Progress) -> None:
        """The slice is committed: its records are done, and maybe its stream is."""
        cut.stream.done(cut.places)
        cut.stream.since_s = now_s
        progress.slices += 1
        progress.records += cut.records
        if cut.interrupted is not None:
            progress.completed += 1
            self._tail.forget(cut.stream)

    def _forget(self, stream: TailedStream, why: Refused, progress: Progress) -> None:
        """The artefact is erased, or takes nothing any more: nothing of it is kept, now or later.

        Its call may have its manifest: one without media gets it when it ends, and the worker's last words about a
        stream that never had a packet come after that. This is every day's business, and not worth a line.
        """
        level = logging.INFO if isinstance(why, Erased) else logging.DEBUG
        _log.log(level, "spool records dropped", extra={"artefact": stream.artefact, "run": stream.run})
        progress.erased += len(stream.places)
        stream.erase()

    # Ends.

    def _complete(self, now_s: float, progress: Progress) -> None:
        """Streams that ended without one more slice: nothing was left, or they were empty."""
        over = [stream for stream in self._tail.streams.values() if not stream.places and self._tail.is_over(stream)]
        for stream in over:
            if stream.erased:
                self._tail.forget(stream)
        waiting = [stream for stream in over if not stream.erased and now_s >= stream.held_until_s]
        for at in range(0, len(waiting), BATCH_STREAMS):
            self._complete_batch(waiting[at : at + BATCH_STREAMS], now_s, progress)

    def _complete_batch(self, streams: Sequence[TailedStream], now_s: float, progress: Progress) -> None:
        """Ends of streams in one transaction; those with an END record are asked what it says."""
        interrupted = {id(stream): True for stream in streams if stream.end is None}
        ended = [stream for stream in streams if stream.end is not None]
        for stream, key in self._with_keys(ended, now_s, progress) if ended else ():
            if isinstance(key, StoreError):
                self._forget(stream, key, progress)
                continue
            try:
                interrupted[id(stream)] = not is_whole(self._tail, stream, self._seal_of(stream, key))
            except Unavailable as error:  # a bad sector in the spool
                _hold(stream, error, now_s, progress)
        over = [stream for stream in streams if id(stream) in interrupted]
        ends: dict[ArtefactId, bool] = {}
        for stream in over:  # one artefact may have several: each run has its own
            ends[stream.artefact] = ends.get(stream.artefact, False) or interrupted[id(stream)]
        self._slices.commit((), ends)
        for stream in over:
            self._tail.forget(stream)
        progress.completed += len(over)

    def _seal_of(self, stream: TailedStream, key: StreamKey) -> RecordSeal:
        return RecordSeal(key.ref, key.key, self._tail.salt(stream.run))

    def _write_manifests(self, now_s: float, progress: Progress) -> None:
        due = self._closable(list(self._slices.ended_calls()), now_s, progress)
        if due:
            self._on_closing(due)
        for at in range(0, len(due), MANIFESTS_AT_ONCE):
            calls = due[at : at + MANIFESTS_AT_ONCE]
            refusals = self._slices.store_manifests(calls)
            progress.stored += [call for call, refusal in zip(calls, refusals, strict=True) if refusal is None]

    def _closable(
        self, due: Sequence[tuple[TenantId, CallId]], now_s: float, progress: Progress
    ) -> list[tuple[TenantId, CallId]]:
        """Those of these calls of which the spool has nothing more.

        A stream is complete when one of its runs was seen to be over; what another run wrote was durable before the
        call ended, and may have come since the spool was read. So it is read again.
        """
        if not due:
            return []
        progress.broken += self._tail.follow(now_s)
        waiting = {stream.artefact for stream in self._tail.streams.values() if not stream.erased}
        if not waiting:
            return list(due)
        going_on: set[CallId] = set()
        for at in range(0, len(due), BATCH_STREAMS):
            calls = [call for _, call in due[at : at + BATCH_STREAMS]]
            streams = self._slices.streams_of(calls)
            going_on |= {call for artefact, call in streams.items() if artefact in waiting}
        return [(tenant, call) for tenant, call in due if call not in going_on]


def _hold(stream: TailedStream, why: StoreError, now_s: float, progress: Progress) -> None:
    """Something is wrong with this stream alone: it is left alone for a while, and the others go on."""
    stream.held_until_s = now_s + RETRY_S_MAX
    progress.held = f"artefact {stream.artefact}: {why}"
    _log.error("stream held", extra={"artefact": stream.artefact, "reason": type(why).__name__})


def _divide(due: Sequence[TailedStream]) -> tuple[list[TailedStream], list[TailedStream]]:
    """The streams of the next batch, each of another artefact as a key is for one slice, and those that come later."""
    batch: dict[ArtefactId, TailedStream] = {}
    later: list[TailedStream] = []
    room = BATCH_BYTES
    for stream in due:
        if room <= 0 or len(batch) == BATCH_STREAMS or stream.artefact in batch:
            later.append(stream)
        else:
            batch[stream.artefact] = stream
            room -= min(stream.waiting_bytes, SLICE_BYTES)
    return list(batch.values()), later
