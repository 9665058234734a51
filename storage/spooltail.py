"""Follows all files of a spool folder and knows which records of which stream wait where.

Holds places of records only, 32 bytes each, so that a spool of gigabytes can wait for its object store.
"""

from __future__ import annotations

import logging
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from storage.errors import Malformed, NotFound, Tampered, Unavailable
from storage.model import ArtefactId
from storage.spoolfile import SpoolFile, spool_files, sweep_unborn
from storage.spoolformat import FILE_HEADER_BYTES, OpenedRecord, RecordHeader, RecordSeal, RecordType

_log = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where a record lies."""

    file: int  # number of the file within this process
    offset: int
    record_bytes: int
    seq: int


class _Places:
    """A queue of places, packed: file, offset, record_bytes and seq of one after the other."""

    __slots__ = ("_head", "_packed", "extend")

    def __init__(self) -> None:
        self._packed = array("q")
        self._head = 0
        self.extend = self._packed.extend  # with the four numbers of one place

    def __len__(self) -> int:
        return (len(self._packed) - self._head) // 4

    def column(self, number: int, count: int) -> array[int]:
        """One of the four numbers of the first `count` places."""
        return self._packed[self._head + number : self._head + 4 * count : 4]

    def first(self, count: int) -> list[Place]:
        """The first `count` places."""
        return list(map(Place, *(self.column(number, count) for number in range(4))))

    def drop(self, count: int) -> None:
        """Forget the first `count`."""
        self._head += count * 4
        if self._head > len(self._packed) // 2:
            del self._packed[: self._head]
            self._head = 0


class TailedStream:
    """One stream of one run: what waits, whether its end was seen, whether something of it is missing."""

    __slots__ = (
        "_last_seen",
        "_last_stored",
        "_pending",
        "artefact",
        "end",
        "erased",
        "held_until_s",
        "missing",
        "places",
        "run",
        "since_s",
        "waiting_bytes",
    )

    def __init__(self, artefact: ArtefactId, run: str, since_s: float, pending: dict[int, int]) -> None:
        self.artefact = artefact
        self.run = run
        self.since_s = since_s  # when the oldest waiting record was seen
        self.places = _Places()
        self.waiting_bytes = 0
        self.end: Place | None = None
        self.held_until_s = 0.0  # something about it alone is wrong: left alone until then
        self.erased = False
        self.missing = False
        self._pending = pending
        self._last_seen = -1
        self._last_stored = -1

    def add(self, file: int, header: RecordHeader, now_s: float) -> None:
        """Take note of one more record. Repeated ones, and those of erased artefacts, are passed over."""
        offset, kind, size, _, seq, _, _ = header
        if seq <= self._last_seen:
            return
        self._last_seen = seq
        if kind == RecordType.DATA and not self.erased:
            if not self.waiting_bytes:
                self.since_s = now_s
            self.places.extend((file, offset, size, seq))
            self.waiting_bytes += size
            self._pending[file] += 1
        if self.end is not None:  # opened again after its end: only the last end counts
            self._pending[self.end.file] -= 1
            self.end = None
        if kind == RecordType.END:
            self.end = Place(file, offset, size, seq)
            self._pending[file] += 1

    def first_places(self, bytes_wanted: int, count_max: int) -> list[Place]:
        """The places that the next slice takes: until their records have that many bytes."""
        count = 0
        for size in self.places.column(2, min(len(self.places), count_max)):
            count += 1
            bytes_wanted -= size
            if bytes_wanted <= 0:
                break
        return self.places.first(count)

    def done(self, count: int) -> None:
        """The first `count` places are needed no more."""
        self.waiting_bytes -= sum(self.places.column(2, count))
        for file, records in Counter(self.places.column(0, count)).items():
            self._pending[file] -= records
        self.places.drop(count)

    def pass_over(self, uploaded_seq: int) -> None:
        """The catalogue was asked, and has everything up to that number."""
        self.done(bisect_right(self.places.column(3, len(self.places)), uploaded_seq))
        self._last_stored = max(self._last_stored, uploaded_seq)

    def note_gaps(self, seqs: Sequence[int]) -> None:
        """The numbers that follow in the stream: `missing` if one was left out. An opening's first index is 0."""
        if seqs[0] == self._last_stored + 1 and seqs[-1] - seqs[0] == len(seqs) - 1:
            self._last_stored = seqs[-1]  # they rise, so they are all there
            return
        for seq in seqs:  # some of them not for the first time, if storing them failed
            if seq > self._last_stored + 1 and seq & 0xFFFF_FFFF:
                self.missing = True
            self._last_stored = max(self._last_stored, seq)

    def erase(self) -> None:
        """Keep nothing, take nothing more."""
        self.erased = True
        self.done(len(self.places))


class _File:
    __slots__ = ("file", "finished", "finishing", "number", "position")

    def __init__(self, number: int, file: SpoolFile) -> None:
        self.number = number
        self.file = file
        self.position = FILE_HEADER_BYTES
        self.finishing = False  # its writer was seen to be gone: what is there now is all
        self.finished = False  # and all of it was read


