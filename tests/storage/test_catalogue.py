"""The catalogue shows nothing in clear that says whom, keeps its promises to many processes, and migrates itself."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, insert, inspect, select, text

import storage
from storage.catalogue import HEAD, Catalogue
from storage.errors import AlreadyExists, Refused, Unavailable
from storage.model import new_id
from storage.tables import buckets, metadata, tenants, tombstones
from tests.storage.killing import processes
from tests.storage.postgres import Cluster
from tests.storage.stores import catalogue_at, files_below, put_catalogue

_RANDOM_IDS = {
    *("id", "tenant", "call", "participant", "artefact", "leaf", "parent", "stream_id", "run"),
    *("erasure", "change", "boot", "hold", "named"),
}
_COUNTERS = {
    "serial",
    "seq",
    "n",
    "epoch",
    "fence",
    "turn",
    "slice_no",
    "first_seq",
    "last_seq",
    "size",
    "segment_bytes",
    "deliveries",
    "intent",
    "entry",
}
_CLOCKS = {"host_s", "uptime_s", "latest_s", "settled_s"}
"""Of the machine when a server last looked, every few minutes whatever calls there are."""
_CONTRACT = {"closed_s", "content_s", "open_s", "account_s", "from_s"}
"""When a tenant left, what ends how long after that, from when on a sub-processor may be given data: of its contract,
no call and no person."""
_WORDS_OF_OURS = {"name", "root", "kind", "purpose", "state", "subject", "role", "step", "reason", "scope"}
_FLAGS = {"closed", "finished", "interrupted", "lifted", "released", "revoked", "settled"}
_HASHES = {"tag", "commitment", "digest", "hash", "previous", "signature"}
_SEALED = {"wrapped", "probe", "sealed", "sealed_index", "label"}
_DAYS = {"day", "period"}
"""A period of statistics is a day or a month."""
_PLACES = {"rules", "part", "region", "place"}
"""Countries that a tenant allows, and where which part of the work is: the operator's machines, no call, no person."""
_ENDS = {"due"}
"""The end of a bucket's time, computed from its day and the policy alone: a date."""
_SIGNED_WITHOUT_PERSONS = {"body", "certificate", "facts", "target", "ground"}
"""JSON of ids, hashes, counts and times of erasures, of terms and laws, words that may stand in the ledger; documents
in manifests are ciphertext."""


pytestmark = pytest.mark.postgresql("the catalogue itself")


@pytest.fixture
def catalogue(database: str, tmp_path: Path) -> Iterator[Catalogue]:
    opened = catalogue_at(tmp_path)
    yield opened
    opened.close()


def tenant_row() -> dict[str, object]:
    return {"id": new_id(), "tag": new_id().encode(), "fence": 0, "turn": 0}


@pytest.mark.parametrize("column", [column for table in metadata.tables.values() for column in table.columns], ids=str)
def test_a_column_holds_nothing_that_says_whom_or_what(column: object) -> None:
    allowed = (
        _RANDOM_IDS
        | _COUNTERS
        | _WORDS_OF_OURS
        | _FLAGS
        | _HASHES
        | _SEALED
        | _DAYS
        | _ENDS
        | _PLACES
        | _SIGNED_WITHOUT_PERSONS
        | _CLOCKS
        | _CONTRACT
    )
    assert str(column).partition(".")[2] in allowed


def shape(engine: Engine) -> dict[str, object]:
    """Every table with its columns, keys, indexes and checks, whatever the order in which they were made."""
    seen = inspect(engine)
    return {
        table: (
            {column["name"]: (str(column["type"]), column["nullable"], column["default"]) for column in columns},
            seen.get_pk_constraint(table),
            sorted(map(str, seen.get_foreign_keys(table))),
            sorted(str(index) for index in seen.get_indexes(table)),
            sorted(str(unique["column_names"]) for unique in seen.get_unique_constraints(table)),
            sorted(str(check) for check in seen.get_check_constraints(table)),
        )
        for table, columns in ((table, seen.get_columns(table)) for table in seen.get_table_names())
    }


