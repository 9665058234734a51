"""Canonical JSON and Ed25519 (RFC 8032): one way to write a statement down, so that one signature covers it."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from storage.errors import Malformed, Tampered
from storage.model import Secret

_KEY = re.compile(r"[0-9a-f]{64}\Z")
_SIGNATURE = re.compile(r"[0-9a-f]{128}\Z")


def canonical(statement: object) -> bytes:
    """JSON with sorted keys, no white space, ASCII only; floats are not allowed, as they have many spellings."""
    _refuse_floats(statement)
    return written(statement)


def written(statement: object) -> bytes:
    """The same of what is known to have no floats: in some 10⁵ rows looking for them takes longer than writing."""
    return json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def parse_json(text: bytes, limit_bytes: int) -> Any:
    """JSON of bounded size in which no name stands twice; Malformed otherwise."""
    if len(text) > limit_bytes:
        raise Malformed(f"a document of {len(text)} bytes; {limit_bytes} is the limit")
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise Malformed("not a JSON document") from error


class Signer:
    """An Ed25519 key that signs statements, each for the use that its `label` names."""

    def __init__(self, seed: Secret) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed.reveal())
        raw = self._key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.public_key = raw.hex()
        """32 bytes as 64 lower-case hexadecimal digits."""

    def sign(self, label: str, statement: bytes) -> str:
        """128 lower-case hexadecimal digits."""
        return self._key.sign(_labelled(label, statement)).hex()


def verify_signature(public_key: str, label: str, statement: bytes, signature: object) -> None:
    """Raises Tampered if the signature does not hold, Malformed if it is none."""
    if _KEY.match(public_key) is None or not isinstance(signature, str) or _SIGNATURE.match(signature) is None:
        raise Malformed("a public key has 64, a signature 128 lower-case hexadecimal digits")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(signature), _labelled(label, statement))
    except InvalidSignature:
        raise Tampered("a signature does not hold") from None


def fingerprint_of(public_key: str) -> str:
    """What a verifier pins: SHA-256 of the public key, in hexadecimal."""
    if _KEY.match(public_key) is None:
        raise Malformed("a public key has 64 lower-case hexadecimal digits")
    return hashlib.sha256(bytes.fromhex(public_key)).hexdigest()


def _labelled(label: str, statement: bytes) -> bytes:
    return label.encode() + b"\0" + statement


def _refuse_floats(value: object) -> None:
    if isinstance(value, float):
        raise Malformed("a signed statement has no fractions")
    if isinstance(value, dict):
        for member in value.values():
            _refuse_floats(member)
    elif isinstance(value, list | tuple):
        for member in value:
            _refuse_floats(member)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice")
    return members
