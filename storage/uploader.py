"""Turns spool records into slices, and deletes spool files of which nothing is needed any more.

`step` is called a few times a second by a process of its own. It follows the spool files, keeps for each stream where
its records lie (never what they say), and, when a stream has a megabyte, a minute, or its end, reads them back, seals
a slice, stores it and commits its row. The catalogue is the only memory: after a restart everything is read again and
what is committed is passed over, so each record is in exactly one committed slice. Rules:

- A record counts as done when its slice is committed, its artefact is erased, or it does not open (counted, and the
  stream is marked interrupted). A file goes when it is finished and all of its records are done.
- A stream without end is ended, as interrupted, when its run is dead.
- If catalogue or objects are away, nothing is dropped: the spool holds, and the uploader tries again with back-off.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from storage.envelope import HEADER_BYTES, PREFIX_BYTES, SALT_BYTES, associated_data, salt_for, seal
from storage.errors import AlreadyExists, Erased, Malformed, NotFound, Unavailable
from storage.model import CallId, TenantId, new_id
from storage.objects import ObjectStore
from storage.slices import IndexEntry, SliceIndex, SliceRow, Slices, StreamKey, object_name, seal_index
from storage.spoolformat import RecordSeal, unpack_lost
from storage.spooltail import Place, SpoolTail, TailedStream

__all__ = ["Progress", "SliceRow", "Slices", "StreamKey", "Uploader"]

SLICE_BYTES = 1 << 20
"""Plaintext at which a slice is cut: one request to an object store, and one GET to begin reading anywhere."""
SLICE_RECORDS_MAX = 16_384
"""Records in one slice: keeps its index below half a megabyte when records are tiny."""
SLICE_S = 60.0
"""Age of its oldest record at which a slice is cut, so that spool files of slow streams can go."""
PUTS_AT_ONCE = 8
"""Slices sealed and stored side by side: 8 MiB of memory, and a store that takes 50 ms still takes 160 MiB/s."""
SLICES_PER_STEP = 64
"""So that a step ends, and files are followed, while a long backlog drains."""
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
    held: str | None = None  # what is away, if something is
    busy: bool = False  # there is more to do at once


@dataclass(frozen=True, slots=True)
class _Cut:
    """A sealed slice on its way, and the places of its records."""

    stream: TailedStream
    places: list[Place]
    row: SliceRow
    name: str
    sealed: bytes = field(repr=False)
    records: int = 0


class Uploader:
    """The only uploader of its spool folder; a second one is held off by a lock and says so."""

    def __init__(self, spool_folder: Path, slices: Slices, objects: ObjectStore) -> None:
        self._folder = spool_folder
        self._slices = slices
        self._objects = objects
        self._tail = SpoolTail(spool_folder)
        self._pool = ThreadPoolExecutor(PUTS_AT_ONCE, thread_name_prefix="put")
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
                self._complete(progress)
                self._write_manifests(progress)
                self._retry_s = RETRY_S_MIN
            progress.files_deleted = self._tail.delete_done_files()
        except Unavailable as error:
            progress.held = str(error)
            self._retry_at = now_s + self._retry_s
            self._retry_s = min(self._retry_s * 2, RETRY_S_MAX)
            _log.warning("uploader held")
        progress.waiting_bytes = sum(stream.waiting_bytes for stream in self._tail.streams.values())
        return progress

    def close(self) -> None:
        """End the threads and let go of all files; what was not committed is found again by the next uploader."""
        self._pool.shutdown()
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
        """Cut what is due, some slices side by side, a stream's own one after the other."""
        for _ in range(SLICES_PER_STEP // PUTS_AT_ONCE):
            due = (stream for stream in self._tail.streams.values() if self._is_due(stream, now_s))
            streams = list(islice(due, PUTS_AT_ONCE))
            if not streams:
                return
            cuts = [cut for stream in streams if (cut := self._cut(stream, now_s, progress)) is not None]
            puts = [(cut, self._pool.submit(self._objects.put, cut.name, cut.sealed)) for cut in cuts]
            failed: Unavailable | None = None
            for cut, put in puts:
                try:
                    self._commit(cut, put, now_s, progress)
                except Unavailable as error:
                    failed = error
            if failed is not None:
                raise failed
        progress.busy = True

    def _is_due(self, stream: TailedStream, now_s: float) -> bool:
        if not stream.places:
            return False
        return (
            stream.waiting_bytes >= SLICE_BYTES
            or stream.end is not None
            or now_s - stream.since_s >= SLICE_S
            or self._tail.is_dead(stream.run)
        )

    def _cut(self, stream: TailedStream, now_s: float, progress: Progress) -> _Cut | None:
        """Seal the next slice of the stream; None if nothing is left to store of what was taken."""
        self._resume(stream)
        if not self._is_due(stream, now_s):
            return None
        try:
            key = self._slices.artefact_key(stream.artefact)
        except (Erased, NotFound):
            self._forget(stream, progress)
            return None
        places = stream.first_places(SLICE_BYTES, SLICE_RECORDS_MAX)
        entries, parts, seqs = [], [], []
        offset = 0
        for record in self._tail.read(places, self._seal_of(stream, key)):
            if record is None:
                progress.broken += 1
                stream.missing = True
                _log.warning("spool record does not open", extra={"artefact": stream.artefact, "run": stream.run})
                continue
            size = len(record.data)
            entries.append(IndexEntry(record.start, record.end, offset, size))
            parts.append(record.data)
            seqs.append(record.seq)
            offset += size
        if not seqs:
            stream.done(len(places))
            return None
        stream.note_gaps(seqs)
        return _seal_slice(stream, key, places, entries, parts, seqs)

    def _resume(self, stream: TailedStream) -> None:
        """Pass over what the catalogue has already; asked once for each stream."""
        if not stream.resumed:
            stream.pass_over(self._slices.uploaded_seq(stream.artefact, stream.run))

    def _commit(self, cut: _Cut, put: Future[None], now_s: float, progress: Progress) -> None:
        put.result()
        try:
            self._slices.commit_slice(cut.row)
        except AlreadyExists:
            self._objects.delete(cut.name)
            cut.stream.resumed = False  # what the catalogue has now is asked again
            _log.warning("slice committed by another", extra={"artefact": cut.row.artefact})
        except (Erased, NotFound):
            self._objects.delete(cut.name)
            self._forget(cut.stream, progress)
        else:
            cut.stream.done(len(cut.places))
            cut.stream.since_s = now_s
            progress.slices += 1
            progress.records += cut.records

    def _forget(self, stream: TailedStream, progress: Progress) -> None:
        """The artefact is erased, or takes nothing any more: nothing of it is kept, now or later."""
        _log.info("spool records dropped", extra={"artefact": stream.artefact, "run": stream.run})
        progress.erased += len(stream.places)
        stream.erase()

    def _seal_of(self, stream: TailedStream, key: StreamKey) -> RecordSeal:
        """Made anew for each slice: no key outlives the lease under which the catalogue gave it."""
        return RecordSeal(key.ref, key.key, self._tail.salt(stream.run))

    # Ends.

    def _complete(self, progress: Progress) -> None:
        for stream in [stream for stream in self._tail.streams.values() if not stream.places]:
            if stream.end is None and not self._tail.is_dead(stream.run):
                continue
            if not stream.erased:
                self._resume(stream)
                whole = stream.end is not None and self._is_whole(stream, stream.end)
                self._slices.complete_stream(stream.artefact, interrupted=not whole)
                progress.completed += 1
            self._tail.forget(stream)

    def _is_whole(self, stream: TailedStream, end: Place) -> bool:
        """Whether the end says that nothing was dropped, and nothing else was missed."""
        try:
            key = self._slices.artefact_key(stream.artefact)
            (record,) = self._tail.read([end], self._seal_of(stream, key))
            if record is None:
                return False
            stream.note_gaps([record.seq])
            return unpack_lost(record.data) == 0 and not stream.missing
        except (Malformed, Erased, NotFound):
            return False

    def _write_manifests(self, progress: Progress) -> None:
        for tenant, call in self._slices.ended_calls():
            with suppress(Erased, NotFound):
                self._slices.store_manifest(tenant, call)
                progress.stored.append((tenant, call))


def _seal_slice(
    stream: TailedStream,
    key: StreamKey,
    places: list[Place],
    entries: list[IndexEntry],
    parts: list[bytes],
    seqs: list[int],
) -> _Cut:
    stream_id = new_id()
    aad = associated_data(key.ref, key.next_slice, stream_id, key.segment_bytes)
    sealed = seal(
        key.key,
        b"".join(parts),
        aad,
        segment_bytes=key.segment_bytes,
        salt=salt_for(stream_id, secrets.token_bytes(SALT_BYTES - 16)),
        nonce_prefix=secrets.token_bytes(PREFIX_BYTES),
    )
    index = SliceIndex(sealed[:HEADER_BYTES], tuple(entries))
    row = SliceRow(
        artefact=stream.artefact,
        slice_no=key.next_slice,
        stream_id=stream_id,
        run=stream.run,
        first_seq=seqs[0],
        last_seq=seqs[-1],
        size=len(sealed),
        digest=sha256(sealed).digest(),
        segment_bytes=key.segment_bytes,
        index=seal_index(key.key, stream_id, aad, index, secrets.token_bytes(12)),
    )
    return _Cut(stream, places, row, object_name(key.ref, stream_id), sealed, len(entries))
