"""Calls from admission to their record: keys, ports and media legs, whatever protocol they came by.

Order: keys are made in memory and the answer goes out at once; the key row becomes durable beside it, and only then may
the media worker commit what it received. A call ends in its record, whatever else fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from gateway.admission import Admission, Busy
from gateway.call import Call, Leg, Parties
from gateway.callbook import CallBook
from gateway.errors import Unavailable
from gateway.events import Hub, LiveEvent
from gateway.media_link import MediaLink
from gateway.tenants import Match, media_networks, within
from media.errors import Unavailable as NoPorts
from media.messages import Close, Ended, Message, Open, OpenFailed, Release, Speech, SpoolFull, Stats, Update
from media.ports import PortPool
from media.sdp import Direction, Media, SessionDescription, choose_codec, codecs_of, event_payload_type
from storage.model import NO_PARTICIPANT, ArtefactId, CallId, Kind, ParticipantId, new_id
from storage.recordings import Recordings
from storage.records import NewCall, Wanted

log = logging.getLogger(__name__)

LEGS_MAX = 16  # tracks of one call: a conference leg for each participant of a large meeting
FACTS_S = 10.0  # a worker that has not closed a leg by then is treated as lost
RETRY_AFTER_S = 5


class Switchboard:
    """All live calls. Runs on the event loop; store operations go to threads."""

    def __init__(
        self,
        recordings: Recordings,
        book: CallBook,
        ports: PortPool,
        hub: Hub,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._recordings = recordings
        self._book = book
        self._ports = ports
        self._hub = hub
        self._tasks = tasks
        self._calls: dict[CallId, Call] = {}
        self._legs: dict[int, tuple[Call, Leg]] = {}
        self._numbers = itertools.count(1)
        self._admission = Admission()
        self.media: MediaLink | None = None
        self.hang_up: Callable[[CallId], None] = lambda call: None
        self.counters: Counter[str] = Counter()
        self.draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def live(self) -> int:
        """Calls between answer and record."""
        return len(self._calls)

    async def settled(self, limit_s: float) -> None:
        """Return when every call has its record, or after the limit."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._idle.wait()

    def admit(self, match: Match) -> str:
        """Why a new call of this tenant would go unrecorded ("" if it would be recorded). Raises Busy."""
        if self.draining:
            raise Busy("shutting down")
        if self.media is None or not self.media.alive:
            raise Busy("no media worker")
        return self._admission.check(match.tenant, time.monotonic())

    def begin(self, match: Match, offer: SessionDescription, parties: Parties) -> Call:
        """Take a call: ports and keys for each m-line that has a codec of ours. Nothing is stored yet. Raises Busy."""
        unrecorded = self.admit(match)
        if match.tenant.record == "events":
            unrecorded = "policy: live events only"
        elif parties.to_user in match.tenant.emergency:
            unrecorded = "emergency call"
        call_id = CallId(new_id())
        tenant = self._recordings.tenant(match.tenant.name)
        accepted = [(i, media) for i, media in enumerate(offer.media) if choose_codec(media) is not None][:LEGS_MAX]
        people = [ParticipantId(new_id()) for _ in accepted]
        purpose = match.tenant.purpose
        wanted = [Wanted(NO_PARTICIPANT, Kind.CALL_DETAIL, purpose), Wanted(NO_PARTICIPANT, Kind.IDENTITY, purpose)]
        if not unrecorded:
            wanted += [Wanted(person, Kind.AUDIO, purpose) for person in people]
        new = None if match.tenant.record == "events" else self._recordings.begin(tenant, call_id, wanted)
        now_s = time.time()
        call = Call(
            call_id, tenant, match.tenant, match.trunk, parties, new, unrecorded, now_s, now_s, time.monotonic_ns()
        )  # fmt: skip
        try:
            for person, (index, media) in zip(people, accepted, strict=True):
                call.legs.append(self._leg(call, index, media, offer, person))
        except NoPorts as error:
            self._release_ports(call)
            raise Busy("no ports free") from error
        return call

    def answered(self, call: Call, offer: SessionDescription) -> None:
        """The answer goes out now: call time zero. Opens the media legs and makes the call durable."""
        assert self.media is not None
        call.answered_s, call.origin_ns = time.time(), time.monotonic_ns()
        self._calls[call.id] = call
        self._idle.clear()
        for leg in call.legs:
            self._legs[leg.number] = (call, leg)
            self.media.send(self._open(call, leg, offer), (leg.pair.rtp_socket, leg.pair.rtcp_socket))
        self.counters["calls_answered"] += 1
        if call.new is not None:
            call.saved = self._tasks.create_task(self._save_safely(call, call.new))
        self._publish("call_started", call)

    def update(self, call: Call, offer: SessionDescription) -> None:
        """A re-INVITE: hold, resume, another address or codec. New m-lines get legs without a track of their own."""
        for leg in call.legs:
            if leg.index >= len(offer.media):
                continue
            media = offer.media[leg.index]
            leg.receiving = media.port != 0 and _flows(offer, media)
            remote = self._allowed(call, _remote(offer, media))
            self._send(Update(leg.number, _codecs(media), remote, leg.receiving, event_payload_type(media)))

    def end(self, call: Call, why: str) -> None:
        """The call is over; its legs close and its record is written, once."""
        if not call.ending:
            call.ending = True
            self._tasks.create_task(self._finish_safely(call, why))

    def end_by_id(self, call_id: CallId) -> None:
        """End a live call on somebody's order; does nothing for others."""
        if call_id in self._calls:
            self.hang_up(call_id)

    def on_media(self, event: Message) -> None:
        """An event from the media worker."""
        if isinstance(event, Speech):
            found = self._legs.get(event.leg)
            if found is not None:
                name = "speech_started" if event.started else "speech_ended"
                detail = {"stamp_ns": event.stamp_ns, "decided_ns": event.decided_ns}
                call, leg = found
                live = LiveEvent(name, call.tenant, call.id, leg.participant, event.at_us / 1000, dict(detail))
                self._hub.publish(live)
        elif isinstance(event, Ended):
            found = self._legs.get(event.leg)
            if found is not None and not found[1].ended.done():
                found[1].ended.set_result(event.facts)
        elif isinstance(event, OpenFailed):
            self._on_open_failed(event)
        elif isinstance(event, Stats):
            self._admission.hear(event, time.monotonic())
        elif isinstance(event, SpoolFull):
            self.counters["spool_full"] += 1

    def _on_open_failed(self, event: OpenFailed) -> None:
        found = self._legs.get(event.leg)
        if found is not None:
            call, leg = found
            log.error("a leg could not be opened", extra={"call": call.id, "leg": leg.number, "reason": event.reason})
            call.worker_lost = True
            if not leg.ended.done():
                leg.ended.set_result(None)
            self.hang_up(call.id)

    def on_media_lost(self) -> None:
        """The media worker died: its calls end as interrupted."""
        self._admission.forget()
        for call in list(self._calls.values()):
            call.worker_lost = True
            for leg in call.legs:
                if not leg.ended.done():
                    leg.ended.set_result(None)
            self.hang_up(call.id)

    def _leg(self, call: Call, index: int, media: Media, offer: SessionDescription, person: ParticipantId) -> Leg:
        artefact = None
        if call.new is not None and not call.unrecorded:
            artefact = call.new.find(Kind.AUDIO, person)
        label = media.value("label") or str(index)
        pair = self._ports.take(time.monotonic())
        future: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        return Leg(next(self._numbers), index, label[:64], person, artefact, pair, _flows(offer, media), future)

    def _open(self, call: Call, leg: Leg, offer: SessionDescription) -> Open:
        media = offer.media[leg.index]
        networks = tuple(n for n in media_networks(call.trunk) if ":" not in n)  # the engine receives IPv4
        remote = self._allowed(call, _remote(offer, media))
        sink: dict[str, str] = {}
        if leg.artefact is not None:
            ref = leg.artefact.ref
            sink = {"tenant": ref.tenant, "call": ref.call, "participant": ref.participant, "artefact": ref.artefact}
            sink |= {"kind": ref.kind.value, "purpose": ref.purpose, "key": leg.artefact.key.reveal().hex()}
        return Open(
            leg=leg.number,
            codecs=_codecs(media),
            event_pt=event_payload_type(media),
            remote=remote,
            nat=call.trunk.nat,
            networks=networks,
            origin_ns=call.origin_ns,
            sending=leg.receiving,
            sink=sink,
        )

    def _allowed(self, call: Call, remote: tuple[str, int] | None) -> tuple[str, int] | None:
        """An address outside the trunk's media networks is nobody's: nothing is taken from it."""
        if remote is not None and within(remote[0], media_networks(call.trunk)):
            return remote
        self.counters["media_address_refused"] += 1
        return None

    async def _save_safely(self, call: Call, new: NewCall) -> bool:
        """The outermost line of making a call durable: a fault of ours ends this call and no other."""
        try:
            saved = await self._book.begin(call, new)
        except Exception:
            self.counters["calls_unsaved"] += 1
            log.exception("a call could not be saved", extra={"call": call.id})
            self.hang_up(call.id)
            return False
        if not saved and call.policy.when_full == "refuse":
            self.hang_up(call.id)
        self._release_legs(call)  # without a key row nobody can read what is committed now, and it drains
        return saved

    def _release_legs(self, call: Call) -> None:
        for leg in call.legs:
            self._send(Release(leg.number))

    async def _finish_safely(self, call: Call, why: str) -> None:
        """The outermost line of a call's end: whatever fails here ends this call and no other."""
        try:
            await self._finish(call, why)
        except Exception:
            self.counters["calls_failed_at_end"] += 1
            log.exception("a call's end failed; it is recovered at the next start", extra={"call": call.id})
        finally:
            for leg in call.legs:
                self._legs.pop(leg.number, None)
            self._calls.pop(call.id, None)
            if not self._calls:
                self._idle.set()

    async def _finish(self, call: Call, why: str) -> None:
        ended_s = time.time()
        for leg in call.legs:
            self._send(Close(leg.number))
        facts: dict[ArtefactId, dict[str, Any]] = {}
        for leg in call.legs:
            found = await self._facts_of(call, leg)
            if found is not None and leg.artefact is not None:
                facts[leg.artefact.ref.artefact] = found
        self._release_ports(call)
        if call.saved is not None and await call.saved:
            assert call.new is not None
            written = await self._book.end(call, facts, why, ended_s)
            detail = {} if written.ready_ms is None else {"ready_ms": written.ready_ms}
            self._publish("call_ended", call, state=written.state.value, **detail)
        self.counters["calls_ended"] += 1

    async def _facts_of(self, call: Call, leg: Leg) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(FACTS_S):
                return await leg.ended
        except TimeoutError:
            log.error("a leg was not closed in time", extra={"call": call.id, "leg": leg.number})
            call.worker_lost = True
            return None

    def _release_ports(self, call: Call) -> None:
        for leg in call.legs:
            self._ports.release(leg.pair, time.monotonic())

    def _send(self, command: Release | Close | Update) -> None:
        if self.media is not None and self.media.alive:
            try:
                self.media.send(command)
            except Unavailable:
                log.error("the media worker takes no commands")

    def _publish(self, name: str, call: Call, **detail: object) -> None:
        self._hub.publish(LiveEvent(name, call.tenant, call.id, detail=detail))


def _codecs(media: Media) -> dict[int, str]:
    return {number: codec.name for number, codec in codecs_of(media).items()}


def _flows(offer: SessionDescription, media: Media) -> bool:
    return offer.direction(media) in (Direction.SENDONLY, Direction.SENDRECV)


def _remote(offer: SessionDescription, media: Media) -> tuple[str, int] | None:
    address = offer.address(media)
    return None if address is None or media.port == 0 else (address, media.port)


def answerable(offer: SessionDescription) -> bool:
    """Whether any m-line of the offer has a codec of ours."""
    return any(choose_codec(media) is not None for media in offer.media)
