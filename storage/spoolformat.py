"""The bytes of a spool file: its header, its records, and how a record is sealed. FORMAT.md is the contract.

A run is one life of one writer; its files share the run's random salt. A stream's records have a key of their own,
derived from artefact key and salt, and the record's sequence number is the nonce. Sequence numbers are
`opening << 32 | index`: the writer counts its openings through the whole run, so no number and no nonce comes twice
under one key even where the same artefact is opened again.
"""

from __future__ import annotations

import struct
import zlib
from enum import IntEnum
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.envelope import TAG_BYTES, derive, length_prefixed
from storage.errors import Malformed, Tampered
from storage.model import ArtefactRef, Secret

SPOOL_LABEL = b"callvault spool v1"
RUN_SALT_BYTES = 32

FILE_MAGIC = b"\xf7CVspl\x01\n"
FILE_HEADER_BYTES = 256
"""The header twice: without its salt a whole file would be lost to one flipped bit."""
_FILE = struct.Struct(">8s16sI32s32s32x")  # 124, then the CRC
NODE_BYTES_MAX = 32

RECORD_MAGIC = b"\xf7CVrec\x01\n"
_RECORD = struct.Struct(">8sB3xI16s16s16sQqq")  # 88, then the CRC
_PARSED = struct.Struct(">8xB3xI16s32xQqqI")  # of the same what a scan needs, and the CRC
_SEALED = struct.Struct(">8xB55xQqq")  # of the same: type, sequence number, times
RECORD_HEADER_BYTES = _RECORD.size + 4
ARTEFACT_OFFSET = 16
"""Where a record's header names its artefact: readers look for that."""
RECORD_DATA_MAX = 1 << 20
"""Plaintext of one record: a quarter second of one stream has 2 KB; a megabyte is a fault, not audio."""

OPENINGS_MAX = 2**31 - 1
"""Streams opened in one run: sequence numbers stay below 2⁶³, which every database holds."""
INDEXES_MAX = 2**32
"""Records of one opening: 34 years of quarter seconds."""

_CRC = struct.Struct(">I")
_NONCE = struct.Struct(">4xQ")
_LOST = struct.Struct(">Q")


class RecordType(IntEnum):
    """What a record says."""

    DATA = 1  # a piece of the stream
    END = 2  # the stream is over; the body counts the records that the writer had to drop


class FileHeader(NamedTuple):
    """Which run a file belongs to, and its place among the run's files."""

    run: str
    number: int
    node: str
    salt: bytes

    def to_bytes(self) -> bytes:
        """The first 256 bytes of the file."""
        packed = _FILE.pack(FILE_MAGIC, bytes.fromhex(self.run), self.number, self.node.encode(), self.salt)
        return (packed + _CRC.pack(zlib.crc32(packed))) * 2

    @classmethod
    def parse(cls, raw: bytes) -> FileHeader:
        """The inverse; `Malformed` unless at least one of the two copies is whole."""
        for copy in (raw[: FILE_HEADER_BYTES // 2], raw[FILE_HEADER_BYTES // 2 : FILE_HEADER_BYTES]):
            if len(copy) == _FILE.size + 4 and copy.startswith(FILE_MAGIC) and _crc_fits(copy, 0, _FILE.size):
                _, run, number, node, salt = _FILE.unpack_from(copy)
                return cls(run.hex(), number, node.rstrip(b"\0").decode("ascii", "replace"), salt)
        raise Malformed("not the header of a spool file")


class RecordHeader(NamedTuple):
    """Of a record's clear part what readers look at, and where it lies. Made for each record, so it is kept lean."""

    offset: int  # of the record in its file
    type: int
    record_bytes: int  # header and body together
    artefact: bytes
    seq: int
    start: int  # media time, in the stream's own units
    end: int


class OpenedRecord(NamedTuple):
    """What a record says, once its seal has been checked."""

    type: int
    seq: int
    start: int
    end: int
    data: bytes


def parse_record(raw: bytes, at: int, offset: int) -> RecordHeader | None:
    """The record header at `at` of `raw`, which lies at `offset` in its file; None if there is no whole, valid one."""
    if not raw.startswith(RECORD_MAGIC, at) or len(raw) - at < RECORD_HEADER_BYTES:
        return None
    kind, body_bytes, artefact, seq, start, end, crc = _PARSED.unpack_from(raw, at)
    if zlib.crc32(raw[at : at + _RECORD.size]) != crc or not TAG_BYTES <= body_bytes <= RECORD_DATA_MAX + TAG_BYTES:
        return None
    return RecordHeader(offset, kind, RECORD_HEADER_BYTES + body_bytes, artefact, seq, start, end)


class RecordSeal:
    """Seals and opens the records of one artefact in one run. The cipher is made once: an append has no time for it."""

    __slots__ = ("_bound", "_decrypt", "_encrypt", "_ids")

    def __init__(self, ref: ArtefactRef, key: Secret, run_salt: bytes) -> None:
        cipher = AESGCM(derive(key, run_salt, SPOOL_LABEL))
        self._encrypt, self._decrypt = cipher.encrypt, cipher.decrypt
        self._ids = (bytes.fromhex(ref.artefact), bytes.fromhex(ref.tenant), bytes.fromhex(ref.call))
        self._bound = length_prefixed(bytes.fromhex(ref.participant), ref.kind.encode(), ref.purpose.encode())

    def seal(self, kind: RecordType, seq: int, start: int, end: int, data: bytes) -> bytes:
        """The whole record. `seq` must never come twice in a run: it is the nonce."""
        artefact, tenant, call = self._ids
        head = _RECORD.pack(RECORD_MAGIC, kind, len(data) + TAG_BYTES, artefact, tenant, call, seq, start, end)
        head += _CRC.pack(zlib.crc32(head))
        return head + self._encrypt(_NONCE.pack(seq), data, head + self._bound)

    def open(self, record: bytes) -> OpenedRecord:
        """A whole record with its header; `Tampered` if it is not exactly what was sealed for this artefact."""
        if len(record) < RECORD_HEADER_BYTES + TAG_BYTES:
            raise Tampered("a spool record without a body")
        head = record[:RECORD_HEADER_BYTES]
        kind, seq, start, end = _SEALED.unpack_from(record)
        try:
            data = self._decrypt(_NONCE.pack(seq), record[RECORD_HEADER_BYTES:], head + self._bound)
        except InvalidTag:
            raise Tampered("a spool record does not authenticate") from None
        return OpenedRecord(kind, seq, start, end, data)


def pack_lost(records: int) -> bytes:
    """The body of an END record: how many records of the stream the writer dropped."""
    return _LOST.pack(records)


def unpack_lost(body: bytes) -> int:
    """The inverse; `Malformed` for any other body."""
    if len(body) != _LOST.size:
        raise Malformed("an end record of another length")
    return int(_LOST.unpack(body)[0])


def _crc_fits(raw: bytes, at: int, size: int) -> bool:
    expected: int = _CRC.unpack_from(raw, at + size)[0]
    return zlib.crc32(memoryview(raw)[at : at + size]) == expected
