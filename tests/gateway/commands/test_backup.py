"""The commands about a store's past, from backup to proof, as an operator types them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gateway.cli import main
from storage.consents import Consent
from storage.egress import Leaving
from storage.leaving import forget_tenant
from storage.model import NO_PARTICIPANT, Kind
from storage.rating import BILLING, Rating
from storage.recordings import Recordings
from storage.records import Day, Derived
from storage.tokens import Role
from tests.storage.backup.drill import is_gone, is_whole
from tests.storage.stores import ACTOR, GROUND, stored_call


def opened(root: Path) -> Recordings:
    """The store at the places that the configuration's defaults name."""
    data = root / "data"
    return Recordings.open(data, f"file:{root}/data-keys", f"file:{data}/objects", node="n1")


def run(root: Path, *argv: str) -> int:
    return main([*argv, "--data", str(root / "data")])


def test_up_14_backup_restore_and_proof_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CALLVAULT_CONFIG", raising=False)
    backup = str(tmp_path / "backup")
    with opened(tmp_path) as store:
        tenant = store.tenant("default")
        erased, living = stored_call(store, tenant), stored_call(store, tenant)
        assert run(tmp_path, "backup", backup) == 0
        assert "objects: 4 named, 4 new" in capsys.readouterr().out
        token = store.tokens.create(tenant, Role.OFFICER, "A. Jansen")
        assert run(tmp_path, "backup", backup) == 0
        certificate = store.erase_call(tenant, erased.call, ground=GROUND, actor=ACTOR)
        store.tokens.revoke(tenant, token[3:35])
        (copy,) = store.egress.record(tenant, [Leaving(living.call, [living.artefacts[0].ref.artefact])], {"to": "X"})
        request = store.dossiers.open(tenant, Kind.REQUEST, b"within a month")
        consent = store.consents.record(tenant, living.call, Consent("training", "version 3"), ACTOR)
    capsys.readouterr()
    assert run(tmp_path, "ledger", "head") == 0
    head = tmp_path / "head.json"
    head.write_text(capsys.readouterr().out)
    assert json.loads(head.read_text())["body"]["type"] == "keys"
    proof = ("prove-erased", "--backup", backup, "--identifier", "number:+31201234567")
    assert run(tmp_path, *proof, erased.call) == 0
    assert f"nothing of call {erased.call} opens" in capsys.readouterr().out
    assert run(tmp_path, *proof, living.call) == 1
    assert "OPENED: audio" in capsys.readouterr().out
    with opened(tmp_path) as store:
        fingerprint = store.fingerprint()
    report, file = tmp_path / "report.json", tmp_path / "certificate.json"
    file.write_text(json.dumps(certificate))
    assert run(tmp_path, "prove-erased", "--erasure", str(file), "--backup", backup, "--json", str(report)) == 0
    out = capsys.readouterr().out
    for told in ("from: backup 20", "control: of call", "tried: ", "times artefact keys, "):
        assert told in out
    assert main(["verify", str(report), "--fingerprint", fingerprint]) == 0
    assert "nothing opens" in capsys.readouterr().out
    report.write_text(report.read_text().replace('"opened": []', '"opened": ["audio"]'))
    assert main(["verify", str(report), "--fingerprint", fingerprint]) == 1
    erasure = certificate["entries"][0]["body"]["erasure"]
    assert run(tmp_path, "prove-erased", "--erasure", erasure, "--backup", backup, "--files", str(tmp_path)) == 0
    assert run(tmp_path, "prove-erased", "--tenant", "default", "--backup", backup) == 1  # it was never closed
    assert f"OPENED: audio {living.artefacts[0].ref.artefact}" in capsys.readouterr().out
    for wrong in ((), (erased.call, "--tenant", "default"), ("--erasure", str(report)), ("--tenant", "nobody")):
        assert run(tmp_path, "prove-erased", *wrong, "--backup", backup) == 1
    assert run(tmp_path, *proof, erased.call, "--identifier", "number") == 1
    assert "TYPE:VALUE" in capsys.readouterr().err

    assert run(tmp_path, "restore", backup) == 1
    assert "not empty" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "data")
    assert run(tmp_path, "restore", backup, "--head", str(head)) == 0
    out = capsys.readouterr().out
    assert "calls whole: 1" in out
    assert "calls erased since the backup: 1" in out
    assert "done again: 1 erasures, 1 certificates, 4 batches of rows, 1 tokens revoked, 1 consents" in out
    assert "put back from the witness: 2 dossiers, 3 sealed documents, 1 calls in copies that left" in out
    with opened(tmp_path) as store:
        store.resume_erasures()
        assert (is_whole(store, living), is_gone(store, erased)) == (True, True)
        assert store.tokens.lookup(token) is None
        assert store.egress.read(tenant, copy)["to"] == "X"
        assert store.dossiers.read(tenant, request, Kind.REQUEST) == b"within a month"
        assert [found.id for found in store.consents.of_call(tenant, living.call)] == [consent]
        pinned = store.fingerprint()

    assert run(tmp_path, "ledger", "change-key") == 0
    assert run(tmp_path, "ledger", "keys") == 0
    keys = tmp_path / "keys.json"
    keys.write_text(capsys.readouterr().out.partition("\n")[2])
    assert main(["verify", str(file), "--fingerprint", pinned]) == 0
    with opened(tmp_path) as store:
        new = store.fingerprint()
    assert main(["verify", str(file), "--fingerprint", new]) == 1
    assert main(["verify", str(file), "--fingerprint", new, "--keys", str(keys)]) == 0
    assert "the time rests on the operator's word" in capsys.readouterr().out


def test_ratings_of_a_tenant_that_left_are_read_by_its_id(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CALLVAULT_CONFIG", raising=False)
    with opened(tmp_path) as store:
        tenant = store.tenant("gone")
        new = stored_call(store, tenant)
        day = store.call(tenant, new.call).day
        rating = Rating(Day(day), 61).to_json()
        store.add_derived(tenant, new.call, (), [Derived(NO_PARTICIPANT, Kind.RATING, BILLING, rating)])
        with store._catalogue.writing() as connection:
            forget_tenant(connection, tenant)
    assert run(tmp_path, "ratings", day[:7], "--of", tenant, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["calls"], found["seconds"]) == (1, 61)
    assert run(tmp_path, "ratings", day[:7], "--of", "0" * 32, "--json") == 0
    assert json.loads(capsys.readouterr().out)["calls"] == 0


def test_a_backup_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert run(tmp_path, "restore", str(tmp_path / "empty")) == 1
    assert "no backup" in capsys.readouterr().err
    assert run(tmp_path, "prove-erased", "0" * 32, "--backup", str(tmp_path / "empty")) == 1
    assert "neither a backup" in capsys.readouterr().err
