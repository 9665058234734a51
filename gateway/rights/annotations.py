"""Rectification (Art. 16 GDPR): what somebody says is right stands beside what was recorded, which stays as it was.

A recording is what was said; changing it would falsify it. So a call has an annotation for each participant that asked
for one: a sealed document with its entries in order, shown wherever the transcript is, and part of every export.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.rights.share import Share
from storage.errors import AlreadyExists, Erased, NotReady, Refused
from storage.model import NO_PARTICIPANT, ArtefactState, Kind, ParticipantId, TenantId
from storage.recordings import Recordings
from storage.records import CallRecord, Derived

FORMAT = "callvault annotations v1"
STATEMENT_CHARACTERS_MAX = 2_000
"""Of one correction: a page. What is longer belongs in a letter, and a reference to it here."""
ENTRIES_MAX = 30
"""Of one participant of one call: so many of the longest fit into a document of 256 KiB."""


def annotate(
    recordings: Recordings, tenant: TenantId, share: Share, statement: str, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Adds a statement of the person whose share it is; `facts` say when, and by which request. Gives the entry."""
    if not 0 < len(statement) <= STATEMENT_CHARACTERS_MAX:
        raise Refused(f"a statement has 1 to {STATEMENT_CHARACTERS_MAX} characters")
    entry = {"who": share.who, "statement": statement, **facts}
    participant = share.tracks[0].participant if share.tracks else NO_PARTICIPANT
    if not _add(recordings, tenant, share.record, participant, entry):
        purpose = share.record.artefacts[0].ref.purpose if share.record.artefacts else "rectification"
        item = Derived(participant, Kind.ANNOTATION, purpose, _encode([entry]))
        try:
            recordings.add_derived(tenant, share.record.id, (), [item])
        except AlreadyExists:  # another one came first
            _add(recordings, tenant, recordings.call(tenant, share.record.id), participant, entry)
    return entry


def entries_of(recordings: Recordings, tenant: TenantId, record: CallRecord) -> list[dict[str, Any]]:
    """All entries of a call."""
    found: list[dict[str, Any]] = []
    for artefact in record.find(Kind.ANNOTATION):
        if artefact.state is ArtefactState.COMPLETE:
            try:
                found += json.loads(recordings.document(tenant, artefact.ref.artefact))["entries"]
            except (Erased, NotReady):
                continue
    return found


def _add(
    recordings: Recordings, tenant: TenantId, record: CallRecord, participant: ParticipantId, entry: Mapping[str, Any]
) -> bool:
    """Adds to the annotation that is there; False if there is none."""
    there = record.find(Kind.ANNOTATION, participant)
    if not there:
        return False

    def added(body: bytes) -> bytes:
        entries = json.loads(body)["entries"]
        if entry in entries:  # the same request, tried again
            return body
        if len(entries) >= ENTRIES_MAX:
            raise Refused(f"a participant has at most {ENTRIES_MAX} annotations of one call")
        return _encode([*entries, entry])

    recordings.amend(tenant, there[0].ref.artefact, added)
    return True


def _encode(entries: list[Any]) -> bytes:
    return json.dumps({"format": FORMAT, "entries": entries}, ensure_ascii=False).encode()
