"""The keys pressed in a call, where the tenant's policy keeps them: a sealed artefact of each participant.

They live in memory until the call ends. Nothing of them is written before: a record for each key, however well sealed,
would tell by its time and place that one was pressed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from gateway.calls.call import Call, Leg
from gateway.policy import Tenant
from media.dtmf import Press
from storage.model import ArtefactId, Kind, ParticipantId
from storage.records import Wanted

PRESSES_MAX = 1000  # of one participant, an hour of telephone banking; further ones are counted, not kept
PADDING_BYTES = 4096  # documents come in multiples of it, so that their size does not tell how many keys there are
VERSION = 1


def wanted(tenant: Tenant, people: Sequence[ParticipantId]) -> list[Wanted]:
    """The artefacts that a recorded call of the tenant is going to have for its keys."""
    return [Wanted(person, Kind.DTMF, tenant.purpose) for person in people] if tenant.dtmf == "keep" else []


def kept(call: Call) -> bool:
    """Whether keys of the call are kept at all."""
    return call.policy.dtmf == "keep" and call.new is not None and not call.unrecorded


def keep(call: Call, leg: Leg, press: Press) -> None:
    """Remember a key of the leg's participant, where the policy keeps keys."""
    if not kept(call):
        return
    if len(leg.pressed) < PRESSES_MAX:
        leg.pressed.append(press)
    else:
        leg.pressed_beyond += 1


def documents(call: Call) -> Mapping[ArtefactId, bytes]:
    """What is sealed of the call's keys at its end: a document for each artefact of that kind, also without a key."""
    legs = {} if call.unrecorded else {leg.participant: leg for leg in call.every_leg}
    found = {}
    for artefact in call.new.artefacts if call.new is not None else ():
        if artefact.ref.kind is Kind.DTMF:
            leg = legs.get(artefact.ref.participant)
            found[artefact.ref.artefact] = document(*((leg.pressed, leg.pressed_beyond) if leg else ((), 0)))
    return found


def document(presses: Sequence[Press], beyond: int = 0, *, complete: bool = True) -> bytes:
    """One participant's keys; not `complete` where a crash has cost those that were in memory."""
    keys = [
        {"key": press.symbol, "at_ms": press.at_us / 1000, "duration_ms": press.duration_ms, "way": press.way}
        for press in sorted(presses, key=lambda press: press.at_us)
    ]
    text = json.dumps({"version": VERSION, "complete": complete, "keys": keys, "beyond": beyond}).encode()
    return text.ljust(-(-len(text) // PADDING_BYTES) * PADDING_BYTES)
