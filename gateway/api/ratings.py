"""Totals for billing, from the ratings of a tenant's calls."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from gateway.api.context import AsOfficer, InContext
from gateway.ratings import totals

router = APIRouter(prefix="/v1/ratings", tags=["ratings"])


@router.get("")
def ratings(
    context: InContext,
    who: AsOfficer,
    month: Annotated[str, Query(pattern=r"^\d{4}-(0[1-9]|1[0-2])$", description="UTC month, YYYY-MM")],
) -> dict[str, Any]:
    """How many calls began in a month and how long they lasted, by day, direction and own number; for officers.

    Un-itemised: no call is named, and no far party. Calls that were erased since are in it.
    """
    return totals(month, context.recordings.ratings.of_month(who.tenant, month))
