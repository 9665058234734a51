"""Liveness and readiness, for supervisors and load balancers; no token, no details about calls."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from gateway.api.context import InContext

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live")
async def live() -> dict[str, str]:
    """200 as long as the process answers."""
    return {"status": "live"}


@router.get("/ready")
async def ready(context: InContext) -> JSONResponse:
    """200 when calls are taken; 503 with the parts that are not ready. `alarms` name what somebody should mend."""
    missing = context.ready()
    body = {"status": "not ready" if missing else "ready", "missing": missing, "alarms": context.alarms()}
    return JSONResponse(body, 503 if missing else 200)
