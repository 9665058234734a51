"""Live events of a tenant's calls as server-sent events (HTML Standard §9.2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import StreamingResponse

from gateway.api.context import AsCaller, InContext
from gateway.events import Hub, TooMany
from storage.model import TenantId

router = APIRouter(prefix="/v1", tags=["events"])

KEEPALIVE_S = 15.0  # a comment line, so that proxies keep the connection


@router.get("/events", response_class=StreamingResponse)
async def follow(request: Request, context: InContext, who: AsCaller) -> StreamingResponse:
    """`call_started`, `speech_started`, `speech_ended`, `recording_paused`, `recording_resumed`, `call_ended`,
    `call_erased`, `call_restricted`, `restriction_lifted`, `consent_withdrawn`: ids and times, never content.

    `storage` of a call's start and end is `none` where nothing of it is stored, nowhere and at no time: then it is in
    no list, and has no manifest, as there is nothing that one could name. Of others it is `sealed`.
    """
    stream = _stream(context.hub, who.tenant)
    first = await anext(stream)
    if not first:
        raise HTTPException(503, "too many subscribers", headers={"Retry-After": "5"})

    async def body() -> AsyncIterator[str]:
        yield first
        async for text in stream:
            yield text

    return StreamingResponse(body(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _stream(hub: Hub, tenant: TenantId) -> AsyncIterator[str]:
    try:
        with hub.subscribe(tenant) as queue:
            yield ": connected\n\n"
            while True:
                try:
                    async with asyncio.timeout(KEEPALIVE_S):
                        number, event = await queue.get()
                except TimeoutError:
                    yield ": still here\n\n"
                else:
                    yield f"id: {number}\nevent: {event.name}\ndata: {json.dumps(event.fields())}\n\n"
    except TooMany:
        yield ""
