"""The catalogue on a server: who may connect, one writer and one holder of a lock, and what is said when it is away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text, update

from storage.catalogue import Catalogue, check_database
from storage.databases import postgresql
from storage.errors import AlreadyExists, Unavailable
from storage.locks import check_turn, tenant_lock
from storage.model import TenantId, new_id
from storage.tables import metadata, tenants
from tests.storage.postgres import PASSWORD, Cluster, cluster, needs_postgres
from tests.storage.stores import catalogue_at, catalogue_url, put_catalogue

pytestmark = needs_postgres


@pytest.fixture
def root(tmp_path: Path, postgres: Cluster) -> Iterator[Path]:
    put_catalogue(tmp_path, postgres)
    yield tmp_path
    postgres.drop()


@pytest.fixture
def catalogue(root: Path) -> Iterator[Catalogue]:
    opened = catalogue_at(root)
    yield opened
    opened.close()


def make_tenant(catalogue: Catalogue) -> TenantId:
    tenant = TenantId(new_id())
    with catalogue.writing() as connection:
        connection.execute(insert(tenants), {"id": tenant, "tag": tenant.encode(), "fence": 0, "turn": 0})
    return tenant


def test_without_the_setting_no_empty_catalogue_takes_its_place(root: Path, catalogue: Catalogue) -> None:
    make_tenant(catalogue)
    with pytest.raises(Unavailable, match=r"store\.catalogue must name it"):
        Catalogue(root / "data")


def test_a_password_comes_from_a_file_that_nobody_else_reads(root: Path, postgres: Cluster) -> None:
    passfile, database = root / "pass", postgres.fresh()
    url = postgres.url_by_tcp(database, f"passfile={passfile}")
    (root / "folder").mkdir()
    with pytest.raises(Unavailable, match="passfile cannot be read"):
        Catalogue(root / "folder", url)
    passfile.write_text(f"127.0.0.1:*:*:*:{PASSWORD}\n")
    passfile.chmod(0o640)
    with pytest.raises(Unavailable, match="chmod 600"):
        check_database(url, root / "folder")
    passfile.chmod(0o600)
    Catalogue(root / "folder", url).close()
    passfile.write_text("127.0.0.1:*:*:*:another secret\n")
    with pytest.raises(Unavailable, match="password authentication failed") as caught:
        Catalogue(root / "folder", url)
    assert "secret" not in str(caught.value)


def test_a_server_that_is_away_is_unavailable_and_named_by_its_setting(root: Path) -> None:
    with pytest.raises(Unavailable, match=r"store\.catalogue"):
        check_database(f"postgresql:///calls?host={root}", root / "data")


def test_what_it_promises_does_not_hang_on_the_servers_configuration(catalogue: Catalogue) -> None:
    shown = {}
    for transaction in (catalogue.reading, catalogue.writing):
        with transaction() as connection:
            names = ("synchronous_commit", "transaction_isolation", "transaction_read_only", "lock_timeout")
            shown[transaction.__name__] = [connection.scalar(text(f"SHOW {name}")) for name in names]
    assert shown == {
        "reading": ["on", "repeatable read", "on", "20s"],
        "writing": ["on", "read committed", "off", "20s"],
    }


def test_an_error_shows_no_value_of_a_row(catalogue: Catalogue) -> None:
    tenant = make_tenant(catalogue)
    row = {"id": tenant, "tag": b"another", "fence": 0, "turn": 0}
    with pytest.raises(AlreadyExists) as caught, catalogue.writing() as connection:
        connection.execute(insert(tenants), row)
    assert tenant not in str(caught.value)


def test_numbers_of_rows_have_64_bits(catalogue: Catalogue) -> None:
    with catalogue.reading() as connection:
        types = connection.execute(
            text("SELECT table_name, data_type FROM information_schema.columns WHERE column_name = 'serial'")
        ).all()
    assert len(types) == len([table for table in metadata.tables.values() if "serial" in table.c])
    assert {of for _, of in types} == {"bigint"}


# Writers.


def test_a_writer_sees_what_the_one_before_it_has_committed(root: Path, catalogue: Catalogue) -> None:
    """It begins while the other still writes: its snapshot must not be from then."""
    tenant, second = make_tenant(catalogue), catalogue_at(root)
    seen: list[int | None] = []

    def read() -> None:
        with second.writing() as connection:
            seen.append(connection.scalar(select(tenants.c.fence).where(tenants.c.id == tenant)))

    with catalogue.writing() as connection:
        waiting = threading.Thread(target=read)
        waiting.start()
        time.sleep(0.3)
        connection.execute(update(tenants).values(fence=7))
        assert seen == []
    waiting.join()
    second.close()
    assert seen == [7]


def test_a_writer_that_waits_too_long_is_told_so(
    root: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgresql._SETTINGS, "lock_timeout", "100ms")
    second = catalogue_at(root)
    with (
        catalogue.writing(),
        pytest.raises(Unavailable, match="somebody else has written"),
        second.writing(),
    ):
        pass
    second.close()


_FREEZE = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import update
from storage.databases import postgresql
from storage.errors import Unavailable
from storage.tables import tenants
from tests.storage.stores import catalogue_at

postgresql._SETTINGS["idle_in_transaction_session_timeout"] = "500ms"
catalogue = catalogue_at(Path(sys.argv[1]))
try:
    with catalogue.writing() as connection:
        connection.execute(update(tenants).values(fence=99))
        os.kill(os.getpid(), signal.SIGSTOP)
except Unavailable:
    print("refused", flush=True)
catalogue.close()
"""


