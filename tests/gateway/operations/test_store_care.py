"""What could not be deleted when a call was erased goes later, and a store that is away is no failure."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.stores import StoreServer, juicefs
from gateway.operations.store_care import say_remarks, tidy
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
