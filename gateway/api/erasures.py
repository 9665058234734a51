"""Erasing less and more than a call: artefacts, a participant, a person, a purpose; what was found is shown first."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.calls import summary
from gateway.api.certificates import Form, in_form
from gateway.api.context import AsOfficer, Caller, Context, InContext
from gateway.calls.identifiers import VALUE_CHARACTERS_MAX, Sort
from gateway.events import LiveEvent
from gateway.persons import MatchSet, match
from storage.erasure import CALLS_MAX, Target
from storage.errors import NotFound
from storage.model import ArtefactId, CallId, CallState, Kind, ParticipantId

router = APIRouter(prefix="/v1/erasures", tags=["erasure"])

ID = r"^[0-9a-f]{32}$"
Id = Annotated[str, Field(pattern=ID)]
Ground = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")]
SHOWN_MAX = 500
"""Calls of a match set that are shown with their detail; all are named."""


class MatchRequest(BaseModel):
    """Whom to look for; see /v1/calls/search for what `by` may be."""

    model_config = ConfigDict(extra="forbid")
    by: Sort
    value: Annotated[str, Field(min_length=1, max_length=VALUE_CHARACTERS_MAX)]


class PersonRequest(MatchRequest):
    """The same again, with the token of the match set; `calls` decides for a number that is shared."""

    scope: Literal["person"]
    token: Annotated[str, Field(max_length=200)]
    calls: Annotated[list[Id], Field(min_length=1, max_length=CALLS_MAX)] | None = None
    ground: Ground = "Art. 17(1) GDPR"


class PartRequest(BaseModel):
    """Part of a call: artefacts by id or by kind (`audio` and not the transcript), or a participant."""

    model_config = ConfigDict(extra="forbid")
    scope: Literal["artefact", "participant"]
    call: Id
    artefacts: Annotated[list[Id], Field(max_length=1000)] = []
    kinds: list[Kind] = []
    participant: Id | None = None
    ground: Ground = "Art. 17(1) GDPR"


class PurposeRequest(BaseModel):
    """What is kept for a purpose and for no other: of these calls, or of all."""

    model_config = ConfigDict(extra="forbid")
    scope: Literal["purpose"]
    purpose: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    calls: Annotated[list[Id], Field(max_length=CALLS_MAX)] = []
    ground: Ground = "Art. 17(1)(b) GDPR"


@router.post("/match")
def show_match(context: InContext, who: AsOfficer, request: MatchRequest) -> dict[str, Any]:
    """Everything that would be erased with this number or address, and the token that carries it out.

    `shared` says why it may be several people's: then `calls` has to name those that are meant.
    """
    found = match(context.recordings, who.tenant, request.by, request.value)
    locations = context.recordings.residency.locations(who.tenant)
    rows = [summary(context, who, record, locations) for record in found.calls[:SHOWN_MAX]]
    token = context.recordings.confirmations.token(who.tenant, found.ids)
    return {"calls": list(found.ids), "shown": rows, "shared": list(found.shared), "token": token}


@router.post("")
async def erase(
    context: InContext, who: AsOfficer, request: PersonRequest | PartRequest | PurposeRequest
) -> dict[str, Any]:
    """Destroys the keys and answers with the certificate. Calls of a person that are live are ended first.

    403 where the match set has changed since it was shown, where a shared number waits for a decision, and for what the
    law obliges to keep; 409 where a hold keeps it, with its ground.
    """
    target = await asyncio.to_thread(_target, context, who, request)
    if isinstance(request, PersonRequest):
        for call in target.calls:
            context.end_call(call)
    certificate = await asyncio.to_thread(
        context.recordings.erasures.erase, who.tenant, target, request.ground, who.role.value
    )
    await asyncio.to_thread(_tell, context, who, target)
    return certificate


@router.get("/{erasure}/certificate")
def certificate(
    context: InContext, who: AsOfficer, erasure: Annotated[str, Path(pattern=ID)], form: Form = Form.SIGNED
) -> Response:
    """The certificate of an erasure; 409 while it is under way."""
    return in_form(context, who, context.recordings.erasures.certificate(who.tenant, erasure), form)


def _target(context: Context, who: Caller, request: PersonRequest | PartRequest | PurposeRequest) -> Target:
    if isinstance(request, PersonRequest):
        found: MatchSet = match(context.recordings, who.tenant, request.by, request.value)
        context.recordings.confirmations.check(request.token, who.tenant, found.ids)
        decided = None if request.calls is None else [CallId(call) for call in request.calls]
        return Target.of_person(found.chosen(decided))
    if isinstance(request, PurposeRequest):
        return Target.of_purpose(request.purpose, [CallId(call) for call in request.calls])
    return _part(context, who, request)


def _part(context: Context, who: Caller, request: PartRequest) -> Target:
    call = CallId(request.call)
    if request.scope == "participant":
        if request.participant is None or request.artefacts or request.kinds:
            raise HTTPException(422, "name the participant, and nothing else")
        return Target.of_participant(call, ParticipantId(request.participant))
    if request.participant is not None or not (request.artefacts or request.kinds):
        raise HTTPException(422, "name artefacts or kinds of them")
    record = context.recordings.call(who.tenant, call)
    named = [artefact.ref.artefact for kind in request.kinds for artefact in record.find(kind)]
    named += [artefact for artefact in map(ArtefactId, request.artefacts) if artefact not in named]
    if not named:
        raise NotFound(f"call {call} has nothing of these kinds that is not erased")
    return Target.of_artefacts(call, named)


def _tell(context: Context, who: Caller, target: Target) -> None:
    """Subscribers hear of calls that are gone."""
    for call in target.calls:
        if context.recordings.call(who.tenant, call).state is CallState.ERASED:
            context.hub.publish(LiveEvent("call_erased", who.tenant, call))
