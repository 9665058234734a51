"""Every key provider makes, uses and destroys keys alike, and never takes "away" for "destroyed"."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.errors import Erased, Malformed, Tampered, Unavailable, WrongProvider
from storage.probe import Today, prove
from storage.providers import KeyProvider, open_provider
from storage.recordings import Recordings
from tests.storage.keyservers import Rig
from tests.storage.stores import ACTOR, GROUND, audio_of, copy_data, stored_call


@pytest.fixture
def provider(rig: Rig) -> KeyProvider:
    return rig.open()


def test_a_key_opens_what_it_wrapped(provider: KeyProvider) -> None:
    provider.create("k-1")
    provider.check()
    assert provider.unwrap("k-1", provider.wrap("k-1", b"secret", b"use"), b"use") == b"secret"


def test_another_opening_of_the_same_provider_has_its_keys(rig: Rig) -> None:
    first = rig.open()
    first.create("k-1")
    assert rig.open().unwrap("k-1", first.wrap("k-1", b"secret", b""), b"") == b"secret"


def test_creating_a_key_twice_keeps_it(provider: KeyProvider) -> None:
    provider.create("k-1")
    wrapped = provider.wrap("k-1", b"secret", b"")
    provider.create("k-1")
    assert provider.unwrap("k-1", wrapped, b"") == b"secret"


def test_another_use_another_key_and_changed_bytes_are_tampered(provider: KeyProvider) -> None:
    provider.create("k-1")
    provider.create("k-2")
    wrapped = provider.wrap("k-1", b"secret" * 5, b"use")
    first, last = bytes([wrapped[0] ^ 1]) + wrapped[1:], wrapped[:-9] + bytes([wrapped[-9] ^ 1]) + wrapped[-8:]
    cases = [("k-1", wrapped, b"other"), ("k-2", wrapped, b"use"), ("k-1", first, b"use"), ("k-1", last, b"use")]
    for name, data, aad in [*cases, ("k-1", b"short", b"use"), ("k-1", b"", b"use"), ("k-1", wrapped[:-1], b"use")]:
        with pytest.raises(Tampered):
            provider.unwrap(name, data, aad)
    assert provider.unwrap("k-1", wrapped, b"use") == b"secret" * 5


def test_a_destroyed_key_is_gone_for_good(provider: KeyProvider) -> None:
    provider.create("k-1")
    wrapped = provider.wrap("k-1", b"secret", b"")
    assert provider.exists("k-1")
    assert provider.destroy("k-1")
    assert not provider.exists("k-1")
    with pytest.raises(Erased):
        provider.unwrap("k-1", wrapped, b"")
    with pytest.raises(Erased):
        provider.unwrap("k-1", b"short", b"")
    for _ in range(2):  # sealing must not make it anew
        with pytest.raises(Erased):
            provider.wrap("k-1", b"secret", b"")
    provider.create("k-1")
    with pytest.raises(Tampered):
        provider.unwrap("k-1", wrapped, b"")


def test_destroying_may_be_repeated_and_says_what_happened(provider: KeyProvider) -> None:
    provider.create("k-1")
    answers = [provider.destroy("k-1") for _ in range(3)]
    assert answers[0] != answers[1] == answers[2]
    assert all(answer.isascii() and answer.isprintable() and len(answer) < 100 for answer in answers)


@pytest.mark.parametrize("name", ["", "../k", "k/1", "K", ".k", "k" * 101, "k\n", "k 1", "k?x", "k%2f1", "é"])
def test_a_name_that_could_be_anything_else_is_refused(provider: KeyProvider, name: str) -> None:
    uses: list[Callable[[], object]] = [
        lambda: provider.create(name),
        lambda: provider.wrap(name, b"", b""),
        lambda: provider.unwrap(name, bytes(60), b""),
        lambda: provider.destroy(name),
        lambda: provider.exists(name),
    ]
    for use in uses:
        with pytest.raises(Malformed):
            use()


def test_threads_share_a_provider(provider: KeyProvider) -> None:
    def use(number: int) -> bytes:
        name = f"k-{number % 4}"
        provider.create(name)
        return provider.unwrap(name, provider.wrap(name, b"%d" % number, b"use"), b"use")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(40))) == [b"%d" % number for number in range(40)]


def test_processes_that_create_the_same_key_at_once_share_it(rig: Rig) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:  # a token's library does not outlive a fork
        wrapped = pool.map(_create_and_wrap, [(rig.url, rig.data)] * 4, chunksize=1)
    provider = rig.open()
    assert [provider.unwrap("k-1", data, b"") for data in wrapped] == [b"secret"] * 4
    provider.destroy("k-1")
    for data in wrapped:
        with pytest.raises(Erased):
            provider.unwrap("k-1", data, b"")


def _create_and_wrap(place: tuple[str, Path]) -> bytes:
    provider = open_provider(*place)
    until = time.monotonic() + 20
    while True:
        try:
            provider.create("k-1")
            return provider.wrap("k-1", b"secret", b"")
        except Unavailable:  # SoftHSM hides its token while another process writes there: asked again, as a server does
            assert time.monotonic() < until
            time.sleep(0.2)


def test_a_provider_that_is_away_is_unavailable_whatever_is_asked_and_comes_back(rig: Rig) -> None:
    provider = rig.open()
    for name in ("k-1", "gone"):
        provider.create(name)
    wrapped, dead = provider.wrap("k-1", b"secret", b""), provider.wrap("gone", b"secret", b"")
    provider.destroy("gone")
    with rig.away():
        uses: list[Callable[[], object]] = [
            lambda: provider.unwrap("k-1", wrapped, b""),
            lambda: provider.unwrap("gone", dead, b""),
            lambda: provider.wrap("k-1", b"secret", b""),
            lambda: provider.create("k-2"),
            lambda: provider.exists("k-1"),
            lambda: provider.exists("gone"),
            lambda: provider.destroy("k-1"),
            lambda: provider.destroy("gone"),
            provider.check,
        ]
        for use in uses:
            with pytest.raises(Unavailable):
                use()
    assert provider.unwrap("k-1", wrapped, b"") == b"secret"
    with pytest.raises(Erased):
        provider.unwrap("gone", dead, b"")


def test_a_provider_that_does_not_answer_is_unavailable_within_its_limit(rig: Rig) -> None:
    if rig.slow is None:
        pytest.skip("a file system that hangs cannot be interrupted: nothing bounds it")
    provider = rig.slow_url()
    provider.create("k-1")
    wrapped = provider.wrap("k-1", b"secret", b"")
    uses: list[Callable[[], object]] = [
        lambda: provider.unwrap("k-1", wrapped, b""),
        lambda: provider.create("k-2"),
        lambda: provider.destroy("k-1"),
    ]
    with rig.slow():
        for use in uses:
            started = time.monotonic()
            with pytest.raises(Unavailable):
                use()
            assert time.monotonic() - started < 2.0
    time.sleep(1.0)  # for the calls that were given up to come to their end
    provider.create("k-3")
    assert provider.exists("k-3")


def test_what_the_operator_states_is_told_and_else_unknown(rig: Rig) -> None:
    plain = rig.open()
    assert (plain.finality, plain.region) == ("unknown", "")
    joined = f"{rig.url}{'&' if '?' in rig.url else '?'}finality=30d&region=NL"
    stated = open_provider(joined, rig.data)
    assert (stated.finality, stated.region) == ("30d", "NL")
    assert plain.behind("k-1") is plain
    assert plain.non_extractable is (rig.name != "file")
    for wrong in ("finality=", "region=", "finality=30d&finality=1d", "x=1", "region=%0a", "pin-value=1234"):
        with pytest.raises(Malformed):
            open_provider(f"{rig.url}{'&' if '?' in rig.url else '?'}{wrong}", rig.data)


def test_one_call_is_recorded_erased_and_certified(rig: Rig, tmp_path: Path) -> None:
    """The whole of an erasure on each provider: what lives on opens, what is dead does not, also from a copy."""
    data, objects = tmp_path / "data", f"file:{tmp_path}/data/objects"
    url = f"{rig.url}{'&' if '?' in rig.url else '?'}finality=30d"
    with Recordings.open(data, url, objects, node="n1") as store:
        tenant = store.tenant("acme")
        erased, neighbour = stored_call(store, tenant), stored_call(store, tenant)
        backup = copy_data(tmp_path, "backup")
        opened = prove(erased.call, [backup], None, provider_url=url).opened
        assert {new.ref.artefact for new in erased.artefacts} == {line.split()[1].rstrip(":") for line in opened}
        certificate = store.erase_call(tenant, erased.call, ground=GROUND, actor=ACTOR)
        done = certificate["entries"][1]["body"]
        assert done["finality"] == "30d"
        assert [key["answer"].partition(":")[0] for key in done["keys"]] == [rig.name]
        with store.stream(tenant, audio_of(neighbour)[0].ref.artefact) as stream:
            assert list(stream.read()) == [b"audio"] * 3
        with pytest.raises(Erased):
            store.stream(tenant, audio_of(erased)[0].ref.artefact)
    witness = f"file:{tmp_path}/data-witness"
    proof = prove(erased.call, [backup], Today(data, url, objects, witness))
    assert (proof.opened, proof.control, proof.holds) == ([], neighbour.call, True)
    with pytest.raises(Unavailable), rig.away():
        Recordings.open(data, url, objects, node="n1")


# The keyring of files.


@pytest.mark.parametrize(
    "url", ["", "file:keys", "file://host/keys", "s3://keys", "file:/keys#x", "file:/k?" + "x" * 3000]
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
    files = sorted((tmp_path / "keys").iterdir())
    assert [path.name for path in files] == [".keyring", "k-1.key"]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_a_keyring_of_which_only_the_mount_point_is_left_is_not_taken_for_destroyed_keys(tmp_path: Path) -> None:
    provider = open_provider(f"file:{tmp_path}/keys", tmp_path / "data")
    provider.create("k-1")
    wrapped = provider.wrap("k-1", b"secret", b"")
    (tmp_path / "keys").rename(tmp_path / "elsewhere")
    (tmp_path / "keys").mkdir(mode=0o700)
    for opened in (provider, open_provider(f"file:{tmp_path}/keys", tmp_path / "data")):
        for use in (opened.exists, opened.destroy, lambda name: opened.unwrap(name, wrapped, b"")):  # noqa: B023
            with pytest.raises(WrongProvider):
                use("k-1")


def test_a_keyring_of_a_version_without_witness_gets_one(tmp_path: Path) -> None:
    open_provider(f"file:{tmp_path}/keys", tmp_path / "data").create("k-1")
    (tmp_path / "keys" / ".keyring").unlink()
    provider = open_provider(f"file:{tmp_path}/keys", tmp_path / "data")
    assert not provider.exists("k-2")


def test_a_damaged_key_file_is_not_taken_for_a_destroyed_key(tmp_path: Path) -> None:
    provider = open_provider(f"file:{tmp_path}/keys", tmp_path / "data")
    provider.create("k-1")
    wrapped = provider.wrap("k-1", b"secret", b"")
    (tmp_path / "keys" / "k-1.key").write_bytes(bytes(49))
    with pytest.raises(Unavailable):
        provider.unwrap("k-1", wrapped, b"")
