"""Who takes part in a recording session, and who is heard on which track from when to when.

Made from what the recording client says, in whatever order it says it. Names and addresses are personal data: they
leave by `identity` alone, into what is sealed; `facts` has our own ids, labels and times.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from gateway.sip.errors import Malformed
from gateway.sip.siprec.location import tells_location
from gateway.sip.siprec.metadata import Participant, Stream, parse
from gateway.sip.siprec.session import Named
from gateway.sip.siprec.state import Line, Senders, State
from storage.model import ParticipantId, new_id

XML_BYTES_MAX = 128 * 1024
"""Of a call's raw metadata that is kept, as JSON: half of the largest document that the store takes. What is beyond is
counted, and what it says is heeded all the same."""
NAMES_BYTES_MAX = 64 * 1024
"""Of names and addresses, as JSON: a quarter of that document. Who is beyond is counted."""
IDENTITY_BYTES_MAX = 240 * 1024
"""Of all that, where the rest of an identity leaves room for it."""
PEOPLE_MAX = 256
"""Participants of one call, those that have left included: twice the largest conference that one document describes."""
EVENTS_MAX = 256
"""Timed facts of one call; a contact centre's long call has a dozen. What is beyond is counted."""
PRESENCES_MAX = 512
"""How often somebody begins to be heard on a track, of one call: 48 KiB of call detail. What is beyond is counted."""


Entry = TypeVar("Entry")


@dataclass(slots=True, repr=False)
class Person:
    """A participant: our id, what the client says of it (personal data), and when it was there, in ms of the call."""

    id: ParticipantId
    described: Participant
    from_ms: float
    until_ms: float | None = None
    joined_s: float | None = None  # Unix time that the client gives: it may have been there before the recording

    def facts(self) -> dict[str, object]:
        """Without its description."""
        body: dict[str, object] = {"id": self.id, "from_ms": self.from_ms, "until_ms": self.until_ms}
        if self.joined_s is not None:
            joined = datetime.fromtimestamp(self.joined_s, UTC).isoformat(timespec="milliseconds")
            body["joined"] = joined.replace("+00:00", "Z")
        return body


@dataclass(slots=True)
class Presence:
    """A participant is heard on a track for this long."""

    person: ParticipantId
    from_ms: float
    until_ms: float | None = None


@dataclass(slots=True)
class Track:
    """What one artefact of audio holds: a stretch of an m-line's stream, of one participant or, mixed, of several."""

    number: int
    line: int
    label: str
    participant: ParticipantId
    from_ms: float = 0.0
    until_ms: float | None = None
    mixed: bool = False
    heard: list[Presence] = field(default_factory=list)

    @property
    def present(self) -> frozenset[ParticipantId]:
        """Who is heard on it now, as far as the client has said."""
        return frozenset(presence.person for presence in self.heard if presence.until_ms is None)

    def show(self, people: frozenset[ParticipantId], at_ms: float, most: int) -> int:
        """From now on these are heard on it, as far as `most` more can be listed; how many were."""
        for presence in self.heard:
            if presence.until_ms is None and presence.person not in people:
                presence.until_ms = at_ms
        new = sorted(people - self.present)[:most]
        self.heard += [Presence(person, at_ms) for person in new]
        return len(new)

    def facts(self) -> dict[str, object]:
        """For the sealed document beside the track's audio."""
        heard = [{"id": p.person, "from_ms": p.from_ms, "until_ms": p.until_ms} for p in self.heard]
        return {"line": self.line, "mixed": self.mixed, "participants": heard} | {
            "from_ms": self.from_ms,
            "until_ms": self.until_ms,
        }


