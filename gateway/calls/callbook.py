"""Writes calls down: that they began, beside their first second, and how they ended, once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.calls import keypresses, rated
from gateway.calls.call import NOBODY, Call, outcome, track_document
from gateway.calls.journal import Journal
from gateway.calls.recovery import facts_of_lives, facts_together, recover_call
from storage.errors import Erased, Refused, StoreError, Unavailable
from storage.model import ArtefactId, CallState, Kind
from storage.recordings import Recordings
from storage.records import Change, NewCall

log = logging.getLogger(__name__)

BEGIN_LINGER_S = 0.1  # a call's beginning waits so long for company: one transaction costs as much as twenty calls
END_LINGER_S = 0.05  # the same for ends: a part of the time from hang-up to download


@dataclass(frozen=True, slots=True)
class Beginning:
    """A call that is to become durable, with what is known of it so far."""

    call: NewCall
    documents: dict[ArtefactId, bytes]


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a call, and how long after its end that was durable, in ms."""

    state: CallState
    ready_ms: float | None


class CallBook:
    """The calls' way into the store, in groups; `run` does the writing until it is cancelled."""

    def __init__(
        self, recordings: Recordings, save: Callable[[Sequence[Beginning]], Sequence[StoreError | None]] | None = None
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.on_tracks: Callable[[Sequence[Mapping[str, Any]]], None] = lambda facts: None
        self._recordings = recordings
        self._beginnings = Journal[Beginning](save or self._save_group, BEGIN_LINGER_S)
        self._unready = Journal[Beginning](save or self._save_group, BEGIN_LINGER_S)  # these wait for a key provider
        self._changes = Journal[Change](recordings.settle, END_LINGER_S)
        self._reading_back = asyncio.Lock()  # of hundreds that end at once one by one, or all others wait for seconds

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._beginnings.run())
            tasks.create_task(self._unready.run())
            tasks.create_task(self._changes.run())

    async def begin(self, call: Call, new: NewCall) -> bool:
        """Make a call durable: its key rows first of all. False, and said in the call, when the store does not."""
        try:
            await self.write_beginning(call, new)
        except StoreError:
            self.counters["calls_unsaved"] += 1
            log.exception("a call could not be made durable", extra={"call": call.id})
            call.unrecorded = "store unavailable"
            return False
        return True

    async def write_beginning(self, call: Call, new: NewCall) -> None:
        """The same; StoreError when the store does not, and then it may be asked again."""
        detail = call.detail(ended_s=None, why="", missing=[])
        call.gather()
        found = call.identifiers.take()
        documents = _call_documents(call, new, detail) | rated.documents(call, new, None)
        journal = self._beginnings if self._recordings.ready(call.tenant) else self._unready
        try:
            await journal.write(Beginning(replace(new, identifiers=found), documents))
        except StoreError:
            call.identifiers.give_back(found)
            raise

    async def identify(self, call: Call, new: NewCall) -> None:
        """Write what a saved call can be found by and that was learned since; at its end, or any time before."""
        call.gather()
        found = call.identifiers.take()
        if not found:
            return
        try:
            await asyncio.to_thread(self._recordings.identify, new, found)
        except Erased:
            log.info("a call was erased while it lived", extra={"call": call.id})
        except StoreError:
            self.counters["calls_unidentified"] += 1
            log.exception("what a call is found by could not be written", extra={"call": call.id})

    async def extend(self, call: Call, added: NewCall) -> bool:
        """Make streams that the call gets later durable, keys first of all. False when the store does not."""
        try:
            await asyncio.to_thread(self._recordings.extend, added)
        except StoreError:
            self.counters["streams_unsaved"] += 1
            log.exception("a stream could not be made durable", extra={"call": call.id})
            return False
        return True

    async def note(self, call: Call, new: NewCall) -> None:
        """Write down what is known by now of a call that goes on; what cannot be written now is at its end."""
        try:
            detail = call.detail(ended_s=None, why="", missing=[])
            await self._changes.write(Change(new, _call_documents(call, new, detail)))
        except StoreError:
            log.warning("a call's changes could not be written", extra={"call": call.id})

    async def end(self, call: Call, facts: Mapping[ArtefactId, Mapping[str, Any]], why: str, ended_s: float) -> Written:
        """Write the record of a call that began durably. What cannot be written now is recovered at the next start."""
        assert call.new is not None
        await self.identify(call, call.new)
        recorded = any(leg.artefact is not None for leg in call.every_leg)
        if call.worker_lost and recorded:  # nobody else ends their streams
            if call.roster is not None:
                await self.note(call, call.new)  # what the client told last is nowhere else
            async with self._reading_back:
                state = await asyncio.to_thread(recover_call, self._recordings, call.tenant, call.id, ended_s)
            return Written(state, None)
        missing: list[list[float | None]] = []
        if any(leg.lives > 1 and leg.artefact is not None for leg in call.every_leg):
            async with self._reading_back:
                facts, missing = await asyncio.to_thread(facts_of_lives, self._recordings, call, ended_s)
        facts = facts_together(facts)
        state = outcome(call, facts)
        if state is CallState.ENDED and any(missing):
            state = CallState.INTERRUPTED
        documents = _call_documents(call, call.new, call.detail(ended_s=ended_s, why=why, missing=missing))
        documents |= rated.documents(call, call.new, ended_s)
        documents |= keypresses.documents(call)
        for leg in call.every_leg:
            if leg.artefact is not None:
                artefact, found = leg.artefact.ref.artefact, facts.get(leg.artefact.ref.artefact, {})
                where = (leg.index, leg.label) if leg.track is None else (leg.track.number, leg.track.label)
                documents[artefact] = track_document(*where, found, NOBODY if leg.track is None else leg.track.facts())
        spoken = state in (CallState.ENDED, CallState.INTERRUPTED)
        jobs = ["transcribe"] if call.policy.transcribe and spoken else []
        try:
            await self._changes.write(Change(call.new, documents, state, jobs))
        except Erased:
            log.info("a call was erased while it lived", extra={"call": call.id})
            await self._rate(call, call.new, ended_s)
        except StoreError:
            self.counters["calls_unrecorded_end"] += 1
            log.exception("a call's end could not be written", extra={"call": call.id})
        self.on_tracks(list(facts.values()))
        return Written(state, round(1000 * (time.time() - ended_s), 1))

    async def _rate(self, call: Call, new: NewCall, ended_s: float) -> None:
        """Of a call that was erased while it lived, what is billed outlives it."""
        artefact = rated.artefact_of(new)
        if artefact is None:
            return
        try:
            await asyncio.to_thread(self._recordings.ratings.finish, artefact, rated.rating_of(call, new, ended_s))
        except StoreError:
            self.counters["calls_unrated"] += 1
            log.exception("a call's rating could not be written", extra={"call": call.id})

    def _save_group(self, group: Sequence[Beginning]) -> Sequence[StoreError | None]:
        """All of them in one transaction; tenant by tenant if one gets no key: its provider is away, or it has left.

        Of one tenant's, each by itself where one is refused: it may be the only one, erased while it was held.
        """
        try:
            self._save(group)
        except (Unavailable, Refused) as error:
            tenants = dict.fromkeys(beginning.call.tenant for beginning in group)
            parts = [[one for one in group if one.call.tenant == tenant] for tenant in tenants]
            if len(parts) == 1:
                if len(group) == 1 or isinstance(error, Unavailable):
                    return [error] * len(group)
                parts = [[one] for one in group]
            outcomes = [
                dict(zip([one.call.call for one in part], self._save_group(part), strict=True)) for part in parts
            ]
            found = {call: outcome for part in outcomes for call, outcome in part.items()}
            return [found[beginning.call.call] for beginning in group]
        return [None] * len(group)

    def _save(self, group: Sequence[Beginning]) -> None:
        documents = {artefact: data for beginning in group for artefact, data in beginning.documents.items()}
        self._recordings.save([beginning.call for beginning in group], documents)


def _call_documents(call: Call, new: NewCall, detail: bytes) -> dict[ArtefactId, bytes]:
    return {
        new.find(Kind.CALL_DETAIL).ref.artefact: detail,
        new.find(Kind.IDENTITY).ref.artefact: call.identity(),
    }
