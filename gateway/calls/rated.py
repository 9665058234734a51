"""What a call is billed by, where the tenant wants ratings: which day, how long, which way, and on which number of its
own. Who was at the other end stands nowhere in it.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.calls.call import Call
from gateway.policy import Tenant
from storage.errors import StoreError
from storage.model import NO_PARTICIPANT, ArtefactId, Kind, TenantId
from storage.rating import BILLING, Direction, Rating
from storage.recordings import Recordings
from storage.records import NewArtefact, NewCall, Wanted


def wanted(tenant: Tenant) -> list[Wanted]:
    """The artefact that a call of the tenant is going to have for its rating, recorded or not."""
    return [Wanted(NO_PARTICIPANT, Kind.RATING, BILLING)] if tenant.rating else []


def artefact_of(new: NewCall) -> NewArtefact | None:
    """A call's rating, if it has one."""
    return next((artefact for artefact in new.artefacts if artefact.ref.kind is Kind.RATING), None)


def rating_of(call: Call, new: NewCall, ended_s: float | None) -> Rating:
    """The rating of a call that ended, or goes on."""
    seconds = None if ended_s is None else begun_seconds(1000 * (ended_s - call.answered_s))
    own = call.policy.rating_numbers
    caller, called = call.number(call.parties.from_uri), call.number(call.parties.request_uri)
    if call.roster is not None:  # the client tells who takes part, and not who called whom
        heard = [number for address in call.roster.addresses if (number := call.number(address)) in own]
        return Rating(new.day, seconds, Direction.UNKNOWN, heard[0] if heard else "")
    if called in own:
        return Rating(new.day, seconds, Direction.IN, called)
    if caller in own:
        return Rating(new.day, seconds, Direction.OUT, "" if call.parties.private else caller)
    return Rating(new.day, seconds)


def documents(call: Call, new: NewCall, ended_s: float | None) -> dict[ArtefactId, bytes]:
    """What is sealed of a call's rating, if it has one."""
    artefact = artefact_of(new)
    return {} if artefact is None else {artefact.ref.artefact: rating_of(call, new, ended_s).to_json()}


def recovered(
    recordings: Recordings, tenant: TenantId, new: NewCall, length_ms: float | None
) -> dict[ArtefactId, bytes]:
    """The same of a call that was interrupted: what was known when it began, and how long it lasted, if known."""
    artefact = artefact_of(new)
    if artefact is None:
        return {}
    try:
        begun = Rating.parse(recordings.document(tenant, artefact.ref.artefact, recording=True))
    except StoreError:  # the crash came between the key row and the document
        begun = Rating(new.day, None)
    seconds = begun.seconds if length_ms is None else begun_seconds(length_ms)
    return {artefact.ref.artefact: replace(begun, seconds=seconds).to_json()}


def begun_seconds(length_ms: float) -> int:
    """Whole seconds, the last one as soon as it is begun."""
    return max(0, -(-round(length_ms) // 1000))
