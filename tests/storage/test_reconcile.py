"""Reconciling: what is well is not mentioned, what is under way is pending, and each thing amiss is found and named."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import delete, text, update

from storage.accounts import CALLS_AT_ONCE
from storage.audit import NAMED_MAX, ORPHAN, Audit, Weight, both
from storage.model import CallState, Kind, TenantId, new_id
from storage.recordings import Recordings
from storage.records import Identifier, NewCall
from storage.slices import object_name
from storage.spool import SpoolWriter
from storage.spoolfile import spool_files
from storage.tables import artefacts, manifests, slices, tags
from storage.uploader import Uploader
from tests.storage.spooling import until
from tests.storage.stores import ACTOR, GROUND, audio_of, begin_call, save_call, spool, stored_call, upload

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def tenant(store: Recordings) -> TenantId:
    found = store.tenant("acme")
    store.prepare(found, ["recording"])
    return found


def look(store: Recordings, *, hashes: bool = False, said: str = "") -> Audit:
    """One look, at which every call's account of itself says `said`."""
    return store.reconcile(lambda _state, _detail: said, hashes=hashes)


def named(audit: Audit, weight: Weight) -> dict[str, set[str]]:
    return {what: names for (of, what), names in audit.findings.items() if of is weight}


_UNCHECKED = {
    "sqlite": "PRAGMA defer_foreign_keys=ON",
    "postgresql": "SET LOCAL session_replication_role = replica",
}


def change(store: Recordings, statement: object) -> None:
    """Alter the catalogue behind the store's back."""
    with store._catalogue.writing() as connection:
        connection.execute(text(_UNCHECKED[connection.dialect.name]))
        connection.execute(statement)  # type: ignore[call-overload]  # any statement at all


def slice_of(store: Recordings, new: NewCall, number: int = 0) -> tuple[str, str]:
    """Stream id and object name of one of the call's slices."""
    with store._catalogue.reading() as connection:
        artefact = audio_of(new)[number]
        stream_id = connection.scalar(
            slices.select().with_only_columns(slices.c.stream_id).where(slices.c.artefact == artefact.ref.artefact)
        )
    return str(stream_id), object_name(artefact.ref, str(stream_id))


def test_search_tags_that_lead_nowhere_are_unexplained(store: Recordings, tenant: TenantId) -> None:
    store.identify(stored_call(store, tenant), [Identifier("number", "+31201234567")])
    assert look(store).findings == {}
    leaf, artefact = new_id(), new_id()
    change(store, tags.insert().values(leaf=leaf, artefact=artefact, tag=b"x" * 16))
    assert named(look(store), Weight.UNEXPLAINED) == {
        "search tags of a leaf that is not there": {leaf},
        "search tags of an artefact that is not there": {artefact},
    }


@pytest.mark.postgresql("one path from end to end")
def test_stored_call_is_accounted_for_to_the_last_hash(store: Recordings, tenant: TenantId) -> None:
    stored_call(store, tenant)
    audit = look(store, hashes=True)
    assert audit.findings == {}
    assert audit.outcomes == {"stored": 1}
    assert (audit.slices, audit.objects, audit.hashes) == (2, 2, 2)


def test_erased_call_leaves_nothing_to_explain(store: Recordings, tenant: TenantId) -> None:
    new = stored_call(store, tenant)
    store.erase_call(tenant, new.call, ground=GROUND, actor=ACTOR)
    audit = look(store)
    assert audit.findings == {}
    assert audit.outcomes == {"erased": 1}
    assert audit.objects == 0


