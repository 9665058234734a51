"""New calls of a tenant whose key provider is away for longer than keys were prepared: refused, or held in memory.

Held means that the call runs, and its audio stays in its media worker's memory, sealed, within the bounds that the
settings give a stream and a worker (`store.held_stream_mib`, `store.held_total_mib`); nothing of it reaches a disk. The
catalogue has a row in clear from the beginning: an id, a day, a state. When the provider is back, however long after
hang-up, call and audio become durable, in order, and what found no room is named as missing to the millisecond. When
this process ends before that, the row says `keys_away`: by `give_up`, or at the next start if it died.

A new call is taken if its worker has room for some minutes more of every stream that is held now, and of this call's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from gateway.calls.admission import Busy
from gateway.calls.call import Call
from gateway.calls.callbook import CallBook
from gateway.calls.desk import Desk
from gateway.calls.media_link import MediaLink
from gateway.calls.workers import Workers
from gateway.policy import Tenant
from media.messages import Discard, Hold
from storage.errors import Refused, StoreError
from storage.model import CallId
from storage.recordings import Recordings
from storage.records import NewCall
from storage.spoolheld import HELD_TOTAL_BYTES_MAX

log = logging.getLogger(__name__)

KEYS_AWAY = "key provider away"
NO_MEMORY = "key provider away, memory full"
AGAIN_S = 0.5  # between two looks whether keys have come; no provider is asked for that while it is known to be away
AFTER_FAILURE_S = 5.0  # before the next attempt to save a held call, where one has failed
STREAM_RESERVE_BYTES = 4 << 20  # what each live stream may still take: 8 minutes of G.711, longer than most calls are
STREAMS_A_CALL = 2  # that room is looked for, before an offer says how many
CALL_BYTES = 64 << 10  # what a held call takes beside its audio, in this process, at most
PORTS_S = 1.0  # after a held call's end its worker has taken what had come, and needs its ports no more


@dataclass(frozen=True, slots=True)
class Held:
    """What is held now: calls, of these ended ones, and for how long the oldest of them, in seconds."""

    calls: int = 0
    ended: int = 0
    oldest_s: float = 0.0


class Keyless:
    """Which tenants' calls have no keys now, and what becomes of them. Runs on the event loop."""

    def __init__(
        self, recordings: Recordings, book: CallBook, desk: Desk, workers: Workers, counters: Counter[str]
    ) -> None:
        self.away: Callable[[], Collection[str]] = lambda: ()  # tenants whose provider did not answer, by name
        self.total_bytes = HELD_TOTAL_BYTES_MAX  # that each media worker holds
        self._recordings = recordings
        self._book = book
        self._desk = desk
        self._workers = workers
        self._counters = counters
        self._held: dict[CallId, tuple[Call, float]] = {}  # since when, on the monotonic clock
        self._over = asyncio.Event()

    def know(self, away: Callable[[], Collection[str]], total_bytes: int) -> None:
        """Who tells which tenants' providers are away, and what a media worker may hold."""
        self.away, self.total_bytes = away, total_bytes

    @property
    def held(self) -> Held:
        """What is held now."""
        oldest_s = max((time.monotonic() - since for _, since in self._held.values()), default=0.0)
        return Held(len(self._held), sum(call.ending for call, _ in self._held.values()), oldest_s)

    def why(self, policy: Tenant) -> str:
        """Why nothing new of a tenant can be made durable; "" if it can, or nothing of it is stored anyway."""
        if policy.record == "events" or policy.name not in self.away():
            return ""
        return "" if self._recordings.ready(self._recordings.tenant(policy.name)) else KEYS_AWAY

    def lacks_keys(self, call: Call) -> bool:
        """Whether that is why a call could not be made durable now."""
        return not self._recordings.ready(call.tenant)

    def refuse(self, policy: Tenant) -> None:
        """Raises Busy if new calls of the tenant are to be refused."""
        if policy.when_keys_away == "refuse" and (why := self.why(policy)):
            raise Busy(why)

    def check_room(self, policy: Tenant, worker: MediaLink) -> None:
        """Raises Busy if a new call of the tenant would have to be held, and the worker has no room for it."""
        if policy.when_keys_away == "refuse" or not self.why(policy):
            return
        stats = self._workers.stats_of(worker)
        here = [call for call, _ in self._held.values() if call.worker is worker]
        growing = sum(len(call.legs) for call in here if not call.ending) + STREAMS_A_CALL
        wanted = growing * STREAM_RESERVE_BYTES + (len(here) + 1) * CALL_BYTES
        if (0 if stats is None else stats.held_bytes) + wanted > self.total_bytes:
            self._counters["calls_not_held"] += 1
            raise Busy(NO_MEMORY)

    async def hold(self, call: Call, new: NewCall, unrecorded: str) -> bool:
        """Keeps a call that could not be made durable until it can be; whether it is. Not, once `give_up` was called.

        `unrecorded`: why it would not be recorded anyway.
        """
        self._counters["calls_held"] += 1
        call.keys_away, self._held[call.id] = True, (call, time.monotonic())
        for leg in call.every_leg:
            self._desk.send(Hold(leg.number))
        try:
            if await self._wait(call, new, unrecorded):
                return True
        finally:
            call.keys_away = False
            self._held.pop(call.id, None)
        self._counters["calls_never_keyed"] += 1
        call.unrecorded = call.unrecorded or KEYS_AWAY
        for leg in call.every_leg:
            self._desk.send(Discard(leg.number))
        return False

    async def lose(self, call: Call, new: NewCall) -> None:
        """Write down that a call goes unrecorded for want of keys; where that fails the log and a counter say it."""
        call.unrecorded = call.unrecorded or KEYS_AWAY
        try:
            if not call.listed:
                await asyncio.to_thread(self._recordings.keyless.begin, new)
            await asyncio.to_thread(self._recordings.keyless.end, call.id)
        except StoreError as error:
            self._counters["calls_unsaved"] += 1
            log.warning("a call without keys has no row", extra={"call": call.id, "reason": type(error).__name__})

    def give_up(self) -> None:
        """The process ends: what is held now is lost, and written down as that."""
        self._over.set()

    async def _wait(self, call: Call, new: NewCall, unrecorded: str) -> bool:
        try:
            while not self._over.is_set():
                pause_s = AGAIN_S
                if not call.listed:
                    pause_s = await self._list(call, new)
                if not self.why(call.policy):
                    if await self._save(call, new, unrecorded):
                        return True
                    pause_s = AFTER_FAILURE_S
                await self._pause(pause_s)
        except Refused:  # erased, or its tenant has left
            log.info("a held call is not wanted any more", extra={"call": call.id})
        await self.lose(call, new)
        return False

    async def _list(self, call: Call, new: NewCall) -> float:
        """Give the call its row; how long to wait before the next look."""
        try:
            await asyncio.to_thread(self._recordings.keyless.begin, new)
        except Refused:
            raise
        except StoreError as error:
            log.warning("a held call has no row yet", extra={"call": call.id, "reason": type(error).__name__})
            return AFTER_FAILURE_S
        call.listed = True
        return AGAIN_S

    async def _save(self, call: Call, new: NewCall, unrecorded: str) -> bool:
        before, call.unrecorded = call.unrecorded, unrecorded
        call.keys_away_ms = call.now_ms(time.monotonic_ns())
        try:
            await self._book.write_beginning(call, replace(new, listed=call.listed))
        except Refused:
            raise
        except StoreError as error:
            log.warning("a held call is not saved yet", extra={"call": call.id, "reason": type(error).__name__})
            call.unrecorded, call.keys_away_ms = before, None
            return False
        return True

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            return
