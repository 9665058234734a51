"""How one key wraps another, and what each wrapping is bound to.

AES-256-GCM with random nonces. Everything that says what a key is for is associated data, length-prefixed, so no
row can be moved to another tenant, epoch, bucket or artefact. FORMAT.md has the bytes.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.envelope import length_prefixed
from storage.errors import Tampered
from storage.model import ArtefactRef, Kind
from storage.records import Day

KEY_BYTES = 32
_NONCE_BYTES = 12
_EPOCH_LABEL, _BUCKET_LABEL, _ARTEFACT_LABEL = b"callvault epoch v1", b"callvault bucket v1", b"callvault artefact v1"

PROBE_AAD = b"callvault probe v1"
"""What the probe of an epoch is bound to: bytes kept to show that a destroyed key opens nothing."""


class Slot(NamedTuple):
    """What a bucket is for, within its tenant and root."""

    kind: Kind
    purpose: str
    day: Day


class Bucket(NamedTuple):
    """A bucket's id, which names its key, and the key; which part of its day it is."""

    id: str
    key: bytes
    part: int = 0

    def __repr__(self) -> str:
        return f"Bucket({self.id})"


def fresh_key() -> bytes:
    """32 random bytes from the operating system."""
    return os.urandom(KEY_BYTES)


def wrap(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Nonce, ciphertext, tag. Random nonces: a bucket wraps some 10⁶ keys, the bound is 2³²."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, aad)


def unwrap(key: bytes, wrapped: bytes, aad: bytes) -> bytes:
    """What was wrapped; Tampered if key, bytes or purpose are others."""
    try:
        return AESGCM(key).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], aad)
    except (InvalidTag, ValueError):
        raise Tampered("a wrapped key does not open") from None


def provider_key(tenant: str, root: str, n: int) -> str:
    """The provider's name for TK(tenant, root, n)."""
    return f"{tenant}-{root}-{n}"


def epoch_aad(tenant: str, root: str, n: int) -> bytes:
    """What an epoch secret is bound to."""
    return length_prefixed(_EPOCH_LABEL, tenant.encode(), root.encode(), str(n).encode())


def bucket_aad(tenant: str, root: str, n: int, bucket: str, slot: Slot) -> bytes:
    """What a bucket key is bound to."""
    where = (tenant, root, str(n), bucket, slot.kind.value, slot.purpose, slot.day)
    return length_prefixed(_BUCKET_LABEL, *(part.encode() for part in where))


def artefact_aad(ref: ArtefactRef, bucket: str) -> bytes:
    """What an artefact key is bound to."""
    where = (ref.tenant, ref.call, ref.participant, ref.artefact, ref.kind.value, ref.purpose, bucket)
    return length_prefixed(_ARTEFACT_LABEL, *map(str.encode, where))


def wrap_bucket(bucket: Bucket, slot: Slot, tenant: str, root: str, n: int, secret: bytes) -> dict[str, object]:
    """The row of a bucket in epoch `n`, its key wrapped by that epoch's secret."""
    return {
        "id": bucket.id,
        "tenant": tenant,
        "root": root,
        "epoch": n,
        "kind": slot.kind.value,
        "purpose": slot.purpose,
        "day": slot.day,
        "part": bucket.part,
        "wrapped": wrap(secret, bucket.key, bucket_aad(tenant, root, n, bucket.id, slot)),
    }
