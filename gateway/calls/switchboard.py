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
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from gateway.calls import keypresses
from gateway.calls.admission import Admission, Busy
from gateway.calls.announcement import Prompt
from gateway.calls.call import Announcement, Call, Leg, Parties, Tap
from gateway.calls.callbook import CallBook
from gateway.calls.emergency import is_emergency, unrecorded
from gateway.calls.media_link import MediaLink
from gateway.calls.offer import LEGS_MAX, labels_of
from gateway.calls.pause import Pauses
from gateway.calls.roster import Roster
from gateway.calls.streams import Desk, Streams
from gateway.calls.terms import opening, tapped, terms
from gateway.errors import Unavailable
from gateway.events import Hub, LiveEvent
from gateway.operations.clock import clock_state
from gateway.operations.logs import about
from gateway.tenants import Match
from media.errors import Unavailable as NoPorts
from media.messages import (
    Close,
    Ended,
    Message,
    OpenFailed,
    Pause,
    Paused,
    Play,
    Played,
    Pressed,
    Quiet,
    Release,
    Resume,
    Resumed,
    Speech,
    SpoolFull,
    Stats,
    Update,
)
from media.ports import PortPool
from media.sdp import SessionDescription
from storage.model import NO_PARTICIPANT, ArtefactId, CallId, Kind, ParticipantId, new_id
from storage.recordings import Recordings
from storage.records import NewCall, Wanted

log = logging.getLogger(__name__)

