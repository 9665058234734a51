"""Pauses of a call: confirmed by the media worker's word alone, told once, ended by whoever may or by the limit."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.calls import pause
from gateway.calls.call import Call
from gateway.errors import Unavailable
from media.messages import Open, Pause, Paused, Resume, Resumed
from storage.errors import NotFound, NotReady
from storage.model import CallId, TenantId

from .test_switchboard import PARTIES, Bench, bench, detail_of, offer, prompted, run


def begun(b: Bench, **policy: object) -> Call:
    call = b.board.begin(b.match(**policy), offer(), PARTIES)
    b.answer(call, offer())
    return call


async def told(b: Bench, count: int) -> list[Pause | Resume]:
    """The commands of that kind, once there are so many."""
    async with asyncio.timeout(5):
        while len(found := [c for c in b.worker.commands if isinstance(c, Pause | Resume)]) < count:
            await asyncio.sleep(0)
    return found


def confirm(b: Bench, command: Pause | Resume, at_us: int) -> None:
    kind = Paused if isinstance(command, Pause) else Resumed
    b.board.on_media(kind(command.leg, command.order, at_us))


async def after(b: Bench, work: asyncio.Task[Any], first: int, *at_us: int) -> Any:
    """The task's result, which comes when the commands from number `first` on are confirmed, and not before."""
    commands = (await told(b, first + len(at_us)))[first:]
    for command, instant in zip(commands, at_us, strict=True):
        await asyncio.sleep(0)
        assert not work.done()
        confirm(b, command, instant)
    return await work


