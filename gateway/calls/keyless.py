"""New calls of a tenant whose key provider is away for longer than keys were prepared: refused, or held in memory.

Held means that the call runs, and its audio stays in its media worker's memory, sealed, up to a megabyte a stream (a
minute at 128 kbit/s, two of G.711); what finds no room there is counted, and named as missing in the recording. It
becomes durable when the provider is back, up to a minute after the call; else the call ends as not recorded. Nothing of
it reaches a disk before that.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection

from gateway.calls.admission import Busy
from gateway.calls.call import Call
from gateway.calls.callbook import CallBook
from gateway.policy import Tenant
from storage.recordings import Recordings
from storage.records import NewCall

KEYS_AWAY = "key provider away"
AGAIN_S = 2.0  # between two attempts to save a held call; no provider is asked for that while it is known to be away
AFTER_END_S = 50.0  # the spool gives up what was closed, and has no key row, after a minute


class Keyless:
    """Which tenants' calls have no keys now, and what becomes of them."""

    def __init__(self, recordings: Recordings, book: CallBook, counters: Counter[str]) -> None:
        self.away: Callable[[], Collection[str]] = lambda: ()  # tenants whose provider did not answer, by name
        self.after_end_s = AFTER_END_S
        self._recordings = recordings
        self._book = book
        self._counters = counters

    def why(self, policy: Tenant) -> str:
        """Why nothing new of a tenant can be made durable; "" if it can, or nothing of it is stored anyway."""
        if policy.record == "events" or policy.name not in self.away():
            return ""
        return "" if self._recordings.ready(self._recordings.tenant(policy.name)) else KEYS_AWAY

    def refuse(self, policy: Tenant) -> None:
        """Raises Busy if new calls of the tenant are to be refused."""
        if policy.when_keys_away == "refuse" and (why := self.why(policy)):
            raise Busy(why)

    async def hold(self, call: Call, new: NewCall) -> bool:
        """Tries again to make a call durable that could not be, until shortly after its end; whether it is."""
        self._counters["calls_held"] += 1
        ended_at: float | None = None
        while ended_at is None or time.monotonic() - ended_at < self.after_end_s:
            await asyncio.sleep(AGAIN_S)
            if call.ending and ended_at is None:
                ended_at = time.monotonic()
            if self.why(call.policy):
                continue
            call.unrecorded = ""
            if await self._book.begin(call, new):
                return True
        call.unrecorded = KEYS_AWAY
        self._counters["calls_never_keyed"] += 1
        return False
