"""The door of the store: what goes in comes out the same, for its own tenant, from spool and slices alike."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

import pytest
from sqlalchemy import select, update

from storage.content import DOCUMENT_BYTES_MAX, INLINE_BYTES_MAX
from storage.errors import (
    AlreadyExists,
    DataError,
    Erased,
    Malformed,
    NotFound,
    NotReady,
    Refused,
    Swapped,
    Tampered,
    Truncated,
    Unavailable,
)
from storage.model import (
    NO_PARTICIPANT,
    ArtefactId,
    ArtefactState,
    CallId,
    CallState,
    Kind,
    ParticipantId,
    TenantId,
    new_id,
)
from storage.recordings import Recordings
from storage.records import Change, Derived, NewCall, Wanted
from storage.tables import documents
from storage.tokens import Role
from storage.uploader import Uploader
from tests.storage.killing import processes
from tests.storage.stores import (
    ACTOR,
    GROUND,
    PURPOSE,
    audio_of,
    begin_call,
    catalogue_at,
    catalogue_files,
    catalogue_url,
    files_below,
    open_at,
    save_call,
    spool,
    stored_call,
    sweep_orphans,
    upload,
)

pytestmark = pytest.mark.usefixtures("database")

DAY_S = 86_400.0
NOW_S = 1_770_000_000.0  # 2026-02-02


def identity_of(new: NewCall) -> ArtefactId:
    return new.find(Kind.IDENTITY).ref.artefact


# Opening.


@pytest.mark.postgresql("one path from end to end")
def test_a_store_opens_again_as_itself(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        fingerprint, tenant = store.fingerprint(), store.tenant("acme")
        new = stored_call(store, tenant)
    with open_at(tmp_path) as store:
        assert (store.fingerprint(), store.tenant("acme")) == (fingerprint, tenant)
        assert store.document(tenant, identity_of(new)) == b"identity"
        store.check()


def test_another_keyring_is_not_this_stores(tmp_path: Path) -> None:
    open_at(tmp_path).close()
    with pytest.raises(Unavailable, match="right one"):
        Recordings.open(
            tmp_path / "data",
            f"file:{tmp_path}/other",
            f"file:{tmp_path}/data/objects",
            node="n1",
            catalogue_url=catalogue_url(tmp_path),
        )


@pytest.mark.parametrize(("provider", "objects"), [("s3:/x", "file:/tmp/o"), ("file:/tmp/k", "ftp:/x"), ("", "")])
def test_an_unknown_provider_or_object_store_is_malformed(tmp_path: Path, provider: str, objects: str) -> None:
    with pytest.raises(Malformed):
        Recordings.open(tmp_path / "data", provider, objects, node="n1")


def test_a_keyring_in_the_data_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="inside the data folder"):
        Recordings.open(tmp_path / "data", f"file:{tmp_path}/data/keys", f"file:{tmp_path}/o", node="n1")


def test_checking_names_what_is_away(store: Recordings, tmp_path: Path) -> None:
    store.check()
    (tmp_path / "keys").rename(tmp_path / "away")
    with pytest.raises(Unavailable, match="keyring"):
        store.check()


# Tenants.


def test_a_tenant_is_made_once_and_its_name_is_not_stored(store: Recordings, tmp_path: Path) -> None:
    tenant = store.tenant("Very Private Limited")
    with open_at(tmp_path) as other:
        assert other.tenant("Very Private Limited") == tenant
        assert other.tenant("Another") != tenant
    assert b"Very Private" not in files_below(tmp_path)


@pytest.mark.postgresql("uniqueness among writers at once")
def test_threads_that_name_a_new_tenant_at_once_get_the_same(tmp_path: Path) -> None:
    found: set[TenantId] = set()
    with open_at(tmp_path) as first, open_at(tmp_path) as second:
        threads = [threading.Thread(target=lambda s=s: found.add(s.tenant("acme"))) for s in (first, second) * 3]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 1


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_a_name_beyond_bounds_is_refused(store: Recordings, name: str) -> None:
    with pytest.raises(Refused):
        store.tenant(name)


# Calls.


def test_beginning_a_call_touches_nothing(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    (tmp_path / "keys").rename(tmp_path / "away")
    new = begin_call(store, tenant)
    assert len({artefact.key.reveal() for artefact in new.artefacts}) == 4
    with pytest.raises(NotFound):
        store.call(tenant, new.call)


@pytest.mark.parametrize("purpose", ["", "Recording", "a b", "x" * 33, "../x", "1st"])
def test_a_purpose_that_is_no_word_is_refused(store: Recordings, tenant: TenantId, purpose: str) -> None:
    with pytest.raises(Refused):
        store.begin(tenant, CallId(new_id()), [Wanted(NO_PARTICIPANT, Kind.IDENTITY, purpose)])


def test_a_saved_call_is_live_and_listed(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    record = store.call(tenant, new.call)
    assert (record.id, record.state, record.day) == (new.call, CallState.LIVE, new.day)
    assert [artefact.ref for artefact in record.artefacts] == [artefact.ref for artefact in new.artefacts]
    assert {artefact.state for artefact in record.artefacts} == {ArtefactState.WRITING}
    assert store.calls(tenant) == [record]
    assert store.live_calls() == [(tenant, new.call)]


@pytest.mark.postgresql("a transaction that is rolled back")
def test_a_batch_is_saved_whole_or_not_at_all(store: Recordings, tenant: TenantId) -> None:
    first, second = begin_call(store, tenant), begin_call(store, tenant)
    store.save([first])
    with pytest.raises(AlreadyExists):
        store.save([second, first])
    assert [record.id for record in store.calls(tenant)] == [first.call]
    store.save([second])


def test_a_batch_may_hold_calls_of_several_tenants(store: Recordings, tenant: TenantId) -> None:
    other = store.tenant("another")
    batch = [begin_call(store, whose) for whose in (tenant, other, tenant)]
    store.save(batch)
    assert (len(store.calls(tenant)), len(store.calls(other))) == (2, 1)


@pytest.mark.postgresql("the order of rows")
def test_calls_are_listed_newest_first_and_paged(store: Recordings, tenant: TenantId) -> None:
    ids = [save_call(store, tenant).call for _ in range(5)]
    newest = [record.id for record in store.calls(tenant, limit=2)]
    assert newest == ids[:2:-1]
    assert [record.id for record in store.calls(tenant, before=newest[-1])] == ids[2::-1]
    with pytest.raises(NotFound):
        store.calls(tenant, before=CallId(new_id()))


def test_another_tenants_ids_are_not_found(store: Recordings, tenant: TenantId) -> None:
    new = stored_call(store, tenant)
    stranger = store.tenant("another")
    audio = audio_of(new)[0].ref.artefact
    item = Derived(NO_PARTICIPANT, Kind.TRANSCRIPT, PURPOSE, b"x")
    assert store.calls(stranger) == []
    for use in (
        lambda: store.call(stranger, new.call),
        lambda: store.document(stranger, identity_of(new)),
        lambda: store.stream(stranger, audio),
        lambda: store.manifest(stranger, new.call),
        lambda: store.resume(stranger, new.call),
        lambda: store.calls(stranger, before=new.call),
        lambda: store.add_derived(stranger, new.call, [audio], [item]),
    ):
        with pytest.raises(NotFound):
            use()


def test_prepared_keys_let_calls_be_saved_for_two_days_without_the_provider(tmp_path: Path) -> None:
    now = [NOW_S]
    with open_at(tmp_path, clock=lambda: now[0]) as store:
        tenant = store.tenant("acme")
        store.prepare(tenant, [PURPOSE])
        (tmp_path / "keys").rename(tmp_path / "away")
        for days in (0, 1, 2):
            now[0] = NOW_S + days * DAY_S
            assert store.call(tenant, save_call(store, tenant).call).day == f"2026-02-0{2 + days}"
        now[0] = NOW_S + 3 * DAY_S
        with pytest.raises(Unavailable):  # who closes the provider to us ends new recordings within three days
            save_call(store, tenant)


def test_a_restarted_process_goes_on_with_a_live_call(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        new = save_call(store, tenant)
    with open_at(tmp_path) as store:
        resumed = store.resume(tenant, new.call)
        assert [artefact.ref for artefact in resumed.artefacts] == [artefact.ref for artefact in new.artefacts]
        store.put_documents(resumed, {identity_of(new): b"identity"}, CallState.INTERRUPTED)
        assert store.document(tenant, identity_of(new)) == b"identity"


def test_a_call_that_is_resumed_the_day_after_is_still_of_the_day_on_which_it_began(tmp_path: Path) -> None:
    now = [NOW_S]
    with open_at(tmp_path, clock=lambda: now[0]) as store:
        tenant = store.tenant("acme")
        new = save_call(store, tenant)
        now[0] += 24 * 3600
        resumed = store.resume(tenant, new.call)
        assert resumed.day == new.day == store.call(tenant, new.call).day
        added = begin_call(store, tenant)
        assert added.day != new.day


# Documents.


@pytest.mark.postgresql("what one transaction commits")
def test_a_document_and_the_state_come_together(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    with pytest.raises(NotReady):
        store.document(tenant, identity_of(new))
    store.put_documents(new, {identity_of(new): b"who"}, CallState.ENDED, ["transcribe"])
    record = store.call(tenant, new.call)
    assert record.state is CallState.ENDED
    assert [(found.state, found.size) for found in record.find(Kind.IDENTITY)] == [(ArtefactState.COMPLETE, 3)]
    assert store.document(tenant, identity_of(new)) == b"who"


def test_a_document_may_be_written_again(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    for data in (b"first", b"", b"x" * DOCUMENT_BYTES_MAX):
        store.put_documents(new, {identity_of(new): data})
        assert store.document(tenant, identity_of(new)) == data


def test_a_document_over_the_limit_is_refused_and_changes_nothing(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    with pytest.raises(Refused):
        store.put_documents(new, {identity_of(new): b"x" * (DOCUMENT_BYTES_MAX + 1)}, CallState.ENDED)
    assert store.call(tenant, new.call).state is CallState.LIVE


def test_documents_of_a_call_that_was_not_saved_are_not_found(store: Recordings, tenant: TenantId) -> None:
    new = begin_call(store, tenant)
    with pytest.raises(NotFound):
        store.put_documents(new, {identity_of(new): b"who"})


def test_erasing_is_the_only_way_to_be_erased(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    with pytest.raises(Refused):
        store.put_documents(new, {}, CallState.ERASED)


def test_a_changed_document_is_tampered(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    new = stored_call(store, tenant)
    catalogue = catalogue_at(tmp_path)
    with catalogue.writing() as connection:
        where = documents.c.artefact == identity_of(new)
        sealed = connection.scalars(select(documents.c.sealed).where(where)).one()
        connection.execute(update(documents).where(where).values(sealed=sealed[:-1] + bytes([sealed[-1] ^ 1])))
    catalogue.close()
    with pytest.raises(Tampered):
        store.document(tenant, identity_of(new))


# Streams.


def test_a_stream_reads_the_same_from_spool_and_from_slices(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    entries = [bytes([at]) * 500 for at in range(30)]
    spool(store, [(artefact, entries) for artefact in audio_of(new)])
    artefact = audio_of(new)[0].ref.artefact
    for _ in range(2):
        with store.stream(tenant, artefact) as stream:
            assert stream.entries == [(at * 100, at * 100 + 100) for at in range(30)]
            assert list(stream.read()) == entries
            assert list(stream.read(1000, 1200)) == entries[10:12]
            assert list(stream.read(1050, 1051)) == entries[10:11]
            assert list(stream.read(5000, 6000)) == []
            assert stream.ended
        upload(store)
    assert store.call(tenant, new.call).find(Kind.AUDIO)[0].state is ArtefactState.COMPLETE


def test_a_stream_half_in_slices_and_half_in_the_spool_is_one(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    target = audio_of(new)[0]
    spool(store, [(target, [b"one", b"two"])], end=False)
    upload(store)
    spool(store, [(target, [b"three"])], end=False)
    with store.stream(tenant, target.ref.artefact) as stream:
        assert list(stream.read()) == [b"one", b"two", b"three"]


def test_a_seek_opens_one_segment(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    spool(store, [(audio_of(new)[0], [bytes([at]) * 2000 for at in range(200)])])
    upload(store)
    with store.stream(tenant, audio_of(new)[0].ref.artefact) as stream:
        assert list(stream.read(15_000, 15_100)) == [bytes([150]) * 2000]
        assert stream.segments_opened == 1
        assert len(list(stream.read())) == 200


def test_an_empty_stream_has_no_entries(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    with store.stream(tenant, audio_of(new)[0].ref.artefact) as stream:
        assert (stream.entries, list(stream.read()), stream.ended) == ([], [], False)


def test_changed_missing_and_swapped_objects_are_told_apart(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    new = stored_call(store, tenant)
    folder = tmp_path / "data" / "objects" / tenant / new.call
    first, second = (path for path in sorted(folder.iterdir()))
    kept = first.read_bytes(), second.read_bytes()

    def errors() -> set[type[Exception]]:
        found: set[type[Exception]] = set()
        for artefact in audio_of(new):
            try:
                with store.stream(tenant, artefact.ref.artefact) as stream:
                    list(stream.read())
            except DataError as error:
                found.add(type(error))
        return found

    first.write_bytes(kept[0][:-1] + bytes([kept[0][-1] ^ 1]))
    assert errors() == {Tampered}
    first.write_bytes(kept[0][:-1])
    assert errors() == {Truncated}
    first.unlink()
    assert errors() == {Truncated}
    first.write_bytes(kept[1])
    second.write_bytes(kept[0])
    assert errors() == {Swapped}
    first.write_bytes(kept[0])
    second.write_bytes(kept[1])
    assert errors() == set()


# Derived artefacts.


@pytest.mark.parametrize("size", [0, 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 300_000])
def test_a_derived_artefact_of_any_size_reads_back(store: Recordings, tenant: TenantId, size: int) -> None:
    new = stored_call(store, tenant)
    source = audio_of(new)[0].ref
    items = [
        Derived(source.participant, kind, "transcription", bytes([at]) * size)
        for at, kind in enumerate((Kind.TRANSCRIPT, Kind.REDACTED_TRANSCRIPT))
    ]
    made = store.add_derived(tenant, new.call, [source.artefact], items)
    assert [store.document(tenant, artefact) for artefact in made] == [item.data for item in items]
    (record,) = store.call(tenant, new.call).find(Kind.TRANSCRIPT, source.participant)
    assert (record.ref.artefact, record.state, record.size) == (made[0], ArtefactState.COMPLETE, size)


def test_a_source_of_another_call_is_refused(store: Recordings, tenant: TenantId) -> None:
    new, other = stored_call(store, tenant), stored_call(store, tenant)
    item = Derived(NO_PARTICIPANT, Kind.TRANSCRIPT, "transcription", b"x")
    with pytest.raises(Erased):
        store.add_derived(tenant, new.call, [audio_of(other)[0].ref.artefact], [item])


def test_an_object_of_a_derived_artefact_that_was_changed_is_found(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    new = stored_call(store, tenant)
    folder = tmp_path / "data" / "objects" / tenant / new.call
    before = set(folder.iterdir())
    item = Derived(NO_PARTICIPANT, Kind.TRANSCRIPT, "transcription", b"x" * 100_000)
    (made,) = store.add_derived(tenant, new.call, [identity_of(new)], [item])
    (path,) = set(folder.iterdir()) - before
    sealed = path.read_bytes()
    for changed, error in [
        (sealed[:-1], Truncated),
        (sealed + b"x", Tampered),
        (sealed[:70_000] + b"x" * 40_000, DataError),
    ]:
        path.write_bytes(changed)
        with pytest.raises(error):
            store.document(tenant, made)


def test_the_document_of_a_stream_is_its_facts_and_never_its_content(store: Recordings, tenant: TenantId) -> None:
    new = stored_call(store, tenant)
    assert store.document(tenant, audio_of(new)[0].ref.artefact) == b"facts"
    without = save_call(store, tenant)
    spool(store, [(artefact, [b"audio"]) for artefact in audio_of(without)])
    upload(store)
    with pytest.raises(NotFound):
        store.document(tenant, audio_of(without)[0].ref.artefact)


@pytest.mark.postgresql("savepoints")
def test_of_a_group_of_changes_the_impossible_ones_are_told_and_the_others_made(
    store: Recordings, tenant: TenantId
) -> None:
    kept, erased, unsaved = save_call(store, tenant), save_call(store, tenant), begin_call(store, tenant)
    store.erase_call(tenant, erased.call, ground=GROUND, actor=ACTOR)
    changes = [
        Change(new, {identity_of(new): b"who"}, CallState.NO_MEDIA, ["transcribe"]) for new in (unsaved, erased, kept)
    ]
    outcomes = store.settle(changes)
    assert [type(outcome) for outcome in outcomes] == [NotFound, Erased, type(None)]
    assert store.document(tenant, identity_of(kept)) == b"who"
    assert store.call(tenant, kept.call).state is CallState.NO_MEDIA
    assert [json.loads(row.body)["call"] for row in store.outbox_pending()] == [kept.call]


@pytest.mark.postgresql("rows written twice in a transaction")
def test_of_two_changes_of_one_call_in_a_group_the_later_ones_document_stands(
    store: Recordings, tenant: TenantId
) -> None:
    new = save_call(store, tenant)
    changes = [
        Change(new, {identity_of(new): b"told"}),
        Change(new, {identity_of(new): b"ended"}, CallState.NO_MEDIA),
    ]
    assert store.settle(changes) == [None, None]
    assert store.document(tenant, identity_of(new)) == b"ended"


def test_a_live_call_gets_further_streams_and_one_that_is_over_or_erased_does_not(
    store: Recordings, tenant: TenantId
) -> None:
    live, over, erased = (save_call(store, tenant) for _ in range(3))
    store.put_documents(over, {}, CallState.NO_MEDIA)
    store.erase_call(tenant, erased.call, ground=GROUND, actor=ACTOR)
    wanted = [Wanted(ParticipantId(new_id()), Kind.AUDIO, PURPOSE)]
    before = len(store.call(tenant, live.call).artefacts)
    added = store.begin(tenant, live.call, wanted)
    store.extend(added)
    spool(store, [(added.artefacts[0], [b"later"])])
    upload(store)
    record = store.call(tenant, live.call)
    assert len(record.artefacts) == before + 1
    with store.stream(tenant, added.artefacts[0].ref.artefact) as stream:
        assert stream.records_missing == 0
    assert store.resume(tenant, live.call).artefacts[-1].ref == added.artefacts[0].ref
    with pytest.raises(Refused, match="over"):
        store.extend(store.begin(tenant, over.call, wanted))
    with pytest.raises(Erased):
        store.extend(store.begin(tenant, erased.call, wanted))


def test_a_call_is_saved_with_its_first_documents_and_they_can_be_replaced(store: Recordings, tenant: TenantId) -> None:
    new = begin_call(store, tenant)
    store.save([new], {identity_of(new): b"first", audio_of(new)[0].ref.artefact: b"facts"})
    assert store.document(tenant, identity_of(new)) == b"first"
    states = {artefact.ref.artefact: artefact.state for artefact in store.call(tenant, new.call).artefacts}
    assert states[identity_of(new)] is ArtefactState.COMPLETE
    assert states[audio_of(new)[0].ref.artefact] is ArtefactState.WRITING  # a stream ends by the spool
    store.put_documents(new, {identity_of(new): b"second"})
    assert store.document(tenant, identity_of(new)) == b"second"


@pytest.mark.postgresql("uniqueness")
def test_of_two_workers_with_the_same_job_the_second_stores_nothing(store: Recordings, tenant: TenantId) -> None:
    new = stored_call(store, tenant)
    source = audio_of(new)[0].ref
    items = [Derived(source.participant, Kind.TRANSCRIPT, "quality", b"x" * 10)]
    store.add_derived(tenant, new.call, [source.artefact], items)
    objects = {info.name for info in store.objects.list("")}
    for size in (10, 40_000):
        again = [Derived(source.participant, Kind.TRANSCRIPT, "quality", b"y" * size)]
        with pytest.raises(AlreadyExists):
            store.add_derived(tenant, new.call, [source.artefact], again)
    assert len(store.call(tenant, new.call).find(Kind.TRANSCRIPT)) == 1
    assert {info.name for info in store.objects.list("")} == objects


# Jobs.


def test_jobs_carry_ids_only_and_wait_until_they_are_sent(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    store.put_documents(new, {}, CallState.ENDED, ["transcribe", "index"])
    jobs = store.outbox_pending()
    assert [job.subject for job in jobs] == ["transcribe", "index"]
    assert json.loads(jobs[0].body) == {"tenant": tenant, "call": new.call}
    assert store.outbox_pending(1) == jobs[:1]
    store.outbox_sent([jobs[0].id])
    assert store.outbox_pending() == jobs[1:]


# Ends.


@pytest.mark.postgresql("one path from end to end")
def test_a_call_is_stored_once_its_streams_are_complete(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    store.put_documents(new, {}, CallState.ENDED)
    upload(store)
    assert store.call(tenant, new.call).state is CallState.ENDED
    with pytest.raises(NotReady):
        store.manifest(tenant, new.call)
    spool(store, [(artefact, [b"audio"]) for artefact in audio_of(new)])
    upload(store)
    assert store.call(tenant, new.call).state is CallState.STORED


def test_a_call_with_a_broken_stream_is_interrupted(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    spool(store, [(artefact, [b"audio"]) for artefact in audio_of(new)], end=False)
    store.put_documents(new, {}, CallState.ENDED)
    upload(store)
    assert store.call(tenant, new.call).state is CallState.INTERRUPTED


@pytest.mark.parametrize("state", [CallState.NOT_RECORDED, CallState.NO_MEDIA])
def test_a_call_without_streams_keeps_its_state_and_gets_a_manifest(
    store: Recordings, tenant: TenantId, state: CallState
) -> None:
    new = save_call(store, tenant)
    store.put_documents(new, {identity_of(new): b"who"}, state)
    upload(store)
    assert store.call(tenant, new.call).state is state
    assert store.manifest(tenant, new.call)["call"] == new.call


def test_orphans_are_swept_and_nothing_else(store: Recordings, tenant: TenantId) -> None:
    new = stored_call(store, tenant)
    store.objects.put(f"{tenant}/{new.call}/{new_id()}", b"an orphan")
    assert sweep_orphans(store) == 1
    assert sweep_orphans(store) == 0
    with store.stream(tenant, audio_of(new)[0].ref.artefact) as stream:
        assert list(stream.read()) == [b"audio"] * 3


# Nothing in clear.


@pytest.mark.postgresql("the server's files and log")
def test_nothing_of_a_call_stands_anywhere_in_clear(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="storage")
    secret = b"+31207940800 said the magic words"
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        new = stored_call(store, tenant, audio=secret, identity=secret)
        item = Derived(NO_PARTICIPANT, Kind.TRANSCRIPT, "transcription", secret * 1000)
        store.add_derived(tenant, new.call, [identity_of(new)], [item])
        live = save_call(store, tenant)
        spool(store, [(audio_of(live)[0], [secret])])
        token = store.tokens.create(tenant, role=Role.AGENT, label=secret.decode())
        store.erase_call(tenant, new.call, ground=GROUND, actor=ACTOR)
        everything = files_below(tmp_path / "data") + catalogue_files(tmp_path) + caplog.text.encode()
        keys = [artefact.key.reveal() for artefact in (*new.artefacts, *live.artefacts)]
    for planted in (b"31207940800", b"magic words", token.encode(), token[-43:].encode(), *keys):
        assert planted not in everything
    assert tenant.encode() in everything  # the search does find what is there


# Other processes.


@pytest.mark.postgresql("writers in several processes")
def test_several_processes_save_into_one_store(tmp_path: Path) -> None:
    with processes(3, __name__) as pool:
        pool.map(_save_calls, [tmp_path] * 3, chunksize=1)
    with open_at(tmp_path) as store:
        assert len(store.calls(store.tenant("acme"))) == 60


def _save_calls(root: Path) -> None:
    with open_at(root) as store:
        for _ in range(20):
            save_call(store, store.tenant("acme"))


def test_the_uploader_takes_the_store_for_its_catalogue(store: Recordings) -> None:
    with Uploader(store.spool_folder, store.slices, store.objects) as uploader:
        assert uploader.step(0.0).held is None
