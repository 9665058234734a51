"""Calls whose keys are away have a row from the beginning, in clear and without a key, and end with a reason."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.calls.recovery import recover_all
from gateway.commands.reconcile import explain
from storage.audit import Weight
from storage.errors import Erased, NotFound
from storage.keyless import KEYS_AWAY
from storage.model import NO_PARTICIPANT, CallId, CallState, Kind, new_id
from storage.recordings import NewCall, Recordings, Wanted
from storage.tables import calls
from tests.gateway.store import opened

WANTED = [Wanted(NO_PARTICIPANT, kind, "quality") for kind in (Kind.CALL_DETAIL, Kind.IDENTITY)]


def keyless(store: Recordings, name: str = "own") -> NewCall:
    """A call that waits for keys."""
    new = store.begin(store.tenant(name), CallId(new_id()), WANTED)
    store.keyless.begin(new)
    return new


def found(store: Recordings, new: NewCall) -> tuple[CallState, str]:
    record = store.call(new.tenant, new.call)
    return record.state, record.reason


def test_the_row_has_ids_day_and_state_only_and_needs_no_provider(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        new = keyless(store)
        asked = store.key_operations()
        assert store.keyless.count() == 1
        assert store.keyless.waiting() == [(new.tenant, new.call)]
        with store._catalogue.reading() as connection:
            (row,) = connection.execute(calls.select()).mappings()
        told = {name: value for name, value in row.items() if name != "serial"}
        assert told == {"id": new.call, "tenant": new.tenant, "day": new.day} | {
            "state": "keyless",
            "closed": False,
            "reason": "keys_away",
        }
        assert store.key_operations() == asked


def test_its_keys_come_and_it_is_a_call_like_any_other(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        first, other = keyless(store), store.begin(store.tenant("own"), CallId(new_id()), WANTED)
        store.save([other, replace(first, listed=True)])
        assert found(store, first) == found(store, other) == (CallState.LIVE, "")
        assert store.keyless.count() == 0
        assert not store.keyless.end(first.call), "it waits no more"
        assert [call.id for call in store.calls(first.tenant)] == [other.call, first.call], "in the order of beginning"


def test_one_that_was_erased_meanwhile_does_not_come_back(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        new = keyless(store)
        certificate = store.erase_call(new.tenant, new.call, ground="test", actor="officer")
        assert certificate["entries"]
        with pytest.raises(Erased):
            store.save([replace(new, listed=True)])
        assert store.call(new.tenant, new.call).state is CallState.ERASED


def test_it_ends_with_its_reason_gets_a_manifest_and_is_explained(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        ended, lost = keyless(store), keyless(store)
        assert [weight for weight, _ in store.reconcile(explain).findings] == [Weight.PENDING]
        assert store.keyless.end(ended.call)
        assert recover_all(store) == 1, "the other one's process has died"
        assert recover_all(store) == 0
        assert found(store, ended) == (CallState.NOT_RECORDED, KEYS_AWAY)
        assert found(store, lost) == (CallState.INTERRUPTED, KEYS_AWAY)
        for new in (ended, lost):
            store.store_manifest(new.tenant, new.call)
            assert store.manifest(new.tenant, new.call)["artefacts"] == []
        audit = store.reconcile(explain, hashes=True)
        assert not audit.findings
        assert audit.outcomes == {"not_recorded": 1, "interrupted": 1}


def test_a_row_without_parts_and_reason_is_unexplained(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        new = keyless(store)
        store.keyless.end(new.call)
        store.store_manifest(new.tenant, new.call)
        with store._catalogue.writing() as connection:
            connection.execute(calls.update().values(reason=None))
        assert store.reconcile(explain).total(Weight.UNEXPLAINED) == 1


def test_prepared_keys_say_until_when_they_last(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        tenant = store.tenant("own")
        assert store.ready_until(tenant) is None
        store.prepare(tenant, ["quality"])
        until_s = store.ready_until(tenant)
        assert until_s is not None
        assert 2 * 86_400 <= until_s - time.time() <= 3 * 86_400
        with pytest.raises(NotFound):
            store.call(tenant, CallId(new_id()))
