"""Anonymous statistics of a tenant's calls, as they were published."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query

from gateway.api.context import AsOfficer, InContext
from gateway.statistics.disclosure import COUNT_MIN
from gateway.statistics.publishing import shown
from storage.errors import Refused
from storage.statistics import days_of

router = APIRouter(prefix="/v1/statistics", tags=["statistics"])


@router.get("")
def statistics(
    context: InContext,
    who: AsOfficer,
    period: Annotated[
        str | None,
        Query(pattern=r"^\d{4}-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?$", description="UTC day or month"),
    ] = None,
) -> dict[str, Any]:
    """How many of the calls that began in a period ended how, lasted how long, and sounded how good; for officers.

    Each table counts every call once. Numbers are rounded down to tens, and null where they would be fewer: whether
    none or some, nobody can tell. A period is published once, when it is over, and never changes: a call that is
    erased later stays counted. 409 before that; 404 for what lies before the first period, or within a longer one.
    Without `period`, the list of those that are published.
    """
    if period is None:
        return {"periods": context.recordings.statistics.periods(who.tenant), "count_min": COUNT_MIN}
    try:
        days_of(period)
    except Refused as error:  # the 31st of a month that has none
        raise HTTPException(422, str(error)) from None
    return shown(context.recordings, who.tenant, period)
