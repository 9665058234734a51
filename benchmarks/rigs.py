"""Where an erasure is measured: a store in a fresh folder, over each database and each key provider that can be had."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.erasing import Watch
from benchmarks.filled import Filling, PostgresRows, Rows, SqliteRows
from storage.catalogue import Catalogue
from storage.databases.sqlite import SQLite
from storage.model import TenantId
from storage.providers import open_provider
from storage.recordings import Recordings

DATABASES = ("sqlite", "postgresql")
PROVIDERS = ("file", "pkcs11", "openbao")
DURABLE = {"fsync": "on", "shared_buffers": "'256MB'", "max_wal_size": "'4GB'"}
"""What the tests' server leaves out because no machine fails there, and what Debian's would have with some memory."""


@dataclass(slots=True)
class Rig:
    """An opened store with what is behind it."""

    store: Recordings
    catalogue: Catalogue
    data: Path
    provider_url: str
    catalogue_url: str
    watch: Watch

    def filling(self, tenant: str, due_s: float) -> tuple[Filling, TenantId]:
        """What fills a tenant with what may be read until then; close it when it is done."""
        named = self.store.tenant(tenant)
        provider = open_provider(self.provider_url, self.data)
        return Filling(self.catalogue, provider, self.rows(), named, int(due_s)), named

    def rows(self) -> Rows:
        """The door for many rows; close it when they are in."""
        return PostgresRows(self.catalogue_url) if self.catalogue_url else SqliteRows(self.data / SQLite.FILE)

    def key_tables_bytes(self) -> dict[str, int]:
        """What the tables of keys take on disk, with their indexes."""
        with self.catalogue.reading() as connection:
            if self.catalogue_url:
                sizes = {name: f"SELECT pg_total_relation_size('{name}')" for name in KEY_TABLES}
            else:
                of_table = "SELECT name FROM sqlite_master WHERE tbl_name = "
                sizes = {
                    name: f"SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name IN ({of_table}'{name}')"
                    for name in KEY_TABLES
                }
            return {name: int(connection.exec_driver_sql(sql).scalar_one()) for name, sql in sizes.items()}


KEY_TABLES = ("artefact_keys", "nodes", "buckets")


@contextmanager
def opened(root: Path, *, database: str = "sqlite", provider: str = "file") -> Iterator[Rig]:
    """A store in `root`. RuntimeError with what is missing if database or provider cannot be had here."""
    with ExitStack() as stack:
        catalogue_url = stack.enter_context(_postgresql()) if database == "postgresql" else ""
        provider_url = stack.enter_context(_provider(provider, root))
        data, watch = root / "data", Watch()
        store = stack.enter_context(
            Recordings.open(
                data,
                provider_url,
                f"file:{data}/objects",
                node="bench",
                catalogue_url=catalogue_url,
                on_erasure_step=watch.note,
            )
        )
        catalogue = Catalogue(data, catalogue_url)
        stack.callback(catalogue.close)
        yield Rig(store, catalogue, data, provider_url, catalogue_url, watch)


@contextmanager
def _postgresql() -> Iterator[str]:
    """A cluster of our own that syncs its commits."""
    from tests.storage.postgres import BIN, cluster  # noqa: PLC0415  # needs pytest, which only developers have

    if BIN is None:
        raise RuntimeError("no PostgreSQL: apt-get install postgresql")
    with cluster() as server:
        with server.connected("postgres") as connection:
            for name, value in DURABLE.items():
                connection.execute(f"ALTER SYSTEM SET {name} = {value}")
        server.stop()
        server.start()
        yield server.url(server.fresh())


@contextmanager
def _provider(name: str, root: Path) -> Iterator[str]:
    root.mkdir(parents=True, exist_ok=True)
    if name == "file":
        yield f"file:{root}/keys"
        return
    from tests.storage import keyservers  # noqa: PLC0415  # as above

    if name == "pkcs11":
        if shutil.which("softhsm2-util") is None:
            raise RuntimeError("no SoftHSM: apt-get install softhsm2")
        yield keyservers.SoftHsm(root / "softhsm").url
        return
    server = keyservers.OpenBao(root / "openbao")
    try:
        yield server.url(server.mount())
    finally:
        server.kill()
