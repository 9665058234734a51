"""Killed after any step of an erasure of any scope, the next start finishes it, and nothing else is touched."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from storage.erasure import Scope, Step, Target
from storage.errors import Erased, Unavailable
from storage.ledger import verify_certificate
from storage.model import ArtefactId, Kind, TenantId
from storage.records import NewCall
from tests.storage.erasure.test_scopes import ids, living
from tests.storage.killing import killed_at
from tests.storage.stores import ACTOR, GROUND, PURPOSE, audio_of, copy_data, open_at, stored_call


@dataclass(frozen=True, slots=True)
class Stored:
    """A store that nobody has open, for each test to copy: three calls of a tenant, and one of another's."""

    root: Path
    tenant: TenantId
    calls: list[NewCall]
    other: NewCall


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    root = tmp_path_factory.mktemp("stored")
    with open_at(root) as store:
        tenant = store.tenant("acme")
        calls, other = [stored_call(store, tenant) for _ in range(3)], stored_call(store, store.tenant("another"))
    return Stored(root, tenant, calls, other)


def targets(calls: list[NewCall]) -> dict[Scope, tuple[str, set[ArtefactId]]]:
    """Of each scope a target among these calls, as JSON, and what is left of them."""
    first, everything = calls[0], ids([artefact for call in calls for artefact in call.artefacts])
    gone = audio_of(first)[0].ref
    whole = {call.find(kind).ref.artefact for call in calls[:1] for kind in (Kind.IDENTITY, Kind.CALL_DETAIL)}
    day = first.day
    drop = [["content", "audio", gone.purpose, day]]
    audio = ids([artefact for call in calls for artefact in audio_of(call)])
    found: dict[Scope, tuple[dict[str, Any], set[ArtefactId]]] = {
        Scope.ARTEFACT: ({"calls": [first.call], "artefacts": [gone.artefact]}, everything - {gone.artefact}),
        Scope.PARTICIPANT: (
            {"calls": [first.call], "participant": gone.participant},
            everything - {gone.artefact} - whole,
        ),
        Scope.CALL: ({"calls": [first.call]}, everything - ids(list(first.artefacts))),
        Scope.PERSON: ({"calls": [call.call for call in calls[:2]]}, ids(list(calls[2].artefacts))),
        Scope.PURPOSE: ({"purpose": gone.purpose, "calls": [first.call]}, everything - ids(list(first.artefacts))),
        Scope.EXPIRY: ({"buckets": drop}, everything - audio),
        Scope.TENANT: ({}, set()),
    }
    return {scope: (json.dumps({"scope": scope, **names}), left) for scope, (names, left) in found.items()}


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("scope", [scope for scope in Scope if scope not in (Scope.CALL, Scope.RELEASE)])
def test_killed_after_any_step_of_any_scope_the_next_start_finishes(
    stored: Stored, tmp_path: Path, scope: Scope, step: Step
) -> None:
    shutil.copytree(stored.root, tmp_path, dirs_exist_ok=True)
    tenant, calls, other = stored.tenant, stored.calls, stored.other
    target, left = targets(calls)[scope]
    killed_at(step, tmp_path, lambda store: store.erasures.erase(tenant, Target.parse(target), GROUND, ACTOR))
    with open_at(tmp_path) as store:
        assert living(store, *calls) == left
        assert store.resume_erasures() == (0 if step is Step.SWEEP else 1)
        assert store.resume_erasures() == 0
        assert living(store, *calls, other) == left | ids(list(other.artefacts))
        if scope is not Scope.EXPIRY:
            assert verify_certificate(store.certificate(tenant, calls[0].call), store.fingerprint())
        store.check()


