"""What uploader and catalogue say to each other: the rows of slices, their sealed index, and the catalogue's side.

A slice is some records of one stream, put one behind the other and sealed as one immutable object. Its index says
which record lies where; it is sealed under the artefact's key and kept in the slice's row, so that a reader goes
to the right segment of the right object with one request.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.envelope import HEADER_BYTES, derive
from storage.errors import Malformed, Refused, StoreError, Tampered
from storage.model import ArtefactId, ArtefactRef, CallId, Secret, TenantId

INDEX_LABEL = b"callvault index v1"
INDEX_ENTRIES_MAX = 65_536
"""Records in one slice: 1 MiB of the smallest records that can occur; more is not an index."""
_NONCE_BYTES = 12
_ENTRY = struct.Struct(">qqII")


class IndexEntry(NamedTuple):
    """One record within a slice's plaintext: media time [start, end), and its bytes at `offset`."""

    start: int
    end: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class SliceIndex:
    """The opened index of a slice: the slice's own 40-byte header, and its records in order."""

    header: bytes
    entries: tuple[IndexEntry, ...]


@dataclass(frozen=True, slots=True)
class SliceRow:
    """One slice as the catalogue keeps it; nothing in it names a person, and times stand only in the sealed index."""

    artefact: ArtefactId
    slice_no: int  # 0, 1, … within the artefact
    stream_id: str  # random id of the object, last part of its name
    run: str  # id of the spool run that the records came from
    first_seq: int
    last_seq: int
    size: int  # bytes of ciphertext
    digest: bytes  # SHA-256 of the ciphertext
    segment_bytes: int
    index: bytes  # sealed: `open_index` gives the SliceIndex


@dataclass(frozen=True, slots=True)
class StreamKey:
    """What sealing one more slice of an artefact needs."""

    ref: ArtefactRef
    key: Secret
    segment_bytes: int
    next_slice: int  # how many slices the catalogue already has of it
    uploaded: Mapping[str, int]  # of each spool run, the highest `last_seq` that those slices have


class Slices(Protocol):
    """The catalogue as the uploader sees it, many streams at a time: a transaction costs more than what stands in it.

    Every method may raise `Unavailable`; then it did nothing, as far as is known, and the uploader tries again. What
    concerns one artefact or call is no reason to fail the others: it is given as an outcome and not raised.
    """

    def artefact_keys(self, wanted: Sequence[ArtefactId]) -> Mapping[ArtefactId, StreamKey | StoreError]:
        """Of each its key and what is stored of it, read afresh in one snapshot.

        Instead of a key `Erased` if it is erased or tombstoned, `NotFound` if unknown or under a manifest, `DataError`
        if it does not open.
        """

    def commit(self, rows: Sequence[SliceRow], ends: Mapping[ArtefactId, bool]) -> Sequence[Refused | None]:
        """Commit slices and ends of streams in one transaction, durable when it returns; the outcome of each row.

        A row is refused with `AlreadyExists` if its slice_no is taken or its first_seq is not above what is uploaded
        of its run, with `Erased` or `NotFound` if the artefact may not grow any more: its object is to be deleted.
        `ends` says of streams that are over whether they were interrupted: WRITING → COMPLETE, idempotent. Nothing
        happens to erased and unknown ones, nor to one of which a row was refused.
        """

    def writing(self) -> Iterable[tuple[ArtefactId, str]]:
        """(artefact, run) of the streams that have slices and are still WRITING; asked once at the uploader's start."""

    def ended_calls(self) -> Iterable[tuple[TenantId, CallId]]:
        """Calls in state ENDED whose streams are all COMPLETE: their manifest is due."""

    def streams_of(self, calls: Sequence[CallId]) -> Mapping[ArtefactId, CallId]:
        """The streams of these calls, each with its call."""

    def store_manifests(self, due: Sequence[tuple[TenantId, CallId]]) -> Sequence[Refused | None]:
        """Sign and store the calls' manifests and move them on from ENDED (STORED, or INTERRUPTED), in one transaction.

        Idempotent. The outcome of each call: `Erased` or `NotFound` if it gets none.
        """


def object_name(ref: ArtefactRef, stream_id: str) -> str:
    """Where a slice's object lies."""
    return stored_name(ref.tenant, ref.call, stream_id)


def stored_name(tenant: str, call: str, stream_id: str) -> str:
    """The same, from rows."""
    return f"{tenant}/{call}/{stream_id}"


def seal_index(key: Secret, stream_id: str, aad: bytes, index: SliceIndex, nonce: bytes) -> bytes:
    """The index for the row; `aad` is the slice's own, `nonce` 12 fresh random bytes."""
    if len(nonce) != _NONCE_BYTES or len(index.header) != HEADER_BYTES or len(index.entries) > INDEX_ENTRIES_MAX:
        raise ValueError("not an index, or not a nonce")
    flat = [value for entry in index.entries for value in entry]
    plain = index.header + struct.pack(">" + "qqII" * len(index.entries), *flat)
    return nonce + _index_key(key, stream_id).encrypt(nonce, plain, INDEX_LABEL + aad)


def open_index(key: Secret, stream_id: str, aad: bytes, sealed: bytes) -> SliceIndex:
    """The index of a row. `Tampered` if it was changed or belongs to another slice, `Malformed` if it is no index."""
    try:
        plain = _index_key(key, stream_id).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], INDEX_LABEL + aad)
    except (InvalidTag, ValueError):
        raise Tampered("the index of a slice does not authenticate") from None
    body = memoryview(plain)[HEADER_BYTES:]
    if len(plain) < HEADER_BYTES or len(body) % _ENTRY.size:
        raise Malformed("the index of a slice has no whole number of entries")
    return SliceIndex(plain[:HEADER_BYTES], tuple(IndexEntry._make(entry) for entry in _ENTRY.iter_unpack(body)))


def overlapping(entries: Sequence[IndexEntry], start: int, end: int) -> list[IndexEntry]:
    """The entries that have something of media time [start, end); an empty entry counts where it stands."""
    return [entry for entry in entries if entry.start < end and (entry.end > start or entry.start >= start)]


def _index_key(key: Secret, stream_id: str) -> AESGCM:
    return AESGCM(derive(key, bytes.fromhex(stream_id), INDEX_LABEL))
