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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.call import Call, Leg, Parties, outcome, track_document
from gateway.errors import Unavailable
from gateway.events import Hub, LiveEvent
from gateway.journal import Journal
from gateway.media_link import MediaLink
from gateway.recovery import recover_call
from gateway.tenants import Match, media_networks, within
from media.errors import Unavailable as NoPorts
from media.messages import Close, Ended, Message, Open, OpenFailed, Release, Speech, SpoolFull, Stats, Update
from media.ports import PortPool
from media.sdp import Direction, Media, SessionDescription, choose_codec, codecs_of, event_payload_type
from storage.errors import Erased, StoreError
from storage.model import NO_PARTICIPANT, ArtefactId, CallId, CallState, Kind, ParticipantId, new_id
from storage.recordings import Recordings
from storage.records import Change, NewCall, Wanted

log = logging.getLogger(__name__)

LEGS_MAX = 16  # tracks of one call: a conference leg for each participant of a large meeting
FACTS_S = 10.0  # a worker that has not closed a leg by then is treated as lost
FULL_TICKS_S = 3.0  # statistics older than this mean that the worker hangs
TICK_P99_MS_MAX = 15.0  # of 20: what is left is for commands and the machine's own business
SLOW_SECONDS, SLOW_OF = 10, 8  # a slow tick now and then is the machine's, eight slow seconds of ten are load
SPOOL_MS_MAX = 2000.0  # of data not yet durable, or of one fsync: twice the second of audio that may be lost
RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class Beginning:
    """A call that is to become durable, with what is known of it so far."""

    call: NewCall
    documents: dict[ArtefactId, bytes]


def save_beginnings(recordings: Recordings, group: Sequence[Beginning]) -> Sequence[None]:
    """The journal's writer of beginnings: all of them or, raising StoreError, none."""
    documents = {artefact: data for beginning in group for artefact, data in beginning.documents.items()}
    recordings.save([beginning.call for beginning in group], documents)
    return [None] * len(group)


class Busy(Exception):
    """No new call can be taken now; `reason` says why, without personal data."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(slots=True)
class Health:
    """The media worker's newest statistics."""

    stats: Stats | None = None
    at: float = 0.0
    slow: tuple[bool, ...] = ()  # for each of the last seconds, whether it had slow ticks


class Switchboard:
    """All live calls. Runs on the event loop; store operations go to threads."""

    def __init__(
        self,
        recordings: Recordings,
        beginnings: Journal[Beginning],
        changes: Journal[Change],
        ports: PortPool,
        hub: Hub,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._recordings = recordings
        self._beginnings = beginnings
        self._changes = changes
        self._ports = ports
        self._hub = hub
        self._tasks = tasks
        self._calls: dict[CallId, Call] = {}
        self._legs: dict[int, tuple[Call, Leg]] = {}
        self._numbers = itertools.count(1)
        self._health = Health()
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
        stats = self._health.stats
        if stats is not None:
            if time.monotonic() - self._health.at > FULL_TICKS_S:
                raise Busy("media worker does not answer")
            if sum(self._health.slow) >= SLOW_OF:
                raise Busy("media worker at its limit")
            if max(stats.spool_lag_ms, stats.fsync_ms) > SPOOL_MS_MAX:
                raise Busy("spool behind")
            if stats.full:
                if match.tenant.when_full == "refuse":
                    raise Busy("spool full")
                return "spool full"
        return ""

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
            slow = event.tick_p99_ms > TICK_P99_MS_MAX
            self._health = Health(event, time.monotonic(), (*self._health.slow, slow)[-SLOW_SECONDS:])
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
        self._health = Health()
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
            return await self._save(call, new)
        except Exception:
            self.counters["calls_unsaved"] += 1
            log.exception("a call could not be saved", extra={"call": call.id})
            self.hang_up(call.id)
            return False

    async def _save(self, call: Call, new: NewCall) -> bool:
        try:
            detail = call.detail(ended_s=None, why="", missing=[])
            await self._beginnings.write(Beginning(new, _call_documents(call, new, detail)))
        except StoreError:
            self.counters["calls_unsaved"] += 1
            log.exception("a call could not be made durable", extra={"call": call.id})
            call.unrecorded = "store unavailable"
            if call.policy.when_full == "refuse":
                self.hang_up(call.id)
            self._release_legs(call)  # what is committed now has no key row: nobody can read it, and it drains
            return False
        self._release_legs(call)
        return True

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
            await self._write_down(call, facts, why, ended_s)
        self.counters["calls_ended"] += 1

    async def _facts_of(self, call: Call, leg: Leg) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(FACTS_S):
                return await leg.ended
        except TimeoutError:
            log.error("a leg was not closed in time", extra={"call": call.id, "leg": leg.number})
            call.worker_lost = True
            return None

    async def _write_down(self, call: Call, facts: dict[ArtefactId, dict[str, Any]], why: str, ended_s: float) -> None:
        assert call.new is not None
        if call.worker_lost and not call.unrecorded:
            await asyncio.to_thread(recover_call, self._recordings, call.tenant, call.id, ended_s)
            self._publish("call_ended", call, state=CallState.INTERRUPTED.value)
            return
        state = outcome(call, facts)
        documents = _call_documents(call, call.new, call.detail(ended_s=ended_s, why=why, missing=[]))
        for leg in call.legs:
            if leg.artefact is not None:
                artefact = leg.artefact.ref.artefact
                documents[artefact] = track_document(leg.index, leg.label, facts.get(artefact, {}))
        jobs = ["transcribe"] if call.policy.transcribe and state is CallState.ENDED else []
        try:
            await self._changes.write(Change(call.new, documents, state, jobs))
        except Erased:
            log.info("a call was erased while it lived", extra={"call": call.id})
        except StoreError:
            self.counters["calls_unrecorded_end"] += 1
            log.exception(
                "a call's end could not be written; it is recovered at the next start", extra={"call": call.id}
            )
        self._publish("call_ended", call, state=state.value, ready_ms=round(1000 * (time.time() - ended_s), 1))

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


def _call_documents(call: Call, new: NewCall, detail: bytes) -> dict[ArtefactId, bytes]:
    return {
        new.find(Kind.CALL_DETAIL).ref.artefact: detail,
        new.find(Kind.IDENTITY).ref.artefact: call.identity(),
    }


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
