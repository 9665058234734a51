"""One call as the gateway holds it while it lives, and what is written down of it when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from gateway.calls.identifiers import Identifiers, Sort
from gateway.calls.media_link import MediaLink
from gateway.calls.numbers import reader_of
from gateway.calls.paused import Span
from gateway.calls.roster import IDENTITY_BYTES_MAX, Roster, Track
from gateway.calls.talk import Talk
from gateway.calls.told import Told
from gateway.operations.clock import UNKNOWN, ClockState
from gateway.policy import Tenant, Trunk
from media.dtmf import Press
from media.ports import PortPair
from media.quality import quality_told
from media.sdp import SessionDescription
from storage.model import ArtefactId, CallId, CallState, ParticipantId, TenantId
from storage.records import NewArtefact, NewCall

DETAIL_VERSION = 1
PENDING = {"suite": ""}  # what a media worker is told of a leg's keys before they are agreed on
NOBODY: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Parties:
    """Who calls whom, as the signalling said it. Personal data: only ever sealed."""

    from_user: str
    from_display: str
    from_uri: str
    to_user: str
    to_uri: str
    request_uri: str  # what was dialled
    source: str
    protocol_call_id: str
    private: bool = False  # the caller withholds the number: it is told to nobody, see gateway/ingest/privacy.py
    transport: str = "udp"
    asserted_uri: str = ""  # whom P-Asserted-Identity names, believed or not
    found_by: tuple[tuple[Sort, str], ...] = ()  # as the headers have it


@dataclass(frozen=True, slots=True)
class Tap:
    """A leg's sockets where a process of ours takes its media from the network, and what comes over them."""

    pair: PortPair
    codecs: Mapping[int, str]


@dataclass(slots=True)
class Leg:
    """One received stream: an m-line, its ports, and the track it becomes.

    Where somebody else begins to be heard on a recording session's stream, another leg takes it over with its ports.
    """

    number: int
    index: int
    label: str
    participant: ParticipantId
    artefact: NewArtefact | None
    pair: PortPair
    ended: asyncio.Future[dict[str, Any] | None] = field(repr=False)  # the facts, or None when its worker was lost
    track: Track | None = None  # of a recording session: who is heard on it
    quiet: bool = False  # no sign of life for the trunk's quiet_s
    over: bool = False  # its dialog has ended, and another one of the call goes on
    tap: Tap | None = None
    pressed: list[Press] = field(default_factory=list, repr=False)  # keys, where the policy keeps them
    pressed_beyond: int = 0  # keys that were too many
    told: Told | None = field(default=None, repr=False)  # what its worker knows of it; None before it is opened
    talk: Talk = field(default_factory=Talk)
    srtp: dict[str, str] = field(default_factory=dict, repr=False)  # its SRTP keys, as a media worker is told them
    suites: set[str] = field(default_factory=set)  # what its media was encrypted with so far; "" for nothing

    @property
    def lives(self) -> int:
        """How many media workers have had it."""
        return 0 if self.told is None else self.told.opened.life + 1

    def protect(self, srtp: dict[str, str]) -> None:
        """These keys were agreed on, or none."""
        self.srtp = srtp
        if srtp != PENDING:
            self.suites.add(srtp.get("suite", ""))


@dataclass(slots=True)
class Announcement:
    """That the call is recorded, said to who is on the line before it is."""

    prompt: str  # what was played, by the fingerprint of its samples
    language: str
    start_us: int | None = None  # call time of the first packet sent
    end_us: int | None = None  # and of the last one, to a leg that heard all of it; None: no leg has, nothing is kept
    awaited: set[int] = field(default_factory=set)  # legs that have not heard it to its end: nothing of them is kept
    failed: bool = False  # whether a leg cannot be reached by it

    @property
    def complete(self) -> bool:
        """Whether everybody has heard all of it."""
        return not self.awaited

    def to_json(self) -> dict[str, object]:
        """For call detail; times in ms of the call."""
        body: dict[str, object] = {"prompt": self.prompt, "language": self.language, "complete": self.complete}
        return body | {"start_ms": _ms(self.start_us), "end_ms": _ms(self.end_us)}


