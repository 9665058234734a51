"""Writes calls down: that they began, beside their first second, and how they ended, once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.calls.call import Call, outcome, track_document
from gateway.calls.journal import Journal
from gateway.calls.recovery import facts_of_lives, recover_call
from storage.errors import Erased, StoreError
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
        self._recordings = recordings
        self._beginnings = Journal[Beginning](save or self._save_group, BEGIN_LINGER_S)
        self._changes = Journal[Change](recordings.settle, END_LINGER_S)

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._beginnings.run())
            tasks.create_task(self._changes.run())

    async def begin(self, call: Call, new: NewCall) -> bool:
        """Make a call durable: its key rows first of all. False, and said in the call, when the store does not."""
        try:
            detail = call.detail(ended_s=None, why="", missing=[])
            await self._beginnings.write(Beginning(new, _call_documents(call, new, detail)))
        except StoreError:
            self.counters["calls_unsaved"] += 1
            log.exception("a call could not be made durable", extra={"call": call.id})
            call.unrecorded = "store unavailable"
            return False
        return True

    async def end(self, call: Call, facts: Mapping[ArtefactId, Mapping[str, Any]], why: str, ended_s: float) -> Written:
        """Write the record of a call that began durably. What cannot be written now is recovered at the next start."""
        assert call.new is not None
        if call.worker_lost and any(leg.artefact is not None for leg in call.legs):  # nobody else ends their streams
            state = await asyncio.to_thread(recover_call, self._recordings, call.tenant, call.id, ended_s)
            return Written(state, None)
        missing: list[list[float | None]] = []
        if any(leg.lives > 1 and leg.artefact is not None for leg in call.legs):
            facts, missing = await asyncio.to_thread(facts_of_lives, self._recordings, call)
        state = outcome(call, facts)
        if state is CallState.ENDED and any(missing):
            state = CallState.INTERRUPTED
        documents = _call_documents(call, call.new, call.detail(ended_s=ended_s, why=why, missing=missing))
        for leg in call.legs:
            if leg.artefact is not None:
                artefact = leg.artefact.ref.artefact
                documents[artefact] = track_document(leg.index, leg.label, facts.get(artefact, {}))
        spoken = state in (CallState.ENDED, CallState.INTERRUPTED)
        jobs = ["transcribe"] if call.policy.transcribe and spoken else []
        try:
            await self._changes.write(Change(call.new, documents, state, jobs))
        except Erased:
            log.info("a call was erased while it lived", extra={"call": call.id})
        except StoreError:
            self.counters["calls_unrecorded_end"] += 1
            log.exception("a call's end could not be written", extra={"call": call.id})
        return Written(state, round(1000 * (time.time() - ended_s), 1))

    def _save_group(self, group: Sequence[Beginning]) -> Sequence[StoreError | None]:
        """All of them or, raising StoreError, none."""
        documents = {artefact: data for beginning in group for artefact, data in beginning.documents.items()}
        self._recordings.save([beginning.call for beginning in group], documents)
        return [None] * len(group)


def _call_documents(call: Call, new: NewCall, detail: bytes) -> dict[ArtefactId, bytes]:
    return {
        new.find(Kind.CALL_DETAIL).ref.artefact: detail,
        new.find(Kind.IDENTITY).ref.artefact: call.identity(),
    }
