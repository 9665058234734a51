"""The restore drill (UP-14): what lives comes back whole, what was erased does not, whatever the backup holds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from storage.backup.restore import heads_of
from storage.erasure import Step
from storage.errors import DataError, NotFound, NotReady, Refused, RolledBack, Tampered, Unavailable
from storage.model import TenantId
from storage.recordings import Recordings
from storage.records import Identifier
from tests.storage.backup.drill import back_up, erase, is_gone, is_whole, lose, restore_at
from tests.storage.killing import die, killed_at, killed_in
from tests.storage.stores import audio_of, copy_data, open_at, save_call, spool, stored_call, upload

NUMBER, OTHER = Identifier("number", "+31201234567"), Identifier("number", "+31207654321")


def test_up_14_restored_backup_cannot_open_erased_call(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        erased, living, neighbour = (stored_call(store, tenant) for _ in range(3))
        for call in (erased, living):
            store.identify(call, [NUMBER])
        back_up(store, tmp_path)
        erase(store, erased)
        erase(store, *(save_call(store, tenant) for _ in range(2)))  # more epochs, of calls that no backup has
        certificate = store.certificate(tenant, erased.call)
    lose(tmp_path)
    restored = restore_at(tmp_path)
    assert (restored.calls_whole, restored.calls_erased, restored.calls_lost) == (2, 1, 2)
    with open_at(tmp_path) as store:
        assert is_whole(store, living)
        assert is_whole(store, neighbour)
        assert is_gone(store, erased)
        store.resume_erasures()
        assert is_whole(store, living)
        assert is_gone(store, erased)
        assert [record.id for record in store.find(tenant, [NUMBER])] == [living.call]
        assert store.certificate(tenant, erased.call) == certificate
        assert not list(store.objects.list(f"{tenant}/{erased.call}/"))
        assert store.manifest(tenant, living.call)
        store.check()


def test_ip_12_a_backup_from_before_a_rotation_restores_with_the_keys_of_today(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        erased, living = stored_call(store, tenant), stored_call(store, tenant)
        back_up(store, tmp_path)
        store.erasures.rotate(tenant)
        erase(store, erased)
        store.erasures.rotate(tenant)
    lose(tmp_path)
    restore_at(tmp_path)
    with open_at(tmp_path) as store:
        store.resume_erasures()
        assert store.resume_erasures() == 0
        assert is_whole(store, living)
        assert is_gone(store, erased)
        store.erasures.rotate(tenant)
        assert is_whole(store, living)
        store.check()


def test_up_14_the_restored_store_goes_on_and_can_be_backed_up_and_lost_again(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        first = stored_call(store, tenant)
        back_up(store, tmp_path)
        erase(store, save_call(store, tenant))
    lose(tmp_path)
    restore_at(tmp_path)
    with open_at(tmp_path) as store:
        store.resume_erasures()
        second, doomed = stored_call(store, tenant), stored_call(store, tenant)
        back_up(store, tmp_path)
        erase(store, doomed)
    lose(tmp_path)
    assert restore_at(tmp_path).calls_whole == 2
    with open_at(tmp_path) as store:
        assert (is_whole(store, first), is_whole(store, second), is_gone(store, doomed)) == (True, True, True)
        erase(store, first)
        assert (is_gone(store, first), is_whole(store, second)) == (True, True)


def test_up_14_an_older_version_restores_as_well_as_the_newest(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        living, erased = stored_call(store, tenant), stored_call(store, tenant)
        oldest = back_up(store, tmp_path)
        erase(store, erased)
        later = stored_call(store, tenant)
        back_up(store, tmp_path)
        erase(store, save_call(store, tenant))
    lose(tmp_path)
    restore_at(tmp_path, oldest)
    with open_at(tmp_path) as store:
        assert (is_whole(store, living), is_gone(store, erased)) == (True, True)
        with pytest.raises(NotFound):
            store.call(tenant, later.call)


def test_what_is_in_the_spool_comes_back(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        live = save_call(store, tenant)
        spool(store, [(audio_of(live)[0], [b"not uploaded"])])
        back_up(store, tmp_path)
    lose(tmp_path)
    restore_at(tmp_path)
    with open_at(tmp_path) as store, store.stream(tenant, audio_of(live)[0].ref.artefact) as stream:
        assert list(stream.read()) == [b"not uploaded"]


def test_an_erasure_that_was_under_way_is_finished_by_the_next_start(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        erased, living = stored_call(store, tenant), stored_call(store, tenant)
        back_up(store, tmp_path)
    for step in [step for step in Step if step is not Step.SWEEP]:
        killed_at(step, tmp_path, lambda store: erase(store, erased))  # noqa: B023  # done before the next
        lose(tmp_path)
        restore_at(tmp_path)
        with open_at(tmp_path) as store:
            assert (is_gone(store, erased), is_whole(store, living)) == (True, True)
        if step is not Step.DONE:
            lose(tmp_path)  # and once more, before anybody has gone on with it
            restore_at(tmp_path)
        with open_at(tmp_path) as store:
            store.resume_erasures()
            assert store.certificate(tenant, erased.call)
            assert (is_gone(store, erased), is_whole(store, living)) == (True, True)
            erased, living = stored_call(store, tenant), stored_call(store, tenant)
            back_up(store, tmp_path)
    left = {path.name for path in (tmp_path / "keys").glob("*-content-*.key")}
    assert len(left) == 1  # every key that wrapped one of them is destroyed


# What is refused.


def test_up_14_a_restored_copy_is_refused_at_the_start(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    erased = stored_call(store, tenant)
    copy_data(tmp_path, "copy")
    erase(store, erased)
    with pytest.raises(RolledBack, match="callvault restore"):
        Recordings.open(
            tmp_path / "copy",
            f"file:{tmp_path}/keys",
            f"file:{tmp_path}/copy/objects",
            node="n1",
            witness=f"file:{tmp_path}/data-witness",
        )


def test_up_14_a_backup_without_its_witness_is_refused(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        erased = stored_call(store, store.tenant("acme"))
        back_up(store, tmp_path)
        erase(store, erased)
    lose(tmp_path)
    with pytest.raises(RolledBack, match=r"store\.witness"):
        restore_at(tmp_path, witness="nowhere")
    _refused(tmp_path)


def test_a_backup_is_not_made_while_the_witness_is_away(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    stored_call(store, tenant)
    (tmp_path / "data-witness").rename(tmp_path / "aside") if (tmp_path / "data-witness").exists() else None
    (tmp_path / "data-witness").symlink_to(tmp_path / "data-witness")  # a folder that not even root can enter
    with pytest.raises(Unavailable):
        back_up(store, tmp_path)
    with pytest.raises(NotFound):
        restore_at(tmp_path)


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        back_up(store, tmp_path)
    with pytest.raises(Refused, match="not empty"):
        restore_at(tmp_path)


def test_a_keyring_of_another_installation_is_refused(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        back_up(store, tmp_path)
    lose(tmp_path)
    with pytest.raises(Unavailable, match="keyring"):
        restore_at(tmp_path, keys="others")


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To copy: a backup, an erasure after it with a batch of keys in the witness, and the data folder gone."""
    root = tmp_path_factory.mktemp("lost")
    with open_at(root) as store:
        tenant = store.tenant("acme")
        erased, _living = stored_call(store, tenant), stored_call(store, tenant)
        back_up(store, root)
        erase(store, erased)
    lose(root)
    return root


