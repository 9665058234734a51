"""A call's way into its record: made durable beside the answer, and ended once its legs are closed.

Whatever fails here ends this call and no other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from gateway.calls.call import Call
from gateway.calls.callbook import CallBook
from gateway.calls.desk import Desk
from gateway.calls.keyless import PORTS_S, Keyless
from gateway.calls.streams import Streams
from gateway.events import Hub, LiveEvent
from gateway.operations.logs import about
from media.messages import Close, Release
from storage.model import ArtefactId, CallState
from storage.records import NewCall

log = logging.getLogger(__name__)

_CUT_OFF = "hung up during the announcement"


class Records:
    """Begins and ends the records of live calls; `give_up` is told of a call that cannot be kept."""

    def __init__(
        self, book: CallBook, desk: Desk, streams: Streams, keyless: Keyless, hub: Hub, give_up: Callable[[Call], None]
    ) -> None:
        self.on_ready: Callable[[float], None] = lambda seconds: None
        self._book = book
        self._desk = desk
        self._streams = streams
        self._keyless = keyless
        self._hub = hub
        self._give_up = give_up

    @property
    def _counters(self) -> Counter[str]:
        return self._desk.counters

    async def begin(self, call: Call, new: NewCall) -> bool:
        """The outermost line of making a call durable, or of holding it until that can be; whether it is."""
        try:
            with about(call=call.id, tenant=call.tenant):
                saved = await self._begin(call, new)
        except Exception:
            self._counters["calls_unsaved"] += 1
            log.exception("a call could not be saved", extra={"call": call.id})
            self._give_up(call)
            return False
        if not saved and call.policy.when_full == "refuse":
            self._give_up(call)
        for leg in call.legs:  # without a key row nobody can read what is committed now, and it drains
            self._desk.send(Release(leg.number))
        return saved

    async def _begin(self, call: Call, new: NewCall) -> bool:
        holds, unrecorded = call.policy.when_keys_away == "hold", call.unrecorded
        known = self._keyless.why(call.policy)
        if not (known and (holds or call.emergency)) and await self._book.begin(call, new):
            return True
        if holds or (known and call.emergency):
            return await self._keyless.hold(call, new, unrecorded)
        if known or self._keyless.lacks_keys(call):
            await self._keyless.lose(call, new)
        return False

    async def end(self, call: Call, why: str) -> None:
        """The outermost line of a call's end: its legs close, and its record is written."""
        try:
            with about(call=call.id, tenant=call.tenant):
                await self._end(call, why)
        except Exception:
            self._counters["calls_failed_at_end"] += 1
            log.exception("a call's end failed; it is recovered at the next start", extra={"call": call.id})
        finally:
            self._desk.forget(call)

    async def _end(self, call: Call, why: str) -> None:
        ended_s = time.time()
        for leg in call.legs:
            self._desk.send(Close(leg.number))
        if call.saved is not None and (call.keys_away or call.policy.when_keys_away == "hold"):
            await self._await_keys(call, call.saved)
        await self._streams.settled(call)
        facts: dict[ArtefactId, dict[str, Any]] = {}
        for leg in call.every_leg:
            found = await self._desk.facts_of(call, leg)
            if found is not None and leg.artefact is not None:
                facts[leg.artefact.ref.artefact] = found
        self._desk.release_ports(call)
        if call.announcement is not None and call.announcement.end_us is None:
            why_not = "the announcement could not be played" if call.announcement.failed else _CUT_OFF
            call.unrecorded = call.unrecorded or why_not
        if call.saved is not None and await call.saved:
            assert call.new is not None
            written = await self._book.end(call, facts, why, ended_s)
            self._counters[f"ended_{written.state.value}"] += 1
            if written.ready_ms is not None:
                self.on_ready(written.ready_ms / 1000)
            detail = {} if written.ready_ms is None else {"ready_ms": written.ready_ms}
            self.publish("call_ended", call, state=written.state.value, storage=storage_of(call), **detail)
        elif call.new is None or call.listed:
            self.publish("call_ended", call, state=CallState.NOT_RECORDED.value, storage=storage_of(call))
        self._counters["calls_ended"] += 1

    async def _await_keys(self, call: Call, saved: asyncio.Task[bool]) -> None:
        """Before its call is durable, or lost, no leg tells its facts; its ports are others' meanwhile."""
        await asyncio.wait([saved], timeout=PORTS_S)
        if not saved.done():
            self._desk.release_ports(call)
            await saved

    def publish(self, name: str, call: Call, **detail: object) -> None:
        """A live event of the call."""
        self._hub.publish(LiveEvent(name, call.tenant, call.id, detail=detail))


def storage_of(call: Call) -> str:
    """What is stored of a call: of a tenant of live events only nothing, ever; of others what there is, sealed."""
    return "none" if call.new is None else "sealed"
