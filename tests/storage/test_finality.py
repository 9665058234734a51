"""Why a certificate names a finality bound: each provider's own history, put back, brings a destroyed key back."""

from __future__ import annotations

import time

import pytest

from storage.errors import Erased
from storage.providers.pkcs11 import CONNECT_AGAIN_S
from tests.storage.keyservers import Rig


def test_a_providers_storage_from_before_brings_a_destroyed_key_back(rig: Rig) -> None:
    """The folder of files, SoftHSM's token folder, OpenBao's raft snapshot."""
    provider = rig.open()
    provider.create("k-1")
    wrapped = provider.wrap("k-1", b"secret", b"use")
    rig.copy()
    provider.destroy("k-1")
    with pytest.raises(Erased):
        rig.open().unwrap("k-1", wrapped, b"use")
    rig.put_back()
    time.sleep(CONNECT_AGAIN_S)
    assert rig.open().unwrap("k-1", wrapped, b"use") == b"secret"
    assert rig.open().finality == "unknown"  # nobody has stated how long such copies are kept
