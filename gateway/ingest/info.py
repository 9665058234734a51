"""What an INFO of a live call brings about: its recording stands still or goes on, where the trunk may say so.

The answer tells the truth: 200 once the media worker has confirmed it, 504 where it has not, 488 where there is nothing
to pause, 403 where the trunk's policy does not let its peers say. Keys are answered 200, and kept or dropped as the
tenant's policy says.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable

from gateway.calls.call import Call, Leg
from gateway.calls.keypresses import keep
from gateway.calls.pause import Pauses
from gateway.errors import Unavailable
from gateway.sip.events import Informed
from media.dtmf import Press
from storage.errors import NotReady

log = logging.getLogger(__name__)

BY_SIP = "sip"

Answer = Callable[[Informed, int], None]
"""Gives an INFO its final status."""


class InfoService:
    """Does what INFOs ask; `answer` is called once for each."""

    def __init__(self, pauses: Pauses, tasks: asyncio.TaskGroup, answer: Answer, counters: Counter[str]) -> None:
        self._pauses = pauses
        self._tasks = tasks
        self._answer = answer
        self._counters = counters

    def serve(self, call: Call, event: Informed, leg: Leg) -> None:
        """One INFO of the call, from the peer that this leg receives."""
        if event.record is None:
            self._counters["info_keys"] += 1
            if not (call.paused or (call.announcement is not None and not call.announcement.complete)):
                at_us = max(0, time.monotonic_ns() - call.origin_ns) // 1000
                keep(call, leg, Press(event.digit, at_us, event.duration_ms, "info"))
            self._answer(event, 200)
        elif not call.trunk.pause_by_info:
            self._counters["refused_pause_by_info"] += 1
            self._answer(event, 403)
        else:
            self._tasks.create_task(self._pause_safely(call, event))

    async def _pause_safely(self, call: Call, event: Informed) -> None:
        """The outermost line of a pause: a fault of ours is answered, and ends no other call."""
        status = 500
        try:
            if event.record:
                await self._pauses.resume(call, BY_SIP)
            else:
                await self._pauses.pause(call, BY_SIP)
            status = 200
        except NotReady:
            status = 488
        except Unavailable:
            status = 504
        except Exception:
            log.exception("a pause failed", extra={"call": call.id})
        self._answer(event, status)
