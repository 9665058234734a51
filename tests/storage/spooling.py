"""What the tests of spool and uploader share: references, waiting, and a catalogue that lives in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from storage.envelope import associated_data, open_slice
from storage.errors import AlreadyExists, Erased, NotFound, Refused, StoreError, Unavailable
from storage.model import ArtefactId, ArtefactRef, CallId, Kind, ParticipantId, Secret, TenantId, new_id
from storage.objects.folder import FolderStore
from storage.slices import IndexEntry, SliceRow, StreamKey, object_name, open_index
from storage.spool import SpoolWriter

SEGMENT_BYTES = 4096


def make_ref() -> ArtefactRef:
    """A new artefact of a new call."""
    return ArtefactRef(
        TenantId(new_id()), CallId(new_id()), ParticipantId(new_id()), ArtefactId(new_id()), Kind.AUDIO, "service"
    )


def make_key(ref: ArtefactRef) -> Secret:
    """A key that a child process and a later reader find again from the artefact's id."""
    return Secret(sha256(b"test key" + ref.artefact.encode()).digest())


def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait for something that another thread or process does."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("it did not come about")
        time.sleep(0.005)


def durable(writer: SpoolWriter, streams: Iterable[int]) -> None:
    """Wait until the writer says that these streams, and no others, are closed and durable."""
    waiting = set(streams)

    def polled() -> bool:
        for stream in writer.poll():
            waiting.remove(stream)
        return not waiting

    until(polled)


def write_stream(folder: Path, ref: ArtefactRef, records: list[bytes], first: int = 0) -> None:
    """A whole life of a writer: one stream, its records, numbered from `first`, and its end, all durable."""
    with SpoolWriter(folder, node="n1", file_bytes=1 << 20) as writer:
        writer.open(1, ref, make_key(ref))
        writer.release(1)
        for number, data in enumerate(records, first):
            writer.append(1, number * 250, number * 250 + 250, data)
        writer.close(1)
        durable(writer, [1])


class MemorySlices:
    """A catalogue in memory that holds the uploader to the rules of `Slices`."""

    def __init__(self, objects: FolderStore) -> None:
        self.objects = objects
        self.refs: dict[ArtefactId, ArtefactRef] = {}
        self.rows: dict[ArtefactId, list[SliceRow]] = {}
        self.completed: dict[ArtefactId, bool] = {}
        self.erased: set[ArtefactId] = set()
        self.manifests: list[CallId] = []
        self.away = False
        self.commits = 0

    def add(self, ref: ArtefactRef) -> None:
        self.refs[ref.artefact] = ref
        self.rows[ref.artefact] = []

    def plaintext(self, ref: ArtefactRef) -> list[tuple[int, int, bytes]]:
        """All committed records of an artefact as (start, end, data), each opened from its stored object."""
        out: list[tuple[int, int, bytes]] = []
        for row in self.rows[ref.artefact]:
            aad = associated_data(ref, row.slice_no, row.stream_id, row.segment_bytes)
            index = open_index(make_key(ref), row.stream_id, aad, row.index)
            plain = open_slice(
                make_key(ref),
                self.objects.get(object_name(ref, row.stream_id)),
                aad,
                segment_bytes=row.segment_bytes,
                header=index.header,
                size=row.size,
                digest=row.digest,
            )
            out += [(entry.start, entry.end, _piece(plain, entry)) for entry in index.entries]
        return out

    def artefact_keys(self, wanted: Sequence[ArtefactId]) -> dict[ArtefactId, StreamKey | StoreError]:
        if self.away:
            raise Unavailable("the catalogue is away")
        return {artefact: self._refusal(artefact) or self._key(artefact) for artefact in wanted}

    def commit(self, rows: Sequence[SliceRow], ends: Mapping[ArtefactId, bool]) -> list[Refused | None]:
        if self.away:
            raise Unavailable("the catalogue is away")
        self.commits += 1
        outcomes = [self._commit_row(row) for row in rows]
        refused = {row.artefact for row, outcome in zip(rows, outcomes, strict=True) if outcome is not None}
        for artefact in ends.keys() - refused - self.erased:
            self.completed[artefact] = self.completed.get(artefact, False) or ends[artefact]
        return outcomes

    def _refusal(self, artefact: ArtefactId) -> Refused | None:
        if artefact in self.erased:
            return Erased("erased")
        return None if artefact in self.refs else NotFound("unknown")

    def _key(self, artefact: ArtefactId) -> StreamKey:
        ref, rows = self.refs[artefact], self.rows[artefact]
        uploaded = {run: self._uploaded(artefact, run) for run in {row.run for row in rows}}
        return StreamKey(ref, make_key(ref), SEGMENT_BYTES, len(rows), uploaded)

    def _uploaded(self, artefact: ArtefactId, run: str) -> int:
        return max((row.last_seq for row in self.rows[artefact] if row.run == run), default=-1)

    def _commit_row(self, row: SliceRow) -> Refused | None:
        refusal = self._refusal(row.artefact)
        if refusal is not None:
            return refusal
        if row.slice_no != len(self.rows[row.artefact]) or row.first_seq <= self._uploaded(row.artefact, row.run):
            return AlreadyExists("that slice is there")
        self.rows[row.artefact].append(row)
        return None

    def writing(self) -> Iterable[tuple[ArtefactId, str]]:
        return [
            (artefact, run)
            for artefact, rows in self.rows.items()
            if artefact not in self.completed
            for run in {row.run for row in rows}
        ]

    def ended_calls(self) -> Iterable[tuple[TenantId, CallId]]:
        return [
            (ref.tenant, ref.call)
            for ref in self.refs.values()
            if ref.artefact in self.completed and ref.call not in self.manifests
        ]

    def streams_of(self, calls: Sequence[CallId]) -> dict[ArtefactId, CallId]:
        return {ref.artefact: ref.call for ref in self.refs.values() if ref.call in calls}

    def store_manifests(self, due: Sequence[tuple[TenantId, CallId]]) -> list[Refused | None]:
        self.manifests += [call for _, call in due]
        return [None for _ in due]


def _piece(plain: bytes, entry: IndexEntry) -> bytes:
    return plain[entry.offset : entry.offset + entry.length]
