"""The signed report of a proof: what it says, and that nothing in it can be changed unseen."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.chain import Entry
from storage.errors import DataError, Malformed, Tampered, WrongKey
from storage.model import TenantId
from storage.probe import Proof, is_report, verify_report
from storage.recordings import Recordings
from storage.records import Identifier
from tests.storage.backup.drill import back_up
from tests.storage.probe.probing import probe
from tests.storage.stores import ACTOR, GROUND, stored_call

NUMBER = Identifier("number", "+31201234567")


@pytest.fixture
def proof(store: Recordings, tenant: TenantId, tmp_path: Path) -> Proof:
    call, _living = stored_call(store, tenant), stored_call(store, tenant)
    store.identify(call, [NUMBER])
    back_up(store, tmp_path)
    store.erase_call(tenant, call.call, ground=GROUND, actor=ACTOR)
    return probe(tmp_path, call.call, "backup", identifiers=[NUMBER])


def test_it_says_what_was_tried_from_when_with_which_control(store: Recordings, proof: Proof) -> None:
    report = json.loads(json.dumps(proof.report))
    assert is_report(report) and report["holds"] and report["opened"] == []
    (source,) = report["sources"]
    assert (source["what"], source["made_at"][:2], source["ledger"] > 0) == ("backup", "20", True)
    assert report["control"]["call"] == proof.control and report["control"]["opened"]
    assert report["paths"]["artefact keys"]["rows"] >= 4
    assert report["paths"]["artefact keys"]["rows_with_every_key"] == report["paths"]["artefact keys"]["rows"]
    assert report["identifiers"] == 1 and NUMBER.value not in json.dumps(report)
    assert set(report["ledger"]) == {"seq", "hash"}
    told = verify_report(report, store.fingerprint())
    assert "nothing opens" in told and any(line.startswith("from: backup") for line in told)
    assert any("which lives in a copy from before, too" in line for line in told)


def test_it_holds_after_the_ledgers_key_was_changed(store: Recordings, proof: Proof) -> None:
    old = store.fingerprint()
    store.safekeeping.change_ledger_key()
    changes = [Entry.of(members) for members in store.safekeeping.ledger_key_changes()]
    assert verify_report(proof.report, old)
    new = changes[-1].body["new_key"]
    from storage.signing import fingerprint_of

    with pytest.raises(WrongKey):
        verify_report(proof.report, fingerprint_of(new))
    assert verify_report(proof.report, fingerprint_of(new), changes)


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], type[DataError]]] = {
    "what opened": (lambda report: report["opened"].clear() or report.update(opened=["x"]), Tampered),
    "what it is of": (lambda report: report.update(of="call " + "0" * 32), Tampered),
    "a count": (lambda report: report["paths"]["nodes"].update(tries=1), Tampered),
    "its time": (lambda report: report.update(at="2020-01-01T00:00:00Z"), Tampered),
    "a member more": (lambda report: report.update(more=1), Malformed),
    "a member less": (lambda report: report.pop("control"), Malformed),
    "its format": (lambda report: report.update(format="callvault probe report v2"), Malformed),
    "its signature": (lambda report: report.update(signature="00" * 64), Tampered),
    "its key": (lambda report: report.update(public_key="00" * 32), WrongKey),
}


def test_what_was_changed_in_it_is_told(store: Recordings, proof: Proof) -> None:
    for name, (change, error) in CHANGES.items():
        changed = copy.deepcopy(proof.report)
        change(changed)
        with pytest.raises(error):
            verify_report(changed, store.fingerprint())
            pytest.fail(name)
