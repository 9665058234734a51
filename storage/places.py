"""Places: which part of the work is done where, and what a tenant's rule says of that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from storage.errors import Refused
from storage.regions import is_within, region_problem

PLACE_CHARACTERS_MAX = 200
UNKNOWN = ""
"""The region of a place that nobody has named: no rule allows it."""


class Part(StrEnum):
    """What holds data of a tenant, for good or for a while."""

    OBJECTS = "objects"
    CATALOGUE = "catalogue"
    KEYS = "keys"
    WITNESS = "witness"  # requests, records of copies and consents, sealed, beside keys
    SPOOL = "spool"
    QUEUE = "queue"
    CALLS = "calls"  # processing: media, live events, the API
    TRANSCRIPTION = "transcription"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part is: its region, and which place there, in the operator's words for it: a host, a bucket, "here"."""

    part: Part
    region: str = UNKNOWN
    name: str = "here"

    def __post_init__(self) -> None:
        if self.region and region_problem(self.region):
            raise Refused(f"the region of {self.part.value}: {region_problem(self.region)}")
        if not 0 < len(self.name) <= PLACE_CHARACTERS_MAX:
            raise Refused(f"the name of a place has 1 to {PLACE_CHARACTERS_MAX} characters")


def misplaced(rules: Sequence[str], places: Iterable[Place]) -> list[str]:
    """Of places that these rules do not allow, which and where they are, in words."""
    return [
        f"{place.part.value} ({place.name}) in {place.region or 'an unknown region'}"
        for place in places
        if not is_within(place.region, rules)
    ]
