"""Why a call's artefacts are kept, until when, and what became of those that are not."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from gateway.api.context import AsOfficer, InContext, OfCall
from gateway.promises.explained import explained

router = APIRouter(prefix="/v1/calls", tags=["retention"])


@router.get("/{call}/retention")
def retention(context: InContext, who: AsOfficer, call: OfCall) -> dict[str, Any]:
    """For each artefact: what it is kept for, until when (in the tenant's zone) and by which rule; for officers.

    `because` is `profile`, `override`, `statutory` (a law), `earlier promise`, `closing` or `hold`; `rule` names the
    row of the published promises. Erased ones name the erasure, whose certificate is at /v1/erasures.
    """
    return explained(call, context.recordings.retained(who.tenant, call))
