"""WHIP sessions (RFC 9725) as calls: who may send, two sessions of one call, and what ends them.

A session is one browser's audio. Those that name the same call are its tracks, two at most; a call that others may join
has both legs from its beginning, so that its tracks share a clock. It ends with its last session.
"""

from __future__ import annotations

import logging
import secrets
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from gateway.calls.admission import Busy
from gateway.calls.call import Call, Parties, Tap
from gateway.calls.switchboard import Switchboard
from gateway.config import Settings
from gateway.errors import Unavailable
from gateway.ingest.rate import Rate
from gateway.ingest.webrtc_link import WebRtcLink
from gateway.policy import Tenant, Trunk
from gateway.tenants import Match
from media.errors import Malformed
from media.errors import Unavailable as NoPorts
from media.ports import PortPair, PortPool, tap
from media.sdp import SessionDescription, parse
from media.webrtc.answer import Ours, write_answer
from media.webrtc.fragment import read_fragment
from media.webrtc.messages import Accept, Accepted, Connected, HangUp, Message, Over
from media.webrtc.offer import Offer, read_offer
from storage.model import CallId, TenantId, new_id
from storage.recordings import Recordings

log = logging.getLogger(__name__)

TRACKS_MAX = 2  # sessions of one call: who speaks with whom
NEW_PER_S = 10.0  # sessions: a certificate and a handshake cost some 10 ms, and media must not wait for them
NEW_BURST = 20
CANDIDATES_MAX = 256  # told by one session; a client with as many interfaces is none

Ends = tuple[socket.socket, socket.socket]


class NoSession(Exception):
    """There is no such session, or it is another tenant's."""


class Taken(Exception):
    """The call has all the tracks that it can have."""


class Precondition(Exception):
    """The request is about another ICE session than the one there is."""


class NoRestart(Exception):
    """ICE is not restarted: the client is to come again."""


@dataclass(slots=True, eq=False)
class _Joined:
    """A call and who sends to it, by track."""

    call: Call
    ends: list[Ends]  # far ends of the legs' taps
    key: tuple[TenantId, str] | None  # what its sessions call it
    sessions: dict[int, _Session] = field(default_factory=dict)
    answered: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Session:
    """One browser. `pair` is where it sends to."""

    id: str
    number: int
    tenant: TenantId
    joined: _Joined
    track: int
    pair: PortPair
    ufrag: str
    tag: str  # of its ICE session, for If-Match


@dataclass(frozen=True, slots=True)
class Begun:
    """A session that may send now."""

    session: str
    call: CallId
    tag: str
    answer: bytes