class SpoolTail:
    """All files and streams of one spool folder, as far as they were followed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Path, _File | None] = {}  # None: no spool file, whatever it is
        self._by_number: dict[int, _File] = {}
        self._pending: dict[int, int] = {}  # records of each file that are not done
        self._salts: dict[str, bytes] = {}
        self._alive: set[str] = set()
        self._next_number = 0
        self._by_run: dict[str, dict[bytes, TailedStream]] = {}  # the same streams, as records name them
        self.unreadable: set[str] = set()
        """Names of the files that could not be read when they were last followed."""
        self._told: set[str] = set()
        self.streams: dict[tuple[ArtefactId, str], TailedStream] = {}
        """By artefact and run. The uploader calls `forget` when one is over."""

    def follow(self, now_s: float) -> int:
        """Read on in all files, also new ones; returns how many broken places were skipped.

        Locks are looked at before the folder is listed: a writer makes its next file before it lets the last one go,
        so a run of which every listed file was seen unlocked is dead.
        """
        if not self._next_number:
            sweep_unborn(self._folder)
        self.unreadable.clear()
        for file in self._by_number.values():
            file.finishing = file.finishing or file.file.is_finished()
        self._find_new_files()
        newest: dict[str, _File] = {}
        for file in self._by_number.values():
            run = file.file.header.run
            if run in newest:
                newest[run].finishing = True  # its writer has moved on
            newest[run] = file
        broken = self._read_files(now_s)
        self._alive = {file.file.header.run for file in self._by_number.values() if not file.finished}
        self._alive |= {_run_of(name) for name in self.unreadable}
        self._told &= self.unreadable
        return broken

    def _read_files(self, now_s: float) -> int:
        """Each run's files in order: a record counts as seen when a later one was. A bad sector holds up its run."""
        broken = 0
        held: set[str] = set()
        for file in self._by_number.values():
            run = file.file.header.run
            if file.finished or run in held:
                continue
            try:
                broken += self._read_on(file, now_s)
            except Unavailable:
                held.add(run)
                self._tell_unreadable(file.file.path)
            else:
                file.finished = file.finishing
        return broken

    def is_over(self, stream: TailedStream) -> bool:
        """Whether nothing more of the stream can come: its end was seen, or its run is dead."""
        return stream.end is not None or stream.run not in self._alive

    def expect(self, artefact: ArtefactId, run: str, now_s: float) -> None:
        """There is such a stream, though maybe nothing of it in the spool."""
        if (artefact, run) not in self.streams:
            stream = self.streams[artefact, run] = TailedStream(artefact, run, now_s, self._pending)
            self._by_run.setdefault(run, {})[bytes.fromhex(artefact)] = stream

    def salt(self, run: str) -> bytes:
        """The salt of a run of which a file was seen."""
        return self._salts[run]

    def read(self, places: Iterable[Place], seal: RecordSeal) -> Iterator[OpenedRecord | None]:
        """The records there, None for each that does not open or is another than the one noted."""
        for number, offset, record_bytes, seq in places:
            try:
                record = self._by_number[number].file.read_record(offset, record_bytes, seal)
            except Tampered:
                yield None
            else:
                yield record if record.seq == seq else None

    def forget(self, stream: TailedStream) -> None:
        """The stream is over and its end is done."""
        if stream.end is not None:
            self._pending[stream.end.file] -= 1
        del self.streams[stream.artefact, stream.run]
        del self._by_run[stream.run][bytes.fromhex(stream.artefact)]

    def delete_done_files(self) -> int:
        """Delete the finished files of which every record is done; returns how many."""
        done = [path for path, file in self._files.items() if file and file.finished and not self._pending[file.number]]
        for path in done:
            file = self._files.pop(path)
            assert file is not None
            path.unlink(missing_ok=True)
            file.file.close()
            del self._by_number[file.number], self._pending[file.number]
        return len(done)

    def close(self) -> None:
        """Let go of all files."""
        for file in self._by_number.values():
            file.file.close()

    def _tell_unreadable(self, path: Path) -> None:
        """Once, not four times a second."""
        self.unreadable.add(path.name)
        if path.name not in self._told:
            self._told.add(path.name)
            _log.error("spool file cannot be read", extra={"file": path.name})

    def _find_new_files(self) -> None:
        held: set[str] = set()
        for path in spool_files(self._folder):
            if path in self._files or _run_of(path.name) in held:
                continue
            try:
                file = SpoolFile(path)
            except NotFound:
                continue
            except Unavailable:  # what follows it in its run waits, or it would be taken for seen
                held.add(_run_of(path.name))
                self._tell_unreadable(path)
                continue
            except Malformed:
                self._files[path] = None
                _log.error("spool file unreadable, left where it is", extra={"file": path.name})
                continue
            self._files[path] = self._by_number[self._next_number] = _File(self._next_number, file)
            self._pending[self._next_number] = 0
            self._salts[file.header.run] = file.header.salt
            self._next_number += 1

    def _read_on(self, file: _File, now_s: float) -> int:
        before = file.file.broken
        run = file.file.header.run
        streams = self._by_run.setdefault(run, {})
        for header in file.file.scan(file.position, resync=file.finishing):
            stream = streams.get(header.artefact)
            if stream is None:
                artefact = ArtefactId(header.artefact.hex())
                self.expect(artefact, run, now_s)
                stream = streams[header.artefact]
            stream.add(file.number, header, now_s)
            file.position = header.offset + header.record_bytes
        return file.file.broken - before


def _run_of(name: str) -> str:
    """The run that a file's name says."""
    return name.partition(".")[0]
