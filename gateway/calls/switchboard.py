"""Calls from admission to their record: keys, ports and media legs, whatever protocol they came by.

Order: keys are made in memory and the answer goes out at once; the key row becomes durable beside it, and only then may
the media worker commit what it received. A call ends in its record, whatever else fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from typing import TypeAlias

from gateway.calls import emergency as emergencies
from gateway.calls import keypresses, rated, resumption
from gateway.calls.admission import Busy, Closed
from gateway.calls.announcement import Prompt
from gateway.calls.call import Announcement, Call, Leg, Parties, Tap
from gateway.calls.callbook import CallBook
from gateway.calls.desk import Desk
from gateway.calls.keyless import Keyless
from gateway.calls.media_link import MediaLink
from gateway.calls.offer import LEGS_MAX, labels_of
from gateway.calls.pause import Pauses
from gateway.calls.records import Records, storage_of
from gateway.calls.roster import Roster
from gateway.calls.speech import LiveSpeech
from gateway.calls.streams import Streams
from gateway.calls.workers import Workers
from gateway.events import Hub
from gateway.operations.clock import clock_state
from gateway.tenants import Match
from media.errors import Unavailable as NoPorts
from media.messages import (
    Close,
    Ended,
    Latched,
    Message,
    OpenFailed,
    Paused,
    Play,
    Played,
    Pressed,
    Quiet,
    Resumed,
    Rolled,
    Speech,
    SpoolFull,
    Stats,
)
from media.ports import PortPool
from media.sdp import SessionDescription
from storage.model import NO_PARTICIPANT, CallId, Kind, ParticipantId, TenantId, new_id
from storage.recordings import Recordings
from storage.records import Wanted

log = logging.getLogger(__name__)

RETRY_AFTER_S = 5
_CLOSED = "tenant closed"
_OfLeg: TypeAlias = Speech | Ended | OpenFailed | Played | Latched | Rolled | Quiet | Pressed | Paused | Resumed


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
        self._hub = hub
        self.tasks = tasks
        self._calls: dict[CallId, Call] = {}
        self._desk = Desk(ports, self._on_open_failed)
        self._speech = LiveSpeech(hub)
        self.workers = Workers()
        self.prompts: Mapping[str, Prompt] = {}  # announcements that workers know, by tenant
        self.hang_up: Callable[[CallId], None] = lambda call: None
        self.probe: Callable[[CallId], None] = lambda call: None
        self.announced: Callable[[CallId], None] = lambda call: None
        self.counters: Counter[str] = self._desk.counters
        self.keyless = Keyless(recordings, book, self._desk, self.workers, self.counters)
        self.pauses = Pauses(self._calls, self._desk.send, hub, self.counters)
        self.draining = False
        self.closed: Collection[TenantId] = frozenset()  # tenants that have left, of which no new call is taken
        self._idle = asyncio.Event()
        self._idle.set()
        self.streams = Streams(recordings, book, tasks, self._desk)
        self.records = Records(book, self._desk, self.streams, self.keyless, hub, self._give_up)

    @property
    def stats(self) -> Stats | None:
        """The media workers' newest statistics, all together."""
        return self.workers.stats

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
        return self._place(match, emergency=emergency)[1]

    def _place(self, match: Match, *, emergency: bool) -> tuple[MediaLink | None, str]:
        """Which worker takes a new call (an emergency call goes without one, too), and why it would go unrecorded."""
        if self.draining:
            raise Busy("shutting down")
        now, left = time.monotonic(), self._recordings.tenant(match.tenant.name) in self.closed
        if emergency:
            worker, why = emergencies.place(match.tenant, self.workers, now)
            return worker, _CLOSED if left else why or self.keyless.why(match.tenant)
        if left:
            raise Closed(_CLOSED)
        self.keyless.refuse(match.tenant)
        return self.workers.choose(match.tenant, now, self.keyless.check_room)

    def begin(
        self,
        match: Match,
        offer: SessionDescription | None,
        parties: Parties,
        roster: Roster | None = None,
        taps: Sequence[Tap] = (),
        *,
        ipv6: bool = False,
    ) -> Call:
        """Take a call: ports and keys for each m-line that has a codec of ours. Nothing is stored yet. Raises Busy.

        Without an offer there is one leg, for the m-line that we are going to offer, over IPv6 if that is said. A
        recording session has a roster; taps are taken as they are.
        """
        emergency = emergencies.is_emergency(match, parties, () if roster is None else roster.addresses)
        worker, why_not = self._place(match, emergency=emergency)
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
        wanted += rated.wanted(match.tenant)
        if not why_not:
            wanted += [Wanted(person, Kind.AUDIO, purpose) for person in people]
            wanted += keypresses.wanted(match.tenant, people)
        nothing = match.tenant.record == "events" or why_not == _CLOSED
        new = None if nothing else self._recordings.begin(tenant, call_id, wanted)
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
            ipv6=ipv6,
            worker=worker,
        )
        prompt = self.prompts.get(match.tenant.name)
        if prompt is not None and not why_not and not match.trunk.receive_only and not emergency:
            call.announcement = Announcement(prompt.name, prompt.language)
        try:
            for person, (index, label) in zip(people, labels.items(), strict=False):
                call.legs.append(self._desk.make(call, index, label, person, taps[index] if taps else None))
        except NoPorts as error:
            self._desk.release_ports(call)
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
        self._desk.legs |= {leg.number: (call, leg) for leg in call.legs}
        for leg in call.legs:
            self._desk.open(call, leg, offer)
        if call.announcement is not None:
            call.announcement.awaited = {leg.number for leg in call.legs}
            for leg in call.legs:
                self._desk.send(Play(leg.number, call.announcement.prompt))
        self.counters["calls_answered"] += 1
        if call.new is not None:
            call.saved = self.tasks.create_task(self.records.begin(call, call.new))
        self.records.publish("call_started", call, storage=storage_of(call))

    def update(
        self, call: Call, offer: SessionDescription, metadata: Sequence[bytes] = (), of: Collection[int] | None = None
    ) -> None:
        """A new description, `of` these m-lines alone where it is of some: hold, resume, another address or codec; in
        recording sessions further m-lines, too."""
        for leg in call.legs:
            if leg.index < len(offer.media) and (of is None or leg.index in of):
                self._desk.update(call, leg, offer)
        self.streams.update(call, offer, metadata)

    def left(self, call: Call, line: int) -> None:
        """The dialog of this m-line has ended, and another one of the call goes on."""
        for leg in (leg for leg in call.legs if leg.index == line):
            leg.over = True
            self._desk.send(Close(leg.number))
        self.streams.left(call, line)
        self._look_alive(call)

    def retune(self, call: Call, leg: Leg) -> None:
        """Another sender comes over a leg's tap."""
        self._desk.update(call, leg, None)

    def abandon(self, call: Call) -> None:
        """A call that begun and is not going to be answered: its ports go back, and nothing is left of it."""
        self._desk.release_ports(call)

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
            self.tasks.create_task(self._finish(call, why))

    def end_by_id(self, call_id: CallId) -> None:
        """End a live call on somebody's order; does nothing for others."""
        if call_id in self._calls:
            self.hang_up(call_id)

    def end_of(self, tenant: TenantId) -> None:
        """Ends all live calls of a tenant whose content has ended; an emergency call goes on, unrecorded."""
        for call in [call for call in self._calls.values() if call.tenant == tenant and not call.emergency]:
            self.hang_up(call.id)

    def on_media(self, event: Message) -> None:
        """An event from a media worker, but for its statistics."""
        if isinstance(event, SpoolFull):
            self.counters["spool_full"] += 1
        elif isinstance(event, _OfLeg):
            found = self._desk.legs.get(event.leg)
            if found is not None:
                self._on_leg(*found, event)

    def _on_leg(self, call: Call, leg: Leg, event: _OfLeg) -> None:
        if leg.told is not None:
            leg.told.hear(event, time.monotonic())
        match event:
            case Speech():
                self._speech.hear(call, leg, event)
            case Ended():
                self._desk.ended(leg, event)
            case OpenFailed():
                self._on_open_failed(call, leg, event)
            case Played():
                self._on_played(call, event)
            case Quiet():
                self._on_quiet(call, leg)
            case Pressed():
                keypresses.keep(call, leg, event.press)
            case Paused() | Resumed():
                self.pauses.on_media(event)

    def _on_played(self, call: Call, event: Played) -> None:
        """A leg has heard the announcement, and the recording begins with the end of it; or it cannot hear it."""
        if (announcement := call.announcement) is None:
            return
        if not event.complete:
            if not call.ending:
                announcement.failed = True
                self.counters["announcements_failed"] += 1
                self.announced(call.id)
            return
        announcement.awaited.discard(event.leg)
        starts, ends = announcement.start_us, announcement.end_us
        announcement.start_us = event.start_us if starts is None else min(starts, event.start_us)
        announcement.end_us = event.end_us if ends is None else max(ends, event.end_us)
        if announcement.complete:
            self.records.publish("recording_started", call)
            self.announced(call.id)

    def _on_quiet(self, call: Call, leg: Leg) -> None:
        """A leg has given no sign of life; a call of which nobody gives any is asked whether it still stands."""
        if not call.ending:
            leg.quiet = True
            self._look_alive(call)

    def _look_alive(self, call: Call) -> None:
        if all(leg.quiet or leg.over for leg in call.legs):
            self.counters["calls_probed"] += 1
            self.probe(call.id)

    def _on_open_failed(self, call: Call, leg: Leg, event: OpenFailed) -> None:
        log.error("a leg could not be opened", extra={"call": call.id, "leg": leg.number, "reason": event.reason})
        call.worker_lost = True
        if not leg.ended.done():
            leg.ended.set_result(None)
        self._give_up(call)

    def on_media_lost(self, worker: MediaLink, successor: MediaLink | None) -> None:
        """A media worker died: its calls go on in its successor, or end as interrupted."""
        self.counters["media_workers_lost"] += 1
        for call in [call for call in self._calls.values() if call.worker is worker]:
            if successor is not None and not call.portless and resumption.go_on(call, successor, time.monotonic()):
                self.counters["calls_resumed"] += 1
                self._speech.lose(call)
                continue
            call.worker_lost = True
            for leg in call.every_leg:
                if not leg.ended.done():
                    leg.ended.set_result(None)
            self._give_up(call)

    def _give_up(self, call: Call) -> None:
        """Hang up a call that cannot be kept; an emergency call goes on all the same."""
        if not call.emergency:
            self.hang_up(call.id)

    async def _finish(self, call: Call, why: str) -> None:
        try:
            await self.records.end(call, why)
        finally:
            self._calls.pop(call.id, None)
            if not self._calls:
                self._idle.set()
