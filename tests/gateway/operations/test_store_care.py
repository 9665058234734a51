"""What could not be deleted when a call was erased goes later, and a store that is away is no failure."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.stores import StoreServer, juicefs
from gateway.operations.alarms import Alarm, Alarms
from gateway.operations.store_care import look_after, say_remarks, tidy
from storage.errors import Unavailable
from tests.storage.stores import ACTOR, GROUND, open_at, stored_call


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StoreServer]:
    with juicefs(tmp_path / "server") as started:
        started.bucket("calls")
        yield started


def test_objects_of_a_call_erased_while_the_store_was_away_go_when_it_is_back(
    tmp_path: Path, server: StoreServer, caplog: pytest.LogCaptureFixture
) -> None:
    with open_at(tmp_path, objects=server.url("calls")) as store:
        call = stored_call(store, store.tenant("acme"))
        server.stop()
        store.erase_call(call.tenant, call.call, ground=GROUND, actor=ACTOR)
        tidy(store)
        server.start()
        assert list(store.objects.list()) != []
        tidy(store)
        assert list(store.objects.list()) == []
        caplog.clear()
        caplog.set_level(logging.INFO)
        tidy(store)
        assert caplog.records == [], "nothing to do, nothing to say"


def test_remarks_are_said_as_codes(tmp_path: Path, server: StoreServer, caplog: pytest.LogCaptureFixture) -> None:
    say_remarks(f"file:{tmp_path}/objects")
    assert caplog.records == []
    say_remarks(server.url("calls"))
    assert [record.__dict__["remark"] for record in caplog.records] == ["store-unconditional"]


def test_a_key_provider_that_is_away_for_a_while_is_an_alarm_and_no_end(tmp_path: Path) -> None:
    alarms, tried, seen = Alarms(), Counter[str](), list[bool]()

    def prepare() -> None:
        seen.append(Alarm.KEYS_AWAY in alarms)
        tried["prepare"] += 1
        if tried["prepare"] == 2:
            raise Unavailable("the provider does not answer")

    async def scenario() -> None:
        with open_at(tmp_path) as store:
            caring = asyncio.create_task(look_after(store, prepare, alarms, every_s=0.01, again_s=0.02))
            async with asyncio.timeout(30):
                while tried["prepare"] < 5:
                    await asyncio.sleep(0.01)
            assert not caring.done()
            caring.cancel()
            with suppress(asyncio.CancelledError):
                await caring

    asyncio.run(scenario())
    assert seen[:5] == [False, False, True, False, False]
