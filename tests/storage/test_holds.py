"""What is held outlives its term, its tenant, and whoever asks for its erasure; released, it dies for good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.erasure import Target
from storage.errors import Erased, Expired, NotFound, OnHold, Refused, Unavailable
from storage.holds import CALLS_MAX, complete, replay
from storage.ledger import verify_certificate
from storage.model import NO_PARTICIPANT, CallId, CallState, Kind, ParticipantId, TenantId, new_id
from storage.recordings import Recordings
from storage.records import Derived, Identifier, NewCall, Wanted
from storage.tables import artefact_keys, buckets, held_calls, holds
from tests.storage.erasure.test_expiry import Clock, after_days
from tests.storage.erasure.test_scopes import body, erase, ids, living, opens
from tests.storage.stores import (
    ACTOR,
    GROUND,
    PURPOSE,
    audio_of,
    catalogue_at,
    copy_data,
    open_at,
    save_call,
    saved_with,
    stored_call,
)

pytestmark = pytest.mark.usefixtures("database")

CLAIM = "claim 2026-7 before the court"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Recordings]:
    with open_at(tmp_path, clock=clock, due_of=after_days) as opened:
        yield opened


def derive(store: Recordings, call: NewCall, text: bytes = b"words", purpose: str = PURPOSE) -> bytes:
    """A transcript of the first track; gives what is read of it."""
    source = audio_of(call)[0].ref
    items = [Derived(source.participant, Kind.TRANSCRIPT, purpose, text)]
    (made,) = store.add_derived(source.tenant, source.call, [source.artefact], items)
    return store.document(source.tenant, made)


@pytest.mark.postgresql("an erasure that a row stops")
def test_up_19_erasure_of_what_is_held_is_refused_and_the_ground_named(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    store.holds.place(tenant, [call.call], CLAIM, ACTOR)
    audio = audio_of(call)[0].ref
    for target in (
        Target.of_call(call.call),
        Target.of_artefacts(call.call, [audio.artefact]),
        Target.of_participant(call.call, audio.participant),
    ):
        with pytest.raises(OnHold, match=CLAIM):
            store.erasures.erase(tenant, target, GROUND, ACTOR)
    with pytest.raises(OnHold, match=CLAIM):
        store.holds.check(tenant, call.call)
    assert living(store, call) == ids(list(call.artefacts))
    assert store.call(tenant, call.call).held


def test_a_persons_other_calls_go_and_the_certificate_names_what_is_held(store: Recordings, tenant: TenantId) -> None:
    held, goes = stored_call(store, tenant), stored_call(store, tenant)
    store.holds.place(tenant, [held.call], CLAIM, ACTOR)
    certificate = erase(store, tenant, Target.of_person([held.call, goes.call]))
    assert living(store, held, goes) == ids(list(held.artefacts))
    assert f"4 artefacts held, ground: {CLAIM}" in body(certificate)["exceptions"]
    assert store.call(tenant, goes.call).state is CallState.ERASED


@pytest.mark.postgresql("one path from end to end")
def test_a_held_call_outlives_its_term_and_nothing_is_left_of_it_after_the_release(
    store: Recordings, tenant: TenantId, clock: Clock, tmp_path: Path
) -> None:
    call, other = stored_call(store, tenant), stored_call(store, tenant)
    hold = store.holds.place(tenant, [call.call], CLAIM, ACTOR)
    clock.pass_days(5)
    assert store.expiry.run() == 3
    assert living(store, call, other) == ids(list(call.artefacts))
    assert store.call(tenant, call.call).state is CallState.STORED
    assert set(store.holds.alone(call.call)) == ids(list(call.artefacts))
    copy_data(tmp_path, "backup")
    copy_data(tmp_path, "another")
    with open_at(tmp_path, data="another", clock=clock, due_of=after_days) as before:
        assert living(before, call) == ids(list(call.artefacts))
    certificate = store.holds.release(tenant, hold, ACTOR)
    assert verify_certificate(certificate, store.fingerprint())
    assert body(certificate, 0)["target"] == {"scope": "release", "hold": hold}
    assert [key["name"] for key in body(certificate)["keys"]] == [f"{tenant}-hold-0"]
    assert living(store, call) == set()
    assert store.call(tenant, call.call).state is CallState.ERASED
    assert store.certificate(tenant, call.call) == certificate
    assert list(store.objects.list(f"{tenant}/{call.call}/")) == []
    never = Clock()
    with open_at(tmp_path, data="backup", clock=never, due_of=after_days) as restored:
        for artefact in call.artefacts:
            with pytest.raises((Erased, Unavailable)):
                restored.document(tenant, artefact.ref.artefact)


def test_what_has_a_term_of_its_own_lives_on_after_the_release(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    hold = store.holds.place(tenant, [call.call], CLAIM, ACTOR)
    store.holds.release(tenant, hold, ACTOR)
    assert living(store, call) == ids(list(call.artefacts))
    assert store.call(tenant, call.call).held is False
    erase(store, tenant, Target.of_call(call.call))
    assert living(store, call) == set()


def test_a_call_with_two_holds_stays_until_both_are_released(store: Recordings, tenant: TenantId, clock: Clock) -> None:
    call = stored_call(store, tenant)
    first, second = (store.holds.place(tenant, [call.call], ground, ACTOR) for ground in (CLAIM, "another claim"))
    clock.pass_days(5)
    store.expiry.run()
    store.holds.release(tenant, first, ACTOR)
    assert living(store, call) == ids(list(call.artefacts))
    with pytest.raises(OnHold, match="another claim"):
        erase(store, tenant, Target.of_call(call.call))
    store.holds.release(tenant, second, ACTOR)
    assert living(store, call) == set()


def test_a_tenants_end_passes_a_held_call_by(store: Recordings, tenant: TenantId) -> None:
    held, other = stored_call(store, tenant), stored_call(store, tenant)
    hold = store.holds.place(tenant, [held.call], CLAIM, ACTOR)
    certificate = erase(store, tenant, Target.of_tenant())
    assert living(store, held, other) == ids(list(held.artefacts))
    assert f"4 artefacts held, ground: {CLAIM}" in body(certificate)["exceptions"]
    store.holds.release(tenant, hold, ACTOR)
    assert living(store, held) == set()


def test_what_is_made_of_a_held_call_later_is_held_too(store: Recordings, tenant: TenantId, clock: Clock) -> None:
    live = save_call(store, tenant)
    hold = store.holds.place(tenant, [live.call], CLAIM, ACTOR)
    more = store.begin(tenant, live.call, [Wanted(ParticipantId(new_id()), Kind.AUDIO, PURPOSE)])
    store.extend(more)
    store.put_documents(live, {live.find(Kind.IDENTITY).ref.artefact: b"identity"}, CallState.NO_MEDIA)
    assert derive(store, live) == b"words"
    (text,) = store.call(tenant, live.call).find(Kind.TRANSCRIPT)
    clock.pass_days(10)
    store.expiry.run()
    assert store.document(tenant, text.ref.artefact) == b"words"
    assert ids(list(more.artefacts)) <= set(store.holds.alone(live.call))
    store.holds.release(tenant, hold, ACTOR)
    with pytest.raises(Erased):
        store.document(tenant, text.ref.artefact)


def test_of_what_only_a_hold_keeps_nothing_is_derived(store: Recordings, tenant: TenantId, clock: Clock) -> None:
    call = stored_call(store, tenant)
    store.holds.place(tenant, [call.call], CLAIM, ACTOR)
    clock.pass_days(5)
    with pytest.raises(Expired):
        derive(store, call)


def test_a_held_call_is_still_found(store: Recordings, tenant: TenantId, clock: Clock) -> None:
    number = Identifier("number", "+31201234567")
    call = saved_with(store, tenant, number)
    hold = store.holds.place(tenant, [call.call], CLAIM, ACTOR)
    clock.pass_days(5)
    store.expiry.run()
    assert [found.id for found in store.find(tenant, [number])] == [call.call]
    store.holds.release(tenant, hold, ACTOR)
    assert store.find(tenant, [number]) == []


def test_holds_are_listed_with_ground_time_and_calls(store: Recordings, tenant: TenantId) -> None:
    calls = [stored_call(store, tenant).call for _ in range(2)]
    hold = store.holds.place(tenant, [*calls, calls[0]], CLAIM, ACTOR)
    (found,) = store.holds.of_tenant(tenant)
    assert (found.id, found.ground, found.actor, found.calls) == (hold, CLAIM, ACTOR, tuple(calls))
    assert found.at == "2027-01-15T08:00:00Z"
    store.holds.release(tenant, hold, ACTOR)
    assert store.holds.of_tenant(tenant) == []
    assert [one.released for one in store.holds.of_tenant(tenant, released=True)] == [True]
    assert store.holds.of_tenant(store.tenant("another"), released=True) == []


def test_a_hold_that_cannot_be_placed_holds_nothing(store: Recordings, tenant: TenantId) -> None:
    call, strange = stored_call(store, tenant), stored_call(store, store.tenant("another"))
    gone = stored_call(store, tenant)
    store.erase_call(tenant, gone.call, ground=GROUND, actor=ACTOR)
    for others, error in (([strange.call], NotFound), ([CallId(new_id())], NotFound), ([gone.call], Erased)):
        with pytest.raises(error):
            store.holds.place(tenant, [call.call, *others], CLAIM, ACTOR)
    for calls in ([], [CallId(new_id()) for _ in range(CALLS_MAX + 1)]):
        with pytest.raises(Refused):
            store.holds.place(tenant, calls, CLAIM, ACTOR)
    with pytest.raises(Refused):
        store.holds.place(tenant, [call.call], "the claim of +31 20 123 45 67", ACTOR)
    assert store.holds.of_tenant(tenant) == []
    assert not store.call(tenant, call.call).held


@pytest.mark.postgresql("uniqueness")
def test_a_hold_is_released_by_its_tenant_once(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    hold = store.holds.place(tenant, [call.call], CLAIM, ACTOR)
    for other, id in ((store.tenant("another"), hold), (tenant, new_id())):
        with pytest.raises(NotFound):
            store.holds.release(other, id, ACTOR)
    assert store.call(tenant, call.call).held
    certificate = store.holds.release(tenant, hold, ACTOR)
    assert store.holds.release(tenant, hold, ACTOR) == certificate


def test_the_next_days_buckets_are_not_prepared_for_holds(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    store.holds.place(tenant, [stored_call(store, tenant).call], CLAIM, ACTOR)
    before = store.holds.of_tenant(tenant)[0].id
    store.prepare(tenant, [PURPOSE])
    catalogue = catalogue_at(tmp_path)
    with catalogue.reading() as connection:
        rows = connection.execute(buckets.select().where(buckets.c.purpose == before)).all()
    catalogue.close()
    assert {row.root for row in rows} == {"hold"}


def test_the_ledgers_entry_is_enough_to_place_a_hold_again(
    store: Recordings, tenant: TenantId, tmp_path: Path, clock: Clock
) -> None:
    """As a restore does: the rows from the entry, the wraps from the keys that are there."""
    call = stored_call(store, tenant)
    hold = store.holds.place(tenant, [call.call], CLAIM, ACTOR)
    catalogue = catalogue_at(tmp_path)
    with catalogue.writing() as connection:
        entry = connection.execute(holds.select()).one().entry
        facts = store._ledger.bodies(connection, [entry])[entry]
        connection.execute(held_calls.delete())
        connection.execute(holds.delete())
        newest = artefact_keys.select().order_by(artefact_keys.c.serial.desc()).limit(len(call.artefacts))
        serials = [row.serial for row in connection.execute(newest)]
        connection.execute(artefact_keys.delete().where(artefact_keys.c.serial.in_(serials)))
        for _ in range(2):
            replay(connection, facts)
    catalogue.close()
    found = (store._catalogue, store.holds._keeper, clock, hold)
    assert [complete(*found), complete(*found)] == [len(call.artefacts), 0]
    assert [found.id for found in store.holds.of_tenant(tenant)] == [hold]
    clock.pass_days(5)
    store.expiry.run()
    assert living(store, call) == ids(list(call.artefacts))
    assert opens(store, call.find(Kind.IDENTITY, NO_PARTICIPANT))
