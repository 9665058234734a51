"""A tenant's key provider is away for longer than keys were prepared: its calls are refused, or held in memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from gateway.calls.admission import Busy
from gateway.calls.call import Call
from gateway.calls.identifiers import Sort, wanted
from gateway.calls.keyless import KEYS_AWAY, NO_MEMORY, STREAM_RESERVE_BYTES
from gateway.config import Settings
from gateway.operations.key_care import prepare_keys, refuse_wrong
from gateway.policy import Tenant
from gateway.tenants import Match
from media.messages import Discard, Open, Release
from storage.errors import Unavailable, WrongProvider
from storage.keyless import KEYS_AWAY as REASON
from storage.model import CallState, Kind
from storage.recordings import Recordings
from tests.gateway.calls.test_switchboard import PARTIES, Bench, bench, offer, run, stats

DAYS_4_S = 4 * 86_400.0
EMERGENCY = replace(PARTIES, request_uri="sip:112@test")


class _Store(Recordings):
    """With a provider of its own for the tenant `own`, and a clock that can be put ahead."""

    ahead_s = 0.0

    @classmethod
    def open(cls, data_folder: Path, *arguments: Any, **named: Any) -> Self:
        cls.ahead_s = 0.0
        keys = {"own": f"file:{data_folder.parent}/own"}
        return super().open(data_folder, *arguments, tenant_keys=keys, clock=lambda: time.time() + cls.ahead_s, **named)


def settings(**policy: object) -> Settings:
    tenants = [{"name": "default"}, {"name": "own", **policy}]
    return Settings.model_validate({"tenants": tenants})


def detail_of(b: Bench, call: Call) -> Any:
    (detail,) = b.recordings.call(call.tenant, call.id).find(Kind.CALL_DETAIL)
    return json.loads(b.recordings.document(call.tenant, detail.ref.artefact))


@contextmanager
def away(folder: Path) -> Iterator[None]:
    """The tenant's keyring is not there."""
    (folder / "own").rename(folder / "aside")
    yield
    (folder / "aside").rename(folder / "own")


@asynccontextmanager
async def four_days_without_keys(
    folder: Path, **policy: object
) -> AsyncIterator[tuple[Bench, Callable[[str], Match], Callable[[], None]]]:
    """A bench whose tenant `own` was prepared four days ago; its provider is away. Gives matches, and its return."""
    configured = settings(**policy)
    async with bench(folder, store=_Store) as b:
        assert prepare_keys(b.recordings, configured) == {}
        b.hear(stats())
        failing: set[str] = set()
        b.board.keyless.away = lambda: failing
        with contextlib.ExitStack() as stack:
            stack.enter_context(away(folder))
            _Store.ahead_s = DAYS_4_S

            def care() -> None:
                failing.clear()
                failing.update(prepare_keys(b.recordings, configured))

            def back() -> None:
                stack.close()
                care()

            care()
            assert failing == (set() if policy.get("record") == "events" else {"own"})
            trunk = b.match().trunk
            yield b, lambda name: Match(trunk, configured.tenant(name)), back


async def ended(b: Bench, *calls: Call) -> None:
    for call in calls:
        b.board.end(call, "bye")
    await b.board.settled(10)


def found(b: Bench, call: Call) -> tuple[CallState, str]:
    record = b.recordings.call(call.tenant, call.id)
    return record.state, record.reason


async def listed(b: Bench, call: Call) -> None:
    """The call has its row in clear."""
    async with asyncio.timeout(10):
        while not call.listed:
            await asyncio.sleep(0.01)
    assert found(b, call) == (CallState.KEYLESS, REASON)


def test_new_calls_are_refused_and_other_tenants_calls_are_not(tmp_path: Path) -> None:
    async def work() -> None:
        async with four_days_without_keys(tmp_path) as (b, match, back):
            with pytest.raises(Busy, match=KEYS_AWAY):
                b.board.admit(match("own"))
            with pytest.raises(Busy, match=KEYS_AWAY):
                b.board.begin(match("own"), offer(), PARTIES)
            other = b.board.begin(match("default"), offer(), PARTIES)
            b.answer(other, offer())
            assert other.saved is not None
            assert await other.saved
            await ended(b, other)
            back()
            assert b.board.admit(match("own")) == ""
            call = b.board.begin(match("own"), offer(), PARTIES)
            b.answer(call, offer())
            assert call.saved is not None
            assert await call.saved
            await ended(b, call)

    run(work())


