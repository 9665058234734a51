"""What a copy can have in it: the words in which plans, orders and authorisations say so."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from storage.model import Kind


class Part(StrEnum):
    """What can be in an export."""

    AUDIO = "audio"
    TRANSCRIPT = "transcript"
    FACTS = "facts"  # of the tracks: gaps, times, quality
    KEYS = "keys"
    IDENTITY = "identity"
    DETAIL = "detail"
    ANNOTATIONS = "annotations"
    MANIFEST = "manifest"


class Words(StrEnum):
    """Which transcript: a person's own words as spoken, or without the personal data in them, others' included."""

    ORIGINAL = "original"
    REDACTED = "redacted"


PARTS_OF: Mapping[Kind, frozenset[Part]] = {
    Kind.AUDIO: frozenset({Part.AUDIO, Part.FACTS}),
    Kind.TRANSCRIPT: frozenset({Part.TRANSCRIPT}),
    Kind.REDACTED_TRANSCRIPT: frozenset({Part.TRANSCRIPT}),
    Kind.DTMF: frozenset({Part.KEYS}),
    Kind.IDENTITY: frozenset({Part.IDENTITY}),
    Kind.CALL_DETAIL: frozenset({Part.DETAIL}),
    Kind.ANNOTATION: frozenset({Part.ANNOTATIONS}),
}
"""In which parts something of an artefact is; what is not here leaves in none."""
