"""INFO of a live call: the trunk's policy decides, and the answer says what has become of the recording."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from gateway.calls import pause
from gateway.calls.call import Call
from gateway.calls.keypresses import PRESSES_MAX, keep
from gateway.ingest.info import InfoService
from gateway.sip.events import Informed
from media.dtmf import Press
from media.messages import Open, Pause, Paused, Pressed, Resume, Resumed
from storage.errors import NotReady
from storage.model import ArtefactState, Kind

from ..calls.test_switchboard import PARTIES, Bench, bench, offer, prompted, run


def begun(b: Bench, *, pause_by_info: bool = True, **policy: object) -> Call:
    match = b.match(**policy)
    call = b.board.begin(match, offer(), PARTIES)
    call.trunk = match.trunk.model_copy(update={"pause_by_info": pause_by_info})
    b.answer(call, offer())
    return call


class Service(InfoService):
    """The service, and what it answered."""

    def __init__(self, b: Bench) -> None:
        self.answers: list[tuple[int, int]] = []
        self.counters = Counter[str]()
        super().__init__(b.board.pauses, b.board.tasks, self._note, self.counters)

    def _note(self, event: Informed, status: int) -> None:
        self.answers.append((event.seq, status))

    async def answered(self, count: int) -> list[tuple[int, int]]:
        async with asyncio.timeout(5):
            while len(self.answers) < count:
                await asyncio.sleep(0.001)
        return self.answers


def info(seq: int, record: bool | None = None, digit: str = "") -> Informed:
    return Informed(1, seq, record, digit, 100)


async def confirm(b: Bench, count: int) -> None:
    """The worker's word for the first so many commands."""
    async with asyncio.timeout(5):
        while len(found := [c for c in b.worker.commands if isinstance(c, Pause | Resume)]) < count:
            await asyncio.sleep(0)
    for command in found[count - 2 : count]:
        kind = Paused if isinstance(command, Pause) else Resumed
        b.board.on_media(kind(command.leg, command.order, 1_000_000 * count))


def test_record_off_and_on_pause_and_resume_and_are_answered_when_that_is_so(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call, service = begun(b), Service(b)
            service.serve(call, info(1, record=False), call.legs[0])
            await asyncio.sleep(0.01)
            assert service.answers == []
            await confirm(b, 2)
            assert await service.answered(1) == [(1, 200)]
            service.serve(call, info(2, record=True), call.legs[0])
            await confirm(b, 4)
            assert await service.answered(2) == [(1, 200), (2, 200)]
            [span] = [span.to_json() for span in call.pauses]
            assert span == {"start_ms": 2000.0, "end_ms": 4000.0, "by": "sip", "ended_by": "sip"}
            b.board.end(call, "bye")
            await b.board.settled(5)

    run(work())


def test_a_trunk_that_may_not_is_refused_and_counted_and_nothing_is_told_to_the_worker(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call, service = begun(b, pause_by_info=False), Service(b)
            service.serve(call, info(1, record=False), call.legs[0])
            service.serve(call, info(2, record=True), call.legs[0])
            assert await service.answered(2) == [(1, 403), (2, 403)]
            assert service.counters["refused_pause_by_info"] == 2
            assert not [command for command in b.worker.commands if isinstance(command, Pause | Resume)]
            b.board.end(call, "bye")
            await b.board.settled(5)

    run(work())


def test_a_worker_that_does_not_confirm_and_a_call_without_recording_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pause, "CONFIRM_S", 0.02)

    async def work() -> None:
        async with bench(tmp_path) as b:
            call, unrecorded, service = begun(b), begun(b, record="events"), Service(b)
            service.serve(call, info(1, record=False), call.legs[0])
            assert await service.answered(1) == [(1, 504)]
            service.serve(unrecorded, info(2, record=False), unrecorded.legs[0])
            assert (await service.answered(2))[1] == (2, 488)
            for ending in (call, unrecorded):
                b.board.end(ending, "bye")
            await b.board.settled(5)

    run(work())


@pytest.mark.parametrize(("policy", "record", "mask"), [("mask", "all", 1), ("keep", "all", 0), ("mask", "events", 0)])
def test_tones_are_masked_in_what_is_kept_unless_the_policy_keeps_them(
    tmp_path: Path, policy: str, record: str, mask: int
) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = begun(b, dtmf_inband=policy, record=record)
            assert {command.mask for command in b.worker.commands if isinstance(command, Open)} == {bool(mask)}
            b.board.end(call, "bye")
            await b.board.settled(5)

    run(work())


@pytest.mark.parametrize("policy", ["drop", "keep"])
def test_keys_are_dropped_or_sealed_for_each_participant_as_the_policy_says(tmp_path: Path, policy: str) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call, service = begun(b, dtmf=policy), Service(b)
            assert {command.keys for command in b.worker.commands if isinstance(command, Open)} == {policy == "keep"}
            service.serve(call, info(1, digit="7"), call.legs[0])
            b.board.on_media(Pressed(call.legs[1].number, Press("8", 2_000_000, 160)))
            assert service.answers == [(1, 200)]
            assert call.saved is not None
            await call.saved
            b.board.end(call, "bye")
            await b.board.settled(5)
            record = b.recordings.call(call.tenant, call.id)
            artefacts = record.find(Kind.DTMF)
            if policy == "drop":
                assert artefacts == ()
                assert [leg.pressed for leg in call.legs] == [[], []]
                return
            documents = [b.recordings.document(call.tenant, artefact.ref.artefact) for artefact in artefacts]
            assert [artefact.state for artefact in artefacts] == [ArtefactState.COMPLETE] * 2
            assert [b'"key": "7"' in document for document in documents] == [True, False]
            assert [b'"key": "8"' in document for document in documents] == [False, True]
            assert len({artefact.size for artefact in artefacts}) == 1  # a size tells nothing

    run(work())


def test_keys_of_a_pause_of_an_announcement_or_beyond_a_thousand_are_not_kept(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call, service = begun(b, dtmf="keep"), Service(b)
            service.serve(call, info(1, record=False), call.legs[0])
            service.serve(call, info(2, digit="7"), call.legs[0])
            await asyncio.sleep(0.01)
            service.serve(call, info(3, digit="7"), call.legs[0])
            assert len(call.legs[0].pressed) == 1  # the first came before anything was told to the worker
            for _ in range(PRESSES_MAX):
                keep(call, call.legs[0], Press("1", 1, 1))
            assert (len(call.legs[0].pressed), call.legs[0].pressed_beyond) == (PRESSES_MAX, 1)
            prompted(b)
            other = begun(b, dtmf="keep")
            service.serve(other, info(4, digit="7"), other.legs[0])
            assert other.legs[0].pressed == []
            for ending in (call, other):
                b.board.end(ending, "bye")
            await b.board.settled(5)
            with pytest.raises(NotReady):
                await b.board.pauses.pause(call, "agent")

    run(work())


def test_a_crash_costs_the_keys_and_the_artefact_says_so(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = begun(b, dtmf="keep")
            assert call.saved is not None
            await call.saved
            b.board.on_media_lost(b.worker, None)
            b.board.end(call, "local")
            await b.board.settled(15)
            for artefact in b.recordings.call(call.tenant, call.id).find(Kind.DTMF):
                assert artefact.state is ArtefactState.COMPLETE
                assert b'"complete": false' in b.recordings.document(call.tenant, artefact.ref.artefact)

    run(work())
