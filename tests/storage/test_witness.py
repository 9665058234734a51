"""The witness has every entry of the ledger, and nothing is destroyed without it; an old copy of a store is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.errors import NotReady, RolledBack, Tampered, Unavailable
from storage.model import TenantId
from storage.objects import open_store
from storage.recordings import Recordings
from storage.witness import witness_url
from tests.storage.backup.drill import erase, is_gone, is_whole
from tests.storage.stores import copy_data, open_at, save_call, stored_call


def entries(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "data-witness" / "ledger").iterdir())


@contextmanager
def away(root: Path) -> Iterator[None]:
    """The witness cannot be reached: a folder that not even root can enter."""
    place = root / "data-witness"
    if place.exists():
        place.rename(root / "aside")
    place.symlink_to(place)
    yield
    place.unlink()
    if (root / "aside").exists():
        (root / "aside").rename(place)


def test_every_entry_is_there_as_it_was_signed(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    erase(store, save_call(store, tenant))
    assert store.safekeeping.tell_witness()
    head = store.safekeeping.ledger_head()
    assert head is not None
    assert entries(tmp_path) == [f"{number:012d}" for number in range(1, head["body"]["seq"] + 1)]
    assert [
        entry for entry in entries(tmp_path) if b"+3120" in (tmp_path / "data-witness/ledger" / entry).read_bytes()
    ] == []


def test_without_the_witness_reads_are_refused_and_nothing_is_destroyed(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        new, neighbour = stored_call(store, tenant), stored_call(store, tenant)
        with away(tmp_path):
            with pytest.raises(Unavailable):
                erase(store, new)
            assert is_gone(store, new)
            assert list((tmp_path / "keys").glob("*-content-0.key"))
            assert not store.safekeeping.tell_witness()
            assert is_whole(store, neighbour)
            assert is_whole(store, stored_call(store, tenant))  # calls go on
            with pytest.raises(NotReady):
                store.certificate(tenant, new.call)
            with open_at(tmp_path) as again:  # and so does a start
                assert is_whole(again, neighbour)
        store.resume_erasures()
        assert store.certificate(tenant, new.call)
        assert not list((tmp_path / "keys").glob("*-content-0.key"))


def test_what_the_witness_missed_is_put_at_the_next_start(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        erase(store, save_call(store, tenant))
    for name in entries(tmp_path)[2:]:
        (tmp_path / "data-witness" / "ledger" / name).unlink()
    with open_at(tmp_path) as store:
        head = store.safekeeping.ledger_head()
        assert head is not None
        assert len(entries(tmp_path)) == head["body"]["seq"]


def test_up_14_a_rolled_back_store_is_refused_whatever_was_rolled_back(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        erase(store, save_call(store, tenant))
    copy_data(tmp_path, "old")
    with open_at(tmp_path) as store:
        erase(store, save_call(store, tenant))
    witness = f"file:{tmp_path}/data-witness"
    old = (tmp_path / "old", f"file:{tmp_path}/keys", f"file:{tmp_path}/old/objects")
    for _ in range(2):
        with pytest.raises(RolledBack, match="callvault restore"):
            Recordings.open(*old, node="n1", witness=witness)


def test_another_ledger_under_the_same_witness_is_refused(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        erase(store, save_call(store, store.tenant("acme")))
    (tmp_path / "other").mkdir()
    with open_at(tmp_path / "other") as other:
        erase(other, save_call(other, other.tenant("acme")))
    other_data = tmp_path / "other" / "data"
    with pytest.raises(Tampered, match="another one"):
        Recordings.open(
            other_data,
            f"file:{tmp_path}/other/keys",
            f"file:{other_data}/objects",
            node="n1",
            witness=f"file:{tmp_path}/data-witness",
        )


def test_a_witness_inside_the_data_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="inside the data folder"):
        witness_url(f"file:{tmp_path}/data/witness", tmp_path / "data")
    assert witness_url("", tmp_path / "data") == f"file:{tmp_path}/data-witness"
    assert witness_url("s3://host/bucket", tmp_path / "data") == "s3://host/bucket"


def test_the_last_entry_is_found_across_a_thousand(tmp_path: Path) -> None:
    from storage.witness import Copies

    objects = open_store(f"file:{tmp_path}/witness")
    copies = Copies(objects)
    assert copies.highest(0) == copies.highest(5_000) == 0
    for number in (1, 998, 999, 1000, 1001, 2_500):
        objects.put(f"ledger/{number:012d}", b"{}")
    assert [copies.highest(near) for near in (0, 998, 1001, 2_499, 2_500, 2_600, 9_999)] == [2_500] * 7


# The ledger's key.


def test_a_change_of_key_is_signed_by_both_and_the_ledger_goes_on(tmp_path: Path) -> None:
    from storage.chain import Entry
    from storage.errors import WrongKey
    from storage.ledger import verify_certificate

    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        first, second = save_call(store, tenant), save_call(store, tenant)
        erase(store, first)
        before, pinned = store.certificate(tenant, first.call), store.fingerprint()
        new = store.safekeeping.change_ledger_key()
        with pytest.raises(Unavailable, match="Start again"):
            erase(store, second)
    with open_at(tmp_path) as store:
        assert store.fingerprint() == new != pinned
        erase(store, second)
        store.check()
        after = store.certificate(tenant, second.call)
        changes = [Entry.of(members) for members in store.safekeeping.ledger_key_changes()]
    assert verify_certificate(before, pinned)
    with pytest.raises(WrongKey):
        verify_certificate(after, pinned)
    for certificate in (before, after):
        for fingerprint in (pinned, new):
            assert verify_certificate(certificate, fingerprint, changes)
    with pytest.raises(WrongKey):
        verify_certificate(after, "0" * 64, changes)
    forged = Entry(
        {**changes[0].body, "consent": "0" * 128}, changes[0].previous, changes[0].hash, changes[0].signature
    )
    with pytest.raises(Tampered):
        verify_certificate(after, pinned, [forged])
