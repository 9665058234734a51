"""What is true of a PKCS#11 token alone: keys that cannot be read out, PINs, logins, and which token it is."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType

from storage.errors import Malformed, Unavailable, WrongProvider
from storage.providers import KeyProvider, open_provider
from storage.providers.pkcs11 import CONNECT_AGAIN_S
from tests.storage.keyservers import SoftHsm


@pytest.fixture
def provider(softhsm: SoftHsm, tmp_path: Path) -> KeyProvider:
    softhsm.wipe()
    return open_provider(softhsm.url, tmp_path / "data")


def _key(token: SoftHsm, label: str) -> Any:
    (found,) = token.session().get_objects({Attribute.LABEL: label})
    return found


def test_a_key_cannot_be_read_out_of_the_token_nor_copied_in_it(provider: KeyProvider, softhsm: SoftHsm) -> None:
    provider.create("k-1")
    key = _key(softhsm, "k-1")
    assert key[Attribute.EXTRACTABLE] is key[Attribute.COPYABLE] is key[Attribute.MODIFIABLE] is False
    assert key[Attribute.SENSITIVE] is key[Attribute.NEVER_EXTRACTABLE] is key[Attribute.ALWAYS_SENSITIVE] is True
    with pytest.raises(pkcs11.exceptions.AttributeSensitive):
        key[Attribute.VALUE]
    with pytest.raises(pkcs11.exceptions.PKCS11Error):
        key.copy({Attribute.LABEL: "kept"})
    wrapper = softhsm.session().generate_key(KeyType.AES, 256, label="wrapper", store=False)
    with pytest.raises(pkcs11.exceptions.PKCS11Error):
        wrapper.wrap_key(key)


def test_a_key_that_could_be_read_out_is_not_used(provider: KeyProvider, softhsm: SoftHsm) -> None:
    provider.create("k-1")
    extractable = {Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False}
    softhsm.session().generate_key(KeyType.AES, 256, label="k-2", store=True, template=extractable)
    known = {Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES, Attribute.LABEL: "k-3"}
    secret = {
        Attribute.VALUE: bytes(32),
        Attribute.EXTRACTABLE: False,
        Attribute.SENSITIVE: True,
        Attribute.TOKEN: True,
    }
    softhsm.session().create_object(known | secret)  # brought in: whoever did so has it
    for name in ("k-2", "k-3"):
        for use in (provider.create, lambda name: provider.wrap(name, b"", b"")):
            with pytest.raises(Unavailable, match="can be read out"):
                use(name)
        provider.destroy(name)
        assert not provider.exists(name)


def test_a_token_that_is_logged_out_is_not_one_without_keys(provider: KeyProvider, softhsm: SoftHsm) -> None:
    provider.create("k-1")
    wrapped = provider.wrap("k-1", b"secret", b"")
    library = ctypes.CDLL(softhsm.module)
    assert library.C_Logout(ctypes.c_ulong(softhsm.session().handle)) == 0
    time.sleep(CONNECT_AGAIN_S)
    assert provider.unwrap("k-1", wrapped, b"") == b"secret"  # it logs in again
    softhsm.pin.write_text("000000\n")
    assert library.C_Logout(ctypes.c_ulong(softhsm.session().handle)) == 0
    try:
        for use in (lambda: provider.unwrap("k-1", wrapped, b""), lambda: provider.exists("k-1")):
            time.sleep(CONNECT_AGAIN_S)
            with pytest.raises(Unavailable):
                use()
    finally:
        softhsm.pin.write_text("739211\n")


def test_a_pin_that_was_refused_is_not_tried_again_until_its_file_changes(
    provider: KeyProvider, softhsm: SoftHsm
) -> None:
    provider.create("k-1")
    pkcs11.lib(softhsm.module).reinitialize()  # everybody is logged out
    softhsm.pin.write_text("000000\n")
    try:
        with pytest.raises(Unavailable, match="PinIncorrect"):
            provider.exists("k-1")
        for _ in range(5):
            with pytest.raises(Unavailable, match="refuses the PIN"):
                provider.exists("k-1")
    finally:
        softhsm.pin.write_text("739211\n")
    time.sleep(CONNECT_AGAIN_S)
    assert provider.exists("k-1")


def test_a_pin_that_others_may_read_is_refused(softhsm: SoftHsm, tmp_path: Path) -> None:
    softhsm.pin.chmod(0o640)
    try:
        with pytest.raises(Unavailable, match="chmod 600"):
            open_provider(softhsm.url, tmp_path).check()
    finally:
        softhsm.pin.chmod(0o600)
    with pytest.raises(Unavailable, match="cannot be read"):
        open_provider(softhsm.url + "no", tmp_path).check()


def test_a_token_without_our_keys_is_the_wrong_one(provider: KeyProvider, softhsm: SoftHsm) -> None:
    provider.create("k-1")
    wrapped = provider.wrap("k-1", b"secret", b"")
    softhsm.wipe()
    for use in (lambda: provider.unwrap("k-1", wrapped, b""), lambda: provider.destroy("k-1")):
        with pytest.raises(Unavailable):
            use()
    time.sleep(CONNECT_AGAIN_S)
    with pytest.raises(WrongProvider):
        provider.exists("k-1")


def test_a_token_or_library_that_is_not_there_is_unavailable(softhsm: SoftHsm, tmp_path: Path) -> None:
    elsewhere = softhsm.url.replace("token=", "token=no%20")
    for url in (elsewhere, softhsm.url.replace("?", ";serial=0000?"), softhsm.url.replace("softhsm2.so", "no.so")):
        with pytest.raises(Unavailable):
            open_provider(url, tmp_path).check()


@pytest.mark.parametrize(
    "url",
    [
        "pkcs11:",
        "pkcs11:token=",
        "pkcs11:token=t",
        "pkcs11:token=t?module-path=/m.so",
        "pkcs11:token=t?module-path=m.so&pin-file=/pin",
        "pkcs11:token=t?module-path=/m.so&pin-file=pin",
        "pkcs11:token=t?module-path=/m.so&pin-value=1234",
        "pkcs11:token=t?module-path=/m.so&pin-file=/p&pin-source=/p",
        "pkcs11:token=t;object=o?module-path=/m.so&pin-file=/pin",
        "pkcs11://token=t?module-path=/m.so&pin-file=/pin",
    ],
)
def test_a_url_that_is_no_token_with_a_pin_file_is_malformed_and_shows_no_pin(url: str, tmp_path: Path) -> None:
    with pytest.raises(Malformed) as told:
        open_provider(url, tmp_path)
    assert "1234" not in str(told.value)


def test_pin_source_of_rfc_7512_names_the_file_too(softhsm: SoftHsm, tmp_path: Path) -> None:
    for scheme in ("file:", "file://", ""):
        open_provider(softhsm.url.replace("pin-file=", f"pin-source={scheme}"), tmp_path).check()
