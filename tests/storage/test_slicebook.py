"""The catalogue's side of the uploader, many streams at a time: what concerns one of them is told of that one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from storage.errors import AlreadyExists, Erased, NotFound
from storage.model import ArtefactId, ArtefactState, CallId, CallState, TenantId, new_id
from storage.recordings import Recordings
from storage.records import NewCall
from storage.slices import SliceRow, StreamKey
from tests.storage.stores import ACTOR, GROUND, audio_of, save_call, stored_call, upload
from tests.storage.stores import spool as spool_into

RUN, OTHER_RUN = "a" * 32, "b" * 32


pytestmark = pytest.mark.usefixtures("database")


def row_of(artefact: ArtefactId, number: int = 0, *, run: str = RUN, first: int = 0, last: int = 9) -> SliceRow:
    return SliceRow(artefact, number, new_id(), run, first, last, 100, b"digest", 4096, b"index")


def streams_of(*calls: NewCall) -> list[ArtefactId]:
    return [artefact.ref.artefact for new in calls for artefact in audio_of(new)]


def states(store: Recordings, new: NewCall) -> list[tuple[ArtefactState, int]]:
    record = store.call(new.tenant, new.call)
    return [(artefact.state, artefact.size) for artefact in record.artefacts if artefact.ref.kind == "audio"]


def kinds(outcomes: Sequence[object]) -> list[type]:
    return [type(outcome) for outcome in outcomes]


def test_keys_come_with_what_is_stored_of_each(store: Recordings, tenant: TenantId) -> None:
    first, second = streams_of(save_call(store, tenant))
    store.slices.commit(
        [row_of(first), row_of(first, 1, run=OTHER_RUN, last=5), row_of(first, 2, first=10, last=19)], {}
    )
    keys = store.slices.artefact_keys([first, second])
    one, two = keys[first], keys[second]
    assert isinstance(one, StreamKey)
    assert isinstance(two, StreamKey)
    assert (one.next_slice, one.uploaded) == (3, {RUN: 19, OTHER_RUN: 5})
    assert (two.next_slice, two.uploaded) == (0, {})
    assert (one.ref.artefact, two.ref.artefact) == (first, second)


def test_keys_of_erased_and_unknown_artefacts_are_refused_one_by_one(store: Recordings, tenant: TenantId) -> None:
    erased, alive = save_call(store, tenant), save_call(store, tenant)
    store.erase_call(tenant, erased.call, ground=GROUND, actor=ACTOR)
    wanted = [*streams_of(erased), ArtefactId(new_id()), *streams_of(alive)]
    keys = store.slices.artefact_keys(wanted)
    assert list(keys) == wanted
    assert kinds(list(keys.values())) == [Erased, Erased, NotFound, StreamKey, StreamKey]


def test_one_refused_slice_does_not_fail_the_others(store: Recordings, tenant: TenantId) -> None:
    erased, closed, alive = save_call(store, tenant), stored_call(store, tenant), save_call(store, tenant)
    store.erase_call(tenant, erased.call, ground=GROUND, actor=ACTOR)
    ids = [streams_of(erased)[0], streams_of(closed)[0], ArtefactId(new_id()), *streams_of(alive)]
    outcomes = store.slices.commit([row_of(artefact) for artefact in ids], dict.fromkeys(ids, False))
    assert kinds(outcomes) == [Erased, NotFound, NotFound, type(None), type(None)]
    assert states(store, alive) == [(ArtefactState.COMPLETE, 100)] * 2


@pytest.mark.postgresql("what one transaction commits")
def test_stream_ends_in_the_transaction_of_its_last_slice(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    going, ending = streams_of(new)
    assert store.slices.commit([row_of(going), row_of(ending)], {ending: True}) == [None, None]
    assert states(store, new) == [(ArtefactState.WRITING, 100), (ArtefactState.COMPLETE, 100)]
    assert store.slices.writing() == [(going, RUN)]
    assert store.slices.commit([row_of(ending, 1, run=OTHER_RUN)], {}) == [None]
    assert states(store, new)[1] == (ArtefactState.WRITING, 200), "another run goes on with it"


def test_interruption_once_noted_stays(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    one, two = streams_of(new)
    store.slices.commit((), {one: True, two: False})
    store.slices.commit((), {one: False})
    store.put_documents(new, {}, CallState.ENDED)
    store.store_manifest(tenant, new.call)
    interrupted = {entry["artefact"]: entry["interrupted"] for entry in store.manifest(tenant, new.call)["artefacts"]}
    assert (interrupted[one], interrupted[two]) == (True, False)


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ({"first_seq": 9, "slice_no": 1}, "one of its records is there"),
        ({"first_seq": 10, "slice_no": 0}, "its number is taken"),
    ],
)
@pytest.mark.postgresql("uniqueness")
def test_what_is_there_already_is_refused_and_ends_nothing(
    store: Recordings, tenant: TenantId, second: dict[str, int], why: str
) -> None:
    new = save_call(store, tenant)
    artefact = streams_of(new)[0]
    assert store.slices.commit([row_of(artefact)], {}) == [None]
    again = replace(row_of(artefact, last=19), **second)  # type: ignore[arg-type]  # numbers only
    following = row_of(artefact, 2, first=20, last=29)
    assert kinds(store.slices.commit([again, following], {artefact: False})) == [AlreadyExists, AlreadyExists], why
    assert states(store, new)[0] == (ArtefactState.WRITING, 100)
    assert kinds(store.slices.commit([row_of(artefact, 1, first=10), row_of(artefact, 2, first=5)], {})) == [
        type(None),
        AlreadyExists,
    ]


@pytest.mark.postgresql("many rows at once")
def test_erased_call_between_others_gets_no_manifest_and_they_do(store: Recordings, tenant: TenantId) -> None:
    new_calls = [save_call(store, tenant) for _ in range(3)]
    for new in new_calls:
        spool_into(store, [(artefact, [b"audio"]) for artefact in audio_of(new)])
    upload(store)
    for new in new_calls:
        store.put_documents(new, {}, CallState.ENDED)
    due = store.slices.ended_calls()
    assert due == [(tenant, new.call) for new in new_calls]
    store.erase_call(tenant, new_calls[1].call, ground=GROUND, actor=ACTOR)
    outcomes = store.slices.store_manifests([*due, (tenant, CallId(new_id())), (store.tenant("other"), due[0][1])])
    assert kinds(outcomes) == [type(None), Erased, type(None), NotFound, NotFound]
    for new in (new_calls[0], new_calls[2]):
        manifest = store.manifest(tenant, new.call)
        assert [len(entry["slices"]) for entry in manifest["artefacts"]] == [1, 1, 0, 0]
        assert store.call(tenant, new.call).state is CallState.STORED
    assert store.slices.store_manifests(due[:1]) == [None], "once more changes nothing"
    with pytest.raises(Erased):
        store.store_manifest(tenant, new_calls[1].call)
