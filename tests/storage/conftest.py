"""What most tests here begin with: a fresh store in a folder of the test's own, a tenant of it, key providers.

The rule of the databases. What asks for `database` (a module by `usefixtures("database")`) runs over SQLite, and over
PostgreSQL as well only if it is marked `postgresql("what of the database it is about")`. That is where the two differ:
locks, transactions and their end by a crash, writers at once, uniqueness, the order of rows, many rows at once, files
and dumps of a server's; and one path from end to end of each scope and of each part that keeps tables. What SQL says is
the same for both. With `CALLVAULT_BOTH_DATABASES=1` every one of these tests runs over both; a run says which it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.model import TenantId
from storage.recordings import Recordings
from tests.bothdatabases import BOTH
from tests.gateway.ingest.authority import Authority
from tests.storage.keyservers import OpenBao, Rig, SoftHsm, file_rig, openbao_rig, pkcs11_rig
from tests.storage.postgres import Cluster, cluster, needs_postgres
from tests.storage.stores import open_at, put_catalogue


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    with cluster() as server:
        yield server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The databases of a test: see above. One that names its own (`parametrize`) has those."""
    marked = metafunc.definition.get_closest_marker("postgresql")
    if "database" not in metafunc.fixturenames:
        own = any(mark is marked for mark in metafunc.definition.own_markers)
        assert marked is None or not own, (
            f"{metafunc.definition.nodeid} is marked `postgresql` and asks for no database"
        )
        return
    assert marked is None or marked.args, f"{metafunc.definition.nodeid} does not say what of PostgreSQL it is about"
    if any("database" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")):
        return
    kinds: list[object] = ["sqlite"]
    if marked is not None or BOTH:
        kinds.append(pytest.param("postgresql", marks=needs_postgres))
    metafunc.parametrize("database", kinds, indirect=True)


@pytest.fixture
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


@pytest.fixture(scope="module")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> SoftHsm:
    return SoftHsm(tmp_path_factory.mktemp("softhsm"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def openbao(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[OpenBao]:
    server = OpenBao(tmp_path_factory.mktemp("openbao"), authority.issue("openbao", ip="127.0.0.1"))
    yield server
    server.kill()


@pytest.fixture(params=["file", "pkcs11", "openbao"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    """Every key provider in turn, empty."""
    match request.param:
        case "file":
            return file_rig(tmp_path)
        case "pkcs11":
            return pkcs11_rig(request.getfixturevalue("softhsm"), tmp_path)
        case _:
            return openbao_rig(request.getfixturevalue("openbao"), tmp_path)
