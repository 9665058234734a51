"""Restriction (Art. 18): nothing of the call is read or derived, its bytes stay, and lifted it is as it was."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from storage.errors import AlreadyExists, Erased, NotFound, Refused, Restricted
from storage.jobs import ASIDE
from storage.lease import LEASE_S
from storage.model import CallId, CallState, Kind, TenantId, new_id
from storage.recordings import Recordings
from storage.records import Derived
from storage.restrictions import ENTRY, LIFTED, replay
from storage.tables import ledger, restrictions
from tests.storage.erasure.test_scopes import ids, living
from tests.storage.stores import (
    ACTOR,
    GROUND,
    PURPOSE,
    audio_of,
    catalogue_at,
    files_below,
    save_call,
    spool,
    stored_call,
    upload,
)

pytestmark = pytest.mark.usefixtures("database")

CONTESTED = "accuracy contested, Art. 18(1)(a)"


@pytest.mark.postgresql("one path from end to end")
def test_up_17_restriction_blocks_play_transcribe_export_and_keeps_the_bytes(
    store: Recordings, tenant: TenantId
) -> None:
    call, other = stored_call(store, tenant), stored_call(store, tenant)
    objects = list(store.objects.list(f"{tenant}/{call.call}/"))
    store.restrictions.place(tenant, call.call, CONTESTED, ACTOR)
    for artefact in call.artefacts:
        with pytest.raises(Restricted):
            store.document(tenant, artefact.ref.artefact)
    for artefact in audio_of(call):
        with pytest.raises(Restricted):
            store.stream(tenant, artefact.ref.artefact)
    source = audio_of(call)[0].ref
    text = [Derived(source.participant, Kind.TRANSCRIPT, PURPOSE, b"words")]
    with pytest.raises(Restricted):
        store.add_derived(tenant, call.call, [source.artefact], text)
    assert store.call(tenant, call.call).restricted
    assert not store.call(tenant, other.call).restricted
    assert living(store, other) == ids(list(other.artefacts))
    assert list(store.objects.list(f"{tenant}/{call.call}/")) == objects
    for artefact in call.artefacts:  # every key is there
        assert store.document(tenant, artefact.ref.artefact, recording=True)
    store.restrictions.lift(tenant, call.call, ACTOR)
    assert living(store, call) == ids(list(call.artefacts))
    assert len(store.add_derived(tenant, call.call, [source.artefact], text)) == 1


def test_a_reader_under_way_is_cut_off_within_the_lease(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    with store.stream(tenant, audio_of(call)[0].ref.artefact) as stream:
        assert list(stream.read()) == [b"audio"] * 3
        store.restrictions.place(tenant, call.call, CONTESTED, ACTOR)
        began = time.monotonic()
        with pytest.raises(Restricted):
            while True:
                list(stream.read())
        assert time.monotonic() - began < LEASE_S + 0.3
        store.restrictions.lift(tenant, call.call, ACTOR)
        assert list(stream.read()) == [b"audio"] * 3


def test_the_recording_of_a_restricted_call_goes_on_to_its_manifest(store: Recordings, tenant: TenantId) -> None:
    live = save_call(store, tenant)
    store.restrictions.place(tenant, live.call, CONTESTED, ACTOR)
    spool(store, [(artefact, [b"audio"] * 3) for artefact in audio_of(live)])
    documents = {artefact.ref.artefact: b"facts" for artefact in live.artefacts}
    store.put_documents(live, documents, CallState.ENDED)
    upload(store)
    assert store.call(tenant, live.call).state is CallState.STORED
    assert store.document(tenant, live.artefacts[0].ref.artefact, recording=True) == b"facts"
    with pytest.raises(Restricted):
        store.document(tenant, live.artefacts[0].ref.artefact)
    store.restrictions.lift(tenant, live.call, ACTOR)
    assert living(store, live) == ids(audio_of(live)) | {live.find(Kind.IDENTITY).ref.artefact} | {
        live.find(Kind.CALL_DETAIL).ref.artefact
    }


def test_a_restricted_call_is_erased_like_any_other(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    store.restrictions.place(tenant, call.call, CONTESTED, ACTOR)
    store.erase_call(tenant, call.call, ground=GROUND, actor=ACTOR)
    assert store.call(tenant, call.call).state is CallState.ERASED
    with pytest.raises(Erased):
        store.document(tenant, call.artefacts[0].ref.artefact)


@pytest.mark.postgresql("uniqueness")
def test_one_restriction_stands_at_a_time_and_each_has_its_entries(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    call = stored_call(store, tenant).call
    first = store.restrictions.place(tenant, call, CONTESTED, ACTOR)
    with pytest.raises(AlreadyExists):
        store.restrictions.place(tenant, call, CONTESTED, ACTOR)
    (found,) = store.restrictions.standing(tenant)
    assert (found.id, found.call, found.ground, found.actor) == (first, call, CONTESTED, ACTOR)
    assert store.restrictions.standing(store.tenant("another")) == []
    assert store.restrictions.lift(tenant, call, ACTOR) == first
    with pytest.raises(NotFound):
        store.restrictions.lift(tenant, call, ACTOR)
    second = store.restrictions.place(tenant, call, CONTESTED, ACTOR)
    assert [(body["type"], body["restriction"]) for body in entries(tmp_path)] == [
        (ENTRY, first),
        (LIFTED, first),
        (ENTRY, second),
    ]
    store.check()


def entries(root: Path) -> list[dict[str, str]]:
    catalogue = catalogue_at(root)
    with catalogue.reading() as connection:
        rows = connection.execute(ledger.select().order_by(ledger.c.seq)).all()
    catalogue.close()
    return [json.loads(row.body) for row in rows]


def test_what_cannot_be_restricted_is_refused(store: Recordings, tenant: TenantId) -> None:
    strange, gone = stored_call(store, store.tenant("another")), stored_call(store, tenant)
    store.erase_call(tenant, gone.call, ground=GROUND, actor=ACTOR)
    for call, error in ((strange.call, NotFound), (CallId(new_id()), NotFound), (gone.call, Erased)):
        with pytest.raises(error):
            store.restrictions.place(tenant, call, CONTESTED, ACTOR)
    with pytest.raises(Refused):
        store.restrictions.place(tenant, stored_call(store, tenant).call, "asked by a@b.example", ACTOR)
    assert store.restrictions.standing(tenant) == []


def test_a_job_is_set_aside_while_the_restriction_stands_and_comes_back(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant).call
    assert not store.jobs.set_aside(tenant, call, "transcribe", 1)
    store.restrictions.place(tenant, call, CONTESTED, ACTOR)
    assert store.jobs.set_aside(tenant, call, "transcribe", 1)
    assert [(job.call, job.reason) for job in store.jobs.dead()] == [(call, ASIDE)]
    assert (store.jobs.dead_count(), store.jobs.waiting()) == (0, 0)
    store.restrictions.lift(tenant, call, ACTOR)
    assert store.jobs.dead() == []
    assert [row.subject for row in store.outbox_pending()] == ["transcribe"]


def test_restricted_calls_are_in_no_statistics(store: Recordings, tenant: TenantId) -> None:
    calls = [stored_call(store, tenant) for _ in range(2)]
    assert len(list(store.statistics.described(tenant, calls[0].day))) == 2
    store.restrictions.place(tenant, calls[0].call, CONTESTED, ACTOR)
    assert len(list(store.statistics.described(tenant, calls[0].day))) == 1


def test_the_ledgers_entries_are_enough_to_restrict_again(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    call, lifted = stored_call(store, tenant).call, stored_call(store, tenant).call
    for one in (call, lifted):
        store.restrictions.place(tenant, one, CONTESTED, ACTOR)
    store.restrictions.lift(tenant, lifted, ACTOR)
    before = store.restrictions.standing(tenant)
    catalogue = catalogue_at(tmp_path)
    with catalogue.writing() as connection:
        connection.execute(restrictions.delete())
        for _ in range(2):
            for body in entries(tmp_path):
                replay(connection, body)
    catalogue.close()
    assert store.restrictions.standing(tenant) == before
    assert [found.call for found in before] == [call]


def test_a_ground_is_the_only_word_of_it_on_disk(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    call = stored_call(store, tenant, audio=b"what was said to nobody else")
    store.restrictions.place(tenant, call.call, CONTESTED, ACTOR)
    assert b"what was said" not in files_below(tmp_path / "data")
