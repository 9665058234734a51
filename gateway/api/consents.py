"""Consents: who consented to what, in which words and when, and what goes when they withdraw."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gateway.api.context import AsOfficer, Caller, Context, InContext, OfCall
from gateway.api.erasures import ID, Id
from gateway.events import LiveEvent
from storage.consents import HOW_CHARACTERS_MAX, TEXT_CHARACTERS_MAX, Consent
from storage.errors import NotFound
from storage.model import NO_PARTICIPANT, CallId, CallState, ParticipantId

router = APIRouter(prefix="/v1/calls", tags=["consent"])

ENDS_WITHIN_S = 5.0
"""A live call that is told to end is over in some hundred milliseconds."""
_LOOK_S = 0.05

How = Annotated[str, Field(max_length=HOW_CHARACTERS_MAX)]


class ConsentRequest(BaseModel):
    """Of a participant, or of the call as a whole: to which purpose, which version of the text, when and how.

    `how` is sealed; purpose and version stand in the ledger.
    """

    model_config = ConfigDict(extra="forbid")
    purpose: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    text: Annotated[str, Field(min_length=1, max_length=TEXT_CHARACTERS_MAX, pattern=r"^[ -~]*$")]
    participant: Id | None = None
    at: AwareDatetime | None = None
    how: How = ""


class WithdrawalRequest(BaseModel):
    """When somebody withdrew, and how; the latter is sealed."""

    model_config = ConfigDict(extra="forbid")
    at: AwareDatetime | None = None
    how: How = ""


@router.post("/{call}/consents", status_code=201)
def record(context: InContext, who: AsOfficer, call: OfCall, request: ConsentRequest) -> dict[str, Any]:
    """Record a consent; 403 for a purpose that the policy does not allow, 409 while one stands that covers it."""
    participant = NO_PARTICIPANT if request.participant is None else ParticipantId(request.participant)
    at_s = None if request.at is None else request.at.timestamp()
    given = Consent(request.purpose, request.text, at_s, participant, request.how)
    return {"id": context.recordings.consents.record(who.tenant, call, given, who.role.value)}


@router.get("/{call}/consents")
def list_consents(context: InContext, who: AsOfficer, call: OfCall) -> dict[str, Any]:
    """The call's consents with their evidence, oldest first; of an erased call, too."""
    return {"consents": [asdict(found) for found in context.recordings.consents.of_call(who.tenant, call)]}


@router.post("/{call}/consents/{consent}/withdrawal")
async def withdraw(
    context: InContext,
    who: AsOfficer,
    call: OfCall,
    consent: Annotated[str, Path(pattern=ID)],
    request: WithdrawalRequest,
) -> dict[str, Any]:
    """Destroy what rested on the consent and on nothing else; answers with the certificate.

    A live call that is recorded for that very purpose is ended first.
    """
    deadline = time.monotonic() + ENDS_WITHIN_S
    while await asyncio.to_thread(_recorded_for, context, who, call, consent) and time.monotonic() < deadline:
        context.end_call(call)
        await asyncio.sleep(_LOOK_S)
    at_s = None if request.at is None else request.at.timestamp()
    certificate = await asyncio.to_thread(
        lambda: context.recordings.consents.withdraw(
            who.tenant, call, consent, how=request.how, at_s=at_s, actor=who.role.value
        )
    )
    context.hub.publish(LiveEvent("consent_withdrawn", who.tenant, call, detail={"consent": consent}))
    if (await asyncio.to_thread(context.recordings.call, who.tenant, call)).state is CallState.ERASED:
        context.hub.publish(LiveEvent("call_erased", who.tenant, call))
    return certificate


def _recorded_for(context: Context, who: Caller, call: CallId, consent: str) -> bool:
    """Whether a call lives and is being recorded for the purpose of this consent; NotFound."""
    recordings = context.recordings
    found = next((one for one in recordings.consents.of_call(who.tenant, call) if one.id == consent), None)
    if found is None:
        raise NotFound(f"call {call} has no consent {consent}")
    record = recordings.call(who.tenant, call)
    return record.state is CallState.LIVE and any(one.ref.purpose == found.purpose for one in record.artefacts)
