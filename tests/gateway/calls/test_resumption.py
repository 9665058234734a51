"""Calls whose media worker dies: they go on in its successor, or end, and their record says what that has cost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.calls.resumption import missing
from media.framelog import Reason
from media.lives import LIVES_MAX
from media.messages import Ended, Latched, Open, Played, Speech
from media.timeline import Gap
from storage.model import CallState
from tests.gateway.calls.test_switchboard import NO_FACTS, PARTIES, Worker, bench, detail_of, offer, prompted, run


def test_a_call_goes_on_in_the_successor_with_all_that_its_worker_knew(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            prompted(b)
            call = b.board.begin(b.match(), offer(), PARTIES)
            b.answer(call, offer())
            assert call.saved is not None
            await call.saved
            b.board.on_media(Played(call.legs[0].number, 20_000, 2_000_000, complete=True))
            b.board.on_media(Latched(call.legs[1].number, 42))
            spare = Worker(b.board.on_media)
            b.worker.dead = True
            b.board.workers.leave(b.worker)
            b.board.workers.join(spare)
            b.board.on_media_lost(b.worker, spare)
            assert b.ended == []
            assert spare.kinds() == ["Open", "Release", "Open", "Release", "Play"]
            first, second = (command for command in spare.commands if isinstance(command, Open))
            assert [first.life, second.life] == [1, 1]
            assert (first.announce, first.from_us, second.announce, second.latched) == (False, 2_000_000, True, 42)
            assert (b.board.counters["calls_resumed"], b.board.counters["media_workers_lost"]) == (1, 1)
            before = len(b.worker.commands)
            b.board.update(call, offer())
            b.board.end(call, "bye")
            await b.board.settled(5)
            assert len(b.worker.commands) == before
            assert spare.kinds()[5:] == ["Update", "Update", "Close", "Close"]

    run(work())


def test_calls_of_other_workers_notice_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            other = Worker(b.board.on_media)
            b.board.workers.join(other)
            calls = [b.board.begin(b.match(), offer(), PARTIES)]
            b.answer(calls[0], offer())
            for leg in calls[0].legs:
                b.worker.legs.add(leg.number)
            calls.append(b.board.begin(b.match(), offer(), PARTIES))
            b.answer(calls[1], offer())
            assert [call.worker for call in calls] == [b.worker, other]
            b.board.on_media_lost(b.worker, None)
            assert b.ended == [calls[0].id]
            for call in calls:
                b.board.end(call, "bye")
            await b.board.settled(15)

    run(work())


def test_a_call_that_has_lost_too_many_workers_ends_as_interrupted(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = b.board.begin(b.match(), offer(), PARTIES)
            b.answer(call, offer())
            told = call.legs[0].told
            assert told is not None
            told.opened = replace(told.opened, life=LIVES_MAX - 1)
            b.board.on_media_lost(b.worker, Worker(b.board.on_media))
            assert b.ended == [call.id]
            b.board.end(call, "local")
            await b.board.settled(15)

    run(work())


def test_a_call_that_is_just_ending_goes_on_until_what_waits_is_received(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = b.board.begin(b.match(), offer(), PARTIES)
            b.answer(call, offer())
            assert call.saved is not None
            await call.saved
            b.worker.answers = False
            b.board.end(call, "bye")
            await asyncio.sleep(0)
            b.board.on_media(Ended(call.legs[1].number, NO_FACTS.to_json()))  # that one had been closed in time
            spare = Worker(b.board.on_media)
            b.board.workers.join(spare)
            b.board.on_media_lost(b.worker, spare)
            assert spare.kinds() == ["Open", "Release", "Close"]
            assert {command.leg for command in spare.commands} == {call.legs[0].number}  # type: ignore[union-attr]  # each has one
            await b.board.settled(5)
            assert b.recordings.call(call.tenant, call.id).state is CallState.NO_MEDIA
            assert b.ended == []

    run(work())


def test_a_call_of_which_one_dialog_is_over_goes_on_with_the_others(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = b.board.begin(b.match(), offer(), PARTIES)
            b.answer(call, offer())
            assert call.saved is not None
            await call.saved
            b.board.left(call, 0)
            await asyncio.sleep(0)
            assert call.legs[0].ended.done()
            spare = Worker(b.board.on_media)
            b.board.workers.join(spare)
            b.board.on_media_lost(b.worker, spare)
            assert [(type(command).__name__, command.leg) for command in spare.commands] == [  # type: ignore[union-attr]  # each has one
                ("Open", call.legs[1].number),
                ("Release", call.legs[1].number),
            ]
            b.board.end(call, "bye")
            await b.board.settled(5)

    run(work())


def test_a_call_that_is_just_ending_is_recovered_where_no_worker_stands_by(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = b.board.begin(b.match(), offer(), PARTIES)
            b.answer(call, offer())
            b.worker.answers = False
            b.board.end(call, "bye")
            await asyncio.sleep(0)
            b.board.on_media_lost(b.worker, None)
            await b.board.settled(5)
            assert b.recordings.call(call.tenant, call.id).state is CallState.NO_MEDIA

    run(work())


def test_call_detail_of_a_resumed_call_says_for_each_track_what_is_missing(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = b.board.begin(b.match(), offer(), PARTIES)
            b.answer(call, offer())
            spare = Worker(b.board.on_media)
            b.board.workers.join(spare)
            b.board.on_media_lost(b.worker, spare)
            b.board.end(call, "bye")
            await b.board.settled(5)
            detail: dict[str, Any] = detail_of(b, call)
            assert detail["missing_ms"] == [[], []]  # nothing had come, and nothing came

    run(work())


def test_subscribers_hear_neither_a_second_start_nor_a_missing_end(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = b.board.begin(b.match(), offer(), PARTIES)
            b.answer(call, offer())
            leg = call.legs[0]
            with b.hub.subscribe(call.tenant) as events:
                b.board.on_media(Speech(leg.number, True, 1000, 0, 0))
                spare = Worker(b.board.on_media)
                b.board.on_media_lost(b.worker, spare)
                b.board.on_media(Speech(leg.number, True, 3000, 0, 0))
                b.board.on_media(Speech(leg.number, False, 5000, 0, 0))
                names = [events.get_nowait()[1].name for _ in range(events.qsize())]
            assert names == ["speech_started", "speech_ended"]
            b.board.end(call, "bye")
            await b.board.settled(15)

    run(work())


def test_what_is_missing_ends_with_the_call() -> None:
    gaps = tuple(
        Gap(a, b, Reason.WORKER_LOST.name.lower()) for a, b in ((1_000_000, 2_500_000), (3_000_000, 4_000_000))
    )
    facts = replace(NO_FACTS, gaps=gaps)
    assert missing(facts, 3000.0) == [1000, 2500]
    assert missing(facts, 2000.0) == [1000, 2000]
    assert missing(facts, 900.0) == []


def test_what_is_missing_is_read_from_the_gaps() -> None:
    gaps = (Gap(0, 20_000, "no_media"), Gap(1_000_400, 1_500_000, Reason.WORKER_LOST.name.lower()))
    assert missing(replace(NO_FACTS, gaps=gaps)) == [1000, 1500]
    assert missing(NO_FACTS) == []
