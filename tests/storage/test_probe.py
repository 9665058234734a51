"""The probe opens what lives and nothing of what was erased, whatever is put together of before and today."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from storage.errors import NotFound
from storage.model import CallId, TenantId, new_id
from storage.probe import Proof, Today, prove
from storage.recordings import Recordings
from storage.records import Identifier, NewCall
from tests.storage.backup.drill import back_up, erase
from tests.storage.stores import audio_of, copy_data, open_at, save_call, spool, stored_call

NUMBER, OTHER = Identifier("number", "+31201234567"), Identifier("number", "+31207654321")


def proof_of(root: Path, new: NewCall, *backups: str, identifiers: tuple[Identifier, ...] = (NUMBER,)) -> Proof:
    """With everything of today, and these backups or copies."""
    data = root / "data"
    today = Today(data, f"file:{root}/keys", f"file:{data}/objects", f"file:{root}/data-witness")
    return prove(new.call, [root / name for name in backups], today, identifiers=identifiers)


def assert_proved(proof: Proof) -> None:
    assert proof.opened == []
    assert proof.control is not None
    assert any("recording" in line for line in proof.control_opened)
    assert any("key" in line for line in proof.control_opened)
    assert proof.holds


def test_a_living_call_opens_by_every_way(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    new = stored_call(store, tenant)
    store.identify(new, [NUMBER])
    copy_data(tmp_path, "copy")
    proof = proof_of(tmp_path, new, "copy")
    for way in ("key", "document", "recording", "identifiers"):
        assert any(line.endswith(way) for line in proof.opened), way
    assert "number: a tag tells the number" in proof.opened
    assert not proof.holds
    assert "number: a tag tells the number" not in proof_of(tmp_path, new, "copy", identifiers=(OTHER,)).opened


def test_up_14_nothing_opens_an_erased_call(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    erased, _living = stored_call(store, tenant), stored_call(store, tenant)
    store.identify(erased, [NUMBER])
    copy_data(tmp_path, "copy")
    back_up(store, tmp_path)
    erase(store, erased)
    proof = proof_of(tmp_path, erased, "copy", "backup")
    assert_proved(proof)
    assert all(
        proof.tried[what] for what in ("epoch secrets", "buckets", "nodes", "artefact keys", "documents", "tags")
    )
    assert proof.found["databases"] >= 4
    assert proof.found["rows of batches"] > 0
    assert f"nothing of call {erased.call} opens" in proof.lines()


def test_up_14_nothing_opens_it_after_several_epochs_and_backups(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    erased, _living = stored_call(store, tenant), stored_call(store, tenant)
    back_up(store, tmp_path)
    erase(store, save_call(store, tenant))
    copy_data(tmp_path, "between")
    back_up(store, tmp_path)
    erase(store, erased)
    copy_data(tmp_path, "after")
    erase(store, save_call(store, tenant))
    assert_proved(proof_of(tmp_path, erased, "backup", "between", "after"))


def test_up_14_nothing_opens_what_was_only_in_the_spool(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    live, _living = save_call(store, tenant), stored_call(store, tenant)
    spool(store, [(audio_of(live)[0], [b"not uploaded"])])
    back_up(store, tmp_path)
    before = proof_of(tmp_path, live, "backup")
    assert f"audio {audio_of(live)[0].ref.artefact}: spool" in before.opened
    erase(store, live)
    after = proof_of(tmp_path, live, "backup")
    assert_proved(after)
    assert after.tried["spool records"] > 0


def test_the_old_keyring_opens_it_and_the_probe_says_so(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    """The control of all others: what keeps it from opening is that the key is destroyed, and nothing else."""
    erased, _living = stored_call(store, tenant), stored_call(store, tenant)
    copy_data(tmp_path, "copy")
    shutil.copytree(tmp_path / "keys", tmp_path / "old")
    erase(store, erased)
    data = tmp_path / "data"
    today = Today(data, f"file:{tmp_path}/old", f"file:{data}/objects", f"file:{tmp_path}/data-witness")
    proof = prove(erased.call, [tmp_path / "copy"], today)
    assert {line.split()[1][:-1] for line in proof.opened} == {artefact.ref.artefact for artefact in erased.artefacts}
    assert not proof.holds


def test_a_key_that_was_not_destroyed_is_found_in_bytes_that_no_query_reaches(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    """Rows that were deleted without being overwritten are carved out of the file."""
    import sqlite3

    new = stored_call(store, tenant)
    copy_data(tmp_path, "copy")
    connection = sqlite3.connect(tmp_path / "copy" / "catalogue.sqlite3")
    connection.executescript(
        "PRAGMA secure_delete=OFF; PRAGMA foreign_keys=OFF;"
        "DELETE FROM artefact_keys; DELETE FROM nodes; DELETE FROM buckets; PRAGMA wal_checkpoint(TRUNCATE);"
    )
    connection.close()
    alone = tmp_path / "alone"
    (tmp_path / "copy").rename(alone)
    for log in alone.glob("catalogue.sqlite3-*"):
        log.unlink()
    proof = prove(new.call, [alone], None, provider_url=f"file:{tmp_path}/keys")
    assert proof.found["carved"] > 0
    assert any(line.endswith("key") for line in proof.opened)


def test_a_backup_that_does_not_know_the_call_proves_nothing(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    stored_call(store, tenant)
    copy_data(tmp_path, "copy")
    later = stored_call(store, tenant)
    for call in (later.call, CallId(new_id())):
        with pytest.raises(NotFound, match="nothing is proved"):
            prove(call, [tmp_path / "copy"], None, provider_url=f"file:{tmp_path}/keys")


def test_the_probe_changes_no_byte_of_what_it_reads(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    erased = stored_call(store, tenant)
    copy_data(tmp_path, "copy")
    erase(store, erased)
    before = {path: path.read_bytes() for path in (tmp_path / "copy").rglob("*") if path.is_file()}
    proof_of(tmp_path, erased, "copy")
    assert {path: path.read_bytes() for path in (tmp_path / "copy").rglob("*") if path.is_file()} == before


def test_a_restored_store_is_proved_as_well(tmp_path: Path) -> None:
    from tests.storage.backup.drill import lose, restore_at

    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        erased, _living = stored_call(store, tenant), stored_call(store, tenant)
        back_up(store, tmp_path)
        erase(store, erased)
    lose(tmp_path)
    restore_at(tmp_path)
    with open_at(tmp_path) as store:
        store.resume_erasures()
    assert_proved(proof_of(tmp_path, erased, "backup"))
