"""What a call is billed by: written as calls end, however they end; and its totals, which name nobody."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from gateway.api.app import create_app
from gateway.api.context import Context
from gateway.calls.call import Call
from gateway.calls.rated import begun_seconds
from gateway.calls.recovery import recover_all
from gateway.events import Hub
from gateway.policy import Tenant
from gateway.ratings import totals
from media.messages import OpenFailed
from storage.model import CallState, Kind
from storage.rating import Direction, Rating
from storage.records import Day
from storage.tokens import Role
from tests.gateway.calls.test_switchboard import PARTIES, Bench, bench, offer, run, stats

OWN, FAR = "+31201234567", "+31207654321"
RATED = {"rating": True, "rating_numbers": [OWN]}
INBOUND = replace(PARTIES, from_uri=f"sip:{FAR}@x", request_uri=f"sip:{OWN}@x", to_uri=f"sip:{OWN}@x")
OUTBOUND = replace(PARTIES, from_uri=f"sip:{OWN}@x", request_uri=f"sip:{FAR}@x", to_uri=f"sip:{FAR}@x")


async def ended(b: Bench, call: Call, lasted_s: float = 1.5) -> None:
    b.answer(call, offer())
    assert call.saved is not None
    await call.saved
    call.answered_s -= lasted_s
    b.board.end(call, "bye")
    await b.board.settled(15)


def rated(b: Bench, call: Call) -> list[Rating]:
    assert call.new is not None
    return list(b.recordings.ratings.of_month(call.tenant, call.new.day[:7]))


@pytest.mark.parametrize(
    ("parties", "direction", "own"),
    [
        (INBOUND, Direction.IN, OWN),
        (OUTBOUND, Direction.OUT, OWN),
        (replace(OUTBOUND, private=True), Direction.OUT, ""),
        (PARTIES, Direction.UNKNOWN, ""),
    ],
)
def test_up_05_a_call_is_rated_without_its_far_party(
    tmp_path: Path, parties: Any, direction: Direction, own: str
) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = b.board.begin(b.match(**RATED), offer(), parties)
            await ended(b, call)
            assert call.new is not None
            assert rated(b, call) == [Rating(call.new.day, 2, direction, own)]
            document = b.recordings.document(call.tenant, call.new.find(Kind.RATING).ref.artefact)
            assert FAR.encode()[3:] not in document

    run(work())


def test_a_tenant_that_wants_no_ratings_has_none(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = b.board.begin(b.match(), offer(), INBOUND)
            await ended(b, call)
            assert rated(b, call) == []

    run(work())


def test_cl_13_a_call_that_was_not_recorded_is_rated_too(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            b.hear(stats(full=True))
            call = b.board.begin(b.match(when_full="unrecorded", **RATED), offer(), INBOUND)
            await ended(b, call)
            assert b.recordings.call(call.tenant, call.id).state is CallState.NOT_RECORDED
            assert [rating.seconds for rating in rated(b, call)] == [2]

    run(work())


def test_a_call_whose_worker_was_lost_is_rated_by_its_length(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = b.board.begin(b.match(**RATED), offer(), INBOUND)
            b.answer(call, offer())
            assert call.saved is not None
            await call.saved
            b.board.on_media(OpenFailed(call.legs[0].number, "test"))
            b.board.end(call, "local")
            await b.board.settled(15)
            assert rated(b, call) == [Rating(rated(b, call)[0].day, 1, Direction.IN, OWN)]

    run(work())


def test_a_call_that_a_crash_cut_off_is_rated_by_what_was_heard_of_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = b.board.begin(b.match(**RATED), offer(), INBOUND)
            b.answer(call, offer())
            assert call.saved is not None
            await call.saved
            assert await asyncio.to_thread(recover_all, b.recordings) == 1
            (rating,) = rated(b, call)
            assert (rating.direction, rating.own, rating.seconds) == (Direction.IN, OWN, 0)  # nothing was heard
            b.board.end(call, "local")
            await b.board.settled(15)

    run(work())


def test_up_05_what_is_billed_of_a_call_that_is_erased_while_it_lives_outlives_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = b.board.begin(b.match(**RATED), offer(), INBOUND)
            b.answer(call, offer())
            assert call.saved is not None
            await call.saved
            await asyncio.to_thread(
                b.recordings.erase_call, call.tenant, call.id, ground="Art. 17(1)(a)", actor="officer"
            )
            call.answered_s -= 10
            b.board.end(call, "bye")
            await b.board.settled(15)
            assert rated(b, call)[0].seconds in (11, 12)
            assert b.recordings.call(call.tenant, call.id).state is CallState.ERASED

    run(work())


def test_sp_06_totals_are_un_itemised_and_the_same_after_erasure(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            calls = [b.board.begin(b.match(**RATED), offer(), parties) for parties in (INBOUND, OUTBOUND, INBOUND)]
            for call in calls:
                await ended(b, call)
            context = Context(b.recordings, b.recordings.tokens, Hub(), lambda _call: None, list, dict)
            tenant = calls[0].tenant
            tokens = {role: b.recordings.tokens.create(tenant, role, "") for role in (Role.AGENT, Role.OFFICER)}
            assert calls[0].new is not None
            day = calls[0].new.day
            client = TestClient(create_app(context))

            def ask(role: Role, month: str = day[:7]) -> Any:
                return client.get(f"/v1/ratings?month={month}", headers={"Authorization": f"Bearer {tokens[role]}"})

            before = ask(Role.OFFICER).json()
            for call in calls:
                await asyncio.to_thread(
                    b.recordings.erase_call, tenant, call.id, ground="Art. 17(1)(a)", actor="officer"
                )
            assert ask(Role.OFFICER).json() == before
            row = {"calls": 3, "seconds": 6, "without_length": 0}
            assert before == {"month": day[:7], **row} | {
                "days": {day: row},
                "directions": {
                    "in": {"calls": 2, "seconds": 4, "without_length": 0},
                    "out": {"calls": 1, "seconds": 2, "without_length": 0},
                },
                "numbers": {OWN: row},
            }
            assert not any(call.id in json.dumps(before) for call in calls)
            assert ask(Role.AGENT).status_code == 403
            assert ask(Role.OFFICER, "2026-13").status_code == 422
            assert ask(Role.OFFICER, "1999-12").json()["calls"] == 0

    run(work())


def test_calls_without_a_length_are_told_apart() -> None:
    found = totals("2026-03", [Rating(Day("2026-03-01"), None), Rating(Day("2026-03-01"), 3)])
    assert found["days"]["2026-03-01"] == {"calls": 2, "seconds": 3, "without_length": 1}


@pytest.mark.parametrize(("ms", "seconds"), [(0, 0), (-5, 0), (1, 1), (1000, 1), (1000.4, 1), (1001, 2), (60_000, 60)])
def test_a_second_that_is_begun_counts(ms: float, seconds: int) -> None:
    assert begun_seconds(ms) == seconds


@pytest.mark.parametrize(
    "policy",
    [
        {"rating": True, "record": "events"},
        {"rating_numbers": [OWN]},
        {"rating": True, "rating_numbers": ["0201234567"]},
        {"rating": True, "rating_numbers": ["+31 20 1234567"]},
    ],
    ids=str,
)
def test_a_policy_of_ratings_that_cannot_be_is_an_error(policy: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Tenant.model_validate({"name": "acme"} | policy)
