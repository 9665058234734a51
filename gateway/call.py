"""One call as the gateway holds it while it lives, and what is written down of it when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gateway.config import Tenant, Trunk
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
    source: str
    protocol_call_id: str


@dataclass(slots=True)
class Leg:
    """One received stream: an m-line, its ports, and the track it becomes."""

    number: int
    index: int
    label: str
    participant: ParticipantId
    artefact: NewArtefact | None
    pair: PortPair
    receiving: bool
    ended: asyncio.Future[dict[str, Any] | None] = field(repr=False)  # the facts, or None when its worker was lost


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
    legs: list[Leg] = field(default_factory=list)
    saved: asyncio.Task[bool] | None = None
    worker_lost: bool = False
    ending: bool = False

    def detail(self, *, ended_s: float | None, why: str, missing: list[list[float | None]]) -> bytes:
        """Call detail: when, how long, with whom, and what became of the recording."""
        body = {
            "version": DETAIL_VERSION,
            "from": self.parties.from_user,
            "to": self.parties.to_user,
            "trunk": self.trunk.name,
            "started": _utc(self.started_s),
            "answered": _utc(self.answered_s),
            "ended": None if ended_s is None else _utc(ended_s),
            "duration_ms": None if ended_s is None else round(1000 * (ended_s - self.answered_s)),
            "recorded": not self.unrecorded,
            "why": self.unrecorded or why,
            "missing_ms": missing,
            "purpose": self.policy.purpose,
            "language": self.policy.language,
            "signalling": "udp",
            "media": "rtp",
            "encrypted_in_transit": False,
        }
        return json.dumps(body).encode()

    def identity(self) -> bytes:
        """Names, addresses and protocol identifiers, sealed apart from call detail: they have their own retention."""
        parties = self.parties
        body = {"display": parties.from_display, "from_uri": parties.from_uri, "to_uri": parties.to_uri}
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


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
