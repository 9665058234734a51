"""The index of an export: what is in it, by hashes, signed so that nothing can be added, cut or changed unseen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from storage.errors import Malformed, Tampered, WrongKey
from storage.signing import Signer, canonical, fingerprint_of, parse_json, verify_signature

FORMAT = "callvault export v1"
INDEX_BYTES_MAX = 16 << 20
"""A person of 10,000 calls has some 60,000 files at 150 bytes each."""

_LABEL = "callvault export v1"
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


def sign_index(signer: Signer, index: Mapping[str, Any]) -> dict[str, Any]:
    """The index with its format, whose key signed it, and the signature; whole numbers only."""
    statement = {"format": FORMAT, **index, "public_key": signer.public_key}
    return {**statement, "signature": signer.sign(_LABEL, canonical(statement))}


def parse_index(text: bytes, fingerprint: str) -> dict[str, Any]:
    """An index from its file, checked against the pinned fingerprint of the installation that made it.

    Malformed: no index. WrongKey: of another installation. Tampered: something was changed.
    """
    document = parse_json(text, INDEX_BYTES_MAX)
    if not isinstance(document, dict) or document.get("format") != FORMAT or not isinstance(document["files"], list):
        raise Malformed("not the index of an export of a version that is known here")
    public_key = str(document.get("public_key"))
    if fingerprint_of(public_key) != fingerprint.strip().lower():
        raise WrongKey("the export is signed by another key than the pinned one")
    statement = {name: value for name, value in document.items() if name != "signature"}
    verify_signature(public_key, _LABEL, canonical(statement), document.get("signature"))
    return document


def check_file(index: Mapping[str, Any], name: str, size: int, digest: str) -> None:
    """Raises Tampered unless the index has a file of this name, size and SHA-256."""
    found = [entry for entry in index["files"] if entry["name"] == name]
    if len(found) != 1 or (found[0]["size"], found[0]["sha256"]) != (size, digest) or not _DIGEST.match(digest):
        raise Tampered(f"{name} is not what the index says")
