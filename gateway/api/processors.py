"""Who else gets or holds data of the tenant's, and what the tenant was told of that; for officers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from gateway.api.context import AsOfficer, InContext
from gateway.processors import shown
from storage.processors import NOTICES_MAX

router = APIRouter(prefix="/v1/processors", tags=["processors"])


@router.get("")
def processors(context: InContext, who: AsOfficer) -> dict[str, Any]:
    """The register of sub-processors, from the configuration in effect: company, region, what it gets, for how long,
    how encrypted, since which agreement; and of destinations who has authorised them. `notice` is the number of the
    notice by which the tenant was told of exactly this, `from` when data may go there: null, and none does."""
    told, allowed = context.recordings.register.told(who.tenant), context.destinations(who.tenant)
    return {"processors": [shown(entry, told, allowed) for entry in context.processors(who.tenant)]}


@router.get("/notices")
def notices(
    context: InContext, who: AsOfficer, limit: Annotated[int, Query(ge=1, le=NOTICES_MAX)] = 100
) -> dict[str, Any]:
    """What the tenant was told, newest first: of sub-processors, and of changes of location. Each is an entry of the
    ledger, and was there before any data went to where it says."""
    return {"notices": [notice.to_json() for notice in context.recordings.register.notices(who.tenant, limit=limit)]}
