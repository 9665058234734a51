"""Pause and resume of a call's recording: asked for by the API or by SIP INFO, true only once the media worker says so.

A pause is the whole call's: card data that one party says, the other repeats. It begins when the last of the call's
legs is not kept any more and ends when the first is kept again; a limit of the tenant's policy ends one that nobody
ends. A worker that is late with its word changes nothing of what it does: the pause stands, unconfirmed, and whoever
asks again waits for the same word.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Mapping

from gateway.calls.call import Call
from gateway.calls.paused import Order, Span
from gateway.errors import Unavailable
from gateway.events import Hub, LiveEvent
from media.messages import Pause, Paused, Resume, Resumed
from storage.errors import NotFound, NotReady
from storage.model import CallId, TenantId

CONFIRM_S = 2.0  # a hundred ticks: a worker that has not said so by then is in trouble, and its caller is told
PAUSES_MAX = 200  # of one call, for call detail; somebody who plays with the key is refused the next one
BY_POLICY = "policy"


class Pauses:
    """The pauses of all live calls. `send` gives a command to the media worker."""

    def __init__(
        self,
        calls: Mapping[CallId, Call],
        send: Callable[[Pause | Resume], None],
        hub: Hub,
        counters: Counter[str],
    ) -> None:
        self._calls = calls
        self._send = send
        self._hub = hub
        self._numbers = itertools.count(1)
        self._orders: dict[int, tuple[Call, Span, Order]] = {}  # that a worker has not confirmed
        self._counters = counters

    def find(self, tenant: TenantId, call: CallId) -> Call:
        """A live call of that tenant; NotFound for any other."""
        found = self._calls.get(call)
        if found is None or found.tenant != tenant:
            raise NotFound(f"no live call {call}")
        return found

    async def pause(self, call: Call, by: str) -> Span:
        """Keep nothing of the call from now on; returns when that is so, also where it was so already.

        Raises NotReady where there is nothing to pause, Unavailable when the worker does not confirm it in time.
        """
        self._check(call)
        span = call.pauses[-1] if call.pauses else None
        if span is None or not span.open:
            if len(call.pauses) >= PAUSES_MAX:
                raise NotReady(f"call {call.id} has been paused {PAUSES_MAX} times")
            span = Span(by, self._order(call))
            call.pauses.append(span)
            span.limit = asyncio.get_running_loop().call_later(call.policy.pause_limit_s, self._expire, call, span)
            self._tell(call, span, span.begin)
        await self._confirmed(span.begin)
        return span

    async def resume(self, call: Call, by: str) -> Span | None:
        """Keep the call again; returns when that is so. None: it was not paused. Raises as `pause` does."""
        self._check(call)
        if not call.pauses:
            return None
        span = call.pauses[-1]
        if span.open:
            self._end(call, span, by)
        assert span.end is not None
        await self._confirmed(span.end)
        return span

    def on_media(self, event: Paused | Resumed) -> None:
        """The worker has done to one leg what it was told; late or in time."""
        found = self._orders.get(event.order)
        if found is None:
            return
        call, span, order = found
        order.awaited.discard(event.leg)
        begins = order is span.begin
        latest = max if begins else min
        order.at_us = event.at_us if order.at_us is None else latest(order.at_us, event.at_us)
        if order.awaited:
            return
        del self._orders[event.order]
        order.done.set_result(None)
        self._counters["recordings_paused" if begins else "recordings_resumed"] += 1
        name, by = ("recording_paused", span.by) if begins else ("recording_resumed", span.ended_by)
        self._hub.publish(LiveEvent(name, call.tenant, call.id, at_ms=order.at_us / 1000, detail={"by": by}))

    def again(self, call: Call) -> None:
        """The call's legs were opened anew in another worker: it is told what the former one has not confirmed."""
        for of_call, span, order in list(self._orders.values()):
            if of_call is call:
                self._tell(call, span, order)

    def over(self, call: Call) -> None:
        """The call has ended: nobody waits any more, and no limit runs."""
        for span in call.pauses:
            if span.limit is not None:
                span.limit.cancel()
            for order in (span.begin, span.end):
                if order is not None and not order.done.done():
                    self._orders.pop(order.number, None)
                    order.done.cancel()

    def _check(self, call: Call) -> None:
        if call.ending or call.id not in self._calls:
            raise NotReady(f"call {call.id} is over")
        if call.unrecorded:
            raise NotReady(f"call {call.id} is not recorded")

    def _order(self, call: Call) -> Order:
        legs = {leg.number for leg in call.legs if not leg.over}
        return Order(next(self._numbers), legs, asyncio.get_running_loop().create_future())

    def _tell(self, call: Call, span: Span, order: Order) -> None:
        self._orders[order.number] = (call, span, order)
        for leg in sorted(order.awaited):
            self._send(Pause(leg, order.number) if order is span.begin else Resume(leg, order.number))

    def _end(self, call: Call, span: Span, by: str) -> None:
        span.end, span.ended_by = self._order(call), by
        if span.limit is not None:
            span.limit.cancel()
        self._tell(call, span, span.end)

    def _expire(self, call: Call, span: Span) -> None:
        """The policy's limit has passed and nobody has ended the pause."""
        if span.open and not call.ending:
            self._counters["pauses_expired"] += 1
            self._end(call, span, BY_POLICY)

    async def _confirmed(self, order: Order) -> None:
        """Return when every leg has confirmed the order, and never else."""
        done, _ = await asyncio.wait([order.done], timeout=CONFIRM_S)
        if not done:
            self._counters["pauses_unconfirmed"] += 1
            raise Unavailable("the media worker has not confirmed it in time; it may still come about")
        if order.done.cancelled():
            raise NotReady("the call ended before it was done")
