"""The manifest closes a recording: what it says is what lies there, and no byte of it can be changed unseen."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from storage.envelope import commitment
from storage.errors import DataError, Malformed, Tampered
from storage.manifest import parse_manifest, verify
from storage.model import Kind, TenantId
from storage.recordings import Recordings
from storage.signing import canonical
from tests.storage.stores import audio_of, open_at, stored_call


def entry_of(manifest: dict[str, Any], kind: Kind) -> dict[str, Any]:
    entries: list[dict[str, Any]] = [entry for entry in manifest["artefacts"] if entry["kind"] == kind]
    assert entries
    return entries[0]


def test_it_names_every_object_with_its_hash(store: Recordings, tenant: TenantId) -> None:
    new = stored_call(store, tenant)
    manifest = store.manifest(tenant, new.call)
    verify(manifest, store.public_key)
    named = [found for entry in manifest["artefacts"] for found in entry["slices"]]
    assert {found["object"] for found in named} == {info.name for info in store.objects.list(f"{tenant}/{new.call}/")}
    for found in named:
        stored = store.objects.get(found["object"])
        assert (found["size"], found["sha256"]) == (len(stored), hashlib.sha256(stored).hexdigest())


def test_it_holds_commitments_of_the_keys_and_the_sealed_facts(store: Recordings, tenant: TenantId) -> None:
    new = stored_call(store, tenant)
    manifest = store.manifest(tenant, new.call)
    assert [entry["commitment"] for entry in manifest["artefacts"]] == [
        commitment(artefact.key).hex() for artefact in new.artefacts
    ]
    facts = entry_of(manifest, Kind.AUDIO)["document"]
    assert hashlib.sha256(base64.b64decode(facts["sealed"])).hexdigest() == facts["sha256"]
    assert b"facts" not in base64.b64decode(facts["sealed"])
    for kind in (Kind.IDENTITY, Kind.CALL_DETAIL):  # numbers and names have retention of their own
        assert "sealed" not in entry_of(manifest, kind)["document"]


def test_it_is_written_once(store: Recordings, tenant: TenantId) -> None:
    new = stored_call(store, tenant)
    manifest = store.manifest(tenant, new.call)
    store.store_manifest(tenant, new.call)
    assert store.manifest(tenant, new.call) == manifest
    assert audio_of(new)[0].ref.artefact in json.dumps(manifest)


def test_any_altered_byte_is_found(store: Recordings, tenant: TenantId) -> None:
    text = canonical(store.manifest(tenant, stored_call(store, tenant).call))
    verify(parse_manifest(text), store.public_key)
    for at in range(len(text)):
        with pytest.raises(DataError):
            verify(parse_manifest(text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]), store.public_key)


def test_another_key_is_refused(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    manifest = store.manifest(tenant, stored_call(store, tenant).call)
    (tmp_path / "other").mkdir()
    with open_at(tmp_path / "other") as other:
        theirs = other.manifest(other.tenant("acme"), stored_call(other, other.tenant("acme")).call)
        for forged in (theirs, {**theirs, "public_key": store.public_key}):
            with pytest.raises(Tampered):
                verify(forged, store.public_key)
        with pytest.raises(Tampered):
            verify(manifest, other.public_key)


@pytest.mark.parametrize("text", [b"", b"[]", b"1", b"\xff", b'{"a":1,"a":1}', b"[" * 100_000])
def test_what_is_no_manifest_is_malformed(text: bytes) -> None:
    with pytest.raises(Malformed):
        parse_manifest(text)


def test_a_manifest_with_other_members_is_malformed(store: Recordings, tenant: TenantId) -> None:
    manifest = store.manifest(tenant, stored_call(store, tenant).call)
    for changed in ({**manifest, "more": 1}, {**manifest, "format": "callvault manifest v2"}, {}):
        with pytest.raises(Malformed):
            verify(changed, store.public_key)
