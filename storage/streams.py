"""Reads a stream back: from its slices, and from the spool what is not sliced yet, as if there were no difference."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, bindparam, func, select

from storage.calls import is_closed
from storage.catalogue import Catalogue
from storage.envelope import SliceReader, associated_data
from storage.errors import DataError, NotFound, Truncated
from storage.keytree import KeyTree, Opened
from storage.lease import Lease
from storage.model import ArtefactId, ArtefactRef, ArtefactState, TenantId
from storage.objects import ObjectStore
from storage.slices import SliceRow, object_name, open_index
from storage.spoolfile import SpooledRecord, SpooledRecords
from storage.spoolindex import SpoolIndex
from storage.standing import check_unrestricted
from storage.tables import slices

_SLICES = select(slices).where(slices.c.artefact == bindparam("of")).order_by(slices.c.slice_no)
_UPLOADED = (
    select(slices.c.run, func.max(slices.c.last_seq).label("newest"))
    .where(slices.c.artefact == bindparam("of"))
    .group_by(slices.c.run)
)


@dataclass(frozen=True, slots=True)
class _Piece:
    """One entry of a stream: media time [start, end), and where its bytes are."""

    run: str  # of the spool
    start: int
    end: int
    slice: SliceReader | None
    offset: int = 0
    length: int = 0
    record: SpooledRecord | None = None


class StreamReader:
    """A stream's entries in order, opened as they are asked for. For one thread at a time; close it after use."""

    def __init__(
        self,
        opened: Opened,
        rows: Sequence[SliceRow],
        spooled: SpooledRecords,
        objects: ObjectStore,
        lease: Lease,
    ) -> None:
        self._opened = opened
        self._objects = objects
        self._spooled = spooled
        self._lease = lease
        self._slices: list[SliceReader] = []
        self._pieces: list[_Piece] = []
        self._records_missing = 0
        newest: dict[str, int] = {}  # of each run, the highest sequence number so far
        for row in rows:
            entries = self._add_slice(row)
            start = newest.get(row.run, -1) + 1
            if start >> 32 != row.first_seq >> 32:  # an opening is numbered from its own beginning
                start = row.first_seq >> 32 << 32
            if start >> 32 == row.last_seq >> 32:  # else it stands for two openings, and nobody knows
                self._records_missing += row.last_seq - start + 1 - entries
            newest[row.run] = row.last_seq
        self._pieces += [_Piece(r.run, r.start, r.end, None, record=r) for r in spooled.records]
        self._put_runs_in_order()
        self.ref = opened.ref
        """Whose stream it is."""
        self.ended = spooled.ended or (opened.state is ArtefactState.COMPLETE and not spooled.records)
        """Whether nothing more will come."""
        self.entries: list[tuple[int, int]] = [(piece.start, piece.end) for piece in self._pieces]
        """Media time [start, end) of each entry, in the order in which they were appended."""

    @property
    def segments_opened(self) -> int:
        """How many segments of slices were decrypted so far."""
        return sum(slice_.segments_opened for slice_ in self._slices)

    def read(self, start: int | None = None, end: int | None = None) -> Iterator[bytes]:
        """The entries that have something of media time [start, end), one by one; all of them without bounds.

        Erased, Restricted within half a second of that, also in the middle; DataError where stored bytes are wrong.
        """
        for piece in self._pieces:
            after = end is not None and piece.start >= end
            before = start is not None and piece.end <= start and piece.start < start
            if not after and not before:
                self._lease.check()
                yield self._open(piece)

    def read_each(self) -> Iterator[bytes | DataError]:
        """All entries in the order of `entries`; in place of one whose stored bytes are wrong, what is wrong."""
        for piece in self._pieces:
            self._lease.check()
            try:
                found: bytes | DataError = self._open(piece)
            except DataError as error:
                found = error
            yield found

    @property
    def records_missing(self) -> int:
        """Spool records that the numbering of the slices leaves out: they did not open when the slices were cut."""
        return self._records_missing

    def close(self) -> None:
        """Lets go of spool files and derived keys."""
        self._spooled.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _open(self, piece: _Piece) -> bytes:
        if piece.slice is not None:
            return piece.slice.read(piece.offset, piece.offset + piece.length)
        assert piece.record is not None
        return self._spooled.open(piece.record, self._opened.ref, self._opened.key)

    def _add_slice(self, row: SliceRow) -> int:
        ref, key = self._opened.ref, self._opened.key
        aad = associated_data(ref, row.slice_no, row.stream_id, row.segment_bytes)
        index = open_index(key, row.stream_id, aad, row.index)
        fetch = fetcher(self._objects, ref, row.stream_id)
        reader = SliceReader(key, index.header, row.size, aad, fetch, segment_bytes=row.segment_bytes)
        self._slices.append(reader)
        self._pieces += [_Piece(row.run, e.start, e.end, reader, e.offset, e.length) for e in index.entries]
        return len(index.entries)

    def _put_runs_in_order(self) -> None:
        """By their first media time, as `records_of` does: after a restart the later of two may be sliced first."""
        began: dict[str, int] = {}
        for piece in self._pieces:
            began[piece.run] = min(piece.start, began.get(piece.run, piece.start))
        found = {run: at for at, run in enumerate(began)}  # of two that begin alike, that which was found first
        self._pieces.sort(key=lambda piece: (began[piece.run], found[piece.run]))


