"""Consents are shown for years, and what rests on one dies with it: exactly that, and in every copy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage.consents import HOW_CHARACTERS_MAX, Consent, replay
from storage.erasure import Target
from storage.errors import AlreadyExists, Erased, NotFound, NotReady, Refused, Restricted, Unavailable
from storage.ledger import verify_certificate
from storage.model import NO_PARTICIPANT, ArtefactId, CallId, CallState, Kind, ParticipantId, TenantId, new_id
from storage.policy.library import profile
from storage.recordings import Recordings
from storage.records import Derived, NewArtefact, NewCall, Wanted
from storage.tables import consents, ledger
from tests.storage.erasure.test_expiry import Clock
from tests.storage.erasure.test_scopes import body, erase, ids, living
from tests.storage.stores import (
    ACTOR,
    GROUND,
    PURPOSE,
    audio_of,
    catalogue_at,
    copy_data,
    files_below,
    open_at,
    save_call,
    spool,
    stored_call,
)

pytestmark = pytest.mark.usefixtures("database")

TEXT = "training, version of 2026-03-01"
HOW = "said yes to the agent's question, after it was read out"
MONTH_S = 31 * 86_400
POLICY = profile("default")
OF_PURPOSE = replace(POLICY, purposes=replace(POLICY.purposes, allowed=("training", "quality", PURPOSE)))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Recordings]:
    with open_at(tmp_path, clock=clock) as opened:
        opened.adopt(opened.tenant("acme"), OF_PURPOSE)
        yield opened


def give(
    store: Recordings, call: NewCall, purpose: str = "training", participant: ParticipantId = NO_PARTICIPANT
) -> str:
    return store.consents.record(call.tenant, call.call, Consent(purpose, TEXT, None, participant, HOW), ACTOR)


def withdraw(store: Recordings, call: NewCall, consent: str) -> dict[str, Any]:
    certificate = store.consents.withdraw(call.tenant, call.call, consent, how="by letter", actor=ACTOR)
    assert verify_certificate(certificate, store.fingerprint())
    return certificate


def end(store: Recordings, call: NewCall, purpose: str = PURPOSE) -> None:
    """What the call was recorded for is over."""
    erase(store, call.tenant, Target.of_purpose(purpose, [call.call]))


def track(call: NewCall, number: int) -> NewArtefact:
    return audio_of(call)[number]


def test_cl_15_a_consent_is_kept_with_purpose_text_time_leg_and_withdrawal(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    call = stored_call(store, tenant)
    who = track(call, 0).ref.participant
    consent = give(store, call, participant=who)
    withdraw(store, call, consent)
    (found,) = store.consents.of_call(tenant, call.call)
    assert (found.id, found.participant, found.purpose) == (consent, who, "training")
    assert found.given is not None and found.withdrawn is not None
    assert found.given["text"] == TEXT and found.given["how"] == HOW and found.given["recorded_by"] == ACTOR
    assert found.given["given_at"] == found.given["recorded_at"] == "2027-01-15T08:00:00Z"
    assert (found.withdrawn["consent"], found.withdrawn["how"]) == (consent, "by letter")
    assert HOW.encode() not in files_below(tmp_path / "data")
    of_consent = [entry for entry in entries(tmp_path) if entry["type"] in ("consent", "withdrawal")]
    assert [entry["type"] for entry in of_consent] == ["consent", "withdrawal"]
    assert all(entry["call"] == call.call and entry["purpose"] == "training" for entry in of_consent)
    assert (of_consent[0]["text"], of_consent[1]["erasure"]) == (TEXT, found.erasure)
    store.check()


def entries(root: Path) -> list[dict[str, Any]]:
    catalogue = catalogue_at(root)
    with catalogue.reading() as connection:
        rows = connection.execute(ledger.select().order_by(ledger.c.seq)).all()
    catalogue.close()
    return [json.loads(row.body) for row in rows]


def test_cl_15_the_evidence_outlives_the_call_and_the_tenants_content(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    give(store, call)
    before = store.consents.of_call(tenant, call.call)
    assert before[0].given is not None
    evidence = ArtefactId(before[0].id)
    with pytest.raises(Refused, match="statutory root"):
        erase(store, tenant, Target.of_artefacts(call.call, [evidence]))
    store.erase_call(tenant, call.call, ground=GROUND, actor=ACTOR)
    assert store.consents.of_call(tenant, call.call) == before
    erase(store, tenant, Target.of_tenant())
    assert store.consents.of_call(tenant, call.call) == before


def test_the_evidence_ends_with_its_own_term(store: Recordings, tenant: TenantId, clock: Clock) -> None:
    call = stored_call(store, tenant)
    give(store, call)
    clock.now_s += 61 * MONTH_S
    store.expiry.run()
    (found,) = store.consents.of_call(tenant, call.call)
    assert found.given is None


@pytest.mark.postgresql("one path from end to end")
def test_up_17_withdrawal_shreds_what_rested_on_it(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    """Of a call whose own term is over: what training alone has kept dies, and of the other participant nothing."""
    call = stored_call(store, tenant)
    first, second = (track(call, number).ref for number in range(2))
    of_first = give(store, call, participant=first.participant)
    give(store, call, participant=second.participant)
    end(store, call)
    assert living(store, call) == {first.artefact, second.artefact}
    copy_data(tmp_path, "backup")
    certificate = withdraw(store, call, of_first)
    assert body(certificate, 0)["target"] == {
        "scope": "purpose",
        "calls": [call.call],
        "purpose": "training",
        "participant": first.participant,
    }
    assert living(store, call) == {second.artefact}
    with open_at(tmp_path, data="backup") as restored:
        for artefact in audio_of(call):
            with pytest.raises((Erased, Unavailable)):
                restored.document(tenant, artefact.ref.artefact)


def test_up_17_what_has_another_ground_lives_on(store: Recordings, tenant: TenantId, clock: Clock) -> None:
    call = stored_call(store, tenant)
    consent = give(store, call)
    withdraw(store, call, consent)
    assert living(store, call) == ids(list(call.artefacts))
    end(store, call)
    assert living(store, call) == set()


def test_up_17_of_the_artefacts_own_purpose_they_die(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    first, second = (track(call, number).ref for number in range(2))
    source = [first.artefact, second.artefact]
    texts = [Derived(ref.participant, Kind.TRANSCRIPT, PURPOSE, b"words") for ref in (first, second)]
    of_first, of_second = store.add_derived(tenant, call.call, source, texts)
    consent = give(store, call, PURPOSE, first.participant)
    withdraw(store, call, consent)
    assert living(store, call) == ids(list(call.artefacts)) - {first.artefact}
    assert store.document(tenant, of_second) == b"words"
    with pytest.raises(Erased):
        store.document(tenant, of_first)
    whole = give(store, call, PURPOSE)
    withdraw(store, call, whole)
    assert living(store, call) == set()
    assert store.call(tenant, call.call).state is CallState.ERASED
    assert len(store.consents.of_call(tenant, call.call)) == 2


def test_a_further_purpose_has_its_own_term(store: Recordings, tenant: TenantId, clock: Clock) -> None:
    longer = [replace(rule, purpose="training", term=rule.most) for rule in POLICY.retention if "*" in rule.kinds]
    store.adopt(tenant, replace(OF_PURPOSE, retention=(*longer, *OF_PURPOSE.retention)))
    call = stored_call(store, tenant)
    give(store, call, participant=track(call, 0).ref.participant)
    clock.now_s += 4 * MONTH_S
    store.expiry.run()
    assert living(store, call) == {track(call, 0).ref.artefact}
    clock.now_s += 9 * MONTH_S
    store.expiry.run()
    assert living(store, call) == set()


def test_what_is_made_later_rests_on_the_consent_as_well(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    source = track(call, 0).ref
    consent = give(store, call, participant=source.participant)
    texts = [Derived(source.participant, Kind.TRANSCRIPT, PURPOSE, b"words")]
    (text,) = store.add_derived(tenant, call.call, [source.artefact], texts)
    end(store, call)
    assert store.document(tenant, text) == b"words"
    withdraw(store, call, consent)
    with pytest.raises(Erased):
        store.document(tenant, text)


@pytest.mark.postgresql("a transaction that must not commit")
def test_what_is_derived_for_a_withdrawn_purpose_is_never_committed(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    first, second = (track(call, number).ref for number in range(2))
    withdraw(store, call, give(store, call, participant=first.participant))
    for sources in ([first.artefact], [second.artefact, first.artefact]):
        items = [Derived(NO_PARTICIPANT, Kind.TRANSCRIPT, "training", b"words")]
        with pytest.raises(Erased, match="withdrawn"):
            store.add_derived(tenant, call.call, sources, items)
    own = [Derived(first.participant, Kind.TRANSCRIPT, PURPOSE, b"words")]
    assert len(store.add_derived(tenant, call.call, [first.artefact], own)) == 1
    withdraw(store, call, give(store, call, PURPOSE, second.participant))
    with pytest.raises(Erased):
        store.add_derived(
            tenant, call.call, [second.artefact], [Derived(second.participant, Kind.TRANSCRIPT, PURPOSE, b"words")]
        )


def test_a_held_call_stays_when_the_consent_to_it_is_withdrawn(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    consent = give(store, call, PURPOSE)
    hold = store.holds.place(tenant, [call.call], "a claim", ACTOR)
    certificate = withdraw(store, call, consent)
    assert "4 artefacts held, ground: a claim" in body(certificate)["exceptions"]
    assert living(store, call) == ids(list(call.artefacts))
    store.holds.release(tenant, hold, ACTOR)
    assert living(store, call) == set()


def test_consent_can_be_given_again_and_what_was_erased_stays_erased(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    who = track(call, 0).ref
    withdraw(store, call, give(store, call, participant=who.participant))
    again = give(store, call, participant=who.participant)
    texts = [Derived(who.participant, Kind.TRANSCRIPT, PURPOSE, b"words")]
    (text,) = store.add_derived(tenant, call.call, [who.artefact], texts)
    end(store, call)
    assert living(store, call) == set()
    assert store.document(tenant, text) == b"words"
    withdraw(store, call, again)
    with pytest.raises(Erased):
        store.document(tenant, text)


def test_a_live_call_is_kept_for_a_further_purpose_and_ends_before_its_own_is_withdrawn(
    store: Recordings, tenant: TenantId
) -> None:
    live = save_call(store, tenant)
    who = track(live, 0).ref.participant
    further, own = give(store, live, participant=who), give(store, live, PURPOSE, who)
    with pytest.raises(NotReady, match="live"):
        withdraw(store, live, own)
    withdraw(store, live, further)
    assert store.call(tenant, live.call).state is CallState.LIVE
    spool(store, [(artefact, [b"audio"] * 3) for artefact in audio_of(live)])
    store.put_documents(live, {artefact.ref.artefact: b"facts" for artefact in live.artefacts}, CallState.ENDED)
    withdraw(store, live, own)
    assert track(live, 0).ref.artefact not in living(store, live)


def test_no_further_stream_is_recorded_of_whoever_withdrew(store: Recordings, tenant: TenantId) -> None:
    live = store.begin(tenant, CallId(new_id()), [Wanted(NO_PARTICIPANT, Kind.CALL_DETAIL, PURPOSE)])
    store.save([live])
    consent = give(store, live, PURPOSE)
    store.consents.request(tenant, live.call, consent, how="", actor=ACTOR)
    more = store.begin(tenant, live.call, [Wanted(ParticipantId(new_id()), Kind.AUDIO, PURPOSE)])
    with pytest.raises(Refused):
        store.extend(more)


@pytest.mark.parametrize(
    "changed",
    [
        {"purpose": "advertising"},
        {"at_s": 9e9},
        {"how": "x" * (HOW_CHARACTERS_MAX + 1)},
        {"text": ""},
        {"text": "read to +31 20 123 45 67"},
        {"text": "caf\u00e9"},
    ],
)
def test_what_is_no_consent_is_refused(store: Recordings, tenant: TenantId, changed: dict[str, Any]) -> None:
    call = stored_call(store, tenant)
    with pytest.raises(Refused):
        store.consents.record(tenant, call.call, replace(Consent("training", TEXT), **changed), ACTOR)
    assert store.consents.of_call(tenant, call.call) == []


@pytest.mark.postgresql("uniqueness")
def test_a_consent_is_of_somebody_in_the_call_and_stands_once(store: Recordings, tenant: TenantId) -> None:
    call, strange = stored_call(store, tenant), stored_call(store, store.tenant("another"))
    who = track(call, 0).ref.participant
    for of, error in ((ParticipantId(new_id()), NotFound),):
        with pytest.raises(error):
            give(store, call, participant=of)
    with pytest.raises(NotFound):
        store.consents.record(tenant, strange.call, Consent("training", TEXT), ACTOR)
    consent = give(store, call, participant=who)
    for of in (who, NO_PARTICIPANT):
        with pytest.raises(AlreadyExists):
            give(store, call, participant=of)
    give(store, call, "quality")
    with pytest.raises(AlreadyExists):
        give(store, call, "quality", who)
    for other, id in ((strange, consent), (call, new_id())):
        with pytest.raises(NotFound):
            withdraw(store, replace(other, tenant=tenant), id)
    certificate = withdraw(store, call, consent)
    assert withdraw(store, call, consent) == certificate


def test_a_withdrawal_that_was_only_written_down_is_carried_out_at_the_next_start(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        call = stored_call(store, tenant)
        consent = give(store, call)
        end(store, call)
        erasure = store.consents.request(tenant, call.call, consent, how="", actor=ACTOR)
        assert living(store, call) == set()
    with open_at(tmp_path) as store:
        assert store.resume_erasures() == 1
        assert verify_certificate(store.erasures.certificate(tenant, erasure), store.fingerprint())
        assert store.consents.request(tenant, call.call, consent, how="", actor=ACTOR) == erasure
        assert len(store.consents.of_call(tenant, call.call)) == 1


def test_a_restricted_call_may_have_its_consent_withdrawn(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    consent = give(store, call, PURPOSE)
    store.restrictions.place(tenant, call.call, "Art. 18(1)", ACTOR)
    with pytest.raises(Restricted):
        store.document(tenant, call.artefacts[0].ref.artefact)
    withdraw(store, call, consent)
    assert store.call(tenant, call.call).state is CallState.ERASED


def test_the_ledgers_entries_are_enough_to_know_of_consents_again(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    call = stored_call(store, tenant)
    first, second = (track(call, number).ref for number in range(2))
    withdraw(store, call, give(store, call, participant=first.participant))
    give(store, call, participant=second.participant)
    before = store.consents.of_call(tenant, call.call)
    catalogue = catalogue_at(tmp_path)
    with catalogue.writing() as connection:
        connection.execute(consents.delete())
        for _ in range(2):
            for entry in entries(tmp_path):
                if entry["type"] in ("consent", "withdrawal"):
                    replay(connection, entry)
    catalogue.close()
    assert store.consents.of_call(tenant, call.call) == before
