"""The signed manifest of a call: what was stored, by hashes, so that nothing can be swapped, cut or added unseen.

In clear stand ids, kinds, sizes, hashes and key commitments. Facts (gap map, time maps, consent, announcement) are in
it as the ciphertext of the streams' documents, and die with their keys; of other documents it has the hash only.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from storage.content import sealed_document
from storage.epochs import ALIVE, artefact_ref
from storage.errors import Malformed, Tampered
from storage.model import CallId, TenantId
from storage.records import STREAMS, Day
from storage.signing import Signer, canonical, parse_json, verify_signature
from storage.slices import SliceRow, object_name
from storage.streams import slice_rows
from storage.tables import artefacts

FORMAT = "callvault manifest v1"
MANIFEST_BYTES_MAX = 16 << 20
"""A day-long call of ten streams has some 15,000 slices at 250 bytes each."""

_LABEL = "callvault manifest v1"
_MEMBERS = {"format", "tenant", "call", "day", "artefacts", "public_key", "signature"}
_KEY = re.compile(r"[0-9a-f]{64}\Z")


def make_manifest(connection: Connection, signer: Signer, tenant: TenantId, call: CallId, day: Day) -> dict[str, Any]:
    """The manifest of what the catalogue holds of a call in this snapshot."""
    where = (artefacts.c.call == call, artefacts.c.tenant == tenant, artefacts.c.state.in_(ALIVE))
    rows = connection.execute(select(artefacts).where(*where).order_by(artefacts.c.serial)).all()
    statement: dict[str, Any] = {
        "format": FORMAT,
        "tenant": tenant,
        "call": call,
        "day": day,
        "artefacts": [_artefact(connection, row) for row in rows],
        "public_key": signer.public_key,
    }
    return {**statement, "signature": signer.sign(_LABEL, canonical(statement))}


def parse_manifest(text: bytes) -> dict[str, Any]:
    """A manifest from its file; Malformed if it is none."""
    document = parse_json(text, MANIFEST_BYTES_MAX)
    if not isinstance(document, dict):
        raise Malformed("a manifest is a JSON object")
    return document


def verify(document: dict[str, Any], public_key: str) -> None:
    """Checks a manifest against the pinned public key; Malformed, or Tampered if anything was changed."""
    if set(document) != _MEMBERS or document["format"] != FORMAT or not _KEY.match(public_key):
        raise Malformed("not a manifest of a version that is known here")
    statement = {name: value for name, value in document.items() if name != "signature"}
    if document["public_key"] != public_key:
        raise Tampered("the manifest is signed by another key than the pinned one")
    verify_signature(public_key, _LABEL, canonical(statement), document["signature"])


def _artefact(connection: Connection, row: Any) -> dict[str, Any]:
    ref = artefact_ref(row)
    entry: dict[str, Any] = {
        "artefact": ref.artefact,
        "participant": ref.participant,
        "kind": ref.kind.value,
        "purpose": ref.purpose,
        "commitment": row.commitment.hex(),
        "interrupted": row.interrupted,
        "slices": [_slice(slice_row, object_name(ref, slice_row.stream_id)) for slice_row in _slices(connection, row)],
    }
    document = sealed_document(connection, ref.artefact)
    if document is not None:
        stream_id, sealed = document
        entry["document"] = {"stream_id": stream_id, "sha256": hashlib.sha256(sealed).hexdigest(), "size": len(sealed)}
        if ref.kind in STREAMS:
            entry["document"]["sealed"] = base64.b64encode(sealed).decode("ascii")
    return entry


def _slices(connection: Connection, row: Any) -> Sequence[SliceRow]:
    return slice_rows(connection, row.id)


def _slice(row: SliceRow, name: str) -> dict[str, Any]:
    return {
        "slice": row.slice_no,
        "object": name,
        "size": row.size,
        "sha256": row.digest.hex(),
        "segment_bytes": row.segment_bytes,
    }