def test_within_two_days_calls_go_on_while_the_provider_is_away(tmp_path: Path) -> None:
    async def work() -> None:
        async with four_days_without_keys(tmp_path) as (b, match, _):
            _Store.ahead_s = DAYS_4_S / 2
            assert b.board.admit(match("own")) == ""
            call = b.board.begin(match("own"), offer(), PARTIES)
            b.answer(call, offer())
            assert call.saved is not None
            assert await call.saved
            await ended(b, call)

    run(work())


@pytest.mark.parametrize("when", ["refuse", "hold"])
def test_sp_12_an_emergency_call_is_answered_all_the_same_and_not_recorded(tmp_path: Path, when: str) -> None:
    async def work() -> None:
        policy = {"record_emergency": "agreed with the dispatch centre, Art. 11(1)"}
        async with four_days_without_keys(tmp_path, when_keys_away=when, **policy) as (b, match, _):
            assert b.board.admit(match("own"), emergency=True) == KEYS_AWAY
            call = b.board.begin(match("own"), offer(), EMERGENCY)
            b.answer(call, offer())
            assert not any(command.sink for command in b.worker.commands if isinstance(command, Open))
            await listed(b, call)
            assert b.ended == []
            b.board.keyless.give_up()
            await ended(b, call)
            assert found(b, call) == (CallState.NOT_RECORDED, REASON)

    run(work())


def test_live_events_need_no_keys(tmp_path: Path) -> None:
    async def work() -> None:
        async with four_days_without_keys(tmp_path, record="events") as (b, match, _):
            assert b.board.admit(match("own")) == ""

    run(work())


def test_a_held_call_is_kept_in_memory_and_becomes_durable_when_the_provider_is_back(tmp_path: Path) -> None:
    async def work() -> None:
        async with four_days_without_keys(tmp_path, when_keys_away="hold") as (b, match, back):
            call = b.board.begin(match("own"), offer(), PARTIES)
            b.answer(call, offer())
            await listed(b, call)
            assert b.ended == []
            assert b.worker.kinds() == ["Open", "Open", "Hold", "Hold"], "nothing may be committed"
            assert b.board.keyless.held.calls == 1
            back()
            assert call.saved is not None
            assert await call.saved
            assert sum(isinstance(command, Release) for command in b.worker.commands) == 2
            assert call.unrecorded == ""
            assert found(b, call) == (CallState.LIVE, "")
            assert detail_of(b, call)["keys_away_ms"] > 0
            assert [
                one.id for one in b.recordings.find(call.tenant, wanted(Sort.NUMBER, "200", sees_withheld=False))
            ] == [call.id], "it is found by its numbers"
            assert b.board.counters["calls_held"] == 1
            await ended(b, call)
            assert b.recordings.call(call.tenant, call.id).state is not CallState.LIVE

    run(work())


def test_a_held_call_whose_provider_comes_back_after_its_end_is_kept(tmp_path: Path) -> None:
    async def work() -> None:
        async with four_days_without_keys(tmp_path, when_keys_away="hold") as (b, match, back):
            call = b.board.begin(match("own"), offer(), PARTIES)
            b.answer(call, offer())
            b.board.end(call, "bye")
            await listed(b, call)
            async with asyncio.timeout(10):
                while not call.portless:
                    await asyncio.sleep(0.05)
            assert b.board.live == 1, "its ports are others', and its record waits"
            assert b.board.keyless.held.ended == 1
            back()
            await b.board.settled(10)
            assert b.board.live == 0
            assert found(b, call) == (CallState.NO_MEDIA, "")

    run(work())


def test_a_held_call_whose_provider_never_comes_back_ends_as_not_recorded(tmp_path: Path) -> None:
    async def work() -> None:
        async with four_days_without_keys(tmp_path, when_keys_away="hold") as (b, match, _):
            call = b.board.begin(match("own"), offer(), PARTIES)
            b.answer(call, offer())
            b.board.end(call, "bye")
            await listed(b, call)
            b.board.keyless.give_up()
            await b.board.settled(10)
            assert b.board.live == 0
            assert call.unrecorded == KEYS_AWAY
            assert b.board.counters["calls_never_keyed"] == 1
            assert found(b, call) == (CallState.NOT_RECORDED, REASON)
            assert sum(isinstance(command, Discard) for command in b.worker.commands) == 2

    run(work())