@pytest.fixture
def prepared(lost: Path, tmp_path: Path) -> Path:
    """A copy of it in the test's own folder."""
    shutil.copytree(lost, tmp_path, dirs_exist_ok=True)
    return tmp_path


def _refused(root: Path) -> None:
    """Nothing is served, nothing was put in place; in an emptied folder it can be tried again."""
    assert not (root / "data" / "catalogue.sqlite3").exists()
    with pytest.raises(NotReady, match="empty it"):
        open_at(root)
    lose(root)


def _entry(root: Path, number: int) -> Path:
    return root / "data-witness" / "ledger" / f"{number:012d}"


def _newest(root: Path) -> int:
    return max(int(path.name) for path in (root / "data-witness" / "ledger").iterdir())


def _part(root: Path) -> Path:
    (found,) = (path for path in (root / "data-witness" / "keys").rglob("*") if path.is_file())
    return found


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("what", ["changed", "swapped", "removed", "cut", "reordered"])
@pytest.mark.usefixtures("prepared")
def test_up_14_a_forged_ledger_in_the_witness_is_told(tmp_path: Path, what: str) -> None:
    before = {path: path.read_bytes() for path in (tmp_path / "data-witness").rglob("*") if path.is_file()}
    entry, following = _entry(tmp_path, 3), _entry(tmp_path, 4)
    if what == "changed":
        entry.write_bytes(entry.read_bytes().replace(b"Art. 17(1)(a)", b"Art. 17(1)(b)").replace(b'"n":1', b'"n":2'))
        if entry.read_bytes() == before[entry]:
            _flip(entry)
    elif what == "swapped":
        entry.write_bytes(following.read_bytes())
    elif what == "removed":
        entry.unlink()
    elif what == "cut":
        entry.write_bytes(entry.read_bytes()[:-10])
    else:
        one, two = entry.read_bytes(), following.read_bytes()
        entry.write_bytes(two)
        following.write_bytes(one)
    with pytest.raises(DataError):
        restore_at(tmp_path)
    _refused(tmp_path)
    for path, data in before.items():
        path.write_bytes(data)
    assert restore_at(tmp_path).calls_whole == 1