def test_call_under_way_is_pending_from_its_first_record_to_its_manifest(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    spool(store, [(artefact, [b"audio"]) for artefact in audio_of(new)])
    audit = look(store)
    assert {what: len(names) for what, names in named(audit, Weight.PENDING).items()} == {
        "call that is live, or ends when a server starts": 1,
        "spool records that wait to be uploaded": 2,
    }
    store.put_documents(new, {}, CallState.ENDED, ["transcribe"])
    audit = look(store)
    assert named(audit, Weight.PENDING)["ended call that waits for its manifest"] == {new.call}
    assert audit.total(Weight.UNEXPLAINED) == audit.total(Weight.LEFTOVER) == 0
    upload(store)
    audit = look(store)
    assert list(named(audit, Weight.PENDING)) == ["job not handed to the queue yet"]
    assert audit.jobs == 1


def test_uploaded_records_beside_others_that_wait_are_needed_by_nobody(store: Recordings, tenant: TenantId) -> None:
    done, going_on = save_call(store, tenant), save_call(store, tenant)
    with SpoolWriter(store.spool_folder, node="n1", file_bytes=1 << 20, commit_s=0.01) as writer:
        for number, new in enumerate((done, going_on)):
            artefact = audio_of(new)[0]
            writer.open(number, artefact.ref, artefact.key)
            writer.release(number)
            writer.append(number, 0, 100, b"audio")
        writer.close(0)
        until(lambda: writer.poll() == [0])
        with Uploader(store.spool_folder, store.slices, store.objects) as uploader:
            until(lambda: uploader.step(0.0).waiting_bytes > 0)
        audit = look(store)
    assert [len(names) for names in named(audit, Weight.LEFTOVER).values()] == [1]
    assert [name.split()[0] for name in named(audit, Weight.PENDING)["spool records that wait to be uploaded"]] == [
        audio_of(going_on)[0].ref.artefact
    ]


def test_object_of_another_size_or_content_is_named(store: Recordings, tenant: TenantId) -> None:
    new = stored_call(store, tenant)
    (_, short), (_, changed) = (slice_of(store, new, number) for number in range(2))
    whole = store.objects.get(short)
    store.objects.delete(short)
    store.objects.put(short, whole[:-1])
    other = bytearray(store.objects.get(changed))
    other[-1] ^= 1
    store.objects.delete(changed)
    store.objects.put(changed, bytes(other))
    assert named(look(store), Weight.UNEXPLAINED) == {"object of another size than its slice": {short}}
    assert named(look(store, hashes=True), Weight.UNEXPLAINED) == {
        "object of another size than its slice": {short},
        "object whose content is not its slice's": {changed},
    }


def test_slice_without_its_object_is_named(store: Recordings, tenant: TenantId) -> None:
    new = stored_call(store, tenant)
    stream_id, name = slice_of(store, new)
    store.objects.delete(name)
    assert named(look(store), Weight.UNEXPLAINED) == {"slice without its object": {stream_id}}


def test_object_that_no_slice_names_is_a_leftover_that_can_be_swept(store: Recordings, tenant: TenantId) -> None:
    new = stored_call(store, tenant)
    orphan = f"{tenant}/{new.call}/{new_id()}"
    store.objects.put(orphan, b"cut off")
    audit = look(store)
    assert named(audit, Weight.LEFTOVER) == {ORPHAN: {orphan}}
    assert audit.total(Weight.UNEXPLAINED) == 0
    assert store.sweep_objects([orphan, slice_of(store, new)[1]]) == 1, "what a slice names is never swept"
    assert look(store, hashes=True).findings == {}


def test_object_of_an_unknown_call_or_of_no_form_is_not_explained(store: Recordings, tenant: TenantId) -> None:
    stored_call(store, tenant)
    strangers = {f"{tenant}/{new_id()}/{new_id()}", "notes", f"{tenant}/{new_id()}"}
    for name in strangers:
        store.objects.put(name, b"?")
    (names,) = named(look(store), Weight.UNEXPLAINED).values()
    assert names == strangers


def test_hole_in_the_catalogue_is_named_by_numbers_and_manifest(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    one, two = audio_of(new)
    spool(store, [(one, [os.urandom(600_000)] * 4), (two, [b"audio"])])
    store.put_documents(new, {}, CallState.ENDED)
    upload(store)
    assert look(store).findings == {}
    change(store, delete(slices).where(slices.c.artefact == one.ref.artefact, slices.c.slice_no == 0))
    found = named(look(store), Weight.UNEXPLAINED)
    assert found == {
        "stream with a slice left out": {one.ref.artefact},
        "manifest that names other slices than there are": {new.call},
    }
    assert ORPHAN in named(look(store), Weight.LEFTOVER)


def test_spool_of_a_catalogue_that_was_rolled_back_is_not_explained(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    spool(store, [(audio_of(new)[0], [b"audio"])])
    change(store, text("DELETE FROM artefact_keys"))
    change(store, text("DELETE FROM artefacts"))
    assert list(named(look(store), Weight.UNEXPLAINED)) == [
        "spool records of a stream that the catalogue does not know"
    ]


def test_spool_of_an_erased_call_is_a_leftover(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    spool(store, [(audio_of(new)[0], [b"audio"])])
    store.erase_call(tenant, new.call, ground=GROUND, actor=ACTOR)
    assert list(named(look(store), Weight.LEFTOVER)) == ["spool records of an erased recording"]


def test_spool_file_that_is_damaged_or_none_is_told(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    spool(store, [(audio_of(new)[0], [b"one", b"two", b"three"])])
    (path,) = spool_files(store.spool_folder)
    raw = bytearray(path.read_bytes())
    raw[300] ^= 1  # in the head of the first record
    path.write_bytes(raw)
    stray = store.spool_folder / "stray.spool"
    stray.write_bytes(b"?")
    audit = look(store)
    assert named(audit, Weight.PENDING)["spool file with broken places"] == {path.name}
    assert named(audit, Weight.UNEXPLAINED) == {"spool file that cannot be read": {stray.name}}


def test_ended_call_whose_stream_nothing_will_end_is_not_explained(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    store.put_documents(new, {}, CallState.ENDED)
    assert named(look(store), Weight.UNEXPLAINED) == {"ended call with a stream that nothing will end": {new.call}}


@pytest.mark.parametrize("wrong", ["manifest", "stream", "audio", "interrupted"])
def test_closed_call_that_is_not_what_it_says_is_named(store: Recordings, tenant: TenantId, wrong: str) -> None:
    new = stored_call(store, tenant)
    of_call = artefacts.c.call == new.call
    if wrong == "manifest":
        change(store, delete(manifests).where(manifests.c.call == new.call))
    elif wrong == "stream":
        change(store, update(artefacts).where(of_call, artefacts.c.kind == Kind.AUDIO.value).values(state="writing"))
    elif wrong == "audio":
        change(store, delete(slices))
    else:
        change(store, update(artefacts).where(of_call).values(interrupted=True))
    expected = {
        "manifest": {"closed call without a manifest"},
        "stream": {"closed call with an open stream"},
        "audio": {"stored call without stored audio", "manifest that names other slices than there are"},
        "interrupted": {"stored call with an interrupted stream"},
    }
    assert set(named(look(store), Weight.UNEXPLAINED)) == expected[wrong]


def test_call_that_is_not_stored_whole_is_asked_for_its_own_account(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    detail = new.find(Kind.CALL_DETAIL).ref.artefact
    store.put_documents(new, {detail: b"the account"}, CallState.NOT_RECORDED)
    upload(store)
    heard: list[tuple[CallState, bytes]] = []

    def explain(state: CallState, account: bytes) -> str:
        heard.append((state, account))
        return "no reason"

    audit = store.reconcile(explain)
    assert heard == [(CallState.NOT_RECORDED, b"the account")]
    assert named(audit, Weight.UNEXPLAINED) == {"no reason": {new.call}}


def test_what_only_one_of_two_looks_finds_was_on_its_way(store: Recordings, tenant: TenantId) -> None:
    new = stored_call(store, tenant)
    first, second = look(store), look(store)
    first.find(Weight.UNEXPLAINED, "wrong", "moved")
    first.find(Weight.UNEXPLAINED, "wrong", "stays")
    second.find(Weight.UNEXPLAINED, "wrong", "stays")
    second.find(Weight.UNEXPLAINED, "wrong", "came")
    second.find(Weight.PENDING, "under way", new.call)
    found = both(first, second)
    assert [finding.name for finding in found.named(Weight.UNEXPLAINED)] == ["stays"]
    assert found.total(Weight.UNEXPLAINED) == found.total(Weight.PENDING) == 1


def test_more_findings_than_can_be_named_are_counted(store: Recordings) -> None:
    audits = []
    for _ in range(2):
        audit = look(store)
        for number in range(NAMED_MAX + 5):
            audit.find(Weight.UNEXPLAINED, "wrong", str(number))
        audits.append(audit)
    assert both(*audits).total(Weight.UNEXPLAINED) == NAMED_MAX + 5
    assert len(list(audits[1].named(Weight.UNEXPLAINED))) == NAMED_MAX


@pytest.mark.postgresql("the order of rows")
def test_calls_of_several_pages_are_all_looked_at(store: Recordings, tenant: TenantId) -> None:
    many = [begin_call(store, tenant) for _ in range(2 * CALLS_AT_ONCE + 1)]
    store.save(many)
    audit = look(store)
    assert audit.outcomes == {"live": len(many)}
    assert audit.total(Weight.PENDING) == len(many)