def test_a_held_call_that_is_erased_does_not_come_back_with_the_keys(tmp_path: Path) -> None:
    async def work() -> None:
        async with four_days_without_keys(tmp_path, when_keys_away="hold") as (b, match, back):
            call = b.board.begin(match("own"), offer(), PARTIES)
            b.answer(call, offer())
            await listed(b, call)
            beside = b.board.begin(match("own"), offer(), PARTIES)
            b.answer(beside, offer())
            await listed(b, beside)
            with contextlib.suppress(Unavailable):  # its keys are replaced when the provider is back
                b.recordings.erase_call(call.tenant, call.id, ground="test", actor="officer")
            back()
            await ended(b, call, beside)
            assert b.recordings.call(call.tenant, call.id).state is CallState.ERASED
            assert found(b, beside) == (CallState.NO_MEDIA, ""), "the other one of the same transaction is kept"

    run(work())


def test_calls_are_held_as_long_as_their_worker_has_room_for_minutes_more_of_all(tmp_path: Path) -> None:
    async def work() -> None:
        async with four_days_without_keys(tmp_path, when_keys_away="hold") as (b, match, back):
            b.board.keyless.total_bytes = 5 * STREAM_RESERVE_BYTES
            call = b.board.begin(match("own"), offer(), PARTIES)
            b.answer(call, offer())
            await listed(b, call)
            b.hear(replace(stats(), held_bytes=STREAM_RESERVE_BYTES // 2, held_streams=2))
            assert b.board.admit(match("own")) == ""
            b.hear(replace(stats(), held_bytes=STREAM_RESERVE_BYTES, held_streams=2))
            with pytest.raises(Busy, match=NO_MEMORY):
                b.board.admit(match("own"))
            assert b.board.admit(match("default")) == "", "others' calls need no memory"
            assert b.board.admit(match("own"), emergency=True), "nor is an emergency call refused"
            b.board.end(call, "bye")
            assert b.board.admit(match("own")) == "", "it grows no more"
            back()
            await b.board.settled(10)

    run(work())


def test_a_call_that_cannot_be_saved_for_want_of_keys_says_so_where_none_are_held(tmp_path: Path) -> None:
    """Nobody had noticed yet that the provider is away, or the call would have been refused."""

    async def work() -> None:
        async with four_days_without_keys(tmp_path) as (b, match, _):
            b.board.keyless.away = lambda: ()
            call = b.board.begin(match("own"), offer(), PARTIES)
            b.answer(call, offer())
            assert call.saved is not None
            assert not await call.saved
            assert b.ended == [call.id]
            await ended(b, call)
            assert found(b, call) == (CallState.NOT_RECORDED, REASON)

    run(work())


def test_one_tenants_missing_keys_fail_no_other_tenants_call_of_the_same_transaction(tmp_path: Path) -> None:
    async def work() -> None:
        async with four_days_without_keys(tmp_path, when_keys_away="hold") as (b, match, _):
            fresh = Match(match("own").trunk, Tenant.model_validate({"name": "fresh"}))  # not prepared either
            calls = [b.board.begin(which, offer(), PARTIES) for which in (match("own"), fresh)]
            for call in calls:
                b.answer(call, offer())
            assert calls[1].saved is not None
            assert await calls[1].saved
            b.board.keyless.give_up()
            await ended(b, *calls)
            assert found(b, calls[0]) == (CallState.NOT_RECORDED, REASON)

    run(work())


def test_a_provider_that_is_another_one_is_told_apart_from_one_that_is_away(tmp_path: Path) -> None:
    configured = settings()
    with _Store.open(tmp_path / "data", f"file:{tmp_path}/keys", f"file:{tmp_path}/o", node="t") as store:
        assert prepare_keys(store, configured) == {}
        with away(tmp_path):
            found = prepare_keys(store, configured)
            assert isinstance(found["own"], Unavailable)
            refuse_wrong(found)
            (tmp_path / "own").mkdir(mode=0o700)
            found = prepare_keys(store, configured)
            (tmp_path / "own").rmdir()
        assert found.keys() == {"own"}
        with pytest.raises(WrongProvider, match="tenant own"):
            refuse_wrong(found)
