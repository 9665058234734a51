"""Live events of a tenant's calls as server-sent events (HTML Standard §9.2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import StreamingResponse

from gateway.api.context import AsCaller, Context, InContext
from gateway.events import Hub, LiveEvent, TooMany, event_of
from storage.model import TenantId
from storage.times import utc

router = APIRouter(prefix="/v1", tags=["events"])

KEEPALIVE_S = 15.0  # a comment line, so that proxies keep the connection
NOTICES_AGAIN_S = 30 * 86_400.0  # a notice is older than who connects: most come at a start, when nobody is connected


@router.get("/events", response_class=StreamingResponse)
async def follow(request: Request, context: InContext, who: AsCaller) -> StreamingResponse:
    """`call_started`, `speech_started`, `speech_ended`, `recording_paused`, `recording_resumed`, `call_ended`,
    `call_erased`, `call_restricted`, `restriction_lifted`, `consent_withdrawn`: ids and times, never content.

    `processor_announced`, `processor_changed`, `processor_ended`, `location_changed` tell who else gets or holds data
    of the tenant's and where, before any of it goes there. Those of the last 30 days come first, so that nobody who
    connects later misses one; `notice` names each, and `GET /v1/processors/notices` has them all.

    `storage` of a call's start and end is `none` where nothing of it is stored, nowhere and at no time: then it is in
    no list, and has no manifest, as there is nothing that one could name. Of others it is `sealed`.
    """
    stream = _stream(context.hub, who.tenant, await asyncio.to_thread(_recent, context, who.tenant))
    first = await anext(stream)
    if not first:
        raise HTTPException(503, "too many subscribers", headers={"Retry-After": "5"})

    async def body() -> AsyncIterator[str]:
        yield first
        async for text in stream:
            yield text

    return StreamingResponse(body(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def _recent(context: Context, tenant: TenantId) -> list[LiveEvent]:
    """What the tenant was told lately, oldest first."""
    since = utc(context.clock() - NOTICES_AGAIN_S)
    notices = context.recordings.register.notices(tenant)
    return [event_of(tenant, notice) for notice in reversed(notices) if notice.at >= since]


async def _stream(hub: Hub, tenant: TenantId, before: Sequence[LiveEvent]) -> AsyncIterator[str]:
    try:
        with hub.subscribe(tenant) as queue:
            yield ": connected\n\n"
            for event in before:
                yield _text(event)
            while True:
                try:
                    async with asyncio.timeout(KEEPALIVE_S):
                        number, event = await queue.get()
                except TimeoutError:
                    yield ": still here\n\n"
                else:
                    yield f"id: {number}\n{_text(event)}"
    except TooMany:
        yield ""


def _text(event: LiveEvent) -> str:
    return f"event: {event.name}\ndata: {json.dumps(event.fields())}\n\n"
