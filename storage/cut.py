"""A slice is cut: a stream's next records are read back from the spool and sealed as one object, with its row."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from storage.envelope import HEADER_BYTES, PREFIX_BYTES, SALT_BYTES, associated_data, salt_for, seal
from storage.errors import Malformed
from storage.model import new_id
from storage.slices import IndexEntry, SliceIndex, SliceRow, StreamKey, object_name, seal_index
from storage.spoolformat import OpenedRecord, RecordSeal, unpack_lost
from storage.spooltail import SpoolTail, TailedStream

SLICE_BYTES = 1 << 20
"""Plaintext at which a slice is cut: one request to an object store, and one GET to begin reading anywhere."""
SLICE_RECORDS_MAX = 16_384
"""Records in one slice: keeps its index below half a megabyte when records are tiny."""

_INDEX_NONCE_BYTES = 12

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cut:
    """What was taken from a stream, and the slice that it became; `row` is None if none of it opened."""

    stream: TailedStream
    places: int  # taken
    records: int  # of them that opened
    row: SliceRow | None = None
    name: str = ""
    sealed: bytes = field(default=b"", repr=False)
    interrupted: bool | None = None  # how the stream ends with this slice; None if it goes on


def cut_slice(tail: SpoolTail, stream: TailedStream, key: StreamKey) -> Cut:
    """The next slice of a stream that has something waiting. Takes note of what is missing, and takes nothing away.

    `Unavailable` if the spool cannot be read.
    """
    places = stream.first_places(SLICE_BYTES, SLICE_RECORDS_MAX)
    record_seal = RecordSeal(key.ref, key.key, tail.salt(stream.run))
    records = [record for record in tail.read(places, record_seal) if record is not None]
    if len(records) < len(places):
        stream.missing = True
        _log.warning("spool records do not open", extra={"artefact": stream.artefact, "run": stream.run})
    if not records:
        return Cut(stream, len(places), 0)
    stream.note_gaps([record.seq for record in records])
    row, sealed = _sealed(stream, key, records, (places[0].seq, places[-1].seq))
    interrupted = None
    if len(places) == len(stream.places) and tail.is_over(stream):
        interrupted = not is_whole(tail, stream, record_seal)
    return Cut(stream, len(places), len(records), row, object_name(key.ref, row.stream_id), sealed, interrupted)


def is_whole(tail: SpoolTail, stream: TailedStream, record_seal: RecordSeal) -> bool:
    """Whether the stream has an end, it says that nothing was dropped, and nothing else was missed."""
    if stream.end is None:
        return False
    (record,) = tail.read([stream.end], record_seal)
    if record is None:
        return False
    stream.note_gaps([record.seq])
    try:
        return unpack_lost(record.data) == 0 and not stream.missing
    except Malformed:
        return False


def _sealed(
    stream: TailedStream, key: StreamKey, records: Sequence[OpenedRecord], taken: tuple[int, int]
) -> tuple[SliceRow, bytes]:
    """`taken` are the first and last numbers of what the slice stands for, also where these do not open."""
    stream_id = new_id()
    aad = associated_data(key.ref, key.next_slice, stream_id, key.segment_bytes)
    sealed = seal(
        key.key,
        b"".join([record.data for record in records]),
        aad,
        segment_bytes=key.segment_bytes,
        salt=salt_for(stream_id, secrets.token_bytes(SALT_BYTES - 16)),
        nonce_prefix=secrets.token_bytes(PREFIX_BYTES),
    )
    index = SliceIndex(sealed[:HEADER_BYTES], _entries(records))
    row = SliceRow(
        artefact=stream.artefact,
        slice_no=key.next_slice,
        stream_id=stream_id,
        run=stream.run,
        first_seq=taken[0],
        last_seq=taken[1],
        size=len(sealed),
        digest=sha256(sealed).digest(),
        segment_bytes=key.segment_bytes,
        index=seal_index(key.key, stream_id, aad, index, secrets.token_bytes(_INDEX_NONCE_BYTES)),
    )
    return row, sealed


def _entries(records: Sequence[OpenedRecord]) -> tuple[IndexEntry, ...]:
    entries = []
    offset = 0
    for record in records:
        size = len(record.data)
        entries.append(IndexEntry(record.start, record.end, offset, size))
        offset += size
    return tuple(entries)
