"""What of a call is one person's: the tracks on which nobody else is heard, and what is said of that person alone.

A match names a call and who in it: a participant's id, or the side of a plain call (`caller`, `called`). Everything of
the other party is left out, by lists of what may go and not of what may not. A track on which several are heard is
nobody's alone and stays here; so does one of which it is not established whose it is. How many were left out, and
why, is told.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from media.codecs import OPUS
from storage.errors import Erased, Malformed, NotFound, NotReady
from storage.model import ArtefactState, CallId, CallState, Kind, ParticipantId, TenantId, is_id
from storage.recordings import Recordings
from storage.records import ArtefactRecord, CallRecord

CALLER, CALLED, EVERYONE = "caller", "called", "everyone"

_DETAIL = (
    *("version", "emergency", "started", "answered", "ended", "duration_ms", "recorded", "why", "recorded_because"),
    *("announcement", "pauses", "purpose", "language", "signalling", "media", "encrypted_in_transit"),
)
"""Of call detail: what is both parties' and tells nothing of one of them."""

_SIDES = {
    CALLER: (("display", "from_uri", "from_user", "asserted_uri", "source"), ("from", "private")),
    CALLED: (("to_uri", "to_user", "request_uri"), ("to",)),
}
"""Side of a plain call → what of the identity, and what more of call detail, is its own."""

_OF_TRACKS = (Kind.TRANSCRIPT, Kind.REDACTED_TRANSCRIPT, Kind.SPANS, Kind.DTMF)


@dataclass(frozen=True, slots=True)
class Matched:
    """One call, and who in it."""

    call: CallId
    who: str

    def to_json(self) -> dict[str, str]:
        """The inverse of `parse`."""
        return {"call": self.call, "who": self.who}

    @classmethod
    def parse(cls, value: object) -> Matched:
        """Raises Malformed."""
        match value:
            case {"call": str(call), "who": str(who)} if is_id(call) and (is_id(who) or who in _SIDES):
                return cls(CallId(call), who)
        raise Malformed("a match is a call's id and a participant's, `caller` or `called`")


@dataclass(frozen=True, slots=True)
class OwnTrack:
    """A track that is one person's alone."""

    index: int
    audio: ArtefactRecord
    document: Mapping[str, Any] = field(repr=False)

    @property
    def participant(self) -> ParticipantId:
        """Whose artefacts were derived from it."""
        return self.audio.ref.participant

    @property
    def opus(self) -> bool:
        """Whether it was received as Opus alone."""
        return tuple((self.document.get("facts") or {}).get("codecs", ())) == (OPUS.name,)


@dataclass(frozen=True, slots=True, repr=False)
class Share:
    """What of one call is one person's. `who` is written in one way, however the match was."""

    record: CallRecord
    who: str
    tracks: tuple[OwnTrack, ...]
    left_out: Mapping[str, int]  # reason → tracks
    identity: Mapping[str, Any]
    detail: Mapping[str, Any]

    def derived(self, kind: Kind) -> list[ArtefactRecord]:
        """What was made of the person's own tracks, and is complete."""
        return [
            artefact
            for track in self.tracks
            for artefact in self.record.find(kind, track.participant)
            if artefact.state is ArtefactState.COMPLETE
        ]

    def artefacts(self) -> list[ArtefactRecord]:
        """Everything that an export of all of it takes something from."""
        of_tracks = [artefact for kind in _OF_TRACKS for artefact in self.derived(kind)]
        of_call = [a for kind in (Kind.IDENTITY, Kind.CALL_DETAIL, Kind.ANNOTATION) for a in self.record.find(kind)]
        return [*(track.audio for track in self.tracks), *of_tracks, *of_call]


