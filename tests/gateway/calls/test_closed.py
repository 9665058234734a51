"""A tenant that has left has no new calls; those that live end with its content; an emergency call is answered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.calls.admission import Closed
from storage.model import CallId, CallState
from tests.gateway.calls.test_switchboard import PARTIES, bench, offer, run, stats
from tests.storage.stores import ACTOR

WHY = "the contract has ended"


def test_a_new_call_is_refused_and_another_tenants_is_not(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            b.hear(stats())
            b.board.closed = {b.recordings.tenant("left")}
            for take in (
                lambda: b.board.admit(b.match(name="left")),
                lambda: b.board.begin(b.match(name="left"), offer(), PARTIES),
            ):
                with pytest.raises(Closed, match="tenant closed"):
                    take()
            assert b.board.admit(b.match()) == ""

    run(work())


def test_sp_12_an_emergency_call_of_it_is_answered_and_nothing_of_it_is_stored(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            b.hear(stats())
            left = b.recordings.tenant("left")
            b.board.closed = {left}
            call = b.board.begin(b.match(name="left"), offer(), replace(PARTIES, request_uri="sip:112@test"))
            b.answer(call, offer())
            hung_up: list[CallId] = []
            b.board.hang_up = hung_up.append
            b.board.end_of(left)
            assert hung_up == [] and call.new is None and call.unrecorded == "tenant closed"
            b.board.end(call, "bye")
            await b.board.settled(10)
            assert b.recordings.calls(left) == []

    run(work())


def test_calls_that_live_end_when_the_content_has_ended(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            b.hear(stats())
            hung_up: list[CallId] = []
            b.board.hang_up = hung_up.append
            mine, other = (b.board.begin(b.match(name=name), offer(), PARTIES) for name in ("default", "other"))
            for call in (mine, other):
                b.answer(call, offer())
            b.board.end_of(mine.tenant)
            assert hung_up == [mine.id]
            for call in (mine, other):
                b.board.end(call, "bye")
            await b.board.settled(10)

    run(work())


def test_one_that_was_taken_as_its_tenant_left_is_not_stored_and_costs_no_other_its_record(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            b.hear(stats())
            left, mine = (b.board.begin(b.match(name=name), offer(), PARTIES) for name in ("left", "default"))
            b.recordings.closings.close(left.tenant, WHY, ACTOR)
            for call in (left, mine):
                b.answer(call, offer())
            assert left.saved is not None and mine.saved is not None
            assert (await left.saved, await mine.saved) == (False, True)
            for call in (left, mine):
                b.board.end(call, "bye")
            await b.board.settled(10)
            assert b.recordings.calls(left.tenant) == []
            assert b.recordings.call(mine.tenant, mine.id).state is not CallState.LIVE

    run(work())
