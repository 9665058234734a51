"""Slices: Tink's AES256-GCM-HKDF streaming format, with a seek, over AES-GCM of `cryptography`.

FORMAT.md has the bytes. Nothing here draws random numbers or touches a disk: the caller brings salt and prefix.
What is wrong with a slice is told apart in this order: the key's commitment (`WrongKey`), the length (`Truncated`),
the ciphertext's hash and header (`Tampered`, `Swapped`), and at last the authentication of each segment.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from storage.errors import Malformed, Swapped, Tampered, Truncated, WrongKey
from storage.model import ArtefactRef, Secret, is_id

KEY_BYTES = 32
SALT_BYTES = 32
PREFIX_BYTES = 7
TAG_BYTES = 16
HEADER_BYTES = 1 + SALT_BYTES + PREFIX_BYTES
"""Length byte, salt, nonce prefix: what stands before the first segment's ciphertext."""

SEGMENT_BYTES = 65_536
"""Ciphertext bytes of a segment: a seek opens one; larger ones seal no faster (benchmarks/store.py)."""
SEGMENT_BYTES_MIN = 1_024
SEGMENT_BYTES_MAX = 1 << 20
"""Bounds of what a key row may say: below, tags outweigh data; above, a seek costs a whole slice."""
SLICE_BYTES_MAX = 1 << 30
"""Plaintext of one slice. Streams are cut at 1 MiB; whole derived objects (rendered audio) are larger."""
SEGMENTS_MAX = 1 << 32
"""What the nonce counts; with segments of 64 KiB a stream of 256 TiB."""

AAD_LABEL = b"callvault slice v1"
COMMITMENT_LABEL = b"callvault commitment v1"


def commitment(key: Secret) -> bytes:
    """32 bytes that only this key yields and that say nothing about it; kept beside the wrapped key."""
    return derive(key, b"", COMMITMENT_LABEL)


def check_commitment(key: Secret, expected: bytes) -> None:
    """Raise `WrongKey` unless `expected` is the commitment of `key`; compared in constant time."""
    if not hmac.compare_digest(commitment(key), expected):
        raise WrongKey("the key does not match its commitment")


def derive(key: Secret, salt: bytes, label: bytes) -> bytes:
    """A 32-byte key for one use: HKDF-SHA256 (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=label).derive(key.reveal())


def length_prefixed(*fields: bytes) -> bytes:
    """The fields, each behind its length in two bytes: no two lists of fields give the same bytes."""
    return b"".join([len(field).to_bytes(2, "big") + field for field in fields])


def associated_data(ref: ArtefactRef, slice_no: int, stream_id: str, segment_bytes: int) -> bytes:
    """What a slice is sealed for: it opens in no other place. `stream_id` is the object's own random id."""
    return length_prefixed(
        AAD_LABEL,
        bytes.fromhex(ref.tenant),
        bytes.fromhex(ref.call),
        bytes.fromhex(ref.participant),
        bytes.fromhex(ref.artefact),
        ref.kind.encode(),
        ref.purpose.encode(),
        struct.pack(">Q", slice_no),
        bytes.fromhex(stream_id),
        struct.pack(">I", segment_bytes),
    )


def salt_for(stream_id: str, random: bytes) -> bytes:
    """The salt of an object: its stream id, then 16 fresh random bytes. So a swapped object says whose it is."""
    if not is_id(stream_id) or len(random) != SALT_BYTES - 16:
        raise ValueError("a salt is a stream id and 16 random bytes")
    return bytes.fromhex(stream_id) + random