def share_of(recordings: Recordings, tenant: TenantId, matched: Matched) -> Share:
    """One person's share of a call that is over. NotFound also if nobody of that id is in it. Erased, NotReady."""
    record = recordings.call(tenant, matched.call)
    if record.state is CallState.ERASED:
        raise Erased(f"call {record.id} is erased")
    if record.state is CallState.LIVE:
        raise NotReady(f"call {record.id} is still live")
    identity, detail = (_document(recordings, tenant, record, kind) for kind in (Kind.IDENTITY, Kind.CALL_DETAIL))
    tracks = [
        OwnTrack(found["index"], audio, found)
        for audio in record.find(Kind.AUDIO)
        if (found := _opened(recordings, tenant, audio)) is not None
    ]
    if matched.who == EVERYONE:
        return Share(record, EVERYONE, tuple(tracks), {}, identity, detail)
    session = detail.get("recording_session") or identity.get("recording_session")
    if session is None:
        return _plain(record, matched.who, tracks, identity, detail)
    return _of_session(record, matched.who, tracks, identity, detail)


def known_as(identity: Mapping[str, Any], detail: Mapping[str, Any]) -> dict[str, list[str]]:
    """Who is in a call, and by which addresses and numbers: sides of a plain call, participants of a session."""
    session = identity.get("recording_session")
    if session is not None:
        return {person["id"]: [str(a) for a in person.get("addresses", ())] for person in session["participants"]}
    texts = {CALLER: [identity.get("from_uri"), detail.get("from")], CALLED: [identity.get("request_uri")]}
    texts[CALLED] += [identity.get("to_uri"), detail.get("to")]
    return {who: [text for text in found if text] for who, found in texts.items()}


def _plain(
    record: CallRecord, who: str, tracks: Sequence[OwnTrack], identity: Mapping[str, Any], detail: Mapping[str, Any]
) -> Share:
    """A call that we answered: what came in is the caller's, if it is one track; of several nothing says whose."""
    own: tuple[OwnTrack, ...]
    alone = tracks[0] if len(tracks) == 1 else None
    if alone is not None and who == alone.participant:
        who = CALLER
    if who == CALLER:
        own = () if alone is None else (alone,)
        left = {"not established whose": len(tracks)} if len(tracks) > 1 else {}
    else:
        own = tuple(track for track in tracks if track.participant == who)
        if not own and who != CALLED:
            raise NotFound(f"call {record.id} has no participant {who}")
        left = {"others": len(tracks) - len(own)} if len(tracks) > len(own) else {}
    of_identity, of_detail = _SIDES.get(who, ((), ()))
    return Share(record, who, own, left, _only(identity, of_identity), _only(detail, (*_DETAIL, *of_detail)))


def _of_session(
    record: CallRecord, who: str, tracks: Sequence[OwnTrack], identity: Mapping[str, Any], detail: Mapping[str, Any]
) -> Share:
    """A recording session: who is heard on which track was told by its client."""
    told, facts = identity.get("recording_session") or {}, detail.get("recording_session") or {}
    people = [person["id"] for person in (*told.get("participants", ()), *facts.get("participants", ()))]
    if who not in people and who not in {track.participant for track in tracks}:
        raise NotFound(f"call {record.id} has no participant {who}: name one of the session's")
    own, left = [], Counter[str]()
    for track in tracks:
        heard = {entry["id"] for entry in track.document.get("participants", ())} or {track.participant}
        if heard == {who} and not track.document.get("mixed"):
            own.append(track)
        else:
            left["others are heard on it as well" if who in heard else "others"] += 1
    lines = {track.document.get("line") for track in own}
    session = {
        "by": facts.get("by"),
        "participants": [person for person in facts.get("participants", ()) if person["id"] == who],
        "events": [event for event in facts.get("events", ()) if event.get("line") in lines],
    }
    persons = [person for person in told.get("participants", ()) if person["id"] == who]
    shown = _only(detail, _DETAIL) | ({"recording_session": session} if facts else {})
    return Share(record, who, tuple(own), left, {"participants": persons} if persons else {}, shown)


def _only(value: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value[name] for name in names if name in value}


def _document(recordings: Recordings, tenant: TenantId, record: CallRecord, kind: Kind) -> dict[str, Any]:
    """A document of the call as a whole; empty where it is erased by itself, or not there."""
    for artefact in record.find(kind):
        found = _opened(recordings, tenant, artefact)
        if found is not None:
            return found
    return {}


def _opened(recordings: Recordings, tenant: TenantId, artefact: ArtefactRecord) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(recordings.document(tenant, artefact.ref.artefact))
    except (Erased, NotReady, NotFound):
        return None
    return found
