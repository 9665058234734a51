"""How one key wraps another, and what each wrapping is bound to.

AES-256-GCM with random nonces. Everything that says what a key is for is associated data, length-prefixed, so no
row can be moved to another tenant, epoch, bucket, node or artefact. FORMAT.md has the bytes.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.envelope import length_prefixed
from storage.errors import Tampered
from storage.model import ArtefactRef, Kind
from storage.records import Day

KEY_BYTES = 32
_NONCE_BYTES = 12
_EPOCH_LABEL, _BUCKET_LABEL = b"callvault epoch v1", b"callvault bucket v1"
_NODE_LABEL, _ARTEFACT_LABEL = b"callvault node v1", b"callvault artefact v1"

PROBE_AAD = b"callvault probe v1"
"""What the probe of an epoch is bound to: bytes kept to show that a destroyed key opens nothing."""


class Slot(NamedTuple):
    """What a bucket is for, within its tenant and root."""

    kind: Kind
    purpose: str
    day: Day


class Bucket(NamedTuple):
    """A bucket's id, which names its key, and the key; the Unix second from which reads are refused, None: no end."""

    id: str
    key: bytes
    due: int | None = None

    def __repr__(self) -> str:
        return f"Bucket({self.id})"


class Node(NamedTuple):
    """A node below a bucket, or a leaf below a node: its id, which names its key, the key, and the parent's id."""

    id: str
    key: bytes
    parent: str

    def __repr__(self) -> str:
        return f"Node({self.id})"


class BucketRow(NamedTuple):
    """What opening a bucket needs of its row."""

    id: str
    tenant: str
    root: str
    epoch: int
    kind: str
    purpose: str
    day: str
    due: int | None
    wrapped: bytes


class NodeRow(NamedTuple):
    """What opening a node or leaf needs of its row."""

    id: str
    parent: str
    wrapped: bytes


def fresh_key() -> bytes:
    """32 random bytes from the operating system."""
    return os.urandom(KEY_BYTES)


class WrappingKey:
    """A key made ready to wrap and unwrap many others; Tampered if it is not 32 bytes: a provider may lie."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise Tampered("a wrapping key is not 32 bytes")
        self._cipher = AESGCM(key)

    def wrap(self, plaintext: bytes, aad: bytes) -> bytes:
        """Nonce, ciphertext, tag. Random nonces: an epoch secret wraps some 10⁵ keys, the bound is 2³²."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plaintext, aad)

    def unwrap(self, wrapped: bytes, aad: bytes) -> bytes:
        """What was wrapped; Tampered if key, bytes or purpose are others."""
        try:
            return self._cipher.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], aad)
        except (InvalidTag, ValueError):
            raise Tampered("a wrapped key does not open") from None


def wrap(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """The same with a key that is used once."""
    return WrappingKey(key).wrap(plaintext, aad)


def unwrap(key: bytes, wrapped: bytes, aad: bytes) -> bytes:
    """What was wrapped; Tampered if key, bytes or purpose are others."""
    return WrappingKey(key).unwrap(wrapped, aad)


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


def node_aad(tenant: str, node: str, parent: str) -> bytes:
    """What the key of a node or leaf is bound to."""
    return length_prefixed(_NODE_LABEL, tenant.encode(), node.encode(), parent.encode())


def artefact_aad(ref: ArtefactRef, leaf: str) -> bytes:
    """What an artefact key is bound to."""
    return artefact_place(
        ref.tenant, ref.call, ref.participant, ref.artefact, ref.kind.value, ref.purpose
    ) + leaf_place(leaf)


def artefact_place(tenant: str, call: str, participant: str, artefact: str, kind: str, purpose: str) -> bytes:
    """The part of that which is the same in every leaf."""
    return length_prefixed(_ARTEFACT_LABEL, *map(str.encode, (tenant, call, participant, artefact, kind, purpose)))


def leaf_place(leaf: str) -> bytes:
    """The part that follows, which is the same for every key of a leaf."""
    return length_prefixed(leaf.encode())


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
        "due": bucket.due,
        "wrapped": wrap(secret, bucket.key, bucket_aad(tenant, root, n, bucket.id, slot)),
    }


def open_bucket(row: Any, secret: bytes) -> Bucket:
    """The bucket in a row of `buckets`; Tampered if this is not its epoch's secret."""
    aad = bucket_aad(row.tenant, row.root, row.epoch, row.id, slot_of(row))
    return Bucket(row.id, unwrap(secret, row.wrapped, aad), row.due)


def slot_of(row: Any) -> Slot:
    """What the bucket of a row is for."""
    return Slot(Kind(row.kind), row.purpose, row.day)


def wrap_node(node: Node, tenant: str, parent_key: bytes) -> dict[str, object]:
    """The row of a node or leaf, its key wrapped by its parent's."""
    wrapped = wrap(parent_key, node.key, node_aad(tenant, node.id, node.parent))
    return {"id": node.id, "parent": node.parent, "wrapped": wrapped}


def open_node(row: Any, tenant: str, parent_key: bytes) -> Node:
    """The node or leaf in a row of `nodes`; Tampered if this is not its parent's key."""
    return Node(row.id, unwrap(parent_key, row.wrapped, node_aad(tenant, row.id, row.parent)), row.parent)
