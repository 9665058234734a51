"""Erasing less and more than a call: what dies is what was named, at once and in every copy, and nothing else does."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from storage.erasure import Scope, Target
from storage.erasure.targets import CALLS_MAX
from storage.errors import Erased, NotFound, NotReady, Refused, Unavailable
from storage.ledger import verify_certificate
from storage.model import ArtefactId, CallId, CallState, Kind, ParticipantId, TenantId, new_id
from storage.rating import Rating
from storage.recordings import Recordings
from storage.records import Day, Derived, NewArtefact, NewCall
from storage.tables import ledger
from tests.storage.stores import ACTOR, GROUND, PURPOSE, audio_of, copy_data, open_at, save_call, spool, stored_call

pytestmark = pytest.mark.usefixtures("database")

RATED = Rating(Day("2026-11-27"), 60).to_json()


def erase(store: Recordings, tenant: TenantId, target: Target) -> dict[str, Any]:
    certificate = store.erasures.erase(tenant, target, GROUND, ACTOR)
    assert verify_certificate(certificate, store.fingerprint())
    return certificate


def opens(store: Recordings, artefact: NewArtefact) -> bool:
    """Whether it can be read; anything but the answer that it is erased is a fault."""
    try:
        if artefact.ref.kind is not Kind.AUDIO:
            return bool(store.document(artefact.ref.tenant, artefact.ref.artefact))
        with store.stream(artefact.ref.tenant, artefact.ref.artefact) as stream:
            return list(stream.read()) == [b"audio"] * 3
    except Erased:
        return False


def living(store: Recordings, *calls: NewCall) -> set[ArtefactId]:
    return {item.ref.artefact for call in calls for item in call.artefacts if opens(store, item)}


def ids(artefacts: list[NewArtefact]) -> set[ArtefactId]:
    return {artefact.ref.artefact for artefact in artefacts}


def body(certificate: dict[str, Any], number: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = certificate["entries"][number]["body"]
    return found


@pytest.mark.postgresql("one path from end to end of an artefact")
def test_up_16_the_audio_goes_and_the_rest_of_the_call_stays(store: Recordings, tenant: TenantId) -> None:
    call, neighbour = stored_call(store, tenant), stored_call(store, tenant)
    certificate = erase(store, tenant, Target.of_artefacts(call.call, sorted(ids(audio_of(call)))))
    left = {call.find(Kind.IDENTITY).ref.artefact, call.find(Kind.CALL_DETAIL).ref.artefact}
    assert living(store, call) == left
    assert living(store, neighbour) == ids(list(neighbour.artefacts))
    record = store.call(tenant, call.call)
    assert (record.state, {artefact.ref.artefact for artefact in record.artefacts}) == (CallState.STORED, left)
    assert list(store.objects.list(f"{tenant}/{call.call}/")) == []
    assert body(certificate)["survivors"]["others"] == {"call_detail": 1, "identity": 1}
    assert store.manifest(tenant, call.call)["call"] == call.call
    assert store.certificate(tenant, call.call) == certificate


def test_a_call_whose_parts_are_erased_one_by_one_is_erased_in_the_end(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    for artefact in call.artefacts:
        assert store.call(tenant, call.call).state is CallState.STORED
        erase(store, tenant, Target.of_artefacts(call.call, [artefact.ref.artefact]))
    assert store.call(tenant, call.call).state is CallState.ERASED
    with pytest.raises(Erased):
        store.manifest(tenant, call.call)
    with pytest.raises(Erased):
        erase(store, tenant, Target.of_artefacts(call.call, [call.artefacts[0].ref.artefact]))


@pytest.mark.postgresql("one path from end to end of a participant")
def test_a_participant_goes_with_what_speaks_of_all_and_the_others_track_stays(
    store: Recordings, tenant: TenantId
) -> None:
    call = stored_call(store, tenant)
    gone, stays = audio_of(call)
    texts = [Derived(track.ref.participant, Kind.TRANSCRIPT, "recording", b"words") for track in (gone, stays)]
    of_gone, of_stays = store.add_derived(tenant, call.call, [gone.ref.artefact, stays.ref.artefact], texts)
    erase(store, tenant, Target.of_participant(call.call, gone.ref.participant))
    assert living(store, call) == {stays.ref.artefact}
    assert store.document(tenant, of_stays) == b"words"
    with pytest.raises(Erased):
        store.document(tenant, of_gone)
    with pytest.raises(NotFound):
        erase(store, tenant, Target.of_participant(call.call, gone.ref.participant))
    with pytest.raises(NotFound):
        erase(store, tenant, Target.of_participant(call.call, ParticipantId(new_id())))


@pytest.mark.postgresql("one path from end to end of a person")
def test_a_persons_calls_go_in_one_change_of_epoch(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    of_person = [stored_call(store, tenant) for _ in range(5)]
    other = stored_call(store, tenant)
    certificate = erase(store, tenant, Target.of_person([call.call for call in of_person]))
    assert living(store, *of_person, other) == ids(list(other.artefacts))
    assert body(certificate, 0)["target"] == {"scope": "person", "calls": [call.call for call in of_person]}
    assert [key["name"] for key in body(certificate)["keys"]] == [f"{tenant}-content-0"]
    for call in of_person:
        assert store.certificate(tenant, call.call) == certificate
        assert store.call(tenant, call.call).state is CallState.ERASED


def test_one_unknown_call_among_a_persons_and_nothing_is_erased(store: Recordings, tenant: TenantId) -> None:
    call, strange = stored_call(store, tenant), stored_call(store, store.tenant("another"))
    for unknown in (strange.call, CallId(new_id())):
        with pytest.raises(NotFound):
            erase(store, tenant, Target.of_person([call.call, unknown]))
    assert living(store, call, strange) == ids([*call.artefacts, *strange.artefacts])
    for calls in ([], [call.call] * (CALLS_MAX + 1)):
        with pytest.raises(Refused):
            Target.of_person(calls)


def test_what_is_named_must_be_there(store: Recordings, tenant: TenantId) -> None:
    call, neighbour = stored_call(store, tenant), stored_call(store, tenant)
    with pytest.raises(NotFound):
        erase(store, tenant, Target.of_artefacts(call.call, [neighbour.artefacts[0].ref.artefact]))
    with pytest.raises(Refused):
        Target.of_artefacts(call.call, [])
    assert living(store, call, neighbour) == ids([*call.artefacts, *neighbour.artefacts])


def test_part_of_a_live_call_waits_for_its_end(store: Recordings, tenant: TenantId) -> None:
    live = save_call(store, tenant)
    spool(store, [(audio_of(live)[0], [b"one"])])
    for target in (
        Target.of_artefacts(live.call, [audio_of(live)[0].ref.artefact]),
        Target.of_participant(live.call, audio_of(live)[0].ref.participant),
    ):
        with pytest.raises(NotReady, match="live"):
            erase(store, tenant, target)
    assert store.call(tenant, live.call).state is CallState.LIVE


def test_up_19_what_the_law_obliges_to_keep_is_refused_and_the_ground_named(
    store: Recordings, tenant: TenantId
) -> None:
    call = stored_call(store, tenant)
    source = audio_of(call)[0].ref
    (rating,) = store.add_derived(
        tenant, call.call, [source.artefact], [Derived(source.participant, Kind.RATING, "billing", RATED)]
    )
    with pytest.raises(Refused, match="statutory root"):
        erase(store, tenant, Target.of_artefacts(call.call, [rating]))
    assert store.document(tenant, rating) == RATED


@pytest.mark.postgresql("one path from end to end of a tenant")
def test_a_tenant_is_closed_and_nothing_of_another_is_touched(store: Recordings, tenant: TenantId) -> None:
    calls = [stored_call(store, tenant) for _ in range(3)]
    source = audio_of(calls[0])[0].ref
    (rating,) = store.add_derived(
        tenant, calls[0].call, [source.artefact], [Derived(source.participant, Kind.RATING, "billing", RATED)]
    )
    other = stored_call(store, store.tenant("another"))
    certificate = erase(store, tenant, Target.of_tenant())
    assert living(store, *calls, other) == ids(list(other.artefacts))
    assert store.document(tenant, rating) == RATED
    assert body(certificate)["survivors"]["statutory"] == 1
    for call in calls:
        assert store.call(tenant, call.call).state is CallState.ERASED
        assert store.certificate(tenant, call.call) == certificate
        assert list(store.objects.list(f"{tenant}/{call.call}/")) == []


@pytest.mark.postgresql("writers at once")
def test_erasures_asked_for_during_a_change_share_the_next_one(tmp_path: Path) -> None:
    """Eight requests, and at most three keys are destroyed: of the first, of those that waited, and of stragglers."""
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        calls = [stored_call(store, tenant) for _ in range(8)]
        threads = [threading.Thread(target=erase, args=(store, tenant, Target.of_call(call.call))) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        named = {key["name"] for call in calls for key in body(store.certificate(tenant, call.call))["keys"]}
        assert 1 <= len(named) <= 3
        assert living(store, *calls) == set()


def test_a_backup_from_before_opens_nothing_that_was_named(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        calls = [stored_call(store, tenant) for _ in range(3)]
        copy_data(tmp_path, "backup")
        erase(store, tenant, Target.of_artefacts(calls[0].call, [calls[0].artefacts[0].ref.artefact]))
        erase(store, tenant, Target.of_person([calls[1].call, calls[2].call]))
    with open_at(tmp_path, data="backup") as restored:
        for call in calls:  # the keys of the survivors went on into epochs that this copy knows nothing of
            for artefact in call.artefacts:
                with pytest.raises((Erased, Unavailable)):
                    restored.document(tenant, artefact.ref.artefact)


@pytest.mark.postgresql("one path from end to end of a purpose")
def test_calls_that_end_with_a_purpose_have_its_certificate(store: Recordings, tenant: TenantId) -> None:
    calls = [stored_call(store, tenant) for _ in range(2)]
    certificate = erase(store, tenant, Target.of_purpose(PURPOSE))
    for call in calls:
        assert store.call(tenant, call.call).state is CallState.ERASED
        assert store.certificate(tenant, call.call) == certificate


@pytest.mark.postgresql("one path from end to end of a rotation")
def test_ip_12_keys_are_replaced_and_no_recording_is_sealed_again(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    calls = [stored_call(store, tenant), stored_call(store, store.tenant("another"))]
    before = {path: path.read_bytes() for path in (tmp_path / "data" / "objects").rglob("*") if path.is_file()}
    copy_data(tmp_path, "backup")
    store.erasures.rotate(tenant)
    store.erasures.rotate(tenant)
    assert {path: path.read_bytes() for path in before} == before
    assert living(store, *calls) == ids([artefact for call in calls for artefact in call.artefacts])
    mine = [path.name for path in (tmp_path / "keys").glob(f"{tenant}-*.key")]
    assert mine == [f"{tenant}-content-2.key"]
    with store._catalogue.reading() as connection:
        entries = [json.loads(body) for body in connection.scalars(select(ledger.c.body).order_by(ledger.c.seq))]
    entries = [entry for entry in entries if entry["type"] != "keys"]
    assert [entry["type"] for entry in entries] == ["rotated", "rotated"]
    assert entries[0]["keys"][0]["name"] == f"{tenant}-content-0"
    store.check()
    with open_at(tmp_path, data="backup") as restored, pytest.raises((Erased, Unavailable)):
        restored.document(tenant, calls[0].find(Kind.IDENTITY).ref.artefact)


def test_an_erasure_that_waits_is_carried_out_before_a_rotation(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    store.erasures.request(tenant, Target.of_call(call.call), GROUND, ACTOR)
    store.erasures.rotate(tenant)
    assert verify_certificate(store.certificate(tenant, call.call), store.fingerprint())


def test_the_certificate_says_what_nist_asks_of_one(store: Recordings, tenant: TenantId) -> None:
    """SP 800-88r2: what was sanitized, how, with what, how that was verified, by whom and when."""
    call = stored_call(store, tenant)
    certificate = erase(store, tenant, Target.of_call(call.call))
    intent, done = body(certificate, 0), body(certificate)
    assert intent["target"] == {"scope": Scope.CALL, "calls": [call.call]}
    assert (intent["ground"], intent["actor"]) == (GROUND, ACTOR)
    assert set(done["sanitization"]) >= {"method", "tool", "verification"}
    assert done["keys"][0]["destroyed_at"] <= done["keys"][0]["probe_failed_at"] <= done["at"]
    assert done["finality"] == "unknown"
