"""Erasing where the object store's lock keeps objects: the key goes at once, the rest is listed and goes later."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from minio.commonconfig import COMPLIANCE
from minio.retention import Retention

from benchmarks.stores import StoreServer
from storage.errors import Erased, Unavailable
from storage.ledger import verify_certificate
from storage.leftovers import HOLD_RETRY_DAYS, retry_day
from storage.model import new_id
from storage.recordings import Recordings
from storage.records import NewCall
from tests.storage.servers import moto
from tests.storage.stores import ACTOR, GROUND, audio_of, open_at, stored_call

DAY_S = 86_400
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


class Clock:
    def __init__(self) -> None:
        self.now_s = time.time()

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with moto(tmp_path_factory.mktemp("moto")) as started:
        yield started


@pytest.fixture
def bucket(server: StoreServer) -> str:
    """Of a kind that can lock objects."""
    name = new_id()
    server.client.make_bucket(name, object_lock=True)
    return name


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, server: StoreServer, bucket: str, clock: Clock) -> Iterator[Recordings]:
    with open_at(tmp_path, objects=server.url(bucket, "calls"), clock=clock) as opened:
        yield opened


def objects_of(store: Recordings, call: NewCall) -> list[str]:
    return [info.name for info in store.objects.list(f"{call.tenant}/{call.call}/")]


def lock(server: StoreServer, bucket: str, name: str, seconds: float) -> None:
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    server.client.set_object_retention(bucket, f"calls/{name}", Retention(COMPLIANCE, until))


def test_erasure_does_not_wait_for_a_lock(store: Recordings, server: StoreServer, bucket: str, clock: Clock) -> None:
    tenant = store.tenant("acme")
    call = stored_call(store, tenant)
    kept, _free = objects_of(store, call)
    lock(server, bucket, kept, 30 * DAY_S)
    certificate = store.erase_call(tenant, call.call, ground=GROUND, actor=ACTOR)
    assert any("locked" in finding for finding in verify_certificate(certificate, store.fingerprint()))
    for artefact in audio_of(call):
        with pytest.raises(Erased):
            store.stream(tenant, artefact.ref.artefact)
    assert objects_of(store, call) == [kept]
    (leftover,) = store.leftovers()
    assert (leftover.name, leftover.tenant, leftover.call) == (kept, tenant, call.call)
    assert leftover.day == retry_day(clock.now_s + 30 * DAY_S, clock.now_s)
    assert store.resume_erasures() == 0, "the erasure is finished"
    assert store.sweep_leftovers() == 0, "and nothing is tried before its day"
    assert ledger_says(store) == [{"objects": 1, "kept": 1}]


def test_what_was_kept_goes_when_its_lock_ends_and_the_ledger_says_so(
    store: Recordings, server: StoreServer, bucket: str, clock: Clock
) -> None:
    tenant = store.tenant("acme")
    call = stored_call(store, tenant)
    for name in objects_of(store, call):
        lock(server, bucket, name, 3)
    store.erase_call(tenant, call.call, ground=GROUND, actor=ACTOR)
    assert len(store.leftovers()) == 2
    gone, end = 0, time.monotonic() + 60
    while gone < 2 and time.monotonic() < end:
        clock.now_s += 2 * DAY_S
        gone += store.sweep_leftovers()
        time.sleep(0.2)
    assert gone == 2
    assert store.leftovers() == []
    assert objects_of(store, call) == []
    assert ledger_says(store) == [{"objects": 0, "kept": 2}, {"kept": 0}]
    store.check()


def test_legal_hold_is_asked_about_again_and_again(
    store: Recordings, server: StoreServer, bucket: str, clock: Clock
) -> None:
    tenant = store.tenant("acme")
    call = stored_call(store, tenant)
    held = objects_of(store, call)[0]
    server.client.enable_object_legal_hold(bucket, f"calls/{held}")
    store.erase_call(tenant, call.call, ground=GROUND, actor=ACTOR)
    for _ in range(2):
        (leftover,) = store.leftovers()
        assert leftover.day == retry_day(None, clock.now_s)
        clock.now_s += (HOLD_RETRY_DAYS + 1) * DAY_S
        assert store.sweep_leftovers() == 0
    server.client.disable_object_legal_hold(bucket, f"calls/{held}")
    clock.now_s += (HOLD_RETRY_DAYS + 1) * DAY_S
    assert store.sweep_leftovers() == 1
    assert store.leftovers() == []


def test_store_that_is_away_keeps_the_list(tmp_path: Path, store: Recordings, server: StoreServer, bucket: str) -> None:
    tenant = store.tenant("acme")
    call = stored_call(store, tenant)
    server.client.enable_object_legal_hold(bucket, f"calls/{objects_of(store, call)[0]}")
    store.erase_call(tenant, call.call, ground=GROUND, actor=ACTOR)
    away = f"s3+http://127.0.0.1:1/{bucket}/calls?credentials={server.credentials}"
    with open_at(tmp_path, objects=away, clock=lambda: time.time() + 90 * DAY_S) as without:
        with pytest.raises(Unavailable):
            without.sweep_leftovers()
        assert len(without.leftovers()) == 1


@pytest.mark.parametrize(
    ("until", "day"),
    [
        (NOON, "2026-03-02"),
        (NOON - DAY_S, "2026-03-02"),
        (NOON + 0.5, "2026-03-02"),
        (NOON + 3 * DAY_S, "2026-03-05"),
        (None, "2026-03-31"),
        (1e30, "2126-02-05"),
    ],
)
def test_deleting_is_tried_on_the_day_after_the_lock_and_never_today(until: float | None, day: str) -> None:
    assert retry_day(until, NOON) == day


def ledger_says(store: Recordings) -> list[dict[str, int]]:
    """The counts of every `swept` entry, as they stand in the file."""
    with sqlite3.connect(store.spool_folder.parent / "catalogue.sqlite3") as raw:
        bodies = [json.loads(row[0]) for row in raw.execute("SELECT body FROM ledger ORDER BY seq")]
    raw.close()
    return [
        {name: body[name] for name in ("objects", "kept") if name in body} for body in bodies if body["type"] == "swept"
    ]
