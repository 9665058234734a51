"""What leaves to a destination, shown on a call that never was: by the code that makes real copies and real requests.

Whatever is added to a copy, or to a request to delete it, shows in the sample: tests compare it with golden files.
"""

from __future__ import annotations

from typing import Any

from gateway.outside import Destination
from gateway.rights.export import Plan, folder_of, index_of, leaving, told_of
from gateway.rights.fields import synthetic
from gateway.rights.parts import Part, Words
from gateway.rights.share import OwnTrack, Share
from storage.egress import unsigned_notice
from storage.exports import sign_index
from storage.model import (
    ArtefactId,
    ArtefactRef,
    ArtefactState,
    CallId,
    CallState,
    Kind,
    ParticipantId,
    Secret,
    TenantId,
)
from storage.records import ArtefactRecord, CallRecord, Day
from storage.signing import Signer

NOBODY = TenantId("0" * 32)
CALL, REQUEST = CallId("c" * 32), CallId("fedcba9876543210fedcba9876543210")
AUDIO = ArtefactId("a" * 32)
HELD_BACK = "…"
"""Stands for what no sample can have: sound, hashes, signatures."""
_ANYBODY = Signer(Secret(bytes(32)))
_SIGNED = {"public_key": HELD_BACK, "signature": HELD_BACK}


def plan_of(destination: Destination) -> Plan:
    """What a copy for the destination has in it, of a request of the person in the synthetic call."""
    decision = {"words": Words.REDACTED.value, "reason": "…"}
    about = {"request": REQUEST, "right": "portability", "others_data": decision}
    return Plan(NOBODY, (), about, frozenset(destination.parts), Words.REDACTED, destination.allowed)


def sample_of(destination: Destination) -> dict[str, Any]:
    """Every file of a copy by its name, and the request to delete it, if one is sent."""
    plan, share = plan_of(destination), _share()
    bodies = [(part, body) for part, body in synthetic().items()] + [(Part.MANIFEST, {"manifest": HELD_BACK})]
    folder = folder_of(share)
    files: dict[str, Any] = {f"{folder}{part.value}.json": body for part, body in leaving(plan, bodies)}
    if Part.AUDIO in plan.parts:
        files |= {f"{folder}track-{track.index}.wav": HELD_BACK for track in share.tracks}
    hashed = [{"name": name, "size": 0, "sha256": HELD_BACK} for name in files]
    index = sign_index(_ANYBODY, index_of(plan, [told_of(share, list(files))], hashed)) | _SIGNED
    sample: dict[str, Any] = {"destination": destination.name, "files": {**files, "index.json": index}}
    if destination.address:
        body = {"at": "2026-03-02T12:00:00Z", "to": destination.to, "ground": "request", "calls": {CALL: [AUDIO]}}
        sample["request_to_delete"] = unsigned_notice(REQUEST, NOBODY, body, [CALL]) | _SIGNED
    return sample


def _share() -> Share:
    facts = synthetic()[Part.FACTS]["tracks"][0]
    person = ParticipantId(facts["participants"][0]["id"])
    ref = ArtefactRef(NOBODY, CALL, person, AUDIO, Kind.AUDIO, "quality")
    audio = ArtefactRecord(ref, ArtefactState.COMPLETE, 0)
    record = CallRecord(CALL, CallState.STORED, Day("2026-03-02"), (audio,))
    return Share(record, person, (OwnTrack(0, audio, facts),), {"others": 1}, {}, {})
