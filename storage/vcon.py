"""A certificate of erasure as a vCon: what software that keeps conversations files in the place of one that is gone.

After draft-ietf-vcon-vcon-core-03 (1 July 2026), JSON syntax "0.4.0", in its signed form. Later drafts (syntax "0.5.0")
rename `redacted` to `redacted_from`; their readers take 0.4.0, too. A vCon is one conversation: so a certificate has
this form where its target names exactly one call, and none otherwise (a person, a tenant, a day's expiry).

    redacted      without a uuid, which says that there is no less redacted version any more
    parties       first who has erased, an organization; then each participant by its random id, and nothing else
    dialog        a recording for each track that the catalogue knows, without content; of a call that is erased whole
                  nothing is known any more: one empty place. `start` is midnight UTC of the call's day, since the hour
                  is sealed call detail
    attachments   the certificate, byte for byte what it proves, as JSON
    callvault     our extension: of the whole the ids of call and erasure, of a dialog its artefact and what became of
                  it. A reader that does not know it loses nothing but that

The uuid is of version 8: Unix milliseconds of the end of the erasure, then bits of the SHA-256 of its id, where the
draft has SHA-1 of a host's name: a store has none. The same certificate always gets the same uuid. `alg` is EdDSA, not
the draft's RS256: the ledger's key signs. Consents and lifecycle records (draft-howe-vcon-lifecycle-01) go to a
transparency service there; here the ledger is it, and the certificate has its entries.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from storage import jws
from storage.calls import read_call
from storage.chain import Entry, Keys
from storage.epochs import ALIVE
from storage.errors import Malformed, Refused, Tampered, WrongKey
from storage.ledger import parse_certificate, target_words, verify_certificate
from storage.model import CallId, CallState, TenantId
from storage.records import STREAMS, Day
from storage.signing import Signer, canonical, fingerprint_of, parse_json
from storage.tables import artefacts
from storage.times import utc

SYNTAX = "0.4.0"
EXTENSION = "callvault"
MEDIA_TYPE = "audio/x-wav"
"""What a recording is, or was, to be had as; readers miss it where there is no content, too."""
TRACKS_MAX = 1_000
"""Recordings that are listed, some 250 bytes each; a call of more has the first; its certificate counts all."""
VCON_BYTES_MAX = 2 << 20
"""A certificate at its limit, in base64, with its tracks."""

_MEMBERS = {"vcon", "uuid", "extensions", "created_at", "updated_at", "redacted", "parties", "dialog", "attachments"}


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording of the call: whose it is, and whether its key is still there."""

    artefact: str
    participant: str
    kept: bool


def call_of(certificate: Mapping[str, Any]) -> CallId | None:
    """The one call that a certificate names; None if it names several or none: then it has no form as a vCon."""
    named = certificate["entries"][0]["body"]["target"].get("calls", [])
    return CallId(named[0]) if len(named) == 1 else None


def recorded(connection: Connection, tenant: TenantId, certificate: Mapping[str, Any]) -> tuple[Day, list[Recorded]]:
    """The day of the certificate's one call, and its recordings as the catalogue knows them now. Refused, NotFound."""
    call = read_call(connection, tenant, _one_call(certificate))
    if call.state is CallState.ERASED:
        return call.day, []
    wanted = (artefacts.c.call == call.id, artefacts.c.kind.in_([kind.value for kind in STREAMS]))
    rows = connection.execute(select(artefacts).where(*wanted).order_by(artefacts.c.serial).limit(TRACKS_MAX))
    return call.day, [Recorded(row.id, row.participant, row.state in ALIVE) for row in rows]


def make_vcon(
    signer: Signer, certificate: Mapping[str, Any], day: Day, tracks: Sequence[Recorded], now_s: float
) -> dict[str, Any]:
    """The signed vCon of a certificate, signed now; Refused if it is not of one call."""
    indices = {one: index for index, one in enumerate(dict.fromkeys(track.participant for track in tracks), start=1)}
    persons = [{"type": "person", "uuid": participant} for participant in indices]
    of_call = {"type": "recording", "start": f"{day}T00:00:00Z", "mediatype": MEDIA_TYPE}
    dialog = [
        {**of_call, "parties": [indices[track.participant]]}
        | {EXTENSION: {"artefact": track.artefact, "state": "kept" if track.kept else "erased"}}
        for track in tracks
    ]
    proved = _proved(certificate)
    statement = {
        **proved,
        "updated_at": utc(now_s),
        "parties": proved["parties"] + persons,
        "dialog": dialog or [{**of_call, "parties": []}],
    }
    return jws.sign(signer, canonical(statement), {"uuid": statement["uuid"]})


