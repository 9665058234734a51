"""What a recording client has said so far (snapshots replace it, partial documents change it); who is on an m-line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from gateway.sip.siprec.metadata import Metadata, Participant, Stream

Entry = TypeVar("Entry")

SESSIONS_MAX = 16
"""Communication sessions of one recording session: one, or those of a call that was transferred. Beyond, left out."""
KEPT_MAX = 256
"""Participants, and streams, known at once: partial documents may add for hours. Beyond, new ones are ignored."""


@dataclass(frozen=True, slots=True)
class Line:
    """What an m-line is called, and whether it carries sound that could be ours."""

    label: str | None
    audio: bool = True


@dataclass(frozen=True, slots=True, repr=False)
class Senders:
    """Who is heard on an m-line. `told`: the client said so; else it follows from there being one line only."""

    participants: frozenset[str] = frozenset()
    mixed: bool = False
    told: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class State:
    """The recording session as it stands; ids are the client's."""

    sessions: tuple[str, ...] = ()
    participants: Mapping[str, Participant] = field(default_factory=dict)
    streams: Mapping[str, Stream] = field(default_factory=dict)
    sends: Mapping[str, frozenset[str]] = field(default_factory=dict)
    joined_s: Mapping[str, float] = field(default_factory=dict)

    def apply(self, told: Metadata) -> State:
        """The state after this document."""
        before = State() if told.complete else self
        mentioned = {found.participant: Participant(found.participant) for found in told.associations if found.sends}
        described = {person.id: person for person in told.participants}
        participants = _merged(before.participants, mentioned | dict(before.participants) | described)
        streams = _merged(before.streams, {stream.id or stream.label: stream for stream in told.streams})
        sends = dict(before.sends) | {found.participant: found.sends for found in told.associations}
        for gone in told.left:
            participants.pop(gone, None)
            sends.pop(gone, None)
        return State(
            sessions=tuple(dict.fromkeys((*before.sessions, *told.sessions)))[:SESSIONS_MAX],
            participants=participants,
            streams=streams,
            sends={participant: found for participant, found in sends.items() if participant in participants},
            joined_s={
                who: at_s for who, at_s in (dict(before.joined_s) | dict(told.joined_s)).items() if who in participants
            },
        )

    def senders(self, lines: Sequence[Line]) -> list[Senders]:
        """Who is heard on each m-line."""
        audio = [line for line in lines if line.audio]
        return [
            self._on(at, lines, alone=len(audio) == 1) if line.audio else Senders() for at, line in enumerate(lines)
        ]

    def _on(self, at: int, lines: Sequence[Line], *, alone: bool) -> Senders:
        stream = self._stream(at, lines, alone=alone)
        if stream is not None:
            found = frozenset(who for who, streams in self.sends.items() if stream.id in streams)
            if found:
                return Senders(found, stream.mixed or len(found) > 1, told=True)
        mixed = stream is not None and stream.mixed
        if not alone or any(self.sends.values()):
            return Senders(mixed=mixed)
        everybody = frozenset(self.participants)  # nobody is said to send, and there is one line: all are on it
        return Senders(everybody, mixed or len(everybody) > 1)

    def _stream(self, at: int, lines: Sequence[Line], *, alone: bool) -> Stream | None:
        streams, label = list(self.streams.values()), lines[at].label
        if label is not None:
            named = next((stream for stream in streams if stream.label == label), None)
            if named is not None:
                return named
        elif len(streams) == len(lines) and all(other.label is None for other in lines):
            return streams[at]  # nothing is labelled: they come in the same order
        return streams[0] if alone and len(streams) == 1 else None


def _merged(before: Mapping[str, Entry], told: Mapping[str, Entry]) -> dict[str, Entry]:
    room = max(0, KEPT_MAX - len(before))
    new = [key for key in told if key not in before][room:]
    return dict(before) | {key: entry for key, entry in told.items() if key not in new}
