"""What a call is billed by: it stands under the statutory root, where no erasure of its call reaches.

A rating has these members and no others, so what the law wants kept for years holds no content and no far party:

    version, day (UTC, on which the call began), seconds (begun ones; null while it goes on, or if nobody knows),
    direction (in, out or unknown), own (a number of the tenant's own that its policy names, or "")
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from storage.errors import Refused
from storage.model import ArtefactRef, Kind
from storage.records import Day

BILLING = "billing"
"""The purpose of every rating."""

VERSION = 1
SECONDS_MAX = 366 * 86_400
"""No call lasts a year; a larger number is something else than a duration."""

RATING_BYTES_MAX = 256
"""A rating has some 100."""

_MEMBERS = {"version", "day", "seconds", "direction", "own"}
_OWN = re.compile(r"(\+?[0-9]{2,15})?\Z")


class Direction(StrEnum):
    """Who called whom, seen from the tenant."""

    IN = "in"
    OUT = "out"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Rating:
    """One call's rating."""

    day: Day
    seconds: int | None
    direction: Direction = Direction.UNKNOWN
    own: str = ""

    def to_json(self) -> bytes:
        """As it is sealed; `parse` is its inverse."""
        body = {"version": VERSION, "day": self.day, "seconds": self.seconds, "direction": self.direction.value}
        return json.dumps(body | {"own": self.own}).encode()

    @classmethod
    def parse(cls, document: bytes) -> Rating:
        """A rating from its document; Refused for anything else, were it one member more."""
        try:
            body: Any = json.loads(document if len(document) <= RATING_BYTES_MAX else b"")
            known = isinstance(body, dict) and set(body) == _MEMBERS and body["version"] == VERSION
            if not known or not _is_duration(body["seconds"]) or not _OWN.match(body["own"]):
                raise Refused("a rating has its members, and no others")
            day = Day(date.fromisoformat(body["day"]).isoformat())
            return cls(day, body["seconds"], Direction(body["direction"]), body["own"])
        except (ValueError, TypeError):
            raise Refused("a rating has its members, and no others") from None


def check_rating(ref: ArtefactRef, document: bytes) -> None:
    """Refused for what would be kept as a rating and is none: so content is never kept as one."""
    if ref.kind is Kind.RATING:
        Rating.parse(document)


def check_purpose(kind: Kind, purpose: str) -> None:
    """Refused where a rating is to be kept for anything else than billing."""
    if kind is Kind.RATING and purpose != BILLING:
        raise Refused("ratings are kept for billing, and for nothing else")


def _is_duration(seconds: Any) -> bool:
    return seconds is None or (type(seconds) is int and 0 <= seconds <= SECONDS_MAX)