def test_what_an_earlier_change_left_unswept_is_swept_before_a_later_one(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        call, other = stored_call(store, tenant), stored_call(store, tenant)
    first, *rest = [Target.of_artefacts(call.call, [artefact.ref.artefact]) for artefact in call.artefacts]
    killed_at(Step.DESTROY, tmp_path, lambda store: store.erasures.erase(tenant, first, GROUND, ACTOR))
    with open_at(tmp_path) as store:
        for target in rest:
            store.erasures.erase(tenant, target, GROUND, ACTOR)
        assert list(store.objects.list(f"{tenant}/{call.call}/")) != []
        assert store.sweep_erased() == len(call.artefacts)
        assert store.resume_erasures() == 0
        assert list(store.objects.list(f"{tenant}/{call.call}/")) == []
        assert living(store, call, other) == ids(list(other.artefacts))


def test_a_certificate_does_not_wait_for_what_a_killed_erasure_left_to_be_swept(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        first, second = stored_call(store, tenant), stored_call(store, tenant)
    killed_at(Step.DONE, tmp_path, lambda store: store.erase_call(tenant, first.call, ground=GROUND, actor=ACTOR))
    steps: list[Step] = []
    with open_at(tmp_path, on_step=steps.append) as store:
        certificate = store.erase_call(tenant, second.call, ground=GROUND, actor=ACTOR)
        assert verify_certificate(certificate, store.fingerprint())
        assert Step.SWEEP not in steps
        assert all(list(store.objects.list(f"{tenant}/{call.call}/")) for call in (first, second))
        assert store.sweep_erased() == 2
        assert not any(list(store.objects.list(f"{tenant}/{call.call}/")) for call in (first, second))
        assert (store.sweep_erased(), store.resume_erasures()) == (0, 0)


@pytest.mark.parametrize("step", [step for step in Step if step is not Step.INTENT])
def test_killed_after_any_step_of_a_rotation_the_next_start_finishes(
    stored: Stored, tmp_path: Path, step: Step
) -> None:
    shutil.copytree(stored.root, tmp_path, dirs_exist_ok=True)
    tenant, calls = stored.tenant, [*stored.calls, stored.other]
    left = ids([artefact for call in calls for artefact in call.artefacts])
    killed_at(step, tmp_path, lambda store: store.erasures.rotate(tenant))
    with open_at(tmp_path) as store:
        assert living(store, *calls) == left
        assert store.resume_erasures() == (0 if step is Step.SWEEP else 1)
        assert store.resume_erasures() == 0
        assert living(store, *calls) == left
    assert [path.name for path in (tmp_path / "keys").glob(f"{tenant}-*.key")] == [f"{tenant}-content-1.key"]


@pytest.mark.parametrize("step", Step)
def test_killed_after_any_step_of_a_release_the_next_start_finishes(stored: Stored, tmp_path: Path, step: Step) -> None:
    shutil.copytree(stored.root, tmp_path, dirs_exist_ok=True)
    tenant, (expired, stays, twice) = stored.tenant, stored.calls
    with open_at(tmp_path) as store:
        hold = store.holds.place(tenant, [expired.call, twice.call], GROUND, ACTOR)
        store.holds.place(tenant, [twice.call], GROUND, ACTOR)
        store.erasures.erase(tenant, Target.of_purpose(PURPOSE, [expired.call, twice.call]), GROUND, ACTOR)
        assert living(store, expired, stays, twice) == ids([*expired.artefacts, *stays.artefacts, *twice.artefacts])
        copy_data(tmp_path, "backup")
    killed_at(step, tmp_path, lambda store: store.holds.release(tenant, hold, ACTOR))
    with open_at(tmp_path) as store:
        left = ids([*stays.artefacts, *twice.artefacts])
        assert living(store, expired, stays, twice) == left
        assert store.resume_erasures() == (0 if step is Step.SWEEP else 1)
        assert store.resume_erasures() == 0
        assert living(store, expired, stays, twice) == left
        certificate = store.holds.release(tenant, hold, ACTOR)
        assert verify_certificate(certificate, store.fingerprint())
        assert store.certificate(tenant, expired.call) == certificate
        assert list(store.objects.list(f"{tenant}/{expired.call}/")) == []
        store.check()
    with open_at(tmp_path, data="backup") as restored:
        for artefact in expired.artefacts:
            with pytest.raises((Erased, Unavailable)):
                restored.document(tenant, artefact.ref.artefact)
