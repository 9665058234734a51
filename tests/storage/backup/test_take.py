"""A backup is one moment, whatever goes on meanwhile; a second one copies what is new, and nothing holds a key."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from storage.backup import take as taking
from storage.backup.layout import Version, versions
from storage.model import TenantId
from storage.recordings import Recordings
from tests.storage.backup.drill import back_up, erase, is_whole, lose, restore_at
from tests.storage.stores import files_below, open_at, save_call, stored_call


def test_a_second_version_shares_the_objects_of_the_first(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    stored_call(store, tenant)
    first = store.safekeeping.back_up(tmp_path / "backup")
    stored_call(store, tenant)
    second = store.safekeeping.back_up(tmp_path / "backup")
    assert (first.objects.copied, second.objects.named, second.objects.copied) == (2, 4, 2)
    assert versions(tmp_path / "backup") == [first.version.folder, second.version.folder]
    Version.open(tmp_path / "backup").check()


def test_objects_that_no_version_names_any_more_go(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    erased, _living = stored_call(store, tenant), stored_call(store, tenant)
    first = back_up(store, tmp_path)
    erase(store, erased)
    for path in sorted(first.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    first.rmdir()
    taken = store.safekeeping.back_up(tmp_path / "backup")
    assert (taken.forgotten, taken.objects.named) == (2, 2)


def test_no_key_of_the_provider_is_in_it(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    stored_call(store, tenant)
    back_up(store, tmp_path)
    everything = files_below(tmp_path / "backup", tmp_path / "data-witness")
    keys = list((tmp_path / "keys").glob("*.key"))
    assert keys
    for key in keys:
        assert key.read_bytes()[-32:] not in everything


def test_calls_that_go_on_meanwhile_do_not_tear_it(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        calls = [stored_call(store, tenant)]
        stop = threading.Event()

        def go_on() -> None:
            while not stop.is_set():
                calls.append(stored_call(store, tenant))
                erase(store, save_call(store, tenant))

        thread = threading.Thread(target=go_on)
        thread.start()
        time.sleep(1)
        known = list(calls)
        back_up(store, tmp_path)
        stop.set()
        thread.join()
    lose(tmp_path)
    restored = restore_at(tmp_path)
    assert restored.objects_missing == 0
    with open_at(tmp_path) as store:
        assert all(is_whole(store, new) for new in known)


def test_what_was_begun_and_not_finished_is_no_version(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    stored_call(store, tenant)
    (tmp_path / "backup" / ".incoming-0").mkdir(parents=True)
    folder = back_up(store, tmp_path)
    assert versions(tmp_path / "backup") == [folder]
    assert not (tmp_path / "backup" / ".incoming-0").exists()
    assert not list((tmp_path / "data").glob(".backup-*"))


def test_old_batches_go_from_the_witness_and_stay_beside_the_backup(tmp_path: Path) -> None:
    then = time.time() - taking.BATCHES_KEPT.total_seconds() - 60
    with open_at(tmp_path, clock=lambda: then) as store:
        tenant = store.tenant("acme")
        living = stored_call(store, tenant)
        oldest = back_up(store, tmp_path)
        erase(store, save_call(store, tenant))
    with open_at(tmp_path) as store:
        assert store.safekeeping.back_up(tmp_path / "backup").pruned == 1
    assert not [path for path in (tmp_path / "data-witness" / "keys").rglob("*") if path.is_file()]
    lose(tmp_path)
    restore_at(tmp_path, oldest)  # with what stands beside it
    with open_at(tmp_path) as store:
        assert is_whole(store, living)


def test_files_of_a_backup_are_for_nobody_else(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    stored_call(store, tenant)
    os.umask(0o022)
    folder = back_up(store, tmp_path)
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0
    assert folder.stat().st_mode & 0o077 == 0
