"""Pause and resume of a live call's recording. The answer is the media worker's word that it is so.

Every role may: it is the agent who hears the card number. What keeps a pause from hiding a call is the policy's limit,
the event that tells of it, and call detail, which lists it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter

from gateway.api.context import AsCaller, Caller, Context, InContext, OfCall
from gateway.calls.call import Call
from storage.errors import NotFound, NotReady
from storage.model import CallId

router = APIRouter(prefix="/v1/calls", tags=["calls"])


@router.post("/{call}/pause")
async def pause(context: InContext, who: AsCaller, call: OfCall) -> dict[str, Any]:
    """Keep nothing of a live call from `pause.start_ms` on; also where it is paused already.

    409 where there is nothing to pause, 504 where the media worker has not confirmed it: ask again.
    """
    live = await _live(context, who, call)
    assert context.pauses is not None
    span = await context.pauses.pause(live, who.role.value)
    return {"call": call, "state": "paused", "pause": span.to_json(), "limit_s": live.policy.pause_limit_s}


@router.post("/{call}/resume")
async def resume(context: InContext, who: AsCaller, call: OfCall) -> dict[str, Any]:
    """Keep a paused call again from `pause.end_ms` on; `pause` is null where it was never paused. Else as above."""
    live = await _live(context, who, call)
    assert context.pauses is not None
    span = await context.pauses.resume(live, who.role.value)
    return {"call": call, "state": "recording", "pause": None if span is None else span.to_json()}


async def _live(context: Context, who: Caller, call: CallId) -> Call:
    """The tenant's live call; NotReady if it is over, NotFound where there is none."""
    try:
        if context.pauses is None:
            raise NotFound(f"no live call {call}")
        return context.pauses.find(who.tenant, call)
    except NotFound:
        await asyncio.to_thread(context.recordings.call, who.tenant, call)
        raise NotReady(f"call {call} is over") from None