class WhipIngest:
    """All WHIP sessions. Runs on the event loop."""

    def __init__(self, settings: Settings, recordings: Recordings, board: Switchboard, ports: PortPool) -> None:
        self.settings = settings
        self._recordings = recordings
        self._board = board
        self._ports = ports
        self._link = WebRtcLink(settings.log.level, self._on_event, self._on_lost)
        self._rate = Rate(NEW_PER_S, NEW_BURST)
        self._sessions: dict[str, _Session] = {}
        self._by_number: dict[int, _Session] = {}
        self._by_call: dict[CallId, _Joined] = {}
        self._by_key: dict[tuple[TenantId, str], _Joined] = {}
        self._told: Counter[str] = Counter()  # candidates, by session
        self._last = 0
        self._counted: Counter[str] = Counter()

    @property
    def enabled(self) -> bool:
        """Whether sessions are taken at all."""
        return self.settings.whip.sessions_max > 0

    @property
    def counters(self) -> Counter[str]:
        """What happened since the start; of packets, since the start of the present worker."""
        stats = self._link.stats
        packets = {"whip_packets": stats.packets, "whip_packets_refused": stats.refused}
        return self._counted + Counter(packets | {"whip_packets_overflowed": stats.overflowed})

    @property
    def restarts(self) -> int:
        return self._link.restarts

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take sessions until the end of the context, if that is wanted. Raises Unavailable."""
        if not self.enabled:
            yield
            return
        async with self._link.running():
            yield

    async def begin(self, tenant: TenantId, body: bytes, source: str, name: str = "") -> Begun:
        """Take a session; `name` is what the client calls its call, "" for one that nobody joins.

        Raises Malformed, Unsupported, Busy, Taken.
        """
        try:
            return await self._begin(tenant, parse(body), source, name)
        except Busy as busy:
            self._counted["refused_whip"] += 1
            log.warning("WHIP session refused", extra={"reason": busy.reason})
            raise

    def trickle(self, tenant: TenantId, session: str, tag: str, body: bytes) -> None:
        """More of the client's candidates, for the ICE session of that entity-tag ("*": a restart, RFC 9725 §4.3.3).

        Raises NoSession, Precondition, Malformed, NoRestart.
        """
        found = self._find(tenant, session)
        if tag not in ("*", found.tag):
            raise Precondition
        fragment = read_fragment(body)
        if fragment.ufrag not in (None, found.ufrag):
            raise NoRestart
        if tag == "*":
            raise Precondition
        self._told[session] += fragment.candidates
        if self._told[session] > CANDIDATES_MAX:
            raise Malformed("too many candidates")

    def end(self, tenant: TenantId, session: str) -> None:
        """The client is done. Raises NoSession."""
        self._leave(self._find(tenant, session), "hung up")

    def hang_up(self, call: CallId) -> None:
        """End every session of a call; does nothing for calls that came by another way."""
        joined = self._by_call.get(call)
        for session in list(joined.sessions.values()) if joined is not None else ():
            self._leave(session, "ended here")

    def probe(self, call: CallId) -> None:
        """A silent call: ICE would have told if its peers were gone, so they have nothing to say and are let go."""
        joined = self._by_call.get(call)
        for session in list(joined.sessions.values()) if joined is not None else ():
            self._leave(session, "nothing was sent")

    def hang_up_all(self) -> None:
        """End every call."""
        for call in list(self._by_call):
            self.hang_up(call)

    async def _begin(self, tenant: TenantId, described: SessionDescription, source: str, name: str) -> Begun:
        match = self._match(tenant)
        offer = read_offer(described)
        self._admit()
        joined, track = self._place(tenant, match, source, name)
        session = self._seat(tenant, joined, track, offer)
        call = joined.call
        leg = call.legs[track]
        leg.tap = Tap(leg.pair, {offer.payload_type: offer.codec.name})
        try:
            ends = joined.ends[track]
            command = Accept(session.number, offer.ufrag, offer.password, offer.fingerprints, offer.level_id)
            accepted = await self._link.accept(command, [session.pair.rtp_socket, *ends])
        except Unavailable as error:
            self._leave(session, "the WebRTC worker is not there")
            raise Busy("no WebRTC worker") from error
        if session.id not in self._sessions:
            raise Busy("hung up meanwhile")
        if joined.answered:
            self._board.retune(call, leg)
        else:
            joined.answered = True
            self._board.answering(call)
            self._board.answered(call, None)
        self._counted["whip_sessions"] += 1
        return Begun(session.id, call.id, session.tag, self._answer(offer, session, accepted))

    def _admit(self) -> None:
        if not self.enabled or not self._link.alive:
            raise Busy("no WebRTC worker")
        if len(self._sessions) >= self.settings.whip.sessions_max:
            raise Busy("too many sessions")
        if not self._rate.take(time.monotonic()):
            raise Busy("too many new sessions")

    def _match(self, tenant: TenantId) -> Match:
        """The policy that holds for a token's tenant. There is no trunk: what one says is what a recorder's would."""
        for policy in self.settings.tenants:
            if self._recordings.tenant(policy.name) == tenant:
                return Match(_trunk_of(policy), policy)
        raise Busy("the tenant is not configured")

    def _place(self, tenant: TenantId, match: Match, source: str, name: str) -> tuple[_Joined, int]:
        """The call that a session belongs to, and its track in it."""
        key = (tenant, name) if name else None
        joined = self._by_key.get(key) if key is not None else None
        if joined is not None:
            free = [track for track in range(len(joined.ends)) if track not in joined.sessions]
            if not free:
                raise Taken
            return joined, free[0]
        pairs = [tap() for _ in range(TRACKS_MAX if name else 1)]
        parties = Parties(
            *("", "", "", "", "", "", source, name),
            transport="whip",
        )
        try:
            taps = [Tap(near, _ANY_CODEC) for near, _ in pairs]
            call = self._board.begin(match, None, parties, taps=taps)
        except Busy:
            for near, far in pairs:
                near.close()
                _close(far)
            raise
        joined = _Joined(call, [far for _, far in pairs], key)
        self._by_call[call.id] = joined
        if key is not None:
            self._by_key[key] = joined
        return joined, 0

    def _seat(self, tenant: TenantId, joined: _Joined, track: int, offer: Offer) -> _Session:
        try:
            pair = self._ports.take(time.monotonic())
        except NoPorts as error:
            self._forget_if_empty(joined, "no ports free")
            raise Busy("no ports free") from error
        self._last += 1
        tag = secrets.token_hex(8)
        session = _Session(new_id(), self._last, tenant, joined, track, pair, offer.ufrag, tag)
        self._sessions[session.id] = self._by_number[session.number] = joined.sessions[track] = session
        return session

    def _answer(self, offer: Offer, session: _Session, accepted: Accepted) -> bytes:
        address = self.settings.media.named
        ours = Ours(address, session.pair.port, accepted.ufrag, accepted.password, accepted.fingerprint)
        repetition = session.joined.call.policy.dtmf_inband == "keep"
        return write_answer(offer, ours, origin_id=int(session.id[:12], 16), repetition=repetition)

    def _find(self, tenant: TenantId, session: str) -> _Session:
        found = self._sessions.get(session)
        if found is None or found.tenant != tenant:
            raise NoSession
        return found

    def _on_event(self, event: Message) -> None:
        if isinstance(event, Connected):
            self._counted["whip_connected"] += 1
        elif isinstance(event, Over):
            session = self._by_number.get(event.session)
            if session is not None:
                self._leave(session, event.why, told=True)

    def _on_lost(self) -> None:
        for session in list(self._sessions.values()):
            self._leave(session, "the WebRTC worker was lost", told=True)

    def _leave(self, session: _Session, why: str, *, told: bool = False) -> None:
        """The session is over; the worker has `told` so, or is told. With the last one its call ends."""
        if self._sessions.pop(session.id, None) is None:
            return
        del self._by_number[session.number]
        self._told.pop(session.id, None)
        if not told:
            with suppress(Unavailable):
                self._link.send(HangUp(session.number))
        self._ports.release(session.pair, time.monotonic())
        joined = session.joined
        del joined.sessions[session.track]
        self._forget_if_empty(joined, why)

    def _forget_if_empty(self, joined: _Joined, why: str) -> None:
        if joined.sessions:
            return
        self._by_call.pop(joined.call.id, None)
        if joined.key is not None:
            self._by_key.pop(joined.key, None)
        for far in joined.ends:
            _close(far)
        if joined.answered:
            self._board.end(joined.call, why)
        else:
            self._board.abandon(joined.call)


_ANY_CODEC = {8: "PCMA"}  # of a track that nobody has come for yet


def _trunk_of(tenant: Tenant) -> Trunk:
    """WHIP goes one way: an announcement is the page's duty, as a recording client's (RFC 7866 §6.1)."""
    return Trunk.model_validate({"name": "whip", "tenant": tenant.name, "receive_only": True})


def _close(ends: Ends) -> None:
    for end in ends:
        end.close()
