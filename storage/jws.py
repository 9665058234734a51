"""A signed JSON document that other software reads: JWS, General JSON Serialization (RFC 7515 §7.2.1), Ed25519.

One signature; `alg` is protected and is EdDSA (RFC 8037), and nothing else is read: RFC 9864 calls the same Ed25519,
which few readers know yet. The key stands beside it as a certificate (`x5c`) that signs itself: it only carries the
key, and whoever verifies pins its fingerprint.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from storage.errors import Malformed
from storage.signing import Signer, parse_json, verify_bare

PROTECTED = {"alg": "EdDSA"}
CERTIFICATE_BYTES_MAX = 4_096
"""Ours has some 350."""
PROTECTED_BYTES_MAX = 1_024

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*\Z")


def sign(signer: Signer, payload: bytes, header: Mapping[str, Any]) -> dict[str, Any]:
    """The signed form; `header` stands beside the certificate, unprotected."""
    protected, body = _encoded(json.dumps(PROTECTED).encode()), _encoded(payload)
    signature = signer.sign_bare(f"{protected}.{body}".encode())
    beside = {"x5c": [base64.b64encode(signer.certificate()).decode()], **header}
    return {
        "payload": body,
        "signatures": [{"protected": protected, "header": beside, "signature": _encoded(signature)}],
    }


def verify(document: Mapping[str, Any], payload_bytes_max: int) -> tuple[bytes, str, Mapping[str, Any]]:
    """Payload, public key (64 hexadecimal digits) and unprotected header of what `sign` has made; whose key it is the
    caller has to judge. Malformed, Tampered."""
    if set(document) != {"payload", "signatures"} or not isinstance(document["payload"], str):
        raise Malformed("a signed document has a payload and signatures")
    signatures = document["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1 or not isinstance(signatures[0], dict):
        raise Malformed("a signed document has one signature here")
    of = signatures[0]
    if set(of) != {"protected", "header", "signature"} or not isinstance(of["header"], dict):
        raise Malformed("a signature has a protected and an unprotected header")
    if parse_json(_decoded(of["protected"], PROTECTED_BYTES_MAX), PROTECTED_BYTES_MAX) != PROTECTED:
        raise Malformed("signed with another algorithm than EdDSA, or under a header that is not known here")
    public_key = _key_in(of["header"].get("x5c"))
    payload = _decoded(document["payload"], payload_bytes_max)
    verify_bare(public_key, f"{of['protected']}.{document['payload']}".encode(), _decoded(of["signature"], 64))
    return payload, public_key, of["header"]


def _key_in(chain: object) -> str:
    if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
        raise Malformed("x5c is one certificate here")
    if len(chain[0]) > CERTIFICATE_BYTES_MAX:
        raise Malformed(f"a certificate has at most {CERTIFICATE_BYTES_MAX} characters here")
    try:
        key = x509.load_der_x509_certificate(base64.b64decode(chain[0], validate=True)).public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("x5c is no certificate") from error
    if not isinstance(key, Ed25519PublicKey):
        raise Malformed("x5c has another kind of key than Ed25519")
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: object, bytes_max: int) -> bytes:
    if not isinstance(text, str) or _BASE64URL.match(text) is None or len(text) > (bytes_max * 4 + 2) // 3:
        raise Malformed(f"base64url of at most {bytes_max} bytes is expected")
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise Malformed("not base64url") from error
    if _encoded(raw) != text:  # one spelling, so that one document is one signature's
        raise Malformed("not base64url")
    return raw
