"""Small documents and derived artefacts: sealed whole, in a row where they are small, else as one object."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, select

from storage.envelope import (
    HEADER_BYTES,
    PREFIX_BYTES,
    SALT_BYTES,
    SliceReader,
    associated_data,
    open_slice,
    salt_for,
    seal,
)
from storage.errors import NotFound, NotReady, Refused
from storage.keytree import Opened
from storage.model import ArtefactId, ArtefactRef, Secret, new_id
from storage.objects import ObjectStore
from storage.slices import IndexEntry, SliceIndex, SliceRow, object_name, open_index, seal_index
from storage.streams import fetcher, slice_rows
from storage.tables import documents

DOCUMENT_BYTES_MAX = 256 * 1024
"""A document is read and written with its row: identities and call details have a few KiB, an hour's gap map 50."""
INLINE_BYTES_MAX = 16 * 1024
"""Derived artefacts up to here stand in a row: an object of their own would cost more than it holds."""
DERIVED_BYTES_MAX = 64 * 1024 * 1024
"""Derived artefacts are opened whole, in memory."""

NO_RUN = "0" * 32
"""The spool run of what never was in a spool."""
_INDEX_NONCE_BYTES = 12

_FORGET = delete(documents).where(documents.c.artefact == bindparam("of"))


@dataclass(frozen=True, slots=True)
class SealedObject:
    """A derived artefact sealed for the object store: its row, its name, its bytes."""

    row: SliceRow
    name: str
    sealed: bytes


@dataclass(frozen=True, slots=True)
class SealedDocument:
    """A small document sealed for its row."""

    artefact: ArtefactId
    stream_id: str
    sealed: bytes


def seal_document(ref: ArtefactRef, key: Secret, segment_bytes: int, data: bytes) -> SealedDocument:
    """Seals a document under a stream id of its own."""
    if len(data) > DOCUMENT_BYTES_MAX:
        raise Refused(f"a document of {len(data)} bytes; {DOCUMENT_BYTES_MAX} is the limit")
    stream_id = new_id()
    return SealedDocument(ref.artefact, stream_id, _seal(ref, key, segment_bytes, stream_id, data))


def put_documents(connection: Connection, sealed: Sequence[SealedDocument], *, replace: bool) -> None:
    """Writes documents; with `replace`, earlier ones of the same artefacts give way to them."""
    if not sealed:
        return
    if replace:
        connection.execute(_FORGET, [{"of": document.artefact} for document in sealed])
    rows = [{"artefact": item.artefact, "stream_id": item.stream_id, "sealed": item.sealed} for item in sealed]
    connection.execute(documents.insert(), rows)


def sealed_document(connection: Connection, artefact: ArtefactId) -> tuple[str, bytes] | None:
    """Stream id and sealed bytes of an artefact's document."""
    query = select(documents.c.stream_id, documents.c.sealed).where(documents.c.artefact == artefact)
    row = connection.execute(query).first()
    return None if row is None else (row.stream_id, row.sealed)


def open_document(opened: Opened, stream_id: str, sealed: bytes) -> bytes:
    """The plaintext of a document's row."""
    aad = associated_data(opened.ref, 0, stream_id, opened.segment_bytes)
    header, size = sealed[:HEADER_BYTES], len(sealed)
    reader = SliceReader(
        opened.key, header, size, aad, lambda start, end: sealed[start:end], segment_bytes=opened.segment_bytes
    )
    return reader.read(0, reader.size)


def seal_object(ref: ArtefactRef, key: Secret, segment_bytes: int, data: bytes) -> SealedObject:
    """A derived artefact as the one slice of a stream with one entry."""
    if len(data) > DERIVED_BYTES_MAX:
        raise Refused(f"a derived artefact of {len(data)} bytes; {DERIVED_BYTES_MAX} is the limit")
    stream_id = new_id()
    sealed = _seal(ref, key, segment_bytes, stream_id, data)
    aad = associated_data(ref, 0, stream_id, segment_bytes)
    index = SliceIndex(sealed[:HEADER_BYTES], (IndexEntry(0, 0, 0, len(data)),))
    row = SliceRow(
        artefact=ref.artefact,
        slice_no=0,
        stream_id=stream_id,
        run=NO_RUN,
        first_seq=0,
        last_seq=0,
        size=len(sealed),
        digest=hashlib.sha256(sealed).digest(),
        segment_bytes=segment_bytes,
        index=seal_index(key, stream_id, aad, index, os.urandom(_INDEX_NONCE_BYTES)),
    )
    return SealedObject(row, object_name(ref, stream_id), sealed)


def open_whole(opened: Opened, row: SliceRow, objects: ObjectStore) -> bytes:
    """The plaintext of a derived artefact's object, checked against everything that the catalogue knows of it."""
    aad = associated_data(opened.ref, row.slice_no, row.stream_id, row.segment_bytes)
    header = open_index(opened.key, row.stream_id, aad, row.index).header
    # One byte more than catalogued: an object that was lengthened must not look whole.
    sealed = fetcher(objects, opened.ref, row.stream_id)(0, row.size + 1)
    return open_slice(
        opened.key, sealed, aad, segment_bytes=row.segment_bytes, header=header, size=row.size, digest=row.digest
    )


def find_content(connection: Connection, artefact: ArtefactId) -> tuple[str, bytes] | SliceRow:
    """Where an artefact's whole content is; NotReady if it has none yet, NotFound if it is a stream of many slices."""
    found = sealed_document(connection, artefact)
    if found is not None:
        return found
    rows = slice_rows(connection, artefact)
    if not rows:
        raise NotReady(f"artefact {artefact} has no content yet")
    if rows[0].run != NO_RUN:
        raise NotFound(f"artefact {artefact} is a stream, not a document")
    return rows[0]


def _seal(ref: ArtefactRef, key: Secret, segment_bytes: int, stream_id: str, data: bytes) -> bytes:
    return seal(
        key,
        data,
        associated_data(ref, 0, stream_id, segment_bytes),
        segment_bytes=segment_bytes,
        salt=salt_for(stream_id, os.urandom(SALT_BYTES - 16)),
        nonce_prefix=os.urandom(PREFIX_BYTES),
    )
