"""Every byte that is stored is of one tenant and one kind; what is of none is named."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from gateway.commands.inventory import command
from storage.inventory import CLASSES, LEFTOVER, MANIFEST, STATISTICS
from storage.model import CallState, Kind, TenantId, new_id
from storage.recordings import Recordings
from storage.records import Derived, Identifier
from tests.storage.stores import ACTOR, GROUND, audio_of, open_at, save_call, spool, stored_call

LARGE = b"t" * 40_000  # more than stands in a row: an object


def test_up_01_every_kind_is_of_one_class_of_communication_data() -> None:
    assert CLASSES.keys() == {*Kind, MANIFEST, STATISTICS, LEFTOVER}
    assert {CLASSES[kind] for kind in Kind} == {"audio", "transcript", "metadata"}


def test_up_01_every_stored_byte_is_under_one_kind(tmp_path: Path, store: Recordings, tenant: TenantId) -> None:
    new = stored_call(store, tenant)
    source = audio_of(new)[0].ref
    derived = [Derived(source.participant, Kind.TRANSCRIPT, "recording", LARGE)]
    derived += [Derived(source.participant, Kind.REDACTED_TRANSCRIPT, "recording", b"short")]
    store.add_derived(tenant, new.call, [source.artefact], derived)
    store.identify(new, [Identifier("number", "+31201234567")])
    waiting = save_call(store, store.tenant("other"))
    spool(store, [(audio_of(waiting)[0], [b"audio"] * 3)])
    found = store.inventory()
    assert found.unclassified == {}
    kinds = found.tenants[tenant]
    assert {kind for kind, held in kinds.items() if held.objects} == {Kind.AUDIO, Kind.TRANSCRIPT}
    assert kinds[Kind.AUDIO].artefacts == kinds[Kind.AUDIO].objects == 2
    assert kinds[Kind.AUDIO].rows == 4  # for each its facts, and the index of its slice
    assert kinds[Kind.IDENTITY].rows == 2  # and what it is found by
    assert (kinds[Kind.REDACTED_TRANSCRIPT].objects, kinds[Kind.REDACTED_TRANSCRIPT].rows) == (0, 1)
    assert kinds[MANIFEST].rows == 1
    on_disk = sum(path.stat().st_size for path in (tmp_path / "data" / "objects").rglob("*") if path.is_file())
    assert sum(held.object_bytes for held in kinds.values()) == on_disk
    assert found.tenants[waiting.tenant][Kind.AUDIO].spool_records == 3
    manifest = store.manifest(tenant, new.call)
    assert {entry["kind"] for entry in manifest["artefacts"]} >= {Kind.AUDIO, Kind.IDENTITY, Kind.CALL_DETAIL}


@pytest.mark.parametrize("name", ["Call 1.wav", "/".join(["a1" * 16] * 3), "notes"])
def test_up_01_a_foreign_object_fails_the_audit(
    tmp_path: Path, store: Recordings, tenant: TenantId, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stored_call(store, tenant)
    assert audited(tmp_path) == 0
    planted = tmp_path / "data" / "objects" / name
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_bytes(b"theirs")
    capsys.readouterr()
    assert audited(tmp_path) == 1
    assert json.loads(capsys.readouterr().out)["unclassified"] == {name: 6}
    assert store.reconcile(lambda _state, _detail: "").findings  # `callvault reconcile` sees it, too


def test_up_01_an_object_under_another_tenants_name_is_of_no_kind(
    tmp_path: Path, store: Recordings, tenant: TenantId
) -> None:
    stored_call(store, tenant)
    (first, _) = store.objects.list()
    _, call, stream = first.name.split("/")
    store.objects.put(f"{new_id()}/{call}/{stream}", store.objects.get(first.name))
    assert len(store.inventory().unclassified) == 1


def test_an_erased_call_leaves_only_what_the_spool_still_has(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    spool(store, [(audio_of(new)[0], [b"audio"])])
    store.put_documents(new, {}, CallState.ENDED)
    store.erase_call(tenant, new.call, ground=GROUND, actor=ACTOR)
    found = store.inventory()
    assert found.unclassified == {}
    assert {kind for kind, held in found.tenants[tenant].items() if held.rows or held.objects} == set()
    assert found.tenants[tenant][LEFTOVER].spool_records == 1


def test_spool_records_of_nobody_are_of_no_kind(tmp_path: Path, store: Recordings, tenant: TenantId) -> None:
    with open_at(tmp_path, data="elsewhere") as other:
        spool(other, [(audio_of(save_call(other, other.tenant("acme")))[0], [b"audio"])])
        (stray,) = (path for path in other.spool_folder.iterdir() if path.name.endswith(".spool"))
        store.spool_folder.mkdir(exist_ok=True)
        stray.rename(store.spool_folder / stray.name)
    (name,) = store.inventory().unclassified
    assert name.startswith("spool ")


def audited(root: Path) -> int:
    """`callvault inventory` on the store in a folder."""
    config = root / "callvault.toml"
    config.write_text(f'data = "{root / "data"}"\n[store]\nkeys = "file:{root / "keys"}"\n')
    return command(argparse.Namespace(config=config, data=None, json=True, settle=0.0))