@dataclass(slots=True)
class Call:
    """A call between its answer and its end. `new` is None when nothing of it may be stored."""

    id: CallId
    tenant: TenantId
    policy: Tenant
    trunk: Trunk
    parties: Parties  # of its first dialog
    new: NewCall | None
    unrecorded: str  # why it is not recorded; empty when it is
    started_s: float  # wall clock: the offer
    answered_s: float  # wall clock: call time zero
    origin_ns: int  # monotonic clock: call time zero
    clock: ClockState = UNKNOWN  # how sure the times are
    emergency: bool = False
    identifiers: Identifiers = field(default_factory=Identifiers)  # what it can be found by; may be added to
    joined: list[Parties] = field(default_factory=list)  # of dialogs that came later
    legs: list[Leg] = field(default_factory=list)
    srtp: dict[int, dict[str, str]] = field(default_factory=dict, repr=False)  # keys of its m-lines, as agreed on
    former: list[Leg] = field(default_factory=list)  # legs whose stream another one has taken over
    roster: Roster | None = None  # of a recording session
    described: SessionDescription | None = None  # what the peer said last of its media
    changes: set[asyncio.Task[None]] = field(default_factory=set)  # of legs, on their way to being durable
    noting: asyncio.Task[None] | None = None  # what a recording client has told is about to be written down
    saved: asyncio.Task[bool] | None = None
    keys_away: bool = False  # it is held in memory until its keys come, see gateway/calls/keyless.py
    keys_away_ms: float | None = None  # call time at which they came, where it was
    listed: bool = False  # it has its row all the same
    announcement: Announcement | None = None  # None: none is due
    pauses: list[Span] = field(default_factory=list)  # in order; only the last one may be open
    ipv6: bool = False  # whether its media come over IPv6, where the peer leaves the offer to us
    worker: MediaLink | None = field(default=None, repr=False)  # that has its legs
    worker_lost: bool = False  # and nobody went on with them
    portless: bool = False  # its ports are others' by now
    ending: bool = False
    _numbers: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def every_leg(self) -> list[Leg]:
        """Those that are gone before those that are there."""
        return [*self.former, *self.legs]

    def now_ms(self, now_ns: int) -> float:
        """Call time of an instant of the monotonic clock."""
        return max(0, now_ns - self.origin_ns) // 1000 / 1000

    @property
    def paused(self) -> bool:
        """Whether a leg that joins now is not to be kept."""
        return bool(self.pauses) and self.pauses[-1].open

    def detail(self, *, ended_s: float | None, why: str, missing: list[list[float | None]]) -> bytes:
        """Call detail: when, how long, with whom, and what became of the recording.

        Numbers are E.164 where the trunk's rules could read them; as they came they are kept in `identity`, and one
        that is withheld only there.
        """
        ended_us = None if ended_s is None else round(1e6 * (ended_s - self.answered_s))
        body = {
            "version": DETAIL_VERSION,
            "from": None if self.parties.private else self._read(self.parties.from_uri),
            "to": self._read(self.parties.request_uri),
            "numbers": reader_of(self.trunk.numbers).version,
            "private": self.parties.private,
            "emergency": self.emergency,
            "trunk": self.trunk.name,
            "clock": self.clock.fields(),
            "started": _utc(self.started_s),
            "answered": _utc(self.answered_s),
            "ended": None if ended_s is None else _utc(ended_s),
            "duration_ms": None if ended_s is None else round(1000 * (ended_s - self.answered_s)),
            "recorded": not self.unrecorded,
            "why": self.unrecorded or why,
            "missing_ms": missing,
            "keys_away_ms": self.keys_away_ms,
            "recorded_because": self.policy.record_emergency if self.emergency and not self.unrecorded else None,
            "announcement": self._announced(),
            "recording_session": self._recording_session(),
            "pauses": [span.to_json(ended_us) for span in self.pauses],
            "purpose": self.policy.purpose,
            "language": self.policy.language,
            "signalling": self.parties.transport,
            **self._media(),
        }
        return json.dumps(body).encode()

    def _media(self) -> dict[str, object]:
        """How its media came in; `mixed` if some of it was encrypted, or all of it for a while."""
        if any(leg.tap is not None for leg in self.every_leg):
            return {
                "media": "webrtc",
                "suites": [],
                "encrypted_in_transit": True,
            }  # it has nothing else (RFC 8827 §6.5)
        suites = {suite for leg in (*self.legs, *self.former) for suite in leg.suites}
        media = "srtp" if suites and "" not in suites else "mixed" if suites - {""} else "rtp"
        encrypted = media == "srtp" and self.parties.transport == "tls"
        return {"media": media, "suites": sorted(suites - {""}), "encrypted_in_transit": encrypted}

    def gather(self) -> None:
        """Adds to `identifiers` what the signalling says: protocol's and vendors' ids, both parties' numbers."""
        parties = self.parties
        withheld = self._read(parties.from_uri) if parties.private else ""
        for sort, text in (found for dialog in (parties, *self.joined) for found in dialog.found_by):
            self.identifiers.add(sort, text, withheld=withheld)
        for uri in (parties.from_uri, parties.request_uri):
            self.identifiers.add(Sort.NUMBER, self._read(uri), withheld=withheld)
            self.identifiers.add(Sort.URI, uri, withheld=withheld)
        if self.roster is not None:
            self._gather_session(self.roster)

    def _gather_session(self, roster: Roster) -> None:
        """A recording client's Privacy is that of all who take part: it does not say whose."""
        for session in roster.session_ids:
            self.identifiers.add(Sort.SIPREC, session)
        for address in roster.addresses:
            withheld = self._read(address) if self.parties.private else ""
            self.identifiers.add(Sort.NUMBER, self._read(address), withheld=withheld)
            self.identifiers.add(Sort.URI, address, withheld=withheld)

    def number(self, uri: str) -> str:
        """The number in a URI, as this call's trunk writes numbers: E.164 where its rules can read it."""
        return self._read(uri)

    def _read(self, uri: str) -> str:
        """The number in a URI. Reading costs 50 µs, and the same two are asked for at a call's beginning and end."""
        if uri not in self._numbers:
            self._numbers[uri] = reader_of(self.trunk.numbers).read(uri).text
        return self._numbers[uri]

    def _announced(self) -> dict[str, object] | None:
        if self.announcement is not None:
            return self.announcement.to_json()
        if self.trunk.receive_only and not self.unrecorded:
            return {"by": "recording client"}  # it alone can reach the parties (RFC 7866 §6.1): its duty
        return None

    def _recording_session(self) -> dict[str, object] | None:
        """Who took part and on which tracks, as ids; with its label, so that a track keeps its name after a crash."""
        if self.roster is None:
            return None
        tracks = [
            {"artefact": leg.artefact.ref.artefact, "label": leg.track.label, **leg.track.facts()}
            for leg in self.every_leg
            if leg.artefact is not None and leg.track is not None
        ]
        return self.roster.facts() | {"tracks": tracks}

    def identity(self) -> bytes:
        """Names, addresses and protocol identifiers, sealed apart from call detail: they have their own retention."""
        parties = self.parties
        body: dict[str, object] = {
            "display": parties.from_display,
            "from_uri": parties.from_uri,
            "to_uri": parties.to_uri,
        }
        body |= {"from_user": parties.from_user, "to_user": parties.to_user, "request_uri": parties.request_uri}
        body |= {"source": parties.source, "sip_call_id": parties.protocol_call_id}
        body |= {"asserted_uri": parties.asserted_uri}
        if self.joined:
            body |= {"joined": [dialog.protocol_call_id for dialog in self.joined]}
        if self.roster is not None:
            room = IDENTITY_BYTES_MAX - len(json.dumps(body))
            return json.dumps(body | {"recording_session": self.roster.identity(room)}).encode()
        return json.dumps(body).encode()


def track_document(index: int, label: str, facts: Mapping[str, Any], heard: Mapping[str, object] = NOBODY) -> bytes:
    """What is sealed with a track's audio and lives as long as it does: its place in the call, its facts, its quality.

    `heard` says who is heard on it, where a recording client tells.
    """
    found = quality_told(facts)
    body = {"version": DETAIL_VERSION, "index": index, "label": label, **heard}
    return json.dumps(body | {"facts": facts, "quality": None if found is None else found.to_json()}).encode()


def outcome(call: Call, facts: Mapping[ArtefactId, Mapping[str, Any]]) -> CallState:
    """How an answered call ended that was not interrupted: not recorded, no media, or complete."""
    if call.unrecorded:
        return CallState.NOT_RECORDED
    if not any(track.get("packets") for track in facts.values()):
        return CallState.NO_MEDIA
    return CallState.ENDED


def _ms(at_us: int | None) -> float | None:
    return None if at_us is None else at_us / 1000


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
