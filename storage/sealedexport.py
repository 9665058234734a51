"""A file sealed for one recipient: a fresh key by HPKE (RFC 9180) to a public key, the file as a stream under it.

FORMAT.md §10 has the bytes. Whoever has the private key opens it, and nobody else, the sender included. What is wrong
with a file is told apart: made for another key, cut off, or changed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from storage.envelope import (
    HEADER_BYTES,
    KEY_BYTES,
    PREFIX_BYTES,
    SALT_BYTES,
    SEGMENT_BYTES,
    SliceReader,
    commitment,
    length_prefixed,
    seal_parts,
)
from storage.errors import Malformed, Refused, Tampered, Truncated, WrongKey
from storage.model import Secret

MAGIC = b"CVEXPRT1"
END_MAGIC = b"CVEXPEND"
WRAPPED_BYTES = 32 + KEY_BYTES + 16
"""What HPKE makes of the content key: the encapsulated key, the ciphertext, its tag."""
HEAD = struct.Struct(f">8s32s{WRAPPED_BYTES}s32sI")
"""Magic, SHA-256 of the recipient's public key, wrapped content key, its commitment, segment size."""
TAIL = struct.Struct(">Q8s")
"""Bytes of the stream, magic: without them the file was cut off."""
READ_BYTES = 1 << 18

_INFO = b"callvault sealed export v1"
_PUBLIC = re.compile(r"cvx1-public-([0-9a-f]{64})\Z")
_PRIVATE = re.compile(r"cvx1-private-([0-9a-f]{64})\Z")
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True)
class Recipient:
    """A public key that files are sealed for."""

    raw: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Recipient:
        """From its line of text, the inverse of `str`; Malformed, also of points that agree on nothing."""
        match = _PUBLIC.match(text.strip())
        if match is None:
            raise Malformed("a recipient's key is `cvx1-public-` and 64 hexadecimal digits")
        found = cls(bytes.fromhex(match[1]))
        try:
            X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(found.raw))
        except ValueError:
            raise Malformed("a recipient's key that no secret can be agreed on with") from None
        return found

    def __str__(self) -> str:
        return f"cvx1-public-{self.raw.hex()}"

    @property
    def fingerprint(self) -> bytes:
        """What a sealed file names it by: SHA-256 of the key."""
        return hashlib.sha256(self.raw).digest()


@dataclass(frozen=True, slots=True)
class RecipientKey:
    """The private key, which is the recipient's alone."""

    secret: Secret

    @classmethod
    def fresh(cls) -> RecipientKey:
        """A new one."""
        key = X25519PrivateKey.generate()
        return cls(Secret(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())))

    @classmethod
    def parse(cls, text: str) -> RecipientKey:
        """From its line of text; Malformed."""
        match = _PRIVATE.match(text.strip())
        if match is None:
            raise Malformed("a private key is `cvx1-private-` and 64 hexadecimal digits")
        return cls(Secret(bytes.fromhex(match[1])))

    def text(self) -> str:
        """Its line of text, to be written into the recipient's own file."""
        return f"cvx1-private-{self.secret.reveal().hex()}"

    @property
    def recipient(self) -> Recipient:
        """The public key."""
        return Recipient(self._key().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def _key(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self.secret.reveal())

    def unwrap(self, wrapped: bytes) -> Secret:
        """The content key; Tampered."""
        try:
            return Secret(_SUITE.decrypt(wrapped, self._key(), _INFO))
        except (InvalidTag, ValueError):
            raise Tampered("the sealed key of the file was changed") from None


def sealed_for(recipient: Recipient, parts: Iterable[bytes]) -> Iterator[bytes]:
    """The sealed file, as its content comes; never held as a whole."""
    key = Secret(os.urandom(KEY_BYTES))
    wrapped = _SUITE.encrypt(key.reveal(), X25519PublicKey.from_public_bytes(recipient.raw), _INFO)
    head = HEAD.pack(MAGIC, recipient.fingerprint, wrapped, commitment(key), SEGMENT_BYTES)
    yield head
    size, salt, prefix = 0, os.urandom(SALT_BYTES), os.urandom(PREFIX_BYTES)
    for piece in seal_parts(key, parts, _aad(head), salt=salt, nonce_prefix=prefix):
        size += len(piece)
        yield piece
    yield TAIL.pack(size, END_MAGIC)


def opened(key: RecipientKey, size: int, fetch: Callable[[int, int], bytes]) -> Iterator[bytes]:
    """The content of a file of `size` bytes, of which `fetch(start, end)` gives a part; each piece is authentic.

    Malformed: no such file. WrongKey: sealed for another key. Truncated: cut off. Tampered: changed. What came before
    an error is the beginning of what was sealed, and no more than that.
    """
    head = fetch(0, HEAD.size)
    if len(head) < HEAD.size or not head.startswith(MAGIC):
        raise (Truncated if MAGIC.startswith(head[: len(MAGIC)]) and head else Malformed)("not a whole sealed export")
    _, fingerprint, wrapped, committed, segment_bytes = HEAD.unpack(head)
    if not hmac.compare_digest(fingerprint, key.recipient.fingerprint):
        raise WrongKey("the file is sealed for another key")
    content = key.unwrap(wrapped)
    if not hmac.compare_digest(commitment(content), committed):
        raise Tampered("the head of the file was changed")
    end = size - TAIL.size
    length, magic = TAIL.unpack(fetch(end, size)) if end >= HEAD.size + HEADER_BYTES else (0, b"")
    if magic != END_MAGIC or HEAD.size + length > end:
        raise Truncated("the file was cut off")
    if HEAD.size + length != end:
        raise Tampered("the file is longer than what was sealed")
    yield from _stream(content, head, segment_bytes, length, fetch)


def _stream(
    key: Secret, head: bytes, segment_bytes: int, length: int, fetch: Callable[[int, int], bytes]
) -> Iterator[bytes]:
    start = len(head)
    try:
        reader = SliceReader(
            key,
            fetch(start, start + HEADER_BYTES),
            length,
            _aad(head),
            lambda first, last: fetch(start + first, start + last),
            segment_bytes=segment_bytes,
        )
    except Malformed:
        raise Tampered("the stream of the file was changed") from None
    for first in range(0, max(reader.size, 1), READ_BYTES):
        yield reader.read(first, min(first + READ_BYTES, reader.size))


def _aad(head: bytes) -> bytes:
    """The stream opens behind its own head only."""
    return length_prefixed(_INFO, head)


def recipient_of(text: str) -> Recipient:
    """A key that somebody outside has given; Refused instead of Malformed, as it is the asker's fault."""
    try:
        return Recipient.parse(text)
    except Malformed as error:
        raise Refused(str(error)) from None
