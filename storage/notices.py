"""Signed requests to delete, as their recipients check them: without a store, so it loads nothing of one."""

from __future__ import annotations

from typing import Any

from storage.errors import Malformed, WrongKey
from storage.signing import canonical, fingerprint_of, parse_json, verify_signature

NOTICE_FORMAT = "callvault deletion request v1"
NOTICE_LABEL = "callvault deletion request v1"
NOTICE_BYTES_MAX = 1 << 20


def verify_notice(text: bytes, fingerprint: str) -> dict[str, Any]:
    """A request to delete, as its recipient checks it. Malformed, WrongKey (another installation's), Tampered."""
    document = parse_json(text, NOTICE_BYTES_MAX)
    if not isinstance(document, dict) or document.get("format") != NOTICE_FORMAT:
        raise Malformed("not a request to delete of a version that is known here")
    public_key = str(document.get("public_key"))
    if fingerprint_of(public_key) != fingerprint.strip().lower():
        raise WrongKey("the request is signed by another key than the pinned one")
    statement = {name: value for name, value in document.items() if name != "signature"}
    verify_signature(public_key, NOTICE_LABEL, canonical(statement), document.get("signature"))
    return document
