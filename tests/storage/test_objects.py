"""One suite for every object store. A new backend gets a row in `BACKENDS`."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from minio.versioningconfig import VersioningConfig

from benchmarks.stores import StoreServer, juicefs
from storage.errors import AlreadyExists, Malformed, NotFound, StoreError, Unavailable
from storage.model import new_id
from storage.objects import ObjectInfo, ObjectStore, open_store
from storage.objects.folder import FolderStore
from tests.storage.servers import moto

Fixture = Callable[[str], StoreServer]


def in_folder(_server: Fixture, tmp_path: Path) -> str:
    return f"file:{tmp_path / 'objects'}"


def in_bucket_with_versions(server: Fixture, _tmp_path: Path) -> str:
    url = server("moto_server").bucket("versions", new_id())
    server("moto_server").client.set_bucket_versioning("versions", VersioningConfig("Enabled"))
    return url


def in_juicefs(server: Fixture, _tmp_path: Path) -> str:
    return server("juicefs_server").bucket("plain", new_id())


BACKENDS: dict[str, Callable[[Fixture, Path], str]] = {
    "folder": in_folder,
    "moto with versions": in_bucket_with_versions,
    "juicefs": in_juicefs,
}


@pytest.fixture(scope="module")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="module")
def juicefs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with juicefs(tmp_path_factory.mktemp("juicefs")) as server:
        yield server


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty one; the server behind it is the module's."""
    return open_store(BACKENDS[request.param](request.getfixturevalue, tmp_path))


def test_what_was_put_is_got(store: ObjectStore) -> None:
    data = os.urandom(1 << 20)
    store.put("a/b/c", data)
    store.put("a/b/empty", b"")
    assert store.get("a/b/c") == data
    assert store.get("a/b/empty") == b""


def test_range_is_cut_to_the_object(store: ObjectStore) -> None:
    store.put("a", b"0123456789")
    assert store.get("a", 3) == b"3456789"
    assert store.get("a", 3, 4) == b"3456"
    assert store.get("a", 8, 100) == b"89"
    assert store.get("a", 10, 5) == store.get("a", 99) == store.get("a", 2, 0) == b""


def test_object_is_written_once(store: ObjectStore) -> None:
    store.put("a/b", b"first")
    with pytest.raises(AlreadyExists):
        store.put("a/b", b"second")
    assert store.get("a/b") == b"first"
    assert list(store.list()) == [ObjectInfo("a/b", 5)]


def test_deleted_object_is_gone_and_its_name_free(store: ObjectStore) -> None:
    store.put("a/b/c", b"data")
    store.delete("a/b/c")
    store.delete("a/b/c")
    store.delete("never/there")
    with pytest.raises(NotFound):
        store.get("a/b/c")
    assert list(store.list()) == []
    store.put("a/b/c", b"again")
    assert store.get("a/b/c") == b"again"


def test_deleting_gives_nothing_back_where_nothing_is_locked(store: ObjectStore) -> None:
    store.put("a/b", b"data")
    assert list(store.delete("a/b")) == []
    assert list(store.delete("a/b")) == []


def test_purge_removes_all_below_a_prefix_and_nothing_else(store: ObjectStore) -> None:
    for name in ("a/1/x", "a/1/y", "a/12", "b"):
        store.put(name, b"data")
    purged = store.purge("a/1/")
    assert (purged.objects, list(purged.kept)) == (2, [])
    assert sorted(info.name for info in store.list()) == ["a/12", "b"]
    assert store.purge("a/1/").objects == 0


def test_unknown_object_is_not_found(store: ObjectStore) -> None:
    store.put("a/b", b"data")
    for name in ("b", "a", "a/b/c", "a/bb"):
        with pytest.raises((NotFound, Unavailable)):
            store.get(name)


def test_listing_gives_all_names_with_a_prefix(store: ObjectStore) -> None:
    names = ["a/1/x", "a/1/y", "a/2/x", "ab/1/x", "b"]
    for number, name in enumerate(names):
        store.put(name, bytes(number))
    for prefix in ("", "a", "a/", "a/1", "a/1/", "a/1/x", "b", "c", "a/3/"):
        expected = [ObjectInfo(name, number) for number, name in enumerate(names) if name.startswith(prefix)]
        assert sorted(store.list(prefix)) == sorted(expected)


