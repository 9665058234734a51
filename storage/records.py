"""What goes in and out of the recordings door: requests for keys, new calls, and the catalogue's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NewType

from storage.model import (
    NO_PARTICIPANT,
    ArtefactId,
    ArtefactRef,
    ArtefactState,
    CallId,
    CallState,
    Kind,
    ParticipantId,
    Root,
    Secret,
    TenantId,
)

Day = NewType("Day", str)
"""A UTC day, `YYYY-MM-DD`: the only time that stands in clear beside a recording."""

DEFAULT_SEGMENT_BYTES = 65_536
"""Ciphertext segment of new artefacts: a seek opens this much, and sealing is at full speed ."""

DOSSIERS = frozenset({Kind.REQUEST, Kind.DISCLOSURE, Kind.EGRESS})
"""Kinds of records that belong to no call: what was asked, answered and handed out, outliving what it was about."""

SELDOM = DOSSIERS | {Kind.ANNOTATION, Kind.CONSENT}
"""Kinds for which no bucket is prepared ahead: they come one by one, and their makers can wait for the provider."""

_STATUTORY = DOSSIERS | {Kind.RATING, Kind.CONSENT}

ROOTS: dict[Kind, Root] = {kind: Root.STATUTORY if kind in _STATUTORY else Root.CONTENT for kind in Kind}
"""Under which root of its tenant's tree each kind stands."""

STREAMS = frozenset({Kind.AUDIO, Kind.VOICEMAIL})
"""Kinds that come through the spool, and whose end a call waits for; all others are written whole. A stream may have
a document too: its facts (gap map, time map), which live as long as it does."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An artefact that a new call is going to have."""

    participant: ParticipantId
    kind: Kind
    purpose: str


@dataclass(frozen=True, slots=True)
class NewArtefact:
    """An artefact and its key, so far in memory only."""

    ref: ArtefactRef
    key: Secret
    segment_bytes: int = DEFAULT_SEGMENT_BYTES


@dataclass(frozen=True, slots=True)
class Identifier:
    """Something that a call is found by, of a type that its writer names; equal ones are equal as text."""

    type: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewCall:
    """A call whose keys are held in memory; `Recordings.save` makes them durable.

    `identifiers` are what it is found by from then on; they live and die with its identity artefact.
    """

    tenant: TenantId
    call: CallId
    day: Day
    artefacts: tuple[NewArtefact, ...]
    identifiers: tuple[Identifier, ...] = ()
    state: CallState = CallState.LIVE  # in which it is saved: a dossier is one from the beginning
    listed: bool = False  # it has its row since its keys were found to be away

    def find(self, kind: Kind, participant: ParticipantId = NO_PARTICIPANT) -> NewArtefact:
        """The artefact of that kind and participant; KeyError if none was wanted."""
        for artefact in self.artefacts:
            if artefact.ref.kind is kind and artefact.ref.participant == participant:
                return artefact
        raise KeyError(kind)


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to a saved call: documents to seal, the state that it moves to, jobs to write."""

    call: NewCall
    documents: Mapping[ArtefactId, bytes]
    state: CallState | None = None
    jobs: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Derived:
    """Something made from other artefacts of the same call, to be stored with them."""

    participant: ParticipantId
    kind: Kind
    purpose: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ArtefactRecord:
    """One artefact as the catalogue knows it; `size` is in plaintext bytes and 0 while it is being written."""

    ref: ArtefactRef
    state: ArtefactState
    size: int


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call as the catalogue knows it, with those of its artefacts that are not erased.

    `restricted`: nothing of it is read now, see storage/restrictions.py; `held`: see storage/holds.py; `reason`: of a
    call without keys, see storage/keyless.py.
    """

    id: CallId
    state: CallState
    day: Day
    artefacts: tuple[ArtefactRecord, ...]
    restricted: bool = False
    held: bool = False
    reason: str = ""

    def find(self, kind: Kind, participant: ParticipantId | None = None) -> tuple[ArtefactRecord, ...]:
        """Its artefacts of one kind, of one participant if one is named."""
        return tuple(
            artefact
            for artefact in self.artefacts
            if artefact.ref.kind is kind and participant in (None, artefact.ref.participant)
        )


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A job that waits to be handed to the queue; `id` serves to drop duplicates, `body` is JSON with ids only."""

    id: str
    subject: str
    body: bytes


@dataclass(frozen=True, slots=True)
class KeyOperations:
    """How often one operation of the key provider was asked for, how often in vain, and how long it took in all."""

    count: int = 0
    failed: int = 0
    seconds: float = 0.0
