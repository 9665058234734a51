"""Finding calls by a number or an identifier: the one list whose question is personal data.

So the question is the body of a POST: what stands in a URL also stands in the logs of every proxy on the way, and in
a browser's history.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.calls import summary
from gateway.api.context import AsCaller, Caller, Context, InContext
from gateway.calls.identifiers import VALUE_CHARACTERS_MAX, Sort, wanted
from storage.model import CallId, Kind
from storage.records import CallRecord, Identifier

router = APIRouter(prefix="/v1/calls", tags=["calls"])


class SearchRequest(BaseModel):
    """What to look for.

    `call_id`: the SIP Call-ID. `session_id`: either UUID of Session-ID (RFC 7989). `ucid`: Avaya's, as 16 hexadecimal
    or 20 decimal digits. `guid`: Cisco's, as four decimal numbers, four hexadecimal groups, or 32 hexadecimal digits.
    `siprec`: a recording session's or communication session's id. `number`: the caller's or the called number, as call
    detail shows it. `uri`: the SIP address of either. `header`: the value of the header that the trunk's
    configuration names.
    """

    model_config = ConfigDict(extra="forbid")
    by: Sort
    value: Annotated[str, Field(min_length=1, max_length=VALUE_CHARACTERS_MAX)]
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    before: Annotated[str | None, Field(pattern=r"^[0-9a-f]{32}$", description="last id of the page before")] = None


@router.post("/search")
def search(context: InContext, who: AsCaller, request: SearchRequest) -> dict[str, Any]:
    """The tenant's calls that have this identifier, newest first.

    A call whose caller withholds the number is found by that number for officers and admins only, and shows it to none.
    So are, for them only, calls that are restricted, and those of whose identity nothing but a hold is left.
    """
    found = wanted(request.by, request.value, sees_withheld=who.hears_originals)
    if not found:
        raise HTTPException(422, f"this is no {request.by.value}")
    before = CallId(request.before) if request.before else None
    records = _page(context, who, found, request.limit, before)
    locations = context.recordings.residency.locations(who.tenant)
    rows = [summary(context, who, record, locations) for record in records]
    return {"calls": rows, "zone": context.zone(who.tenant)}


def _page(
    context: Context, who: Caller, found: Sequence[Identifier], limit: int, before: CallId | None
) -> list[CallRecord]:
    """The next calls that this caller may find."""
    page: list[CallRecord] = []
    while more := context.recordings.find(who.tenant, found, limit=limit, before=before):
        page += [record for record in more if who.hears_originals or _findable(context, record)]
        if len(page) >= limit or len(more) < limit:
            break
        before = more[-1].id
    return page[:limit]


def _findable(context: Context, record: CallRecord) -> bool:
    alone = record.held and Kind.IDENTITY in context.recordings.holds.alone(record.id).values()
    return not (record.restricted or alone)