def fetcher(objects: ObjectStore, ref: ArtefactRef, stream_id: str) -> Callable[[int, int], bytes]:
    """Byte ranges of a slice's object; Truncated if there is no such object."""
    name = object_name(ref, stream_id)

    def fetch(start: int, end: int) -> bytes:
        try:
            return objects.get(name, start, end - start)
        except NotFound:
            raise Truncated(f"object {name} is missing") from None

    return fetch


def open_stream(
    catalogue: Catalogue,
    tree: KeyTree,
    objects: ObjectStore,
    spool: SpoolIndex,
    tenant: TenantId,
    artefact: ArtefactId,
    *,
    recording: bool = False,
) -> StreamReader:
    """A reader of all that is there now; NotFound, Erased, DataError, and Restricted unless it is for recording."""
    asked_at_s = time.monotonic()
    with catalogue.reading() as connection:
        opened = tree.open(connection, artefact, tenant)
        if not recording:
            check_unrestricted(connection, opened.ref.call)
        rows = slice_rows(connection, artefact)
        after = uploaded(connection, artefact)
        closed = is_closed(connection, opened.ref.call)
    spooled = SpooledRecords((), ended=False)
    if not closed:  # a complete stream, too: another run may have gone on with it
        # The spool first and the slices again afterwards: what the uploader moves meanwhile is then in one of them.
        spooled = spool.records_of(artefact, after)
        with catalogue.reading() as connection:
            rows = slice_rows(connection, artefact)
            after = uploaded(connection, artefact)
        left = tuple(record for record in spooled.records if record.seq > after.get(record.run, -1))
        spooled = SpooledRecords(left, ended=spooled.ended)
    lease = Lease(catalogue, artefact, asked_at_s, tree.now, None if recording else opened.ref.call)
    return StreamReader(opened, rows, spooled, objects, lease)


def slice_rows(connection: Connection, artefact: ArtefactId) -> list[SliceRow]:
    """An artefact's slices in order."""
    return [_slice_row(row) for row in connection.execute(_SLICES, {"of": artefact})]


def uploaded(connection: Connection, artefact: ArtefactId) -> dict[str, int]:
    """Of each spool run, the highest sequence number that slices have."""
    return {row.run: row.newest for row in connection.execute(_UPLOADED, {"of": artefact})}


def _slice_row(row: Any) -> SliceRow:
    return SliceRow(
        artefact=ArtefactId(row.artefact),
        slice_no=row.slice_no,
        stream_id=row.stream_id,
        run=row.run,
        first_seq=row.first_seq,
        last_seq=row.last_seq,
        size=row.size,
        digest=row.digest,
        segment_bytes=row.segment_bytes,
        index=row.sealed_index,
    )
