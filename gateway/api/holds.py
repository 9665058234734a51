"""Holds: what must not be destroyed, and on which ground; for officers."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.context import AsOfficer, Caller, Context, InContext
from gateway.api.erasures import ID, Ground, Id
from gateway.events import LiveEvent
from storage.holds import CALLS_MAX
from storage.model import CallId, CallState

router = APIRouter(prefix="/v1/holds", tags=["holds"])


class HoldRequest(BaseModel):
    """Which calls are held, and why; the ground stands in certificates, so it must not hold personal data."""

    model_config = ConfigDict(extra="forbid")
    calls: Annotated[list[Id], Field(min_length=1, max_length=CALLS_MAX)]
    ground: Ground


@router.post("", status_code=201)
def place(context: InContext, who: AsOfficer, request: HoldRequest) -> dict[str, Any]:
    """Hold calls, live ones too: their erasure is refused with the ground, and their expiry passes them by."""
    calls = [CallId(call) for call in request.calls]
    return {"id": context.recordings.holds.place(who.tenant, calls, request.ground, who.role.value)}


@router.get("")
def list_holds(context: InContext, who: AsOfficer, released: bool = False) -> dict[str, Any]:
    """The holds that stand, with their grounds and calls; with `released` all that there ever were."""
    return {"holds": [asdict(hold) for hold in context.recordings.holds.of_tenant(who.tenant, released=released)]}


@router.post("/{hold}/release")
async def release(context: InContext, who: AsOfficer, hold: Annotated[str, Path(pattern=ID)]) -> dict[str, Any]:
    """End a hold: what it alone has kept is destroyed. Answers with the certificate, also where it was released."""
    certificate = await asyncio.to_thread(context.recordings.holds.release, who.tenant, hold, who.role.value)
    for call in await asyncio.to_thread(_over, context, who, hold):
        context.hub.publish(LiveEvent("call_erased", who.tenant, call))
    return certificate


def _over(context: Context, who: Caller, hold: str) -> list[CallId]:
    """The calls of a hold that are erased."""
    every = context.recordings.holds.of_tenant(who.tenant, released=True)
    named = [call for one in every if one.id == hold for call in one.calls]
    return [call for call in named if context.recordings.call(who.tenant, call).state is CallState.ERASED]
