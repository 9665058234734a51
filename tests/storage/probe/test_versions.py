"""A bucket that keeps versions: what was deleted is still there, is tried, and does not open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from minio.versioningconfig import VersioningConfig

from benchmarks.stores import StoreServer
from storage.model import new_id
from storage.objects import open_store
from storage.probe import Proof, Today, prove
from storage.recordings import Recordings
from tests.storage.backup.drill import back_up
from tests.storage.probe.probing import ids_of, keep_keys, named
from tests.storage.servers import moto
from tests.storage.stores import ACTOR, GROUND, stored_call


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with moto(tmp_path_factory.mktemp("moto")) as started:
        yield started


def versioned(server: StoreServer) -> str:
    name = new_id()
    server.client.make_bucket(name)
    server.client.set_bucket_versioning(name, VersioningConfig("Enabled"))
    return name


def test_what_listing_shows_no_more_is_a_version_still(server: StoreServer) -> None:
    bucket = versioned(server)
    store = open_store(server.url(bucket, "calls"))
    store.put("a/1", b"first")
    server.client.remove_object(bucket, "calls/a/1")
    store.put("a/1", b"second")
    server.client.remove_object(bucket, "calls/a/1")
    assert list(store.list()) == []
    found = list(store.versions("a/"))
    assert {name for name, _ in found} == {"a/1"}
    assert {store.get_version(*one) for one in found} == {b"first", b"second"}


def test_up_14_every_version_of_objects_and_of_the_witness_is_tried(server: StoreServer, tmp_path: Path) -> None:
    """Somebody has deleted objects and key batches with an ordinary tool before: versions without a name in a list."""
    objects, witness = (versioned(server) for _ in range(2))
    urls = server.url(objects), server.url(witness)
    data, keys = tmp_path / "data", f"file:{tmp_path}/keys"
    with Recordings.open(data, keys, urls[0], node="n1", witness=urls[1]) as store:
        tenant = store.tenant("acme")
        erased, living = stored_call(store, tenant), stored_call(store, tenant)
        held = store.holds.place(tenant, [erased.call], "claim of 2026", ACTOR)  # its key batch is in the witness
        store.holds.release(tenant, held, ACTOR)
        back_up(store, tmp_path)
        keep_keys(tmp_path)
        kept = {name: store.objects.get(name) for name in (info.name for info in store.objects.list(f"{tenant}/"))}
        store.erase_call(tenant, erased.call, ground=GROUND, actor=ACTOR)
    for name, sealed in kept.items():  # a bucket whose purge is undone, deleted once more by a tool that keeps versions
        if erased.call in name:
            open_store(urls[0]).put(name, sealed)
            server.client.remove_object(objects, name)
    for version in list(server.client.list_objects(witness, "keys/", recursive=True)):
        server.client.remove_object(witness, str(version.object_name))
    assert not (tmp_path / "backup" / "batches").exists()  # what is found of batches is versions in the witness

    def probe(with_keys: str) -> Proof:
        today = Today(data, f"file:{tmp_path / with_keys}", *urls)
        return prove(erased.call, [tmp_path / "backup"], today)

    proof = probe("keys")
    assert (proof.opened, proof.control, proof.holds) == ([], living.call, True)
    assert any("recording" in line for line in proof.control_opened)
    assert proof.rows["objects"] >= 2  # the dead call's own, of which a listing shows none
    assert proof.found["rows of batches"] > 0
    opened = probe("old")
    assert named(opened) == ids_of(erased)
    assert sum(line.endswith(": recording") for line in opened.opened) == 2