def test_a_pause_is_confirmed_when_every_leg_is_and_holds_from_the_last_one_on(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = begun(b)
            with b.board._hub.subscribe(call.tenant) as events:
                pausing = asyncio.create_task(b.board.pauses.pause(call, "agent"))
                span = await after(b, pausing, 0, 1_000_000, 1_250_000)
                assert span.to_json() == {"start_ms": 1250.0, "end_ms": None, "by": "agent", "ended_by": ""}
                resuming = asyncio.create_task(b.board.pauses.resume(call, "sip"))
                span = await after(b, resuming, 2, 2_500_000, 2_000_000)
                seen = [events.get_nowait()[1] for _ in range(events.qsize())]
            assert [(event.name, event.at_ms, event.detail) for event in seen] == [
                ("recording_paused", 1250.0, {"by": "agent"}),
                ("recording_resumed", 2000.0, {"by": "sip"}),
            ]
            b.board.end(call, "bye")
            await b.board.settled(5)
            spans = [{"start_ms": 1250.0, "end_ms": 2000.0, "by": "agent", "ended_by": "sip"}]
            assert detail_of(b, call)["pauses"] == spans

    run(work())


def test_asking_again_changes_nothing_and_waits_for_the_same_word(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = begun(b)
            assert await b.board.pauses.resume(call, "agent") is None  # it is not paused, and goes on so
            first = asyncio.create_task(b.board.pauses.pause(call, "agent"))
            second = asyncio.create_task(b.board.pauses.pause(call, "officer"))
            span = await after(b, first, 0, 1000, 1000)
            assert await second is span
            assert await b.board.pauses.pause(call, "sip") is span
            ends = [asyncio.create_task(b.board.pauses.resume(call, by)) for by in ("agent", "officer")]
            await after(b, ends[0], 2, 2000, 2000)
            assert (await ends[1], span.ended_by) == (span, "agent")
            assert len(await told(b, 4)) == 4
            b.board.end(call, "bye")
            await b.board.settled(5)

    run(work())


def test_without_the_workers_word_there_is_an_error_and_its_late_word_still_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pause, "CONFIRM_S", 0.05)

    async def work() -> None:
        async with bench(tmp_path) as b:
            call = begun(b)
            with pytest.raises(Unavailable, match="not confirmed"):
                await b.board.pauses.pause(call, "agent")
            with pytest.raises(Unavailable, match="not confirmed"):  # asking again is no way round it
                await b.board.pauses.pause(call, "agent")
            for command in await told(b, 2):
                confirm(b, command, 5_000)
            span = await b.board.pauses.pause(call, "agent")
            assert span.begin.at_us == 5_000
            assert (b.board.counters["pauses_unconfirmed"], b.board.counters["recordings_paused"]) == (2, 1)
            b.board.end(call, "bye")
            await b.board.settled(5)

    run(work())


def test_a_pause_that_nobody_ends_is_ended_by_the_policys_limit(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = begun(b, pause_limit_s=0.05)
            span = await after(b, asyncio.create_task(b.board.pauses.pause(call, "agent")), 0, 1000, 1000)
            for command in (await told(b, 4))[2:]:
                assert isinstance(command, Resume)
                confirm(b, command, 51_000)
            assert (span.end.at_us, span.ended_by) == (51_000, "policy")
            assert b.board.counters["pauses_expired"] == 1
            b.board.end(call, "bye")
            await b.board.settled(5)
            assert detail_of(b, call)["pauses"][0]["ended_by"] == "policy"

    run(work())


def test_a_call_may_end_in_a_pause_and_whoever_waits_is_told(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = begun(b)
            await after(b, asyncio.create_task(b.board.pauses.pause(call, "agent")), 0, 1000, 1000)
            resuming = asyncio.create_task(b.board.pauses.resume(call, "agent"))
            await told(b, 4)
            b.board.end(call, "bye")
            with pytest.raises(NotReady, match="ended before"):
                await resuming
            with pytest.raises(NotReady, match="over"):
                await b.board.pauses.pause(call, "agent")
            await b.board.settled(5)

            other = begun(b)
            await after(b, asyncio.create_task(b.board.pauses.pause(other, "sip")), 4, 1000, 1000)
            b.board.end(other, "bye")
            await b.board.settled(5)
            [span] = detail_of(b, other)["pauses"]
            assert (span["start_ms"], span["ended_by"]) == (1.0, "hang-up")
            assert span["end_ms"] == pytest.approx(detail_of(b, other)["duration_ms"], abs=1)

    run(work())


def test_only_a_call_that_is_recorded_can_be_paused_and_only_so_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pause, "PAUSES_MAX", 0)

    async def work() -> None:
        async with bench(tmp_path) as b:
            unrecorded = begun(b, record="events")
            with pytest.raises(NotReady, match="not recorded"):
                await b.board.pauses.pause(unrecorded, "agent")
            call = begun(b)
            with pytest.raises(NotReady, match="times"):
                await b.board.pauses.pause(call, "agent")
            assert b.board.pauses.find(call.tenant, call.id) is call
            with pytest.raises(NotFound):
                b.board.pauses.find(TenantId("0" * 32), call.id)
            with pytest.raises(NotFound):
                b.board.pauses.find(call.tenant, CallId("0" * 32))
            for ending in (unrecorded, call):
                b.board.end(ending, "bye")
            await b.board.settled(5)

    run(work())


def test_what_a_worker_has_not_confirmed_is_told_to_its_successor(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = begun(b)
            pausing = asyncio.create_task(b.board.pauses.pause(call, "agent"))
            first = await told(b, 2)
            confirm(b, first[0], 1000)  # of one leg, then the worker dies
            b.board.pauses.again(call)
            assert (await told(b, 3))[2] == first[1]
            confirm(b, first[1], 3000)
            assert (await pausing).begin.at_us == 3000
            b.board.pauses.again(call)
            assert len(await told(b, 3)) == 3  # what is confirmed is not told again: the leg was opened so
            b.board.end(call, "bye")
            await b.board.settled(5)

    run(work())


def test_a_leg_that_is_opened_in_a_pause_begins_paused(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            prompted(b)
            call = begun(b)
            await after(b, asyncio.create_task(b.board.pauses.pause(call, "agent")), 0, 1000, 1000)
            b.board._desk.open(call, call.legs[0], offer())
            assert [command.paused for command in b.worker.commands if isinstance(command, Open)] == [
                *(False, False, True)
            ]
            b.board.end(call, "bye")
            await b.board.settled(5)

    run(work())