FACTS_S = 10.0  # a worker that has not closed a leg by then is treated as lost
RETRY_AFTER_S = 5
_CUT_OFF = "hung up during the announcement"


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
        self.tasks = tasks
        self._calls: dict[CallId, Call] = {}
        self._legs: dict[int, tuple[Call, Leg]] = {}
        self._numbers = itertools.count(1)
        self._admission = Admission()
        self.media: MediaLink | None = None
        self.prompts: Mapping[str, Prompt] = {}  # announcements that workers know, by tenant
        self.hang_up: Callable[[CallId], None] = lambda call: None
        self.probe: Callable[[CallId], None] = lambda call: None
        self.announced: Callable[[CallId], None] = lambda call: None
        self.on_ready: Callable[[float], None] = lambda seconds: None
        self.counters: Counter[str] = Counter()
        self.pauses = Pauses(self._calls, self._send, hub, self.counters)
        self.draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        desk = Desk(self._legs, lambda: next(self._numbers), self._open, self._send)
        self.streams = Streams(recordings, book, ports, tasks, desk)

    @property
    def stats(self) -> Stats | None:
        """The media worker's newest statistics."""
        return self._admission.stats

    @property
    def live(self) -> int:
        """Calls between answer and record."""
        return len(self._calls)

    async def settled(self, limit_s: float) -> None:
        """Return when every call has its record, or after the limit."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._idle.wait()

    def admit(self, match: Match, *, emergency: bool = False) -> str:
        """Why a new call of this tenant would go unrecorded ("" if it would be recorded). Raises Busy.

        No limit of ours refuses an emergency call.
        """
        if self.draining:
            raise Busy("shutting down")
        return unrecorded(match.tenant, lambda: self._check(match)) if emergency else self._check(match)

    def _check(self, match: Match) -> str:
        if self.media is None or not self.media.alive:
            raise Busy("no media worker")
        return self._admission.check(match.tenant, time.monotonic())

    def begin(
        self,
        match: Match,
        offer: SessionDescription | None,
        parties: Parties,
        roster: Roster | None = None,
        taps: Sequence[Tap] = (),
    ) -> Call:
        """Take a call: ports and keys for each m-line that has a codec of ours. Nothing is stored yet. Raises Busy.

        Without an offer there is one leg, for the m-line that we are going to offer. A recording session has a roster;
        taps are taken as they are.
        """
        emergency = is_emergency(match, parties, () if roster is None else roster.addresses)
        why_not = self.admit(match, emergency=emergency)
        if match.tenant.record == "events":
            why_not = "policy: live events only"
        call_id = CallId(new_id())
        tenant = self._recordings.tenant(match.tenant.name)
        labels = {0: "0"} if offer is None else labels_of(offer)
        if taps:
            labels = {index: str(index) for index in range(len(taps))}
        tracks = [] if roster is None else [roster.open(*line) for line in islice(labels.items(), LEGS_MAX)]
        people = [track.participant for track in tracks] or [ParticipantId(new_id()) for _ in labels][:LEGS_MAX]
        purpose = match.tenant.purpose
        wanted = [Wanted(NO_PARTICIPANT, Kind.CALL_DETAIL, purpose), Wanted(NO_PARTICIPANT, Kind.IDENTITY, purpose)]
        if not why_not:
            wanted += [Wanted(person, Kind.AUDIO, purpose) for person in people]
            wanted += keypresses.wanted(match.tenant, people)
        new = None if match.tenant.record == "events" else self._recordings.begin(tenant, call_id, wanted)
        now_s = time.time()
        call = Call(
            id=call_id,
            tenant=tenant,
            policy=match.tenant,
            trunk=match.trunk,
            parties=parties,
            new=new,
            unrecorded=why_not,
            started_s=now_s,
            answered_s=now_s,
            origin_ns=time.monotonic_ns(),
            clock=clock_state(),
            emergency=emergency,
            roster=roster,
            described=offer,
        )
        prompt = self.prompts.get(match.tenant.name)
        if prompt is not None and not why_not and not match.trunk.receive_only and not emergency:
            call.announcement = Announcement(prompt.name, prompt.language)
        try:
            for person, (index, label) in zip(people, labels.items(), strict=False):
                call.legs.append(self._leg(call, index, label, person, taps[index] if taps else None))
        except NoPorts as error:
            self._release_ports(call)
            raise Busy("no ports free") from error
        for leg, track in zip(call.legs, tracks, strict=False):
            leg.track = track
        return call

    def answering(self, call: Call) -> None:
        """The answer goes out now: call time zero."""
        call.answered_s, call.origin_ns = time.time(), time.monotonic_ns()
        self._calls[call.id] = call
        self._idle.clear()

    def answered(self, call: Call, offer: SessionDescription | None) -> None:
        """The answer is on its way: opens the media legs and makes the call durable; the sockets hold what has come.

        Where the peer made no offer, `update` with its answer says where its media comes from.
        """
        self._legs.update({leg.number: (call, leg) for leg in call.legs})
        for leg in call.legs:
            self._open(call, leg, offer)
        if call.announcement is not None:
            call.announcement.awaited = {leg.number for leg in call.legs}
            for leg in call.legs:
                self._send(Play(leg.number, call.announcement.prompt))
        self.counters["calls_answered"] += 1
        if call.new is not None:
            call.saved = self.tasks.create_task(self._save_safely(call, call.new))
        self._publish("call_started", call)

    def update(self, call: Call, offer: SessionDescription, metadata: Sequence[bytes] = ()) -> None:
        """A new description: hold, resume, another address or codec; in recording sessions alone m-lines, too."""
        for leg in call.legs:
            if leg.index < len(offer.media):
                leg.quiet = False
                self._send(self._terms(call, leg, offer))
        self.streams.update(call, offer, metadata)

    def retune(self, call: Call, leg: Leg) -> None:
        """Another sender comes over a leg's tap."""
        leg.quiet = False
        self._send(self._terms(call, leg, None))

    def abandon(self, call: Call) -> None:
        """A call that begun and is not going to be answered: its ports go back, and nothing is left of it."""
        self._release_ports(call)

    def alive(self, call_id: CallId) -> None:
        """The peer was asked, and the call still stands; the worker tells of its silence again if it lasts."""
        call = self._calls.get(call_id)
        for leg in call.legs if call is not None else ():
            leg.quiet = False

    def end(self, call: Call, why: str) -> None:
        """The call is over; its legs close and its record is written, once."""
        if not call.ending:
            call.ending = True
            self.pauses.over(call)
            self.tasks.create_task(self._finish_safely(call, why))

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
        elif isinstance(event, Played):
            self._on_played(event)
        elif isinstance(event, Pressed):
            if (found := self._legs.get(event.leg)) is not None:
                keypresses.keep(*found, event.press)
        elif isinstance(event, Paused | Resumed):
            self.pauses.on_media(event)
        elif isinstance(event, Quiet):
            self._on_quiet(event)
        elif isinstance(event, SpoolFull):
            self.counters["spool_full"] += 1

    def _on_played(self, event: Played) -> None:
        """A leg has heard the announcement, and the recording begins with the end of it; or it cannot hear it."""
        found = self._legs.get(event.leg)
        if found is None or (announcement := found[0].announcement) is None:
            return
        if not event.complete:
            if not found[0].ending:
                announcement.failed = True
                self.counters["announcements_failed"] += 1
                self.announced(found[0].id)
            return
        announcement.awaited.discard(event.leg)
        starts, ends = announcement.start_us, announcement.end_us
        announcement.start_us = event.start_us if starts is None else min(starts, event.start_us)
        announcement.end_us = event.end_us if ends is None else max(ends, event.end_us)
        if announcement.complete:
            self._publish("recording_started", found[0])
            self.announced(found[0].id)

    def _on_quiet(self, event: Quiet) -> None:
        """A leg has given no sign of life; a call of which nobody gives any is asked whether it still stands."""
        found = self._legs.get(event.leg)
        if found is not None and not found[0].ending:
            call, leg = found
            leg.quiet = True
            if all(other.quiet for other in call.legs):
                self.counters["calls_probed"] += 1
                self.probe(call.id)

    def _on_open_failed(self, event: OpenFailed) -> None:
        found = self._legs.get(event.leg)
        if found is not None:
            call, leg = found
            log.error("a leg could not be opened", extra={"call": call.id, "leg": leg.number, "reason": event.reason})
            call.worker_lost = True
            if not leg.ended.done():
                leg.ended.set_result(None)
            self._give_up(call)

    def on_media_lost(self) -> None:
        """The media worker died: its calls end as interrupted."""
        self._admission.forget()
        for call in list(self._calls.values()):
            call.worker_lost = True
            for leg in call.every_leg:
                if not leg.ended.done():
                    leg.ended.set_result(None)
            self._give_up(call)

    def _give_up(self, call: Call) -> None:
        """Hang up a call that cannot be kept; an emergency call goes on all the same."""
        if not call.emergency:
            self.hang_up(call.id)

    def _leg(self, call: Call, index: int, label: str, person: ParticipantId, tap: Tap | None) -> Leg:
        artefact = None
        if call.new is not None and not call.unrecorded:
            artefact = call.new.find(Kind.AUDIO, person)
        pair = self._ports.take(time.monotonic(), urgent=call.emergency) if tap is None else tap.pair
        future: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        return Leg(next(self._numbers), index, label, person, artefact, pair, future, tap=tap)

    def _terms(self, call: Call, leg: Leg, offer: SessionDescription | None) -> Update:
        if leg.tap is not None:
            return tapped(leg.number, call.trunk, leg.tap)
        found = terms(leg.number, call.trunk, offer, leg.index)
        if offer is not None and found.remote is None:
            self.counters["media_address_refused"] += 1
        return found

    def _open(self, call: Call, leg: Leg, offer: SessionDescription | None, continues: bool = False) -> None:
        command = opening(call, leg, self._terms(call, leg, offer), continues=continues)
        try:
            if self.media is None:
                raise Unavailable("no media worker")
            self.media.send(command, (leg.pair.rtp_socket, leg.pair.rtcp_socket))
        except Unavailable:  # it died since the call was admitted
            self._on_open_failed(OpenFailed(leg.number, "no media worker"))

    async def _save_safely(self, call: Call, new: NewCall) -> bool:
        """The outermost line of making a call durable: a fault of ours ends this call and no other."""
        try:
            with about(call=call.id, tenant=call.tenant):
                saved = await self._book.begin(call, new)
        except Exception:
            self.counters["calls_unsaved"] += 1
            log.exception("a call could not be saved", extra={"call": call.id})
            self._give_up(call)
            return False
        if not saved and call.policy.when_full == "refuse":
            self._give_up(call)
        self._release_legs(call)  # without a key row nobody can read what is committed now, and it drains
        return saved

    def _release_legs(self, call: Call) -> None:
        for leg in call.legs:
            self._send(Release(leg.number))

    async def _finish_safely(self, call: Call, why: str) -> None:
        """The outermost line of a call's end: whatever fails here ends this call and no other."""
        try:
            with about(call=call.id, tenant=call.tenant):
                await self._finish(call, why)
        except Exception:
            self.counters["calls_failed_at_end"] += 1
            log.exception("a call's end failed; it is recovered at the next start", extra={"call": call.id})
        finally:
            for leg in call.every_leg:
                self._legs.pop(leg.number, None)
            self._calls.pop(call.id, None)
            if not self._calls:
                self._idle.set()

    async def _finish(self, call: Call, why: str) -> None:
        ended_s = time.time()
        for leg in call.legs:
            self._send(Close(leg.number))
        await self.streams.settled(call)
        facts: dict[ArtefactId, dict[str, Any]] = {}
        for leg in call.every_leg:
            found = await self._facts_of(call, leg)
            if found is not None and leg.artefact is not None:
                facts[leg.artefact.ref.artefact] = found
        self._release_ports(call)
        if call.announcement is not None and call.announcement.end_us is None:
            why_not = "the announcement could not be played" if call.announcement.failed else _CUT_OFF
            call.unrecorded = call.unrecorded or why_not
        if call.saved is not None and await call.saved:
            assert call.new is not None
            written = await self._book.end(call, facts, why, ended_s)
            self.counters[f"ended_{written.state.value}"] += 1
            if written.ready_ms is not None:
                self.on_ready(written.ready_ms / 1000)
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

    def _send(self, command: Play | Pause | Resume | Release | Close | Update) -> None:
        if self.media is not None and self.media.alive:
            try:
                self.media.send(command)
            except Unavailable:
                log.error("the media worker takes no commands")

    def _publish(self, name: str, call: Call, **detail: object) -> None:
        self._hub.publish(LiveEvent(name, call.tenant, call.id, detail=detail))
