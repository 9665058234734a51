"""What answers a request, right by right: one function for each, which carries it out and says what it did.

Access and portability are answered by the export, rectification by an annotation, an objection by a decision that is
recorded; erasure, restriction and withdrawal are carried out on the calls that were named. Each may be done twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gateway.rights.annotations import annotate
from gateway.rights.request import Request, Right, checked_text
from gateway.rights.share import Matched, share_of
from storage.erasure import Target
from storage.errors import AlreadyExists, Erased, NotReady, Refused, Restricted
from storage.model import NO_PARTICIPANT, CallId, CallState, TenantId
from storage.recordings import Recordings

GROUND_ERASURE = "request of a data subject, Art. 17 GDPR"
GROUND_RESTRICTION = "request of a data subject, Art. 18 GDPR"


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
    facts = {"request": of.id, "day": of.request.received.isoformat()}
    annotated = 0
    for matched in _matches(of):
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


def _erasure(of: Answering, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The calls that were named are erased; what a hold keeps is told, with its ground, in the certificate."""
    living = [call for call in _calls(of) if of.recordings.call(of.tenant, call).state is not CallState.ERASED]
    if not living:
        return {"calls": 0}
    certificate = of.recordings.erasures.erase(of.tenant, Target.of_person(living), GROUND_ERASURE, of.by)
    done = certificate["entries"][1]["body"]
    return {"calls": len(living), "erasure": done["erasure"], "survivors": done["survivors"]}


def _restriction(of: Answering, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Nothing plays, exports or transcribes the calls that were named until somebody lifts it."""
    placed = []
    for call in _calls(of):
        with suppress(AlreadyExists, Erased):  # restricted already; or nothing is left to restrict
            placed.append(of.recordings.restrictions.place(of.tenant, call, GROUND_RESTRICTION, of.by))
    return {"restrictions": placed}


def _withdrawal(of: Answering, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The person's consents in these calls, or those to one `purpose`: what rested on them is destroyed."""
    purpose = given.get("purpose")
    withdrawn = []
    for matched in _matches(of):
        for consent in of.recordings.consents.of_call(of.tenant, matched.call):
            theirs = consent.participant in (*_known_as(of, matched), NO_PARTICIPANT)
            if theirs and consent.erasure is None and purpose in (None, consent.purpose):
                how = f"request {of.id}"
                of.recordings.consents.withdraw(of.tenant, matched.call, consent.id, how=how, actor=of.by)
                withdrawn.append(consent.id)
    return {"consents": withdrawn}


def _known_as(of: Answering, matched: Matched) -> set[str]:
    """The participants that the person is in a call: a side is whose track it is."""
    try:
        share = share_of(of.recordings, of.tenant, matched)
    except (Erased, Restricted):
        return {matched.who}
    return {matched.who, *(track.participant for track in share.tracks)}


def _matches(of: Answering) -> Sequence[Matched]:
    if not of.request.matches:
        raise NotReady("first the calls are named")
    return of.request.matches


def _calls(of: Answering) -> list[CallId]:
    return list(dict.fromkeys(matched.call for matched in _matches(of)))


ANSWERS: Mapping[Right, CarryOut] = {
    Right.ACCESS: _export,
    Right.PORTABILITY: _export,
    Right.RECTIFICATION: _rectification,
    Right.OBJECTION: _objection,
    Right.ERASURE: _erasure,
    Right.RESTRICTION: _restriction,
    Right.WITHDRAWAL: _withdrawal,
}
