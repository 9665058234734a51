"""The legs of all live calls: their numbers and ports, and what the workers that receive them are told."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gateway.calls.call import Call, Leg, Tap
from gateway.calls.offer import remote, told
from gateway.calls.terms import opening, tapped, terms
from gateway.calls.told import Told
from gateway.errors import Unavailable
from media.messages import Close, Discard, Ended, Hold, OpenFailed, Pause, Play, Release, Resume, Update
from media.ports import PortPair, PortPool
from media.sdp import SessionDescription
from storage.model import Kind, ParticipantId

log = logging.getLogger(__name__)

FACTS_S = 10.0  # a worker that has not closed a leg by then is treated as lost
FACTS_HELD_S = 300.0  # the same where a gigabyte that was held goes to a slow disk first


class Desk:
    """Opens legs, updates and closes them. `on_failed` is told of one that no worker takes."""

    def __init__(self, ports: PortPool, on_failed: Callable[[Call, Leg, OpenFailed], None]) -> None:
        self.legs: dict[int, tuple[Call, Leg]] = {}
        """Those that workers know, by number."""
        self.counters: Counter[str] = Counter()
        self._ports = ports
        self._on_failed = on_failed
        self._numbers = itertools.count(1)
        self._formers: dict[int, tuple[int, ...]] = {}  # by port: the stream that it received last

    def number(self) -> int:
        """A number that no leg has had."""
        return next(self._numbers)

    def make(self, call: Call, index: int, label: str, person: ParticipantId, tap: Tap | None) -> Leg:
        """A leg on ports of its own, or on a tap; no worker knows it. Raises Unavailable of the media package."""
        artefact = None
        if call.new is not None and not call.unrecorded:
            artefact = call.new.find(Kind.AUDIO, person)
        pair = self.take_ports(call, index) if tap is None else tap.pair
        future: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        return Leg(self.number(), index, label, person, artefact, pair, future, tap=tap)

    def take_ports(self, call: Call, index: int) -> PortPair:
        """Ports for an m-line, of the family in which the peer's media come. Raises media's Unavailable."""
        named = None if call.described is None else call.described.connection_of(call.described.media[index])
        ipv6 = call.ipv6 if named is None else named.kind == "IP6"
        return self._ports.take(time.monotonic(), urgent=call.emergency, ipv6=ipv6)

    def open(self, call: Call, leg: Leg, offer: SessionDescription | None, continues: Leg | None = None) -> None:
        """Have the call's worker receive it on these terms, in place of the leg whose stream it continues."""
        answered = leg.tap is not None or (offer is not None and told(offer, leg.index))
        agreed = self._terms(call, leg, offer)
        command = opening(call, leg, agreed, answered=answered, continues=continues is not None)
        former = self._formers.get(leg.pair.port, ())
        if continues is not None:  # its stream is the call's own
            former = () if continues.told is None else continues.told.opened.former
        leg.told = Told(replace(command, former=former))
        try:
            if call.worker is None:
                raise Unavailable("no media worker")
            call.worker.send(leg.told.opened, (leg.pair.rtp_socket, leg.pair.rtcp_socket))
            if call.keys_away:
                self.send(Hold(leg.number))
        except Unavailable:  # it died since the call was admitted
            self._on_failed(call, leg, OpenFailed(leg.number, "no media worker"))

    def update(self, call: Call, leg: Leg, offer: SessionDescription | None) -> None:
        """Other terms; of a tap, another sender comes over it."""
        leg.quiet = False
        self.send(self._terms(call, leg, offer))

    def send(self, command: Play | Pause | Resume | Release | Hold | Discard | Close | Update) -> None:
        """Tell the worker of the command's leg; one that is gone is told nothing."""
        found = self.legs.get(command.leg)
        if found is None or (worker := found[0].worker) is None or not worker.alive:
            return
        if found[1].told is not None:
            found[1].told.hear(command, time.monotonic())
        try:
            worker.send(command)
        except Unavailable:
            log.error("the media worker takes no commands")

    def ended(self, leg: Leg, event: Ended) -> None:
        """A worker has closed a leg."""
        self._formers[leg.pair.port] = event.former
        if not leg.ended.done():
            leg.ended.set_result(event.facts)

    async def facts_of(self, call: Call, leg: Leg) -> dict[str, Any] | None:
        """A closed leg's facts; None where its worker was lost, or is taken for lost since it has not told them."""
        try:
            async with asyncio.timeout(FACTS_S if call.keys_away_ms is None else FACTS_HELD_S):
                return await leg.ended
        except TimeoutError:
            log.error("a leg was not closed in time", extra={"call": call.id, "leg": leg.number})
            call.worker_lost = True
            return None

    def release_ports(self, call: Call) -> None:
        """Let the call's ports rest, once."""
        for leg in () if call.portless else call.legs:
            self._ports.release(leg.pair, time.monotonic())
        call.portless = True

    def forget(self, call: Call) -> None:
        """The call has its record: events of its legs are nobody's."""
        for leg in call.every_leg:
            self.legs.pop(leg.number, None)

    def _terms(self, call: Call, leg: Leg, offer: SessionDescription | None) -> Update:
        if leg.tap is not None:
            return tapped(leg.number, call.trunk, leg.tap)
        leg.protect(call.srtp.get(leg.index, {}))
        found = terms(leg, call.trunk, offer)
        if offer is not None and found.remote is None and remote(offer, offer.media[leg.index]) is not None:
            self.counters["media_address_refused"] += 1
        return found
