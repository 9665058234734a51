"""Canonical JSON and Ed25519 (RFC 8032): one way to write a statement down, so that one signature covers it."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from storage.errors import Malformed, Tampered
from storage.model import Secret

_KEY = re.compile(r"[0-9a-f]{64}\Z")
_SIGNATURE = re.compile(r"[0-9a-f]{128}\Z")
_NO_END = datetime(9999, 12, 31, 23, 59, 59)  # of a certificate without one: RFC 5280 §4.1.2.5


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

    def sign_bare(self, statement: bytes) -> bytes:
        """64 bytes, over the statement as it is: for formats that have no place for a label (JWS, X.509).

        Neither begins as a label does (`callvault …`): a JWS with base64url of `{"`, a certificate with 30 hex.
        """
        return self._key.sign(statement)

    def certificate(self) -> bytes:
        """The public key as an X.509 certificate (DER) that it signs itself: ever the same; it vouches for nobody."""
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, fingerprint_of(self.public_key))])
        made = x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=self._key.public_key())
        made = made.serial_number(int(self.public_key[:30], 16) + 1)
        made = made.not_valid_before(datetime(2020, 1, 1)).not_valid_after(_NO_END)
        return made.sign(self._key, None).public_bytes(serialization.Encoding.DER)


def verify_signature(public_key: str, label: str, statement: bytes, signature: object) -> None:
    """Raises Tampered if the signature does not hold, Malformed if it is none."""
    if _KEY.match(public_key) is None or not isinstance(signature, str) or _SIGNATURE.match(signature) is None:
        raise Malformed("a public key has 64, a signature 128 lower-case hexadecimal digits")
    verify_bare(public_key, _labelled(label, statement), bytes.fromhex(signature))


def verify_bare(public_key: str, statement: bytes, signature: bytes) -> None:
    """The same of what `sign_bare` has signed; the key is 64 hexadecimal digits. Tampered."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(signature, statement)
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
