"""Calls: list, detail, transcript, manifest, erasure."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.context import AsCaller, AsOfficer, Caller, Context, InContext, OfCall, check_kept
from gateway.events import LiveEvent
from gateway.rights.annotations import entries_of
from storage.errors import Erased, NotFound, NotReady, Restricted
from storage.model import ArtefactRef, ArtefactState, CallId, CallState, Kind, TenantId
from storage.recordings import Recordings
from storage.records import CallRecord
from storage.residency import Location, held_in
from transcription.model import RedactedTranscript, Transcript, turns_of
from transcription.redaction import restore

router = APIRouter(prefix="/v1/calls", tags=["calls"])


class ErasureRequest(BaseModel):
    """Why a call is erased; the ground goes into the certificate, so it must not hold personal data."""

    model_config = ConfigDict(extra="forbid")
    ground: str = Field("Art. 17(1) GDPR", min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")


@router.get("")
def list_calls(
    context: InContext,
    who: AsCaller,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    before: Annotated[str | None, Query(pattern=r"^[0-9a-f]{32}$")] = None,
) -> dict[str, Any]:
    """The tenant's calls, newest first. `before` is the last id of the page before.

    Times are UTC; `zone` is the time zone that the tenant wants them shown in.
    """
    found = context.recordings.calls(who.tenant, limit=limit, before=CallId(before) if before else None)
    locations = context.recordings.residency.locations(who.tenant)
    rows = [summary(context, who, call, locations) for call in found]
    return {"calls": rows, "zone": context.zone(who.tenant)}


@router.get("/{call}")
def one_call(context: InContext, who: AsCaller, call: OfCall) -> dict[str, Any]:
    """One call: its state, when and how long, its artefacts, and of each track what was received and how good."""
    recordings = context.recordings
    record = recordings.call(who.tenant, call)
    shown_as = summary(context, who, record, recordings.residency.locations(who.tenant))
    return shown_as | {"tracks": [] if record.restricted else _tracks(context, who, record)}


@router.get("/{call}/transcript")
def transcript(context: InContext, who: AsCaller, call: OfCall) -> dict[str, Any]:
    """The redacted transcript; 409 until it is made. Of corrections by those who speak it says only that there are."""
    check_kept(context, who, context.recordings.call(who.tenant, call), Kind.REDACTED_TRANSCRIPT)
    parts = _derived(context.recordings, who.tenant, call, Kind.REDACTED_TRANSCRIPT)
    corrected = [{"who": entry["who"]} for entry in _annotations(context.recordings, who.tenant, call)]
    context.released["released_user"] += 1
    return _dialogue(call, [restore(ref, document) for ref, document in parts]) | {"annotations": corrected}


@router.get("/{call}/transcript/original")
def original_transcript(context: InContext, who: AsOfficer, call: OfCall) -> dict[str, Any]:
    """The transcript as it was spoken, with personal data and what was corrected; officers only."""
    parts = _derived(context.recordings, who.tenant, call, Kind.TRANSCRIPT)
    corrected = _annotations(context.recordings, who.tenant, call)
    context.released["released_user"] += 1
    return _dialogue(call, [Transcript.from_json(document) for _, document in parts]) | {"annotations": corrected}


@router.get("/{call}/participants")
def participants(context: InContext, who: AsOfficer, call: OfCall) -> dict[str, Any]:
    """Who took part in a recording session, with the addresses and names that its client gave; officers only."""
    record = context.recordings.call(who.tenant, call)
    if record.state is CallState.ERASED:
        raise Erased(f"call {call} is erased")
    if not record.find(Kind.IDENTITY):
        raise NotReady(f"call {call} has no keys")
    (identity,) = record.find(Kind.IDENTITY)
    session = json.loads(context.recordings.document(who.tenant, identity.ref.artefact)).get("recording_session") or {}
    return {"call": call, "participants": session.get("participants", [])}


@router.get("/{call}/manifest")
def manifest(context: InContext, who: AsCaller, call: OfCall) -> dict[str, Any]:
    """The signed manifest that closes the recording; 409 until it is written."""
    return context.recordings.manifest(who.tenant, call)


@router.post("/{call}/erasure")
async def erase(context: InContext, who: AsOfficer, call: OfCall, request: ErasureRequest) -> dict[str, Any]:
    """Destroy the keys of the call and return the signed certificate. A live call is ended first."""
    await asyncio.to_thread(context.recordings.call, who.tenant, call)  # another tenant's: 404, and nothing is ended
    await asyncio.to_thread(context.recordings.holds.check, who.tenant, call)  # nor is a call that is held
    context.end_call(call)
    certificate = await asyncio.to_thread(
        lambda: context.recordings.erase_call(who.tenant, call, ground=request.ground, actor=who.role.value)
    )
    context.hub.publish(LiveEvent("call_erased", who.tenant, call))
    return certificate


@router.get("/{call}/certificate")
def certificate(context: InContext, who: AsCaller, call: OfCall) -> dict[str, Any]:
    """The certificate of an erased call."""
    return context.recordings.certificate(who.tenant, call)


def summary(context: Context, who: Caller, record: CallRecord, locations: Sequence[Location]) -> dict[str, Any]:
    """A call as the list shows it: clear columns, where it is, and call detail where it still opens.

    `locations` are its tenant's. Of a restricted call there is no detail; that a call is held is shown to officers.
    """
    row: dict[str, Any] = {"id": record.id, "state": record.state.value, "day": record.day}
    if record.state is CallState.ERASED:
        return row
    if record.reason:  # it never had keys: there is no call detail that says why it is not recorded
        row["reason"] = record.reason
    row["stored_in"] = held_in(locations, record.day)
    row["artefacts"] = [
        {"id": a.ref.artefact, "kind": a.ref.kind.value, "participant": a.ref.participant, "state": a.state.value}
        | {"size": a.size, "purpose": a.ref.purpose}
        for a in record.artefacts
    ]
    if record.restricted:
        return row | {"restricted": True}
    if record.held and who.hears_originals:
        row["held"] = True
    for detail in record.find(Kind.CALL_DETAIL):
        try:
            check_kept(context, who, record, Kind.CALL_DETAIL)
            row["detail"] = shown(json.loads(context.recordings.document(who.tenant, detail.ref.artefact)))
        except (Erased, NotReady, Restricted):
            row["detail"] = None
    return row


def shown(detail: dict[str, Any]) -> dict[str, Any]:
    """Call detail without a number that is withheld; those of earlier releases have it."""
    return detail | {"from": None} if detail.get("private") else detail


def _tracks(context: Context, who: Caller, record: CallRecord) -> list[dict[str, Any]]:
    tracks = []
    for artefact in record.find(Kind.AUDIO):
        try:
            check_kept(context, who, record, Kind.AUDIO)
            facts = json.loads(context.recordings.document(who.tenant, artefact.ref.artefact))
        except (
            Erased,
            NotReady,
            NotFound,
            Restricted,
        ):  # not found: while the call lives, its first slices stand before its facts
            facts = None
        tracks.append({"artefact": artefact.ref.artefact, "participant": artefact.ref.participant, "track": facts})
    return tracks


def _derived(recordings: Recordings, tenant: TenantId, call: CallId, kind: Kind) -> list[tuple[ArtefactRef, bytes]]:
    record = recordings.call(tenant, call)
    if record.state is CallState.ERASED:
        raise Erased(f"call {call} is erased")
    found = [artefact for artefact in record.find(kind) if artefact.state is ArtefactState.COMPLETE]
    if not found:
        raise NotReady(f"call {call} has no {kind.value} yet")
    return [(artefact.ref, recordings.document(tenant, artefact.ref.artefact)) for artefact in found]


def _annotations(recordings: Recordings, tenant: TenantId, call: CallId) -> list[dict[str, Any]]:
    return entries_of(recordings, tenant, recordings.call(tenant, call))


def _dialogue(call: CallId, parts: Sequence[Transcript | RedactedTranscript]) -> dict[str, Any]:
    turns = turns_of(track for part in parts for track in part.tracks)
    return {
        "call": call,
        "language": parts[0].language,
        "engine": parts[0].engine,
        "turns": [
            {"participant": t.participant, "start_ms": t.start_ms, "end_ms": t.end_ms, "text": t.text} for t in turns
        ],
    }
