"""A tenant's key provider is away for longer than keys were prepared: its calls are refused, or held in memory."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from gateway.calls.admission import Busy
from gateway.calls.call import Call
from gateway.calls.keyless import KEYS_AWAY
from gateway.config import Settings
from gateway.operations.key_care import check_own, prepare_keys, refuse_wrong
from gateway.policy import Tenant
from gateway.tenants import Match
from media.messages import Open, Release
from storage.errors import NotFound, Unavailable, WrongProvider
from storage.model import CallState
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


async def ended(b: Bench, call: Call) -> None:
    b.board.end(call, "bye")
    await b.board.settled(10)


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
        wanted = {"record_emergency": "agreed with the dispatch centre, Art. 11(1)"}
        async with four_days_without_keys(tmp_path, when_keys_away=when, **wanted) as (b, match, _):
            b.board.keyless.after_end_s = 1.0
            assert b.board.admit(match("own"), emergency=True) == KEYS_AWAY
            call = b.board.begin(match("own"), offer(), EMERGENCY)
            b.answer(call, offer())
            assert not any(command.sink for command in b.worker.commands if isinstance(command, Open))
            await asyncio.sleep(0.3)
            assert b.ended == []
            await ended(b, call)

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
            await asyncio.sleep(0.5)
            assert b.ended == []
            assert not any(isinstance(command, Release) for command in b.worker.commands), "nothing may be committed"
            with pytest.raises(NotFound):
                b.recordings.call(call.tenant, call.id)
            back()
            assert call.saved is not None
            assert await call.saved
            assert sum(isinstance(command, Release) for command in b.worker.commands) == 2
            assert call.unrecorded == ""
            assert b.recordings.call(call.tenant, call.id).state is CallState.LIVE
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
            await asyncio.sleep(0.5)
            assert b.board.live == 1
            back()
            await b.board.settled(10)
            assert b.recordings.call(call.tenant, call.id).state is not CallState.LIVE

    run(work())


def test_a_held_call_whose_provider_never_comes_back_ends_as_not_recorded(tmp_path: Path) -> None:
    async def work() -> None:
        async with four_days_without_keys(tmp_path, when_keys_away="hold") as (b, match, _):
            b.board.keyless.after_end_s = 1.0
            call = b.board.begin(match("own"), offer(), PARTIES)
            b.answer(call, offer())
            await ended(b, call)
            assert b.board.live == 0
            assert call.unrecorded == KEYS_AWAY
            assert b.board.counters["calls_never_keyed"] == 1
            with pytest.raises(NotFound):
                b.recordings.call(call.tenant, call.id)

    run(work())


def test_one_tenants_missing_keys_fail_no_other_tenants_call_of_the_same_transaction(tmp_path: Path) -> None:
    async def work() -> None:
        async with four_days_without_keys(tmp_path, when_keys_away="hold") as (b, match, _):
            b.board.keyless.after_end_s = 0.0
            fresh = Match(match("own").trunk, Tenant.model_validate({"name": "fresh"}))  # not prepared either
            calls = [b.board.begin(which, offer(), PARTIES) for which in (match("own"), fresh)]
            for call in calls:
                b.answer(call, offer())
            assert calls[1].saved is not None
            assert await calls[1].saved
            for call in calls:
                await ended(b, call)

    run(work())


def test_up_15_a_tenants_own_provider_that_is_away_is_told_while_its_keys_are_prepared(tmp_path: Path) -> None:
    configured = settings()
    with _Store.open(tmp_path / "data", f"file:{tmp_path}/keys", f"file:{tmp_path}/o", node="t") as store:
        assert prepare_keys(store, configured) == {}
        own = store.tenant("own")
        with away(tmp_path):
            assert store.ready(own)
            with pytest.raises(Unavailable):
                check_own(store)
        check_own(store)


def test_a_provider_that_is_another_one_is_told_apart_from_one_that_is_away(tmp_path: Path) -> None:
    configured = settings()
    with _Store.open(tmp_path / "data", f"file:{tmp_path}/keys", f"file:{tmp_path}/o", node="t") as store:
        assert prepare_keys(store, configured) == {}
        check_own(store)
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
