"""What an erasure is of, in words that may stand in a ledger for ever: random ids, kinds, purposes and days."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from storage.errors import Refused
from storage.model import ArtefactId, CallId, Kind, ParticipantId, Root
from storage.records import Day

CALLS_MAX = 10_000
"""Calls in one erasure: its certificate names each (33 bytes), and has at most 1 MiB. A person with more of them is
erased in several, which share one change of epoch."""

DROPS_MAX = 8_192
"""Buckets in one erasure, some 90 bytes of its certificate each: of a tenant with twenty kinds and purposes, a year."""


class Scope(StrEnum):
    """How far an erasure goes."""

    ARTEFACT = "artefact"  # some artefacts of one call
    PARTICIPANT = "participant"  # one participant of one call, and what speaks of several
    CALL = "call"
    PERSON = "person"  # the calls that somebody was found in
    PURPOSE = "purpose"  # what is kept for one purpose only, of some calls or of all
    EXPIRY = "expiry"  # buckets whose time is over
    RELEASE = "release"  # what a hold alone has kept
    TENANT = "tenant"  # the content root


@dataclass(frozen=True, slots=True)
class Drop:
    """A bucket that is dropped whole."""

    root: Root
    kind: Kind
    purpose: str
    day: Day


@dataclass(frozen=True, slots=True)
class Target:
    """What is erased. Make one with the class methods; `facts` is what ledger and certificate say of it."""

    scope: Scope
    calls: tuple[CallId, ...] = ()
    artefacts: tuple[ArtefactId, ...] = ()
    participant: ParticipantId | None = None
    purpose: str = ""
    hold: str = ""
    drops: tuple[Drop, ...] = ()

    @classmethod
    def of_call(cls, call: CallId) -> Target:
        """All content of a call."""
        return cls(Scope.CALL, (call,))

    @classmethod
    def of_artefacts(cls, call: CallId, artefacts: Sequence[ArtefactId]) -> Target:
        """Some artefacts of a call: the audio and not the transcript, say."""
        if not artefacts:
            raise Refused("name the artefacts to erase")
        return cls(Scope.ARTEFACT, (call,), tuple(artefacts))

    @classmethod
    def of_participant(cls, call: CallId, participant: ParticipantId) -> Target:
        """One participant's artefacts, and those of the call as a whole, which speak of all."""
        return cls(Scope.PARTICIPANT, (call,), participant=participant)

    @classmethod
    def of_person(cls, calls: Sequence[CallId]) -> Target:
        """The calls of somebody. The store does not know who that is: whoever asks has found them."""
        if not 0 < len(calls) <= CALLS_MAX:
            raise Refused(f"{len(calls)} calls: an erasure is of 1 to {CALLS_MAX}; split it")
        return cls(Scope.PERSON, tuple(dict.fromkeys(calls)))

    @classmethod
    def of_purpose(cls, purpose: str, calls: Sequence[CallId] = (), participant: ParticipantId | None = None) -> Target:
        """What is kept for a purpose and for no other: of these calls, of one participant in them, or of all calls."""
        if len(calls) > CALLS_MAX:
            raise Refused(f"{len(calls)} calls: an erasure is of at most {CALLS_MAX}; split it")
        if participant is not None and not calls:
            raise Refused("a participant is one of some call: name it")
        return cls(Scope.PURPOSE, tuple(dict.fromkeys(calls)), participant=participant, purpose=purpose)

    @classmethod
    def of_expiry(cls, drops: Sequence[Drop]) -> Target:
        """Buckets whose time is over."""
        return cls(Scope.EXPIRY, drops=tuple(drops))

    @classmethod
    def of_release(cls, hold: str) -> Target:
        """What one hold has kept alone."""
        return cls(Scope.RELEASE, hold=hold)

    @classmethod
    def of_tenant(cls) -> Target:
        """Everything under the content root."""
        return cls(Scope.TENANT)

    def facts(self) -> dict[str, Any]:
        """For the ledger: the scope, and whatever it names."""
        found: dict[str, Any] = {"scope": self.scope.value}
        if self.calls:
            found["calls"] = list(self.calls)
        if self.artefacts:
            found["artefacts"] = list(self.artefacts)
        if self.drops:
            found["buckets"] = [[drop.root.value, drop.kind.value, drop.purpose, drop.day] for drop in self.drops]
        for name in ("participant", "purpose", "hold"):
            if value := getattr(self, name):
                found[name] = value
        return found

    @classmethod
    def parse(cls, text: str) -> Target:
        """From the JSON of `facts`, as the catalogue keeps it."""
        found = json.loads(text)
        drops = tuple(Drop(Root(r), Kind(k), p, Day(d)) for r, k, p, d in found.get("buckets", ()))
        return cls(
            Scope(found["scope"]),
            tuple(found.get("calls", ())),
            tuple(found.get("artefacts", ())),
            found.get("participant"),
            found.get("purpose", ""),
            found.get("hold", ""),
            drops,
        )
