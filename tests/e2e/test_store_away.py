"""A real object store that dies while calls run: calls go on, and everything is stored when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.stores import StoreServer, juicefs
from gateway.caller import Track, place_call
from media.codecs import g711
from tests.e2e.system import System, call_from, running, status, until
from tests.e2e.test_call import RATE_HZ, tone

SECONDS = 1.5


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[StoreServer]:
    with juicefs(tmp_path / "objects") as server:
        server.bucket("calls")
        yield server


@pytest.fixture
def system(tmp_path: Path, objects: StoreServer) -> Iterator[System]:
    with running(tmp_path, CALLVAULT_STORE__OBJECTS=objects.url("calls")) as started:
        yield started


def call(system: System, user: str) -> None:
    result = asyncio.run(place_call(system.sip, [Track(tone(SECONDS, 5))], from_user=user, to_user="100"))
    assert result is not None


def assert_heard(system: System, user: str) -> None:
    """The call can be downloaded, and is what was sent."""
    row = until(lambda: call_from(system.client(), user))
    wav = np.frombuffer(system.client().get(f"/v1/calls/{row['id']}/audio?track=0")[44:], "<i2")
    pieces = system.client().json(f"/v1/calls/{row['id']}")["tracks"][0]["track"]["facts"]["map"]
    start, end, at_us = pieces[0]
    offset = round(at_us * RATE_HZ / 1_000_000)
    sent = g711.decode_alaw(g711.encode_alaw(tone(SECONDS, 5)))
    assert end - start == len(sent)
    assert np.array_equal(wav[offset : offset + len(sent)], sent)


def test_calls_go_on_while_the_store_is_dead_and_are_stored_after(system: System, objects: StoreServer) -> None:
    client = system.client()
    call(system, "before")
    until(lambda: call_from(client, "before", "stored"))
    objects.kill()
    for user in ("erased", "kept"):
        call(system, user)
        until(lambda user=user: call_from(client, user, "ended"))  # type: ignore[misc]  # it is called at once
        assert_heard(system, user)
    erased = until(lambda: call_from(client, "erased"))["id"]
    certificate = client.post(f"/v1/calls/{erased}/erasure", {"ground": "Art. 17(1) GDPR"})
    assert len(certificate["entries"]) == 2, "erasing destroys keys, and waits for no object store"
    assert status(client, f"/v1/calls/{erased}/audio") == 410
    objects.start()
    until(lambda: call_from(client, "kept", "stored"), 90.0)
    for user in ("before", "kept"):
        assert_heard(system, user)
    assert status(client, f"/v1/calls/{erased}/audio") == 410
