"""The tenant's policy in effect, and the page that is made of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import Response

from gateway.api.context import AsCaller, AsOfficer, InContext
from gateway.promises.page import page, version_of
from gateway.promises.record import FORMATS as RECORD_FORMATS
from gateway.promises.record import record
from gateway.promises.render import FORMATS
from storage.policy.reading import as_json

router = APIRouter(prefix="/v1/policy", tags=["policy"])

_TYPES = {"md": "text/markdown; charset=utf-8", "html": "text/html; charset=utf-8", "json": "application/json"}


@router.get("")
def policy(context: InContext, who: AsCaller) -> dict[str, Any]:
    """Everything that the tenant promises: terms by kind and purpose, deadlines, places, who may hear, and each line's
    source. `version` is the digest that the ledger has of it."""
    found = context.recordings.policy(who.tenant)
    return {"version": version_of(found), "policy": as_json(found)}


@router.get("/page", response_class=Response)
def policy_page(
    context: InContext,
    who: AsCaller,
    lang: Annotated[Literal["nl", "de", "en"], Query(description="language")] = "en",
    format: Annotated[Literal["md", "html"], Query(description="Markdown or HTML")] = "html",
) -> Response:
    """The page "what we keep", for those whose calls are kept. 404 for a tenant that is not configured any more."""
    facts = context.facts(who.tenant)
    if facts is None:
        raise HTTPException(404, "this tenant is not in the configuration")
    text = FORMATS[format](page(context.recordings.policy(who.tenant), facts, lang))
    return Response(text, media_type=_TYPES[format])


@router.get("/record", response_class=Response)
def processing_record(
    context: InContext,
    who: AsOfficer,
    lang: Annotated[Literal["nl", "de", "en"], Query(description="language")] = "en",
    format: Annotated[Literal["md", "html", "json"], Query(description="Markdown, HTML or JSON")] = "html",
) -> Response:
    """The record of processing (Art. 30 GDPR) with the measures in effect (Art. 32), for officers. 404 for a tenant
    that is not configured any more."""
    live = context.live(who.tenant)
    if live is None:
        raise HTTPException(404, "this tenant is not in the configuration")
    return Response(RECORD_FORMATS[format](record(live, lang)), media_type=_TYPES[format])