class Roster:
    """One recording session. `lines` are the m-lines of the last offer, in order."""

    def __init__(self, lines: Sequence[Line], by: str = "siprec") -> None:
        self.by = by
        self.tracks: list[Track] = []
        self._lines = list(lines)
        self._state = State()
        self._people: dict[str, Person] = {}  # by the client's id
        self._current: dict[int, Track] = {}  # by m-line
        self._documents: list[dict[str, object]] = []
        self._documents_omitted = 0
        self._kept_bytes = 0
        self._presences = 0
        self._events: list[dict[str, object]] = []
        self._omitted = 0
        self._unread = 0

    @property
    def session_ids(self) -> tuple[str, ...]:
        """The communication sessions that the client names, as it names them."""
        return self._state.sessions

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of everybody who was there, as the client writes them. Personal data."""
        return tuple(address for person in self._people.values() for address in person.described.addresses)

    def describe(self, lines: Sequence[Line]) -> None:
        """The m-lines of a new offer."""
        self._lines = list(lines)

    def hear(self, documents: Sequence[bytes], at_ms: float) -> None:
        """Metadata has come. What cannot be read is kept all the same, and said in the facts.

        What tells where somebody is, is read for who takes part, and not kept.
        """
        for document in documents:
            self._keep(document, at_ms)
            try:
                self._state = self._state.apply(parse(document))
            except Malformed as error:
                self._unread += 1
                self._note(at_ms, "metadata_unreadable", reason=error.reason)
            else:
                self._meet(at_ms)

    def name(self, parties: Sequence[Named]) -> None:
        """Cisco's network-based recording: the parties stand in headers, once and for all."""
        people = {str(number): Participant(str(number), (party.uri,)) for number, party in enumerate(parties)}
        streams = {str(index): Stream(str(index), line.label or "") for index, line in enumerate(self._lines)}
        sends = {str(number): frozenset(map(str, party.lines)) for number, party in enumerate(parties)}
        self._state = State((), people, streams, sends)
        self._meet(0.0)

    def open(self, line: int, label: str, at_ms: float = 0.0) -> Track:
        """A new track for an m-line, of whoever is heard there; it takes the place of the line's former one."""
        senders = self._senders(line)
        people = self._known(senders)
        taken = {track.participant for track in self.tracks}
        alone = next(iter(people)) if len(people) == 1 and not senders.mixed else None
        # An artefact's participant is its own: where several are heard, or one has a track already, it is the track's.
        participant = alone if alone is not None and alone not in taken else ParticipantId(new_id())
        track = Track(len(self.tracks), line, label, participant, at_ms, mixed=senders.mixed)
        if (former := self._current.get(line)) is not None:
            former.until_ms = at_ms
            self._show(former, frozenset(), at_ms)
        self._show(track, people, at_ms)
        self.tracks.append(track)
        self._current[line] = track
        return track

    def changed(self, at_ms: float) -> list[int]:
        """The m-lines on which somebody else is heard than their track is for; the others are brought up to date."""
        due = []
        for line, track in self._current.items():
            senders = self._senders(line)
            people = self._known(senders)
            if not people or people == track.present:
                continue  # nobody is said to send now: what comes, if anything, is still the same one's
            before = {presence.person for presence in track.heard}
            if before and senders.told and not (track.mixed and senders.mixed) and people != before:
                due.append(line)
            else:
                self._show(track, people, at_ms)
                track.mixed = track.mixed or senders.mixed
        return due

    def leave(self, line: int, at_ms: float) -> None:
        """Nobody is heard on an m-line any more: its dialog has ended."""
        if (track := self._current.pop(line, None)) is not None:
            track.until_ms = at_ms
            self._show(track, frozenset(), at_ms)
        self._note(at_ms, "hung_up", line=line)

    def note(self, at_ms: float, what: str, line: int) -> None:
        """Something happened to an m-line: held, resumed, moved."""
        self._note(at_ms, what, line=line)

    def facts(self) -> dict[str, object]:
        """For call detail: ids, labels and times only."""
        people = [person.facts() for person in self._people.values()]
        read = "unreadable" if self._unread else "read" if self._documents or self._documents_omitted else "none"
        body: dict[str, object] = {"by": self.by, "metadata": read, "participants": people, "events": self._events}
        return body | {"events_omitted": self._omitted} if self._omitted else body

    def identity(self, room_bytes: int = IDENTITY_BYTES_MAX) -> dict[str, object]:
        """For the sealed identity: names, addresses, what the client sent as it sent it; as far as there is room."""
        described = [(person.id, person.described) for person in self._people.values()]
        people = [{"id": told, "addresses": who.addresses, "name": who.name} for told, who in described]
        sessions = _fitting(self.session_ids, room_bytes)
        people = _fitting(people, min(NAMES_BYTES_MAX, room_bytes - _size(sessions)))
        documents = _fitting(self._documents, room_bytes - _size(sessions) - _size(people))
        omitted = self._documents_omitted + len(self._documents) - len(documents)
        return {
            "sessions": sessions,
            "participants": people,
            "participants_omitted": len(described) - len(people),
            "metadata": documents,
            "metadata_omitted": omitted,
        }

    def _senders(self, line: int) -> Senders:
        found = self._state.senders(self._lines)
        return found[line] if line < len(found) else Senders()

    def _known(self, senders: Senders) -> frozenset[ParticipantId]:
        return frozenset(self._people[who].id for who in senders.participants if who in self._people)

    def _show(self, track: Track, people: frozenset[ParticipantId], at_ms: float) -> None:
        self._presences += track.show(people, at_ms, PRESENCES_MAX - self._presences)
        self._omitted += len(people - track.present)

    def _meet(self, at_ms: float) -> None:
        """Know who has come and who has gone."""
        here = self._state.participants
        gone = [told for told, person in self._people.items() if told not in here and person.until_ms is None]
        for told, described in here.items():
            person = self._people.get(told) or self._renamed(described, gone)
            if person is None:
                if len(self._people) == PEOPLE_MAX:
                    self._omitted += 1
                    continue
                person = Person(ParticipantId(new_id()), described, at_ms)
            person.described, person.until_ms = described, None
            person.joined_s = self._state.joined_s.get(told)
            self._people[told] = person
        for told in gone:
            if (person := self._people.get(told)) is not None:  # None: numbered anew
                person.until_ms = at_ms

    def _renamed(self, described: Participant, gone: Sequence[str]) -> Person | None:
        """Some clients number everybody anew in each snapshot: the only one who had this address and is gone."""
        here = [told for told in gone if told in self._people]
        same = [told for told in here if set(described.addresses) & set(self._people[told].described.addresses)]
        return self._people.pop(same[0]) if len(same) == 1 else None

    def _keep(self, document: bytes, at_ms: float) -> None:
        if tells_location(document):
            self._documents_omitted += 1
            self._note(at_ms, "metadata_not_kept", reason="location")
            return
        entry: dict[str, object] = {"at_ms": at_ms, "xml": document.decode("utf-8", "backslashreplace")}
        size = _size(entry)
        if self._kept_bytes + size > XML_BYTES_MAX:
            self._documents_omitted += 1
        else:
            self._kept_bytes += size
            self._documents.append(entry)

    def _note(self, at_ms: float, what: str, **detail: object) -> None:
        if len(self._events) < EVENTS_MAX:
            self._events.append({"at_ms": at_ms, "what": what, **detail})
        else:
            self._omitted += 1


def _size(value: object) -> int:
    return len(json.dumps(value))


def _fitting(entries: Sequence[Entry], room_bytes: int) -> list[Entry]:
    """The first of the entries that fit together."""
    sizes = itertools.accumulate(_size(entry) + 2 for entry in entries)
    return [entry for entry, size in zip(entries, sizes, strict=True) if size <= room_bytes]
