"""A PostgreSQL server's own files: pages, dead rows and log, of before and of today, are carved for keys."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.model import TenantId
from storage.probe import prove
from storage.probe.carving import carve_pairs
from storage.probe.rawfiles import files_below, streams_of
from storage.recordings import Recordings
from storage.tables import artefact_keys, nodes
from tests.storage.postgres import Cluster, needs_postgres
from tests.storage.probe.probing import ids_of, keep_keys, named, probe
from tests.storage.stores import ACTOR, GROUND, open_at, put_catalogue, stored_call

pytestmark = needs_postgres


@pytest.fixture
def store(tmp_path: Path, postgres: Cluster) -> Iterator[Recordings]:
    put_catalogue(tmp_path, postgres)
    with open_at(tmp_path) as opened:
        yield opened
    postgres.drop()


def without_database(root: Path) -> None:
    """The data folder as an operator copies it: its catalogue is the server's."""
    shutil.copytree(root / "data", root / "copy")


def test_up_14_nothing_opens_from_pages_dead_rows_and_log(
    store: Recordings, tenant: TenantId, tmp_path: Path, postgres: Cluster
) -> None:
    erased, living = stored_call(store, tenant), stored_call(store, tenant)
    without_database(tmp_path)
    before, after = tmp_path / "before", tmp_path / "after"
    postgres.base_backup(before)
    keep_keys(tmp_path)
    alone = prove(erased.call, [tmp_path / "copy"], None, provider_url=f"file:{tmp_path}/keys", files=[before])
    assert named(alone) == ids_of(erased)  # with no database at all
    assert any("recording that no row names" in line for line in alone.opened)
    store.erase_call(tenant, erased.call, ground=GROUND, actor=ACTOR)
    postgres.copied(after)
    proof = probe(tmp_path, erased.call, "copy", files=[before, after])
    assert (proof.opened, proof.control, proof.holds) == ([], living.call, True)
    assert proof.carved_control == len(living.artefacts)  # by the same carving, from the same files
    assert proof.found["carved"] > 0
    assert named(probe(tmp_path, erased.call, "copy", keys="old", files=[before])) == ids_of(erased)
    # What was deleted stands in the copy of today, as waste: its log alone has every row that the erasure deleted.
    of_today = prove(erased.call, [tmp_path / "copy"], None, provider_url=f"file:{tmp_path}/old", files=[after])
    assert named(of_today) == ids_of(erased)


def test_a_row_that_a_page_of_the_log_cuts_in_two_is_found(
    store: Recordings, tenant: TenantId, tmp_path: Path, postgres: Cluster
) -> None:
    """Of three hundred key rows some lie across the log's pages of 8 KiB, whose headers stand in between."""
    artefact = stored_call(store, tenant).artefacts[0].ref.artefact
    with store._catalogue.writing() as connection:
        for number in range(300):
            row = {"artefact": artefact, "leaf": f"{number:032x}", "wrapped": bytes(60)}
            connection.execute(artefact_keys.insert(), row)
            connection.execute(nodes.insert(), {"id": f"{number:032x}", "parent": "f" * 32, "wrapped": bytes([7]) * 60})
    postgres.copied(tmp_path / "copied")
    log = tmp_path / "log"
    shutil.copytree(tmp_path / "copied" / "pg_wal", log, ignore=shutil.ignore_patterns("archive_status", "summaries"))
    found = {pair for _, windows in streams_of(files_below(log)) for raw in windows for pair in carve_pairs(raw)}
    assert {pair.two for pair in found if pair.wrapped == bytes(60)} >= {f"{number:032x}" for number in range(300)}
    assert {pair.one for pair in found if pair.wrapped == bytes([7]) * 60} == {f"{n:032x}" for n in range(300)}
    raw = b"".join(path.read_bytes() for path in sorted(log.iterdir()) if path.is_file())
    assert len(set(carve_pairs(raw))) < len(found)  # it matters
