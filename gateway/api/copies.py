"""Copies that left: which there are, and the requests to delete them where their calls are erased; for officers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query

from gateway.api.context import AsOfficer, Context, InContext
from gateway.rights.telling import receiver
from storage.errors import Erased
from storage.model import CallId, TenantId, is_id

router = APIRouter(prefix="/v1/egress", tags=["egress"])


def copy_id(copy: str) -> CallId:
    """A copy's id from the path; what cannot be one is 404."""
    if not is_id(copy):
        raise HTTPException(404, "no such copy")
    return CallId(copy)


OfCopy = Annotated[CallId, Depends(copy_id)]


@router.get("")
def copies(
    context: InContext,
    who: AsOfficer,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    before: Annotated[str | None, Query(pattern=r"^[0-9a-f]{32}$")] = None,
) -> dict[str, Any]:
    """Copies that left, newest first: what, to whom, when, on what ground. `waiting` are those of erased calls whose
    recipients were not asked to delete them, as far as is recorded; `notice` says of each how far that is: `none`
    (nothing of it is erased), `fetch` (nobody but you can tell), `sending`, `failing` (see `sending`), `told`."""
    ledger, rows = context.recordings.egress, []
    waiting = [copy.id for copy in ledger.waiting(who.tenant)]
    for record in ledger.records(who.tenant, limit=limit, before=CallId(before) if before else None):
        try:
            body = ledger.read(who.tenant, record.id)
        except Erased:
            rows.append({"id": record.id, "calls": {}})
        else:
            notice = _standing(context, who.tenant, body, waits=record.id in waiting)
            rows.append({"id": record.id, **body, "notice": notice})
    return {"copies": rows, "waiting": waiting}


def _standing(context: Context, tenant: TenantId, body: Mapping[str, Any], *, waits: bool) -> str:
    if not waits:
        return "told" if body.get("told") else "none"
    if receiver(body, context.destinations(tenant)) is None:
        return "fetch"
    return "failing" if body.get("sending") else "sending"


@router.get("/{copy}/notice")
def notice(context: InContext, who: AsOfficer, copy: OfCopy) -> dict[str, Any]:
    """The signed request to the recipient of a copy to delete its erased calls; 409 while none is erased."""
    return context.recordings.egress.notice(who.tenant, copy)


@router.post("/{copy}/told")
def told(context: InContext, who: AsOfficer, copy: OfCopy) -> dict[str, Any]:
    """The notice was sent: by whom and when is remembered."""
    context.recordings.egress.told(who.tenant, copy, who.token)
    return {"id": copy, **context.recordings.egress.read(who.tenant, copy)}
