"""The keys that were pressed in a call, where its tenant's policy has kept them."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter

from gateway.api.context import AsOfficer, InContext, OfCall
from storage.errors import Erased, NotReady
from storage.model import ArtefactState, CallState, Kind

router = APIRouter(prefix="/v1/calls", tags=["calls"])


@router.get("/{call}/keys")
def keys(context: InContext, who: AsOfficer, call: OfCall) -> dict[str, Any]:
    """Each participant's keys with their times; officers only. 409 while the call lives, and where none are kept."""
    record = context.recordings.call(who.tenant, call)
    if record.state is CallState.ERASED:
        raise Erased(f"call {call} is erased")
    found = [artefact for artefact in record.find(Kind.DTMF) if artefact.state is ArtefactState.COMPLETE]
    if not found:
        raise NotReady(f"call {call} has no {Kind.DTMF.value}, or not yet")
    documents = [
        (artefact.ref.participant, json.loads(context.recordings.document(who.tenant, artefact.ref.artefact)))
        for artefact in found
    ]
    context.released["released_user"] += 1
    return {"call": call, "participants": [{"participant": person} | document for person, document in documents]}
