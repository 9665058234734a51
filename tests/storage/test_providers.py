"""Every key provider makes, uses and destroys keys alike; the suite runs over each row of `_PROVIDERS`."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.errors import Erased, Malformed, Tampered, Unavailable
from storage.providers import KeyProvider, open_provider

_PROVIDERS: dict[str, Callable[[Path], KeyProvider]] = {
    "file": lambda root: open_provider(f"file:{root}/keys", root / "data"),
}


@pytest.fixture(params=_PROVIDERS)
def provider(request: pytest.FixtureRequest, tmp_path: Path) -> KeyProvider:
    return _PROVIDERS[request.param](tmp_path)


def test_a_key_opens_what_it_wrapped(provider: KeyProvider) -> None:
    provider.create("k-1")
    assert provider.unwrap("k-1", provider.wrap("k-1", b"secret", b"use"), b"use") == b"secret"


def test_creating_a_key_twice_keeps_it(provider: KeyProvider) -> None:
    provider.create("k-1")
    wrapped = provider.wrap("k-1", b"secret", b"")
    provider.create("k-1")
    assert provider.unwrap("k-1", wrapped, b"") == b"secret"


def test_another_use_another_key_and_changed_bytes_are_tampered(provider: KeyProvider) -> None:
    provider.create("k-1")
    provider.create("k-2")
    wrapped = provider.wrap("k-1", b"secret", b"use")
    changed = bytes([wrapped[0] ^ 1]) + wrapped[1:]
    for name, data, aad in [("k-1", wrapped, b"other"), ("k-2", wrapped, b"use"), ("k-1", changed, b"use")]:
        with pytest.raises(Tampered):
            provider.unwrap(name, data, aad)
    with pytest.raises(Tampered):
        provider.unwrap("k-1", b"short", b"use")


def test_a_destroyed_key_is_gone_for_good(provider: KeyProvider) -> None:
    provider.create("k-1")
    wrapped = provider.wrap("k-1", b"secret", b"")
    assert provider.exists("k-1")
    assert provider.destroy("k-1")
    assert not provider.exists("k-1")
    with pytest.raises(Erased):
        provider.unwrap("k-1", wrapped, b"")
    with pytest.raises(Erased):
        provider.wrap("k-1", b"secret", b"")
    provider.create("k-1")
    with pytest.raises(Tampered):
        provider.unwrap("k-1", wrapped, b"")


def test_destroying_may_be_repeated(provider: KeyProvider) -> None:
    provider.create("k-1")
    assert provider.destroy("k-1") != provider.destroy("k-1")


@pytest.mark.parametrize("name", ["", "../k", "k/1", "K", ".k", "k" * 101, "k\n"])
def test_a_name_that_could_leave_the_keyring_is_refused(provider: KeyProvider, name: str) -> None:
    with pytest.raises(Malformed):
        provider.create(name)


def test_finality_is_unknown_unless_it_is_stated(tmp_path: Path) -> None:
    assert open_provider(f"file:{tmp_path}/keys", tmp_path / "data").finality == "unknown"
    assert open_provider(f"file:{tmp_path}/keys?finality=30d", tmp_path / "data").finality == "30d"


@pytest.mark.parametrize(
    "url", ["", "file:keys", "file://host/keys", "s3://keys", "file:/keys?x=1", "file:/keys?finality="]
)
def test_a_url_that_names_no_provider_is_malformed(url: str, tmp_path: Path) -> None:
    with pytest.raises(Malformed):
        open_provider(url, tmp_path / "data")


@pytest.mark.parametrize("inside", ["data", "data/keys", "data/a/b", "data/../data/keys"])
def test_a_keyring_inside_the_data_folder_is_refused(inside: str, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="inside the data folder"):
        open_provider(f"file:{tmp_path}/{inside}", tmp_path / "data")


def test_a_keyring_reached_by_a_link_into_the_data_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data" / "keys").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "data" / "keys")
    with pytest.raises(Unavailable, match="inside the data folder"):
        open_provider(f"file:{tmp_path}/link", tmp_path / "data")


def test_a_keyring_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o755)
    with pytest.raises(Unavailable, match="chmod 700"):
        open_provider(f"file:{tmp_path}/keys", tmp_path / "data")


def test_keys_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    provider = open_provider(f"file:{tmp_path}/keys", tmp_path / "data")
    provider.create("k-1")
    provider.check()
    files = list((tmp_path / "keys").iterdir())
    assert [path.name for path in files] == ["k-1.key"]
    assert files[0].stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_a_keyring_that_is_away_is_not_taken_for_a_destroyed_key(tmp_path: Path) -> None:
    provider = open_provider(f"file:{tmp_path}/keys", tmp_path / "data")
    provider.create("k-1")
    wrapped = provider.wrap("k-1", b"secret", b"")
    (tmp_path / "keys").rename(tmp_path / "elsewhere")
    for use in (lambda: provider.unwrap("k-1", wrapped, b""), lambda: provider.create("k-2"), provider.check):
        with pytest.raises(Unavailable):
            use()


def test_a_damaged_key_file_is_not_taken_for_a_destroyed_key(tmp_path: Path) -> None:
    provider = open_provider(f"file:{tmp_path}/keys", tmp_path / "data")
    provider.create("k-1")
    wrapped = provider.wrap("k-1", b"secret", b"")
    (tmp_path / "keys" / "k-1.key").write_bytes(bytes(49))
    with pytest.raises(Unavailable):
        provider.unwrap("k-1", wrapped, b"")


def test_processes_that_create_the_same_key_at_once_share_it(tmp_path: Path) -> None:
    provider = open_provider(f"file:{tmp_path}/keys", tmp_path / "data")
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        wrapped = pool.map(_create_and_wrap, [tmp_path] * 4)
    assert [provider.unwrap("k-1", data, b"") for data in wrapped] == [b"secret"] * 4


def _create_and_wrap(root: Path) -> bytes:
    provider = open_provider(f"file:{root}/keys", root / "data")
    provider.create("k-1")
    return provider.wrap("k-1", b"secret", b"")
