"""One call as the gateway holds it while it lives, and what is written down of it when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gateway.calls.numbers import reader_of
from gateway.operations.clock import UNKNOWN, ClockState
from gateway.policy import Tenant, Trunk
from media.ports import PortPair
from storage.model import ArtefactId, CallId, CallState, ParticipantId, TenantId
from storage.records import NewArtefact, NewCall

DETAIL_VERSION = 1


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
    private: bool = False  # the caller asked not to be told to the called party (RFC 3325 §9.3)
    transport: str = "udp"
    media: str = "rtp"
    encrypted: bool = False  # the media, on its way here


@dataclass(frozen=True, slots=True)
class Tap:
    """A leg's sockets where a process of ours takes its media from the network, and what comes over them."""

    pair: PortPair
    codecs: Mapping[int, str]


@dataclass(slots=True)
class Leg:
    """One received stream: an m-line, its ports, and the track it becomes."""

    number: int
    index: int
    label: str
    participant: ParticipantId
    artefact: NewArtefact | None
    pair: PortPair
    ended: asyncio.Future[dict[str, Any] | None] = field(repr=False)  # the facts, or None when its worker was lost
    quiet: bool = False  # no sign of life for the trunk's quiet_s
    tap: Tap | None = None


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
    parties: Parties
    new: NewCall | None
    unrecorded: str  # why it is not recorded; empty when it is
    started_s: float  # wall clock: the offer
    answered_s: float  # wall clock: call time zero
    origin_ns: int  # monotonic clock: call time zero
    clock: ClockState = UNKNOWN  # how sure the times are
    legs: list[Leg] = field(default_factory=list)
    saved: asyncio.Task[bool] | None = None
    announcement: Announcement | None = None  # None: none is due
    worker_lost: bool = False
    ending: bool = False

    def detail(self, *, ended_s: float | None, why: str, missing: list[list[float | None]]) -> bytes:
        """Call detail: when, how long, with whom, and what became of the recording.

        Numbers are E.164 where the trunk's rules could read them; as they came they are kept in `identity`.
        """
        numbers = reader_of(self.trunk.numbers)
        body = {
            "version": DETAIL_VERSION,
            "from": numbers.read(self.parties.from_uri).text,
            "to": numbers.read(self.parties.request_uri).text,
            "numbers": numbers.version,
            "private": self.parties.private,
            "trunk": self.trunk.name,
            "clock": self.clock.fields(),
            "started": _utc(self.started_s),
            "answered": _utc(self.answered_s),
            "ended": None if ended_s is None else _utc(ended_s),
            "duration_ms": None if ended_s is None else round(1000 * (ended_s - self.answered_s)),
            "recorded": not self.unrecorded,
            "why": self.unrecorded or why,
            "missing_ms": missing,
            "announcement": self._announced(),
            "purpose": self.policy.purpose,
            "language": self.policy.language,
            "signalling": self.parties.transport,
            "media": self.parties.media,
            "encrypted_in_transit": self.parties.encrypted,
        }
        return json.dumps(body).encode()

    def _announced(self) -> dict[str, object] | None:
        if self.announcement is not None:
            return self.announcement.to_json()
        if self.trunk.receive_only and not self.unrecorded:
            return {"by": "recording client"}  # it alone can reach the parties (RFC 7866 §6.1): its duty
        return None

    def identity(self) -> bytes:
        """Names, addresses and protocol identifiers, sealed apart from call detail: they have their own retention."""
        parties = self.parties
        body = {"display": parties.from_display, "from_uri": parties.from_uri, "to_uri": parties.to_uri}
        body |= {"from_user": parties.from_user, "to_user": parties.to_user, "request_uri": parties.request_uri}
        body |= {"source": parties.source, "sip_call_id": parties.protocol_call_id}
        return json.dumps(body).encode()


def track_document(index: int, label: str, facts: Mapping[str, Any]) -> bytes:
    """What is sealed with a track's audio and lives as long as it does: its place in the call and its facts."""
    return json.dumps({"version": DETAIL_VERSION, "index": index, "label": label, "facts": facts}).encode()


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
