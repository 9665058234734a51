"""Restriction of processing, Art. 18 GDPR: nothing of the call is heard, read or exported, and its bytes stay."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from gateway.api.context import AsOfficer, InContext, OfCall
from gateway.api.erasures import Ground
from gateway.events import LiveEvent

router = APIRouter(prefix="/v1", tags=["restriction"])


class RestrictionRequest(BaseModel):
    """Why a call is restricted; the ground is kept for ever, so it must not hold personal data."""

    model_config = ConfigDict(extra="forbid")
    ground: Ground = "Art. 18(1) GDPR"


@router.post("/calls/{call}/restriction", status_code=201)
async def restrict(context: InContext, who: AsOfficer, call: OfCall, request: RestrictionRequest) -> dict[str, Any]:
    """Restrict a call; readers under way are cut off within half a second. 409 if it is restricted already."""
    place = context.recordings.restrictions.place
    id = await asyncio.to_thread(place, who.tenant, call, request.ground, who.role.value)
    context.hub.publish(LiveEvent("call_restricted", who.tenant, call, detail={"restriction": id}))
    return {"id": id}


@router.delete("/calls/{call}/restriction")
async def lift(context: InContext, who: AsOfficer, call: OfCall) -> dict[str, Any]:
    """Lift it; subscribers get `restriction_lifted`. Whoever asked for it has to be told before (Art. 18(3) GDPR)."""
    id = await asyncio.to_thread(context.recordings.restrictions.lift, who.tenant, call, who.role.value)
    context.hub.publish(LiveEvent("restriction_lifted", who.tenant, call, detail={"restriction": id}))
    return {"id": id}


@router.get("/restrictions")
def list_restrictions(context: InContext, who: AsOfficer) -> dict[str, Any]:
    """The calls that are restricted, each with its ground."""
    return {"restrictions": [asdict(found) for found in context.recordings.restrictions.standing(who.tenant)]}
