"""What answers a request, right by right: one function for each, which carries it out and says what it did.

Access and portability are answered by the export, rectification by an annotation, an objection by a decision that is
recorded. Erasure, restriction and withdrawal are carried out by the parts that do that; here stands by what: ids of
erasures, restrictions or consents, which the officer names, so that a request is not closed by words alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.rights.annotations import annotate
from gateway.rights.request import Request, Right, checked_text
from gateway.rights.share import share_of
from storage.errors import Erased, NotReady, Refused
from storage.model import CallId, TenantId, is_id
from storage.recordings import Recordings

REFERENCES_MAX = 200


@dataclass(frozen=True, slots=True)
class Answering:
    """What is answered, from what, by whom and when."""

    recordings: Recordings
    tenant: TenantId
    id: CallId
    request: Request
    now_s: float
    by: str


CarryOut = Callable[[Answering, Mapping[str, Any]], Mapping[str, Any]]
"""Carries out, from what the officer gives; gives what was done, as ids, numbers and words to be sealed. Idempotent."""


def _export(of: Answering, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The export is fetched by itself, before or after this."""
    if of.request.decision is None:
        raise NotReady("first the calls are named, and it is decided what of others goes out (Art. 15(4))")
    return {"calls": len(of.request.matches)}


def _rectification(of: Answering, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The person's statement beside each of the calls."""
    statement = checked_text(str(given.get("statement", "")), "a statement")
    if not of.request.matches:
        raise NotReady("first the calls are named")
    facts = {"request": of.id, "day": of.request.received.isoformat()}
    annotated = 0
    for matched in of.request.matches:
        try:
            share = share_of(of.recordings, of.tenant, matched)
            annotate(of.recordings, of.tenant, share, statement, facts)
        except Erased:  # what is gone needs no correction
            continue
        annotated += 1
    return {"annotated": annotated, "erased": len(of.request.matches) - annotated}


def _objection(of: Answering, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Whether the objection is upheld, and why (Art. 21(1)): what follows from it is another request or setting."""
    if not isinstance(given.get("upheld"), bool):
        raise Refused("an objection is upheld, or it is not: `upheld`")
    return {"upheld": given["upheld"], "reason": checked_text(str(given.get("reason", "")), "the reason of a decision")}


def _elsewhere(of: Answering, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Carried out by another part, under these ids."""
    named = given.get("references")
    if not isinstance(named, list) or not 0 < len(named) <= REFERENCES_MAX:
        raise Refused(f"name what carried it out: 1 to {REFERENCES_MAX} ids, as `references`")
    if not all(isinstance(reference, str) and is_id(reference) for reference in named):
        raise Refused("references are ids")
    return {"references": named}


ANSWERS: Mapping[Right, CarryOut] = {
    Right.ACCESS: _export,
    Right.PORTABILITY: _export,
    Right.RECTIFICATION: _rectification,
    Right.OBJECTION: _objection,
    Right.ERASURE: _elsewhere,
    Right.RESTRICTION: _elsewhere,
    Right.WITHDRAWAL: _elsewhere,
}