def test_migrations_make_the_tables_of_a_new_catalogue(tmp_path: Path) -> None:
    engines = [create_engine(f"sqlite:///{tmp_path / name}") for name in ("catalogue.sqlite3", "migrated.sqlite3")]
    Catalogue(tmp_path).close()
    with engines[1].begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(storage.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    new, migrated = map(shape, engines)
    assert migrated == new
    assert len(new) == len(metadata.tables) + 1
    for engine in engines:
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT version_num FROM alembic_version")) == HEAD
        engine.dispose()


@pytest.mark.usefixtures("database")
def test_a_new_catalogue_has_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    catalogue = catalogue_at(tmp_path)
    with catalogue.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == HEAD
    catalogue.close()


def test_the_newest_migration_is_the_one_that_the_code_expects() -> None:
    assert ScriptDirectory(str(Path(storage.__file__).parent / "migrations")).get_heads() == [HEAD]


def before_the_tree(folder: Path, *, key: bool) -> str:
    """A catalogue of before nodes and leaves: with a prepared bucket and a tombstone; with a key as well if wanted."""
    config = Config()
    config.set_main_option("script_location", str(Path(storage.__file__).parent / "migrations"))
    engine = create_engine(f"sqlite:///{folder / 'catalogue.sqlite3'}")
    ids = {"a": new_id(), "b": new_id(), "t": str(tenant_row()["id"])}
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0006")
        connection.execute(insert(tenants), {**tenant_row(), "id": ids["t"]})
        statements = [
            "INSERT INTO buckets (id, tenant, root, epoch, kind, purpose, day, part, wrapped)"
            " VALUES (:b, :t, 'content', 3, 'audio', 'quality', '2026-03-01', 0, x'00')",
            "INSERT INTO tombstones (artefact, tenant, call, erasure) VALUES (:a, :t, :a, :b)",
            "INSERT INTO artefact_keys (artefact, bucket, wrapped) VALUES (:a, :b, x'00')",
        ]
        for statement in statements if key else statements[:2]:
            connection.execute(text(statement), ids)
    engine.dispose()
    return ids["a"]


def test_an_empty_store_of_before_the_tree_becomes_one_of_today(tmp_path: Path) -> None:
    buried = before_the_tree(tmp_path, key=False)
    opened = Catalogue(tmp_path)
    with opened.reading() as connection:
        assert connection.execute(select(tombstones.c.artefact, tombstones.c.purpose)).all() == [(buried, "")]
        assert connection.execute(select(buckets)).all() == []
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    opened.close()


def test_a_store_of_before_the_tree_that_holds_keys_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    before_the_tree(tmp_path, key=True)
    for _ in range(2):
        with pytest.raises(Refused, match="before the first release"):
            Catalogue(tmp_path)
    with sqlite3.connect(tmp_path / "catalogue.sqlite3") as raw:
        assert raw.execute("SELECT count(*) FROM buckets").fetchone() == (1,)
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == ("0006",)
    raw.close()


def test_migrations_run_from_any_folder_and_leave_logging_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    before_the_tree(tmp_path / "data", key=False)
    program = (
        "import logging, pathlib\n"
        "from storage.catalogue import Catalogue\n"
        f"Catalogue(pathlib.Path({str(tmp_path / 'data')!r})).close()\n"
        "assert logging.getLogger().handlers == [] and logging.getLogger('storage').isEnabledFor(logging.WARNING)\n"
    )
    environment = {"PYTHONPATH": str(Path(storage.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True, timeout=60)
    with sqlite3.connect(tmp_path / "data" / "catalogue.sqlite3") as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == (HEAD,)
    raw.close()


@pytest.mark.usefixtures("database")
def test_opening_again_keeps_what_is_there(tmp_path: Path) -> None:
    row = tenant_row()
    for _ in range(2):
        catalogue = catalogue_at(tmp_path)
        with catalogue.writing() as connection:
            if connection.scalar(select(tenants.c.id)) is None:
                connection.execute(insert(tenants), row)
        catalogue.close()
    catalogue = catalogue_at(tmp_path)
    with catalogue.reading() as connection:
        assert connection.scalars(select(tenants.c.id)).all() == [row["id"]]
    catalogue.close()


def test_several_processes_open_a_fresh_store_at_once_and_write(
    database: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    if database == "postgresql":  # without tables
        server: Cluster = request.getfixturevalue("postgres")
        put_catalogue(tmp_path, server, template="template0")
    with processes(4, __name__) as pool:
        pool.map(_open_and_write, [tmp_path] * 4)
    catalogue = catalogue_at(tmp_path)
    with catalogue.reading() as connection:
        assert connection.scalars(select(tenants.c.fence)).one() == 4 * 25
    catalogue.close()


def _open_and_write(root: Path) -> None:
    """Reads and writes back what it read plus one: any transaction that does not exclude the others loses some."""
    catalogue = catalogue_at(root)
    for _ in range(25):
        with catalogue.writing() as connection:
            fence = connection.scalar(select(tenants.c.fence))
            if fence is None:
                connection.execute(insert(tenants), {**tenant_row(), "fence": 1})
            else:
                connection.execute(tenants.update().values(fence=fence + 1))
    catalogue.close()


def test_a_failed_transaction_leaves_nothing(catalogue: Catalogue) -> None:
    with pytest.raises(ZeroDivisionError), catalogue.writing() as connection:
        connection.execute(insert(tenants), tenant_row())
        _ = 1 // 0
    with catalogue.reading() as connection:
        assert connection.scalars(select(tenants.c.id)).all() == []


def test_a_reader_sees_one_snapshot(catalogue: Catalogue) -> None:
    with catalogue.reading() as reader:
        assert reader.scalars(select(tenants.c.id)).all() == []
        with catalogue.writing() as writer:
            writer.execute(insert(tenants), tenant_row())
        assert reader.scalars(select(tenants.c.id)).all() == []


def test_errors_of_the_database_are_ours(catalogue: Catalogue) -> None:
    row = tenant_row()
    with catalogue.writing() as connection:
        connection.execute(insert(tenants), row)
    with pytest.raises(AlreadyExists), catalogue.writing() as connection:
        connection.execute(insert(tenants), row)
    with pytest.raises(Unavailable), catalogue.reading() as connection:
        connection.execute(text("SELECT * FROM nowhere"))


def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        Catalogue(tmp_path / "missing")


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "catalogue.sqlite3").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(Unavailable):
        Catalogue(tmp_path)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_scrubbing_leaves_nothing_deleted_in_any_file(catalogue: Catalogue, tmp_path: Path) -> None:
    secret = b"0123456789abcdef" * 4
    with catalogue.writing() as connection:
        connection.execute(insert(tenants), {**tenant_row(), "tag": secret})
    assert secret in files_below(tmp_path)
    with catalogue.writing() as connection:
        connection.execute(tenants.delete())
    assert catalogue.scrub()
    assert secret not in files_below(tmp_path)


def test_only_a_database_on_another_machine_has_a_clock_of_its_own(catalogue: Catalogue, database: str) -> None:
    assert catalogue.clock() is None
    if database == "postgresql":
        catalogue._database.is_local = False  # type: ignore[attr-defined]  # as if it were elsewhere
        told = catalogue.clock()
        assert told is not None and abs(told - time.time()) < 5
