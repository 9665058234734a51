"""A call's retention as it is told: times in the tenant's zone, rules by their source, endings by their erasure."""

from __future__ import annotations

import zoneinfo
from datetime import datetime
from typing import Any

from storage.model import NO_PARTICIPANT, CallId
from storage.policy.explaining import Because
from storage.retained import Gone, Kept, Retained, RetainedCall


def explained(call: CallId, found: RetainedCall) -> dict[str, Any]:
    """For the API. Seconds become ISO 8601 with the zone's offset; null: no end by itself."""
    closing = found.closing
    left = None if closing is None else {"state": closing.state.value, "closed": _at(closing.closed_s, found.zone)}
    return {
        "call": call,
        "state": found.state.value,
        "policy": found.profile,
        "zone": found.zone,
        "closing": left,
        "artefacts": [_artefact(artefact, found.zone) for artefact in found.artefacts],
        "erasures": [_gone(gone) for gone in found.erasures],
    }


def lines(document: dict[str, Any]) -> list[str]:
    """The same for people, from what `explained` gave."""
    rows = [f"call {document['call']}: {document['state']}; policy {document['policy']}, zone {document['zone']}"]
    if document["closing"] is not None:
        rows.append(f"its tenant left as of {document['closing']['closed']}: {document['closing']['state']}")
    for artefact in document["artefacts"]:
        rows.append(f"{artefact['kind']} {artefact['artefact']}: {_standing(artefact)}")
        rows += [f"    {_rule(purpose)}" for purpose in artefact["purposes"]]
        rows += [f"    hold {hold['hold']}: {hold['ground']}" for hold in artefact["holds"]]
    if not document["artefacts"]:
        rows += [f"erased {gone['at'] or 'soon'} by {gone['scope']} {gone['erasure']}" for gone in document["erasures"]]
    return rows


def _standing(artefact: dict[str, Any]) -> str:
    if artefact["erased"] is not None:
        gone = artefact["erased"]
        return f"erased {gone['at'] or 'now, not finished'} by {gone['scope']} {gone['erasure']}"
    if not artefact["purposes"] and not artefact["holds"]:
        return str(artefact["state"])
    if artefact["until"] is None:
        return "kept until its holds are released" if artefact["holds"] else "kept without a time limit"
    return f"kept until {artefact['until']}"


def _rule(purpose: dict[str, Any]) -> str:
    """Without holds, which have lines of their own."""
    words = f" ({purpose['words']})" if purpose["words"] and purpose["because"] != Because.HOLD else ""
    because = Because.PROFILE.value if purpose["because"] == Because.HOLD else purpose["because"]
    until = f"until {purpose['without_holds']}" if purpose["without_holds"] else "without a time limit"
    return f"for {purpose['purpose']} {until}: {purpose['term']}, {because} {purpose['rule']}{words}"


def _artefact(artefact: Retained, zone: str) -> dict[str, Any]:
    return {
        "artefact": artefact.artefact,
        "kind": artefact.kind.value,
        "participant": None if artefact.participant == NO_PARTICIPANT else artefact.participant,
        "state": artefact.state.value,
        "until": _at(artefact.until_s, zone),
        "purposes": [_purpose(kept, zone) for kept in artefact.kept],
        "holds": [{"hold": hold.id, "ground": hold.ground} for hold in artefact.holds],
        "erased": None if artefact.gone is None else _gone(artefact.gone),
    }


def _purpose(kept: Kept, zone: str) -> dict[str, Any]:
    found = kept.explanation
    return {
        "purpose": kept.purpose,
        "day": kept.day,
        "until": _at(found.until_s, zone),
        "without_holds": _at(found.rule_until_s, zone),
        "term": str(found.term),
        "because": found.because.value,
        "rule": found.source,
        "words": found.words,
        "no_time_limit": found.no_time_limit,
    }


def _gone(gone: Gone) -> dict[str, str]:
    return {"erasure": gone.erasure, "scope": gone.scope, "at": gone.at}


def _at(second: int | None, zone: str) -> str | None:
    return None if second is None else datetime.fromtimestamp(second, zoneinfo.ZoneInfo(zone)).isoformat()
