"""Reads spool files while they are written, after they were finished, and after their writer died.

A torn tail is where a file ends, and no error. A broken record in the middle is skipped and counted. A writer holds
an exclusive flock on the file it writes to, makes the next file before it lets go of the last, and gives a file its
name only when it is locked: so a file without lock is finished, and a run without locked file is dead.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from storage.errors import Malformed, NotFound, Tampered, Unavailable
from storage.model import ArtefactId, ArtefactRef, Secret
from storage.spoolformat import (
    ARTEFACT_OFFSET,
    FILE_HEADER_BYTES,
    RECORD_HEADER_BYTES,
    RECORD_MAGIC,
    FileHeader,
    OpenedRecord,
    RecordHeader,
    RecordSeal,
    RecordType,
    parse_record,
)

SUFFIX = ".spool"
_CHUNK_BYTES = 1 << 20
"""Read at once while scanning: large enough that calls cost nothing, small enough for any machine."""
_SETTLE_S = 0.02
_SETTLE_TRIES = 5
"""A batch of some megabytes is copied into the page cache in about a millisecond: a record whose header is there
and whose body is not yet gets five times twenty."""


def spool_files(folder: Path) -> list[Path]:
    """The folder's spool files, each run's in the order of writing and without holes; none if there is no folder.

    A listing may miss a file that is made meanwhile and show a later one. So it is made twice: whatever the first one
    shows, all earlier files of the same run stand in the second, or are deleted.
    """
    newest = {path.name.partition(".")[0]: path.name for path in _listed(folder)}
    return [path for path in _listed(folder) if path.name <= newest.get(path.name.partition(".")[0], "")]


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX))
    except FileNotFoundError:
        return []


class SpoolFile:
    """One spool file, open for reading; it stays readable after its name is gone."""

    def __init__(self, path: Path) -> None:
        """Open it. `NotFound` if it is gone, `Malformed` if it is no spool file, `Unavailable` if it cannot be read."""
        self.path = path
        self.broken = 0
        """Places where `scan` had to skip something."""
        self._descriptor = -1
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            # No reading ahead: it fills preallocated space with pages, and what has pages counts as written.
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_RANDOM)
            self.header = FileHeader.parse(self.read(0, FILE_HEADER_BYTES))
        except FileNotFoundError:
            raise NotFound("the spool file is gone") from None
        except OSError as error:
            raise Unavailable(f"spool file: {error.strerror}") from error

    def close(self) -> None:
        """Let go of the file; doing it twice does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()

    def read(self, offset: int, size: int) -> bytes:
        """The bytes there, fewer at the end of the file; `Unavailable` if the disk fails."""
        try:
            return os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise Unavailable(f"spool file: {error.strerror}") from error

    def read_record(self, offset: int, record_bytes: int, seal: RecordSeal) -> OpenedRecord:
        """The record there; `Tampered` if it does not open, also after it had time to be written to its end."""
        for attempt in range(_SETTLE_TRIES):
            try:
                return seal.open(self.read(offset, record_bytes))
            except Tampered:
                if attempt == _SETTLE_TRIES - 1 or self.is_finished():
                    raise
                time.sleep(_SETTLE_S)
        raise AssertionError("the last attempt returns or raises")

    def is_finished(self) -> bool:
        """Whether nothing will be added any more: its writer has moved on, stopped, or died."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return True

    def scan(self, start: int = FILE_HEADER_BYTES, *, resync: bool) -> Iterator[RecordHeader]:
        """The record headers from `start` on, up to where the file ends or is torn.

        With `resync` (for finished files) a broken place is skipped and counted; without it the scan stops there,
        since a place may look broken while it is being written.
        """
        position = start
        while resync or self.header_at(position) is not None:  # most looks at a file that is written to find no more
            chunk = self.read(position, _CHUNK_BYTES)
            at = 0
            while header := parse_record(chunk, at, position + at):
                stop = at + header.record_bytes
                if stop > len(chunk) and not self._reaches(header):
                    break
                yield header
                at = stop
            if at:
                position += at
                continue
            found = self.next_record(position + 1) if resync else None
            if found is None:
                return
            self.broken += 1
            position = found

    def find(self, artefact: bytes, start: int = FILE_HEADER_BYTES) -> list[RecordHeader]:
        """The headers of one artefact's records that begin at `start` or later, in order, found by its id.

        In a file that is being written, a read may miss a record and still see a later one, since it takes time itself.
        Once the later one was seen, all before it is there: so a second look at that part finds everything.
        """
        finished = self.is_finished()
        found = list(self._find(artefact, start))
        if found and not finished:
            last = found[-1].offset
            found = [header for header in self._find(artefact, start) if header.offset <= last]
        return found

    def header_at(self, offset: int) -> RecordHeader | None:
        """The header of the record there; None if there is no valid one, or the file ends before the record does."""
        header = parse_record(self.read(offset, RECORD_HEADER_BYTES), 0, offset)
        return header if header is not None and self._reaches(header) else None

    def next_record(self, start: int) -> int | None:
        """Where the first valid header at or after `start` begins; None if none does."""
        for place in self._search(RECORD_MAGIC, start):
            if parse_record(self.read(place, RECORD_HEADER_BYTES), 0, place) is not None:
                return place
        return None

    def written_ns(self) -> int:
        """When something was last written to it, or began to be; Unix time as the kernel's ticks tell it."""
        return os.fstat(self._descriptor).st_mtime_ns

    def _find(self, artefact: bytes, start: int) -> Iterator[RecordHeader]:
        for place in self._search(artefact, start + ARTEFACT_OFFSET):
            header = self.header_at(place - ARTEFACT_OFFSET)
            if header is not None and header.artefact == artefact:
                yield header

    def _reaches(self, header: RecordHeader) -> bool:
        """Whether the file has room for the whole record."""
        return header.offset + header.record_bytes <= os.fstat(self._descriptor).st_size

    def _search(self, needle: bytes, start: int) -> Iterator[int]:
        """Where `needle` stands from `start` on; preallocated space that was never written is not read."""
        while (extent := self._extent(start)) is not None:
            start, end = extent
            while start < end:
                # No further than there: what was read once counts as written from then on.
                chunk = self.read(start, min(_CHUNK_BYTES + len(needle) - 1, end - start))
                at = chunk.find(needle)
                while at >= 0 and at < _CHUNK_BYTES:
                    yield start + at
                    at = chunk.find(needle, at + 1)
                start += _CHUNK_BYTES
            start = end

    def _extent(self, start: int) -> tuple[int, int] | None:
        """The next stretch of written bytes at or after `start`."""
        try:
            begin = os.lseek(self._descriptor, start, os.SEEK_DATA)
            return begin, os.lseek(self._descriptor, begin, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from there on, or the file was cut just now
                return None
            raise Unavailable(f"spool file: {error.strerror}") from error


def scan(path: Path, from_offset: int = FILE_HEADER_BYTES) -> Iterator[RecordHeader]:
    """The record headers of a file that nobody writes to any more; see `SpoolFile.scan`."""
    file = SpoolFile(path)
    try:
        yield from file.scan(from_offset, resync=True)
    finally:
        file.close()


class SpooledRecord(NamedTuple):
    """One record of a stream that lies in the spool."""

    run: str
    seq: int
    start: int
    end: int
    file: SpoolFile
    offset: int
    record_bytes: int


class SpooledRecords:
    """An artefact's records in the spool, in order; they stay readable until closed, whatever is deleted meanwhile."""

    def __init__(self, records: tuple[SpooledRecord, ...], *, ended: bool) -> None:
        self.records = records
        self.ended = ended
        """Whether the end of the stream was among them."""
        self._seals: dict[str, RecordSeal] = {}

    def open(self, record: SpooledRecord, ref: ArtefactRef, key: Secret) -> bytes:
        """The record's data; `Tampered` if it does not open. `ref` and `key` are those of the artefact asked for."""
        seal = self._seals.get(record.run)
        if seal is None:
            seal = self._seals[record.run] = RecordSeal(ref, key, record.file.header.salt)
        opened = record.file.read_record(record.offset, record.record_bytes, seal)
        if opened[1:4] != (record.seq, record.start, record.end):
            raise Tampered("a spool record is not the one that lay there")
        return opened.data

    def close(self) -> None:
        """Let go of the files and of the derived keys."""
        self._seals.clear()
        for record in self.records:
            record.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def records_of(
    folder: Path,
    artefact: ArtefactId,
    after: Mapping[str, int] | None = None,
    find: Callable[[SpoolFile, bytes], list[RecordHeader]] = SpoolFile.find,
) -> SpooledRecords:
    """The records of `artefact` in all files of `folder`, of each run those above sequence number `after[run]`.

    To miss none, call this first and read the catalogue's slices afterwards, then leave out what the slices have:
    the uploader deletes a file only after its records were committed as slices. Files that are no spool are passed by.
    `find` tells an artefact's records in one file: this searches it, `SpoolIndex.find` knows.
    """
    raw, after = bytes.fromhex(artefact), after or {}
    found: dict[tuple[str, int], SpooledRecord] = {}
    began: dict[str, int] = {}  # of each run, the first media time: runs follow each other by it, their ids are random
    ended = False
    for path in spool_files(folder):
        with suppress(NotFound, Malformed):
            file = SpoolFile(path)
            run = file.header.run
            for header in find(file, raw):
                if header.type == RecordType.END:
                    ended = True
                elif header.type == RecordType.DATA and header.seq > after.get(run, -1):
                    began[run] = min(began.get(run, header.start), header.start)
                    found[run, header.seq] = SpooledRecord(
                        run, header.seq, header.start, header.end, file, header.offset, header.record_bytes
                    )
    records = sorted(found.values(), key=lambda record: (began[record.run], record.run, record.seq))
    return SpooledRecords(tuple(records), ended=ended)


def sweep_unborn(folder: Path) -> None:
    """Delete the files that a dying writer had made and not yet named."""
    for path in folder.glob(".*"):
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
