"""The uploader against a real S3 server that is killed under it, or away for an hour."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.stores import StoreServer, juicefs
from storage.objects.address import BucketAddress
from storage.objects.bucket import BucketStore
from storage.objects.credentials import CredentialSource
from storage.objects.s3 import S3
from storage.recordings import Recordings
from storage.records import NewArtefact
from storage.spoolfile import spool_files
from storage.uploader import RETRY_S_MAX, Progress, Uploader
from tests.storage.stores import audio_of, open_at, save_call, sweep_orphans
from tests.storage.stores import spool as spool_into

CALLS = 6
RECORDS = [os.urandom(300_000) for _ in range(8)]
"""Of each stream: some three slices."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StoreServer]:
    with juicefs(tmp_path / "server") as started:
        started.bucket("calls")
        yield started


@pytest.fixture
def store(tmp_path: Path, server: StoreServer) -> Iterator[Recordings]:
    with open_at(tmp_path, objects=server.url("calls")) as opened:
        yield opened


def spooled(store: Recordings) -> list[NewArtefact]:
    """Streams of several calls, ended, all in the spool."""
    tenant = store.tenant("acme")
    streams = [artefact for _ in range(CALLS) for artefact in audio_of(save_call(store, tenant))]
    spool_into(store, [(artefact, RECORDS) for artefact in streams])
    return streams


def assert_all_there_once(store: Recordings, streams: list[NewArtefact]) -> None:
    for artefact in streams:
        with store.stream(artefact.ref.tenant, artefact.ref.artefact) as stream:
            assert (list(stream.read()), stream.ended) == (RECORDS, True)
    assert spool_files(store.spool_folder) == []


def run_until_drained(uploader: Uploader, store: Recordings) -> None:
    end = time.monotonic() + 120
    now_s = 10_000.0
    while spool_files(store.spool_folder):
        assert time.monotonic() < end, "it does not drain"
        uploader.step(now_s)
        now_s += RETRY_S_MAX


def test_server_killed_in_mid_upload_holds_the_spool_and_every_record_is_stored_once(
    store: Recordings, server: StoreServer
) -> None:
    streams = spooled(store)
    held: list[Progress] = []
    with Uploader(store.spool_folder, store.slices, store.objects) as uploader:

        def upload() -> None:
            for now_s in range(100):
                progress = uploader.step(now_s * RETRY_S_MAX)
                if progress.held is not None:
                    held.append(progress)
                    return

        working = threading.Thread(target=upload)
        working.start()
        while working.is_alive() and sum(1 for _ in (server.folder / "disk").rglob("*")) < 12:
            time.sleep(0.002)
        server.kill()
        working.join()
        assert held, "it was killed while there was something to upload"
        assert held[0].waiting_bytes > 0
        assert spool_files(store.spool_folder) != []
        server.start()
        run_until_drained(uploader, store)
        orphans = len(list(store.objects.list())) - uploader.uploads.count
    assert_all_there_once(store, streams)
    assert orphans >= 0, "no row without its object"
    assert sweep_orphans(store) == orphans, "and what was stored without being said to be is found and swept"
    assert_all_there_once(store, streams)


def test_store_away_for_an_hour_holds_everything_and_drains_after(store: Recordings, server: StoreServer) -> None:
    server.stop()
    streams = spooled(store)
    address = BucketAddress.parse(server.url("calls"))
    objects = BucketStore(address, S3(address, CredentialSource(address.credentials, {})), pause=lambda _s: None)
    with Uploader(store.spool_folder, store.slices, objects) as uploader:
        away = []
        for now_s in range(0, 3600, 60):
            progress = uploader.step(float(now_s))
            assert progress.held is not None
            assert progress.waiting_bytes > len(streams) * sum(map(len, RECORDS))
            away.append(progress.away_s)
        assert (away[0], away[-1]) == (0.0, 3540.0)
        assert progress.oldest_s == 3540.0
        assert (uploader.uploads.count, uploader.uploads.failed > 0) == (0, True)
        server.start()
        assert uploader.step(3600.0 + RETRY_S_MAX).away_s is None
        run_until_drained(uploader, store)
        assert uploader.uploads.count == len(list(store.objects.list()))
        assert uploader.uploads.size == sum(info.size for info in store.objects.list())
    assert_all_there_once(store, streams)


def test_locked_out_by_a_changed_secret_it_waits_for_the_new_one(store: Recordings, server: StoreServer) -> None:
    streams = spooled(store)
    right = server.credentials.read_text()
    server.credentials.write_text(right.replace("only", "once"))
    with Uploader(store.spool_folder, store.slices, store.objects) as uploader:
        assert "secret key" in str(uploader.step(0.0).held)
        server.credentials.write_text(right)
        run_until_drained(uploader, store)
    assert_all_there_once(store, streams)
