"""Figures for monitoring, without tenant data: who may read them is told by address, not by token.

A request that came through a proxy has the proxy's address, mostly loopback: it is refused, whoever sent it.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from gateway.api.context import InContext
from gateway.operations.metrics import CONTENT_TYPE
from gateway.tenants import within

FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Headers that proxies add (RFC 7239, RFC 9110 §7.6.3, and the field's own)."""

router = APIRouter(tags=["health"])


def monitor(request: Request, context: InContext) -> None:
    """Whoever asks from a monitoring network, directly; 403 for others."""
    peer = request.client.host if request.client is not None else ""
    if any(name in request.headers for name in FORWARDED) or not within(peer, context.monitors()):
        raise HTTPException(403, "not from this address")


AsMonitor = Annotated[None, Depends(monitor)]


@router.get("/metrics", response_class=Response)
async def metrics(context: InContext, _who: AsMonitor) -> Response:
    """Everything in Prometheus' text format. Totals only: no call, no tenant."""
    return Response(await context.metrics(), media_type=CONTENT_TYPE)


@router.get("/health/counters")
async def counters(context: InContext, _who: AsMonitor) -> dict[str, int]:
    """How often things happened since the start: calls answered and refused (why), datagrams dropped."""
    return context.counters()