def verify_vcon(document: dict[str, Any], fingerprint: str, key_changes: Sequence[Entry] = ()) -> list[str]:
    """Checks a vCon and the certificate in it against the pinned fingerprint; gives what they prove, in words.

    Malformed, WrongKey, Tampered as `verify_certificate`; Tampered also if the vCon says what its certificate does not.
    """
    payload, public_key, header = jws.verify(document, VCON_BYTES_MAX)
    keys = Keys.of(key_changes, public_key)
    if not keys.includes(fingerprint_of(public_key)) or not keys.includes(fingerprint.strip().lower()):
        raise WrongKey("the vCon is signed by another key than the pinned one")
    vcon = parse_json(payload, VCON_BYTES_MAX)
    if not isinstance(vcon, dict) or set(vcon) != _MEMBERS | {EXTENSION}:
        raise Malformed("not a vCon of a version that is known here")
    try:
        certificate = parse_certificate(json.dumps(vcon["attachments"][0]["body"]).encode())
        states = [dialog.get(EXTENSION, {}).get("state", "erased") for dialog in vcon["dialog"]]
        organization, signed_at = vcon["parties"][:1], str(vcon["updated_at"])
    except (LookupError, TypeError, AttributeError):
        raise Malformed("not a vCon that carries a certificate") from None
    findings = verify_certificate(certificate, fingerprint, key_changes)
    try:
        proved = _proved(certificate)
    except Refused:
        raise Tampered("the certificate in the vCon is not of one call") from None
    if {**vcon, "parties": organization} != {**vcon, **proved} or header.get("uuid", vcon["uuid"]) != vcon["uuid"]:
        raise Tampered("the vCon says of its certificate what that does not say")
    kept = states.count("kept")
    return [
        *findings,
        f"filed as vCon {vcon['uuid']}, signed at {signed_at}: of the call {kept} recordings were kept then",
    ]


def _proved(certificate: Mapping[str, Any]) -> dict[str, Any]:
    """What of a vCon follows from its certificate alone, so that a verifier makes it again and compares."""
    call = _one_call(certificate)
    intent, done = (entry["body"] for entry in certificate["entries"])
    attachment = {
        "purpose": "certificate of erasure",
        "start": done["at"],
        "party": 0,
        "dialog": 0,
        "mediatype": "application/json",
        "filename": "certificate.json",
        "encoding": "json",
        "body": dict(certificate),
    }
    return {
        "vcon": SYNTAX,
        "uuid": _uuid(done["erasure"], done["at"]),
        "extensions": [EXTENSION],
        "created_at": done["at"],
        "redacted": {"type": f"cryptographic erasure: {target_words(intent['target'])}"},
        "parties": [{"type": "organization", "org": f"callvault {fingerprint_of(certificate['public_key'])}"}],
        "attachments": [attachment],
        EXTENSION: {"call": call, "erasure": done["erasure"]},
    }


def _one_call(certificate: Mapping[str, Any]) -> CallId:
    call = call_of(certificate)
    if call is None:
        raise Refused("this certificate is not of one call by name, as a vCon would be")
    return call


def _uuid(erasure: str, at: str) -> str:
    try:
        milliseconds = int(datetime.strptime(at, "%Y-%m-%dT%H:%M:%S%z").timestamp() * 1_000)
    except (ValueError, TypeError):
        raise Malformed("the entries of a certificate say when") from None
    random = int.from_bytes(hashlib.sha256(f"callvault vcon v1{erasure}".encode()).digest()[:10])
    high, low = (milliseconds & (1 << 48) - 1) << 16 | 0x8000 | random >> 68, 2 << 62 | random & (1 << 62) - 1
    return str(uuid.UUID(int=high << 64 | low))
