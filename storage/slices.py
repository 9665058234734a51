"""What uploader and catalogue say to each other: the rows of slices, their sealed index, and the catalogue's side.

A slice is some records of one stream, put one behind the other and sealed as one immutable object. Its index says
which record lies where; it is sealed under the artefact's key and kept in the slice's row, so that a reader goes
to the right segment of the right object with one request.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.envelope import HEADER_BYTES, derive
from storage.errors import Malformed, Tampered
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


class Slices(Protocol):
    """The catalogue as the uploader sees it. Every method may raise `Unavailable`; the uploader then tries again."""

    def artefact_key(self, artefact: ArtefactId) -> StreamKey:
        """The key and next slice number, read afresh. `Erased` if erased or tombstoned, `NotFound` if unknown."""

    def uploaded_seq(self, artefact: ArtefactId, run: str) -> int:
        """The highest `last_seq` committed of that artefact and run; -1 if none. Also answers for erased ones."""

    def commit_slice(self, row: SliceRow) -> None:
        """Durable when it returns. `AlreadyExists` if slice_no is taken or first_seq is not above `uploaded_seq`.

        `Erased` or `NotFound` if the artefact may not grow any more: the uploader then deletes the object.
        """

    def complete_stream(self, artefact: ArtefactId, interrupted: bool) -> None:
        """WRITING → COMPLETE, noting an interruption; idempotent, and nothing happens to erased or unknown ones."""

    def writing(self) -> Iterable[tuple[ArtefactId, str]]:
        """(artefact, run) of the streams that have slices and are still WRITING; asked once at the uploader's start."""

    def ended_calls(self) -> Iterable[tuple[TenantId, CallId]]:
        """Calls in state ENDED whose streams are all COMPLETE: their manifest is due."""

    def store_manifest(self, tenant: TenantId, call: CallId) -> None:
        """Sign and store the call's manifest and move it on from ENDED (STORED, or INTERRUPTED); idempotent."""


def object_name(ref: ArtefactRef, stream_id: str) -> str:
    """Where a slice's object lies."""
    return f"{ref.tenant}/{ref.call}/{stream_id}"


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
