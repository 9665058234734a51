"""Tells subscribers who speaks, without a false start or a missing end where a media worker dies meanwhile."""

from __future__ import annotations

import asyncio
import time

from gateway.calls.call import Call, Leg
from gateway.calls.talk import SURE_S
from gateway.events import Hub, LiveEvent
from media.messages import Speech


class LiveSpeech:
    """The speech of all live calls, on its way to the hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def hear(self, call: Call, leg: Leg, event: Speech) -> None:
        """What a worker says of a leg."""
        if leg.talk.hear(started=event.started):
            self._tell(call, leg, event)

    def lose(self, call: Call) -> None:
        """The call's worker died, and another goes on: whoever is not heard again has stopped when it died."""
        now_ns = time.monotonic_ns()
        for leg in call.legs:
            if leg.talk.lose():
                asyncio.get_running_loop().call_later(SURE_S, self._settle, call, leg, now_ns)

    def _settle(self, call: Call, leg: Leg, lost_ns: int) -> None:
        if leg.talk.settle() and not call.ending:
            at_us = (lost_ns - call.origin_ns) // 1000
            self._tell(call, leg, Speech(leg.number, False, at_us, time.time_ns(), time.monotonic_ns()))

    def _tell(self, call: Call, leg: Leg, event: Speech) -> None:
        name = "speech_started" if event.started else "speech_ended"
        detail: dict[str, object] = {"stamp_ns": event.stamp_ns, "decided_ns": event.decided_ns}
        self._hub.publish(LiveEvent(name, call.tenant, call.id, leg.participant, event.at_us / 1000, detail))