def sealed_size(plain_bytes: int, segment_bytes: int = SEGMENT_BYTES) -> int:
    """Length of the slice that holds `plain_bytes`."""
    segments = max(1, -(-(plain_bytes + HEADER_BYTES) // (segment_bytes - TAG_BYTES)))
    return HEADER_BYTES + plain_bytes + segments * TAG_BYTES


def plain_size(sealed_bytes: int, segment_bytes: int = SEGMENT_BYTES) -> int:
    """Plaintext bytes in a slice of that length; `Malformed` where no slice has it."""
    segments = max(1, -(-sealed_bytes // segment_bytes))
    size = sealed_bytes - HEADER_BYTES - segments * TAG_BYTES
    if size < 0 or sealed_size(size, segment_bytes) != sealed_bytes:
        raise Malformed(f"no slice is {sealed_bytes} bytes long")
    return size


def seal(
    key: Secret, data: bytes, aad: bytes, *, segment_bytes: int = SEGMENT_BYTES, salt: bytes, nonce_prefix: bytes
) -> bytes:
    """The slice of `data`. `salt` (32 bytes) and `nonce_prefix` (7) are fresh random bytes, used this once."""
    _check_segment_bytes(segment_bytes)
    if len(salt) != SALT_BYTES or len(nonce_prefix) != PREFIX_BYTES:
        raise ValueError("the salt has 32 bytes and the nonce prefix 7")
    if len(data) > SLICE_BYTES_MAX:
        raise ValueError("too much data for one slice")
    encrypt = AESGCM(derive(key, salt, aad)).encrypt
    view = memoryview(data)
    step = segment_bytes - TAG_BYTES
    parts = [bytes([HEADER_BYTES]), salt, nonce_prefix]
    start, end, index = 0, step - HEADER_BYTES, 0
    while end < len(data):
        parts.append(encrypt(_nonce(nonce_prefix, index, last=False), view[start:end], None))
        start, end, index = end, end + step, index + 1
    parts.append(encrypt(_nonce(nonce_prefix, index, last=True), view[start:], None))
    return b"".join(parts)


def seal_parts(
    key: Secret,
    parts: Iterable[bytes],
    aad: bytes,
    *,
    segment_bytes: int = SEGMENT_BYTES,
    salt: bytes,
    nonce_prefix: bytes,
) -> Iterator[bytes]:
    """The same slice, piece by piece, of data that is never held as a whole and may be longer than a slice of ours."""
    _check_segment_bytes(segment_bytes)
    if len(salt) != SALT_BYTES or len(nonce_prefix) != PREFIX_BYTES:
        raise ValueError("the salt has 32 bytes and the nonce prefix 7")
    encrypt = AESGCM(derive(key, salt, aad)).encrypt
    yield bytes([HEADER_BYTES]) + salt + nonce_prefix
    room, index, waiting = segment_bytes - TAG_BYTES - HEADER_BYTES, 0, bytearray()
    for part in parts:
        waiting += part
        while len(waiting) > room:  # a full segment waits until it is known not to be the last
            if index == SEGMENTS_MAX - 1:
                raise ValueError("too much data for one stream")
            yield encrypt(_nonce(nonce_prefix, index, last=False), bytes(waiting[:room]), None)
            del waiting[:room]
            room, index = segment_bytes - TAG_BYTES, index + 1
    yield encrypt(_nonce(nonce_prefix, index, last=True), bytes(waiting), None)


class SliceReader:
    """Reads any range of a slice's plaintext and opens only the segments that it touches.

    `header` is the slice's first 40 bytes as the sealed index keeps them, `size` its length as the catalogue has it,
    `fetch(start, end)` gives ciphertext bytes. One segment stays open, so that reading on costs nothing twice.
    """

    __slots__ = (
        "_decrypt",
        "_fetch",
        "_header",
        "_open",
        "_prefix",
        "_segment_bytes",
        "_size",
        "segments_opened",
        "size",
    )

    def __init__(
        self,
        key: Secret,
        header: bytes,
        size: int,
        aad: bytes,
        fetch: Callable[[int, int], bytes],
        *,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        _check_segment_bytes(segment_bytes)
        if len(header) < HEADER_BYTES:
            raise Truncated("a slice shorter than its header")
        if len(header) != HEADER_BYTES or header[0] != HEADER_BYTES:
            raise Malformed("not the header of a slice")
        self._header = header
        self._prefix = header[1 + SALT_BYTES :]
        self._decrypt = AESGCM(derive(key, header[1 : 1 + SALT_BYTES], aad)).decrypt
        self._fetch = fetch
        self._segment_bytes = segment_bytes
        self._size = size
        self._open: tuple[int, bytes] = (-1, b"")
        self.size = plain_size(size, segment_bytes)
        """Plaintext bytes in the slice."""
        self.segments_opened = 0
        """How many segments were decrypted so far."""

    def read(self, start: int, end: int) -> bytes:
        """Plaintext bytes [start, end), as far as there are any. Raises `Truncated`, `Tampered` or `Swapped`."""
        start, end = max(start, 0), min(end, self.size)
        if start >= end and self.size:
            return b""
        step = self._segment_bytes - TAG_BYTES
        first, last = (start + HEADER_BYTES) // step, max(0, end - 1 + HEADER_BYTES) // step
        base = first * step - HEADER_BYTES if first else 0
        parts = []
        if first == self._open[0]:
            parts.append(self._open[1])
        if first + len(parts) <= last:
            parts += self._segments(first + len(parts), last)
        return b"".join(parts)[start - base : end - base]

    def _segments(self, first: int, last: int) -> list[bytes]:
        """The plaintext of these segments, fetched in one piece."""
        begin = first * self._segment_bytes or HEADER_BYTES
        stop = min((last + 1) * self._segment_bytes, self._size)
        sealed = self._fetch(begin, stop)
        if len(sealed) != stop - begin:
            raise Truncated(f"{stop - begin} bytes wanted at {begin}, {len(sealed)} there")
        final = (self._size - 1) // self._segment_bytes
        view, at, parts = memoryview(sealed), 0, []
        for index in range(first, last + 1):
            size = self._segment_bytes - (0 if index else HEADER_BYTES)
            try:
                nonce = _nonce(self._prefix, index, last=index == final)
                parts.append(self._decrypt(nonce, view[at : at + size], None))
            except InvalidTag:
                raise self._blame(index) from None
            at += size
            self.segments_opened += 1
        self._open = (last, parts[-1])
        return parts

    def _blame(self, index: int) -> Tampered | Swapped:
        """A whole other object lies here, or this one was changed: its header tells."""
        if self._fetch(0, HEADER_BYTES)[1:] != self._header[1:]:
            return Swapped("another slice lies in this one's place")
        return Tampered(f"segment {index} does not authenticate")


def open_slice(
    key: Secret,
    sealed: bytes,
    aad: bytes,
    *,
    segment_bytes: int = SEGMENT_BYTES,
    header: bytes,
    size: int,
    digest: bytes,
) -> bytes:
    """The whole plaintext, checked against all that the catalogue knows: `header`, `size` and SHA-256 `digest`.

    `Truncated`, `Tampered`, `Swapped`: see `inspect`. If the bytes are the catalogued ones and still do not open, the
    catalogue's row belongs to another place, which is `Swapped` too.
    """
    inspect(sealed, header=header, size=size, digest=digest)
    reader = SliceReader(key, header, size, aad, lambda start, end: sealed[start:end], segment_bytes=segment_bytes)
    try:
        return reader.read(0, reader.size)
    except Tampered:
        raise Swapped("a valid slice, sealed for another place") from None


def inspect(sealed: bytes, *, header: bytes, size: int, digest: bytes) -> None:
    """Check a slice without its key. `Truncated`: ours, but shorter; `Tampered`: ours, changed; `Swapped`: not ours."""
    own_header = sealed[:HEADER_BYTES] == header[: len(sealed)]
    if len(sealed) < size and own_header:
        raise Truncated(f"{size} bytes catalogued, {len(sealed)} there")
    if hmac.compare_digest(sha256(sealed).digest(), digest):
        return
    if own_header or sha256(header + sealed[HEADER_BYTES:]).digest() == digest:
        raise Tampered("the slice is not what was stored")
    raise Swapped("another slice lies in this one's place")


def _nonce(prefix: bytes, index: int, *, last: bool) -> bytes:
    return prefix + struct.pack(">I?", index, last)


def _check_segment_bytes(segment_bytes: int) -> None:
    if not SEGMENT_BYTES_MIN <= segment_bytes <= SEGMENT_BYTES_MAX:
        raise Malformed(f"no slice has segments of {segment_bytes} bytes")