@pytest.mark.parametrize(("what", "error"), [("changed", Tampered), ("cut", Tampered), ("removed", RolledBack)])
@pytest.mark.usefixtures("prepared")
def test_up_14_a_key_batch_that_is_not_the_ledgers_is_told(tmp_path: Path, what: str, error: type[DataError]) -> None:
    part = _part(tmp_path)
    kept = part.read_bytes()
    if what == "changed":
        _flip(part)
    elif what == "cut":
        part.write_bytes(kept[:-10])
    else:
        part.unlink()
    with pytest.raises(error):
        restore_at(tmp_path)
    _refused(tmp_path)
    part.write_bytes(kept)
    assert restore_at(tmp_path).calls_whole == 1


def test_up_14_a_swapped_key_batch_is_told(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        doomed, _living = [stored_call(store, tenant) for _ in range(2)], stored_call(store, tenant)
        back_up(store, tmp_path)
        erase(store, *doomed)
    lose(tmp_path)
    one, two = (path for path in (tmp_path / "data-witness" / "keys").rglob("*") if path.is_file())
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)
    with pytest.raises(Tampered):
        restore_at(tmp_path)
    _refused(tmp_path)


@pytest.mark.usefixtures("prepared")
def test_up_14_a_ledger_that_ends_before_a_head_that_somebody_kept_is_refused(tmp_path: Path) -> None:
    newest = _newest(tmp_path)
    receipt = heads_of(_entry(tmp_path, newest).read_bytes())
    for number in range(newest, newest - 3, -1):  # an old copy of the witness
        _entry(tmp_path, number).unlink()
    with pytest.raises(RolledBack, match="somebody has seen"):
        restore_at(tmp_path, heads=receipt)
    _refused(tmp_path)


def test_an_entry_of_a_type_that_nobody_knows_ends_the_restore(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        back_up(store, tmp_path)
        source = store.safekeeping._source
        with source.catalogue.writing() as connection:
            source.ledger.append(connection, "from_the_future", 0.0, {})
        assert store.safekeeping.tell_witness()
    lose(tmp_path)
    with pytest.raises(DataError, match="from_the_future"):
        restore_at(tmp_path)


def test_a_backup_whose_files_were_changed_is_told(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        folder = back_up(store, tmp_path)
    lose(tmp_path)
    for name in ("catalogue.sqlite3", "manifest.json"):
        kept = (folder / name).read_bytes()
        _flip(folder / name)
        with pytest.raises(DataError):
            restore_at(tmp_path)
        (folder / name).write_bytes(kept)
        if (tmp_path / "data").exists():
            lose(tmp_path)
    restore_at(tmp_path)


# Crashes.


def _restore_killed_at(root: Path, step: str) -> None:
    killed_in(lambda: restore_at(root, on_step=lambda at: die() if at == step else None))


def test_up_14_killed_in_the_middle_it_is_begun_again(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        erased, living = stored_call(store, tenant), stored_call(store, tenant)
        back_up(store, tmp_path)
        erase(store, erased)
    lose(tmp_path)
    for step in ("copy", "ledger", "objects", "keys", "signed"):
        _restore_killed_at(tmp_path, step)
        with pytest.raises(Refused):
            restore_at(tmp_path)
        _refused(tmp_path)
    restore_at(tmp_path)
    with open_at(tmp_path) as store:
        assert (is_gone(store, erased), is_whole(store, living)) == (True, True)


def test_uploads_go_on_after_a_restore(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        live = save_call(store, tenant)
        spool(store, [(artefact, [b"audio"] * 3) for artefact in audio_of(live)])
        back_up(store, tmp_path)
    lose(tmp_path)
    restore_at(tmp_path)
    with open_at(tmp_path) as store:
        upload(store)
        for artefact in audio_of(live):
            with store.stream(tenant, artefact.ref.artefact) as stream:
                assert list(stream.read()) == [b"audio"] * 3