def test_folder_that_others_may_read_is_told(tmp_path: Path) -> None:
    store = open_store(f"file:{tmp_path / 'objects'}")
    assert list(store.examine()) == []
    (tmp_path / "objects").chmod(0o755)
    assert [finding.code for finding in store.examine()] == ["store-open-folder"]


@pytest.mark.parametrize(
    "name",
    ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.b", "A", "a b", "a\n", "a\0", "a" * 65, "a/" * 8 + "a"],
)
def test_what_is_no_name_is_refused_everywhere(store: ObjectStore, name: str) -> None:
    for call in (lambda: store.put(name, b""), lambda: store.get(name), lambda: store.delete(name)):
        with pytest.raises(Malformed):
            call()


def test_of_many_writers_of_one_name_one_wins(tmp_path: Path) -> None:
    """In a folder. Of the S3 servers here one ignores the condition and one checks it before it takes a lock."""
    store = open_store(f"file:{tmp_path}")
    outcomes: list[str] = []

    def put(number: int) -> None:
        try:
            store.put("a/b", b"%d" % number * 1000)
            outcomes.append("stored")
        except AlreadyExists:
            outcomes.append("refused")

    run_together(put, 8)
    assert sorted(outcomes) == ["refused"] * 7 + ["stored"]
    assert len(set(store.get("a/b"))) == 1


def test_writers_and_deleters_in_one_folder_do_not_disturb_each_other(store: ObjectStore) -> None:
    failures: list[StoreError] = []
    rounds = 20 if isinstance(store, FolderStore) else 4  # in a bucket there are no folders to make and sweep

    def churn(number: int) -> None:
        try:
            for _ in range(rounds):
                store.put(f"a/b/{number}", b"data")
                assert store.get(f"a/b/{number}") == b"data"
                store.delete(f"a/b/{number}")
        except StoreError as error:
            failures.append(error)

    run_together(churn, 4)
    assert failures == []
    assert list(store.list()) == []


def test_check_of_a_usable_store_says_nothing(store: ObjectStore) -> None:
    store.check()
    store.put("a", b"")
    store.check()
    assert list(store.list()) == [ObjectInfo("a", 0)]


def test_a_new_store_is_not_refused(store: ObjectStore) -> None:
    assert [finding.code for finding in store.examine() if finding.refuse] == []


def run_together(call: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=call, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_unusable_folder_is_unavailable_and_says_what_mends_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = open_store(f"file:{tmp_path / 'file'}")
    with pytest.raises(Unavailable, match="make it a folder"):
        store.check()
    with pytest.raises(Unavailable):
        store.put("a", b"")


def test_leftovers_of_dead_writers_are_swept_and_never_listed(tmp_path: Path) -> None:
    store = open_store(f"file:{tmp_path}")
    store.put("a", b"data")
    old, young = tmp_path / ".incoming" / "old", tmp_path / ".incoming" / "young"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    store.check()
    assert (old.exists(), young.exists()) == (False, True)
    assert list(store.list()) == [ObjectInfo("a", 4)]


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    store = open_store(f"file:{tmp_path / 'objects'}")
    store.put("a/b", b"data")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "objects").rglob("*")}
    assert modes == {"a": 0o700, "b": 0o600, ".incoming": 0o700}


@pytest.mark.parametrize("url", ["", "objects", "file:relative", "ftp://host/objects", "s3:", "S3://host/bucket"])
def test_url_that_names_no_store_is_malformed(url: str) -> None:
    with pytest.raises(Malformed):
        open_store(url)


def test_what_somebody_else_put_there_is_told_apart_from_ours(store: ObjectStore, tmp_path: Path) -> None:
    store.check()
    store.put("a/b/c", b"ours")
    assert list(store.foreign()) == []
    if isinstance(store, FolderStore):
        (tmp_path / "objects" / "a" / "Call 1.WAV").write_bytes(b"theirs")
    else:
        store._s3.put(store._prefix + "a/Call 1.WAV", b"theirs")  # type: ignore[attr-defined]  # behind its back
    assert list(store.foreign()) == [ObjectInfo("a/Call 1.WAV", 6)]
    assert list(store.list()) == [ObjectInfo("a/b/c", 4)]
