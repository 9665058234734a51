"""The nouns of the store: identifiers, artefacts, calls, and secrets that hide themselves.

Identifiers are 16 random bytes as 32 lower-case hexadecimal digits; they say nothing about whom they name.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

TenantId = NewType("TenantId", str)
CallId = NewType("CallId", str)
ParticipantId = NewType("ParticipantId", str)
ArtefactId = NewType("ArtefactId", str)

_ID = re.compile(r"[0-9a-f]{32}\Z")

NO_PARTICIPANT = ParticipantId("0" * 32)
"""The participant of artefacts that belong to the call as a whole."""


def new_id() -> str:
    """A fresh random identifier: 128 bits from the operating system."""
    return secrets.token_hex(16)


def is_id(text: str) -> bool:
    """Whether `text` has the form of an identifier; everything from outside is asked this first."""
    return _ID.match(text) is not None


class Kind(StrEnum):
    """What an artefact is: one stored thing about one participant of one call."""

    IDENTITY = "identity"
    AUDIO = "audio"
    REDACTED_AUDIO = "redacted_audio"
    TRANSCRIPT = "transcript"
    REDACTED_TRANSCRIPT = "redacted_transcript"
    SPANS = "spans"
    DTMF = "dtmf"
    VOICEMAIL = "voicemail"
    CALL_DETAIL = "call_detail"
    RATING = "rating"
    CONSENT = "consent"  # that somebody consented, or withdrew: see storage/consents.py
    ANNOTATION = "annotation"  # what somebody has corrected, beside what was recorded
    REQUEST = "request"  # this and the following belong to no call: see storage/dossiers.py
    DISCLOSURE = "disclosure"
    EGRESS = "egress"


class Root(StrEnum):
    """The roots of a tenant's key tree."""

    CONTENT = "content"
    STATUTORY = "statutory"
    HOLD = "hold"


class CallState(StrEnum):
    """Where a call's record stands. Every answered call ends in one of STORED to ERASED."""

    KEYLESS = "keyless"  # live or over, and in memory only: its key provider is away, see storage/keyless.py
    LIVE = "live"
    ENDED = "ended"  # complete and downloadable, the signed manifest is not yet written
    STORED = "stored"
    INTERRUPTED = "interrupted"  # downloadable; call detail says which milliseconds are missing
    NOT_RECORDED = "not_recorded"  # call detail says why; of a call that never got keys its row does
    NO_MEDIA = "no_media"
    ERASED = "erased"
    DOSSIER = "dossier"  # no call: sealed records of the store's own, see storage/dossiers.py


class ArtefactState(StrEnum):
    """Where one artefact stands."""

    WRITING = "writing"  # a stream whose end has not been seen
    COMPLETE = "complete"
    ERASING = "erasing"  # tombstone written: reads are refused from here on
    ERASED = "erased"


class Secret:
    """Key bytes that no repr, log, or pickle shows."""

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        self._raw = bytes(raw)

    def reveal(self) -> bytes:
        """The bytes themselves, for the one call that needs them."""
        return self._raw

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("secrets are not serialised")


@dataclass(frozen=True, slots=True)
class ArtefactRef:
    """Everything that a seal binds: whose, of which call and participant, what, and why it is kept."""

    tenant: TenantId
    call: CallId
    participant: ParticipantId
    artefact: ArtefactId
    kind: Kind
    purpose: str
