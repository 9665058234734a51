"""The signed manifest of a call: what was stored, by hashes, so that nothing can be swapped, cut or added unseen.

In clear stand ids, kinds, sizes, hashes and key commitments. Facts (gap map, time maps, consent, announcement) are in
it as the ciphertext of the streams' documents, and die with their keys; of other documents it has the hash only.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from storage.epochs import ALIVE, artefact_ref
from storage.errors import Malformed, Tampered
from storage.model import CallId, TenantId
from storage.records import STREAMS, Day
from storage.signing import Signer, canonical, parse_json, verify_signature
from storage.slices import object_name
from storage.tables import artefacts, documents, slices

FORMAT = "callvault manifest v1"
MANIFEST_BYTES_MAX = 16 << 20
"""A day-long call of ten streams has some 15,000 slices at 250 bytes each."""

_LABEL = "callvault manifest v1"
_MEMBERS = {"format", "tenant", "call", "day", "artefacts", "public_key", "signature"}
_KEY = re.compile(r"[0-9a-f]{64}\Z")

_ARTEFACTS = (
    select(artefacts)
    .where(artefacts.c.call.in_(bindparam("calls", expanding=True)), artefacts.c.state.in_(ALIVE))
    .order_by(artefacts.c.serial)
)
_SLICES = (  # without their indexes, which are the larger part of a row
    select(*(slices.c[name] for name in ("artefact", "slice_no", "stream_id", "size", "digest", "segment_bytes")))
    .where(slices.c.artefact.in_(bindparam("artefacts", expanding=True)))
    .order_by(slices.c.artefact, slices.c.slice_no)
)
_DOCUMENTS = select(documents).where(documents.c.artefact.in_(bindparam("artefacts", expanding=True)))


@dataclass(frozen=True, slots=True)
class Closing:
    """A call that is to get its manifest."""

    tenant: TenantId
    call: CallId
    day: Day


def make_manifests(connection: Connection, signer: Signer, closing: Sequence[Closing]) -> dict[CallId, dict[str, Any]]:
    """The manifests of what the catalogue holds of these calls in this snapshot."""
    if not closing:
        return {}
    rows = connection.execute(_ARTEFACTS, {"calls": [item.call for item in closing]}).all()
    names = {"artefacts": [row.id for row in rows]}
    slices_of: dict[str, list[Row[Any]]] = {}
    for found in connection.execute(_SLICES, names) if rows else ():
        slices_of.setdefault(found.artefact, []).append(found)
    documents_of = {found.artefact: found for found in connection.execute(_DOCUMENTS, names)} if rows else {}
    entries: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        entry = _artefact(row, slices_of.get(row.id, ()), documents_of.get(row.id))
        entries.setdefault((row.tenant, row.call), []).append(entry)
    return {item.call: _signed(signer, item, entries.get((item.tenant, item.call), [])) for item in closing}


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


def _signed(signer: Signer, item: Closing, entries: list[dict[str, Any]]) -> dict[str, Any]:
    statement: dict[str, Any] = {
        "format": FORMAT,
        "tenant": item.tenant,
        "call": item.call,
        "day": item.day,
        "artefacts": entries,
        "public_key": signer.public_key,
    }
    return {**statement, "signature": signer.sign(_LABEL, canonical(statement))}


def _artefact(row: Row[Any], slice_rows: Sequence[Row[Any]], document: Row[Any] | None) -> dict[str, Any]:
    ref = artefact_ref(row)
    entry: dict[str, Any] = {
        "artefact": ref.artefact,
        "participant": ref.participant,
        "kind": ref.kind.value,
        "purpose": ref.purpose,
        "commitment": row.commitment.hex(),
        "interrupted": row.interrupted,
        "slices": [_slice(found, object_name(ref, found.stream_id)) for found in slice_rows],
    }
    if document is not None:
        sealed = document.sealed
        digest = hashlib.sha256(sealed).hexdigest()
        entry["document"] = {"stream_id": document.stream_id, "sha256": digest, "size": len(sealed)}
        if ref.kind in STREAMS:
            entry["document"]["sealed"] = base64.b64encode(sealed).decode("ascii")
    return entry


def _slice(row: Row[Any], name: str) -> dict[str, Any]:
    return {
        "slice": row.slice_no,
        "object": name,
        "size": row.size,
        "sha256": row.digest.hex(),
        "segment_bytes": row.segment_bytes,
    }
