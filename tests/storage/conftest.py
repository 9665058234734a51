"""What most tests here begin with: a fresh store in a folder of the test's own, and a tenant of it.

A module marked with `usefixtures("database")` runs twice, over each of the databases that a catalogue can be in.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.model import TenantId
from storage.recordings import Recordings
from tests.storage.postgres import Cluster, cluster, needs_postgres
from tests.storage.stores import open_at, put_catalogue


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    with cluster() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where the catalogues of this test are; `open_at` and `catalogue_at` find them there."""
    if request.param == "sqlite":
        yield request.param
        return
    server: Cluster = request.getfixturevalue("postgres")
    put_catalogue(tmp_path, server)
    yield request.param
    server.drop()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Recordings]:
    with open_at(tmp_path) as opened:
        yield opened


@pytest.fixture
def tenant(store: Recordings) -> TenantId:
    return store.tenant("acme")
