"""The streams of recording sessions while they change: other participants, new m-lines, hold.

A participant's artefact holds what that participant says and nothing else. So where somebody else begins to be heard
on a stream (transfer, conference), its leg is closed and another one takes over its ports, into an artefact of its own;
what arrives between the two waits in the socket. The new artefact's key row is durable before anything is committed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gateway.calls import keypresses
from gateway.calls.call import Call, Leg
from gateway.calls.callbook import CallBook
from gateway.calls.desk import Desk
from gateway.calls.offer import LEGS_MAX, labels_of, remote, sends
from gateway.calls.roster import Roster, Track
from gateway.sip.siprec.state import Line
from media.errors import Unavailable as NoPorts
from media.messages import Close, Release
from media.ports import PortPair
from media.sdp import SessionDescription
from storage.model import Kind
from storage.recordings import Recordings
from storage.records import NewArtefact, NewCall, Wanted

log = logging.getLogger(__name__)

TRACKS_MAX = 64  # of one call: what its audio can be asked for. Beyond, a stream stays in the track that it is in
NOTE_S = 1.0  # what a client tells is written down so much later, together with what it tells meanwhile


def lines_of(offer: SessionDescription | None) -> list[Line]:
    """The m-lines as a roster sees them; of an offer that we make there is one."""
    if offer is None:
        return [Line(None)]
    return [Line(media.label, media.kind == "audio" and media.port != 0) for media in offer.media]


class Streams:
    """Changes of calls that stand. Runs on the event loop; the store's work goes to threads."""

    def __init__(self, recordings: Recordings, book: CallBook, tasks: asyncio.TaskGroup, desk: Desk) -> None:
        self.counters: Counter[str] = Counter()
        self._recordings = recordings
        self._book = book
        self._tasks = tasks
        self._desk = desk

    def update(self, call: Call, offer: SessionDescription, metadata: Sequence[bytes]) -> None:
        """A description was taken, with metadata: who went silent, what moved, who is heard, which m-lines are new."""
        before, call.described = call.described, offer
        roster = call.roster
        if roster is None:
            return
        at_ms = call.now_ms(time.monotonic_ns())
        for leg in (leg for leg in call.legs if not leg.over):
            for what in _happened(before, offer, leg.index):
                roster.note(at_ms, what, leg.index)
        roster.describe(lines_of(offer))
        there = {leg.index for leg in call.legs}
        new = [(index, label) for index, label in labels_of(offer).items() if index not in there]
        self._heard(call, roster, metadata, dict(new[: LEGS_MAX - len(there)]), at_ms)

    def left(self, call: Call, line: int) -> None:
        """The dialog that an m-line came in has ended, and the call goes on."""
        if call.roster is not None:
            call.roster.leave(line, call.now_ms(time.monotonic_ns()))

    def missed(self, call: Call, line: int) -> None:
        """The dialog for an m-line of the call, which is over, never came."""
        if call.roster is not None:
            call.roster.note(call.now_ms(time.monotonic_ns()), "never_came", line)

    def told(self, call: Call, metadata: Sequence[bytes]) -> None:
        """A recording client has sent metadata without a description."""
        if call.roster is not None and metadata:
            self._heard(call, call.roster, metadata, {}, call.now_ms(time.monotonic_ns()))

    def _heard(self, call: Call, roster: Roster, metadata: Sequence[bytes], new: dict[int, str], at_ms: float) -> None:
        if call.ending:
            return
        roster.hear(metadata, at_ms)
        due = set(roster.changed(at_ms))
        self._turn(call, roster, {leg.index: leg.label for leg in call.legs if leg.index in due} | new, at_ms)
        if call.new is not None and call.noting is None:
            call.noting = self._tasks.create_task(self._note(call, call.new))

    async def settled(self, call: Call) -> None:
        """Return when nothing of the call's changes is under way any more: its end is written next."""
        if call.noting is not None:
            call.noting.cancel()
        await asyncio.gather(*call.changes)  # nothing changes an ending call

    def _turn(self, call: Call, roster: Roster, labels: dict[int, str], at_ms: float) -> None:
        """Tracks of these m-lines begin: new ones, or in place of what their legs have received until now."""
        pairs: dict[int, PortPair] = {leg.index: leg.pair for leg in call.legs}
        opened: list[tuple[Track, PortPair]] = []
        for index, label in labels.items():
            if len(roster.tracks) >= TRACKS_MAX:
                roster.note(at_ms, "too_many_tracks", index)
                continue
            try:
                pair = pairs.get(index) or self._desk.take_ports(call, index)
            except NoPorts:
                self.counters["streams_without_port"] += 1
                roster.note(at_ms, "no_port", index)
                continue
            opened.append((roster.open(index, label, at_ms), pair))
        if not opened:
            return
        self.counters["streams_turned"] += len(opened)
        added = self._keys(call, [track for track, _ in opened])
        legs = [
            self._leg(call, track, pair, None if added is None else added.find(Kind.AUDIO, track.participant))
            for track, pair in opened
        ]
        if added is not None:
            task = self._tasks.create_task(self._save(call, added, legs))
            call.changes.add(task)
            task.add_done_callback(call.changes.discard)

    def _keys(self, call: Call, tracks: Sequence[Track]) -> NewCall | None:
        if call.new is None or call.unrecorded:
            return None
        people = [track.participant for track in tracks]
        wanted = [Wanted(person, Kind.AUDIO, call.policy.purpose) for person in people]
        wanted += keypresses.wanted(call.policy, people)
        return self._recordings.begin(call.tenant, call.id, wanted)

    def _leg(self, call: Call, track: Track, pair: PortPair, artefact: NewArtefact | None) -> Leg:
        """A leg for the track; it takes over from the one that its m-line has."""
        future: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        where = (self._desk.number(), track.line, track.label, track.participant)
        leg = Leg(*where, artefact, pair, future, track)
        former = next((other for other in call.legs if other.index == track.line), None)
        if former is None:
            call.legs.append(leg)
        else:
            self._desk.send(Close(former.number))
            call.former.append(former)
            call.legs[call.legs.index(former)] = leg
        self._desk.legs[leg.number] = (call, leg)
        self._desk.open(call, leg, call.described, former)
        return leg

    async def _save(self, call: Call, added: NewCall, legs: Sequence[Leg]) -> None:
        """The outermost line of making further streams durable: a fault of ours costs these and nothing else."""
        durable = False
        try:
            durable = call.saved is not None and await call.saved and await self._book.extend(call, added)
        except Exception:
            log.exception("a stream could not be saved", extra={"call": call.id})
        for leg in legs:
            if not durable:  # nobody can read what is committed now, and it drains
                leg.artefact = None
                if call.roster is not None:
                    call.roster.note(call.now_ms(time.monotonic_ns()), "not_stored", leg.index)
            self._desk.send(Release(leg.number))
        if durable and call.new is not None:
            call.new = replace(call.new, artefacts=(*call.new.artefacts, *added.artefacts))

    async def _note(self, call: Call, new: NewCall) -> None:
        if call.saved is not None and await asyncio.shield(call.saved):
            await asyncio.sleep(NOTE_S)
            call.noting = None  # what is told from here on needs another one
            await self._book.note(call, new)


def _happened(before: SessionDescription | None, after: SessionDescription, index: int) -> list[str]:
    """What a description changes for an m-line. Its content counts, not its version: OpenSIPS leaves that as it was."""
    if before is None or index >= min(len(before.media), len(after.media)):
        return []
    old, new = before.media[index], after.media[index]
    happened = []
    if sends(before, old) != sends(after, new):
        happened.append("resumed" if sends(after, new) else "held")
    if new.port and old.port and remote(before, old) not in (None, remote(after, new)):
        happened.append("moved")
    return happened