def test_a_frozen_writer_loses_its_lock_and_writes_nothing(root: Path, catalogue: Catalogue) -> None:
    make_tenant(catalogue)
    command = [sys.executable, "-c", _FREEZE, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        with catalogue.writing() as connection:  # waits until the server has ended the other's transaction
            assert connection.scalar(select(tenants.c.fence)) == 0
        child.send_signal(signal.SIGCONT)
        assert child.stdout is not None
        assert child.stdout.read() == "refused\n"


def test_a_server_that_was_restarted_is_not_noticed(tmp_path: Path) -> None:
    with cluster() as server:
        put_catalogue(tmp_path, server)
        catalogue = catalogue_at(tmp_path)
        tenant = make_tenant(catalogue)
        with pytest.raises(Unavailable), catalogue.writing() as connection:
            server.stop(signal.SIGQUIT)
            connection.execute(update(tenants).values(fence=1))
        with pytest.raises(Unavailable), catalogue.reading():
            pass
        server.start()
        for _ in range(2):
            with catalogue.writing() as connection:
                connection.execute(update(tenants).values(fence=tenants.c.fence + 1))
            server.stop()
            server.start()
        with catalogue.reading() as connection:
            assert connection.execute(select(tenants.c.id, tenants.c.fence)).all() == [(tenant, 2)]
        catalogue.close()


# The lock of a tenant's keys.


def test_machines_that_share_no_folder_exclude_each_other(root: Path, catalogue: Catalogue) -> None:
    tenant = make_tenant(catalogue)
    (root / "another").mkdir()
    other = Catalogue(root / "another", catalogue_url(root))
    with (
        tenant_lock(catalogue, root / "locks", tenant),
        pytest.raises(Unavailable, match="held by somebody else"),
        other.exclusive(tenant, root / "another", 0.1, "held by somebody else"),
    ):
        pass
    with tenant_lock(other, root / "another", tenant) as turn:
        assert turn == 2
    assert not (root / "locks").exists()
    other.close()


def test_a_lost_connection_is_a_lost_lock_and_its_holder_writes_nothing(
    root: Path, catalogue: Catalogue, postgres: Cluster
) -> None:
    tenant, other = make_tenant(catalogue), catalogue_at(root)
    with tenant_lock(catalogue, root, tenant) as turn:
        with catalogue.writing() as connection:
            check_turn(connection, tenant, turn)
        cut = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1"
        with postgres.connected("postgres") as administrator:
            assert administrator.execute(cut).fetchall() == [(True,)]
        with tenant_lock(other, root, tenant):  # taken, as the holder will never know
            pass
        with pytest.raises(Unavailable, match="was lost"), catalogue.writing() as connection:
            check_turn(connection, tenant, turn)
    other.close()


def test_locks_wanted_by_many_threads_do_not_starve_their_holder(root: Path, catalogue: Catalogue) -> None:
    tenant = make_tenant(catalogue)
    turns: list[int] = []

    def take() -> None:
        with tenant_lock(catalogue, root, tenant) as turn:
            turns.append(turn)

    threads = [threading.Thread(target=take) for _ in range(40)]  # more than the pool has connections
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert turns == list(range(1, 41))


def test_scrubbing_works_beside_readers(catalogue: Catalogue) -> None:
    with catalogue.reading() as connection:
        connection.scalar(select(tenants.c.id))
        assert catalogue.scrub()
