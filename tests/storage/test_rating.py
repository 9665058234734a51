"""What is billed outlives its call: each rating has its members and no others, and content is never kept as one."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from storage.errors import Erased, NotFound, Refused
from storage.model import NO_PARTICIPANT, CallId, CallState, Kind, Root, TenantId, new_id
from storage.rating import BILLING, Direction, Rating
from storage.recordings import Recordings
from storage.records import ROOTS, Day, Derived, NewCall, Wanted
from tests.storage.stores import audio_of, copy_data, open_at, spool, stored_call, upload

DAY = Day("2026-03-14")
RATING = Rating(DAY, 61, Direction.IN, "+31201234567")


def rated_call(store: Recordings, tenant: TenantId, seconds: int | None = 61) -> NewCall:
    wanted = [Wanted(NO_PARTICIPANT, Kind.RATING, BILLING)]
    wanted += [Wanted(NO_PARTICIPANT, kind, "quality") for kind in (Kind.CALL_DETAIL, Kind.IDENTITY)]
    new = store.begin(tenant, CallId(new_id()), wanted)
    store.save([new], {new.find(Kind.RATING).ref.artefact: Rating(new.day, seconds).to_json()})
    return new


def test_sp_06_a_rating_has_these_members_and_no_others() -> None:
    assert {field.name for field in fields(Rating)} == {"day", "seconds", "direction", "own"}
    assert json.loads(RATING.to_json()).keys() == {"version", "day", "seconds", "direction", "own"}
    assert Rating.parse(RATING.to_json()) == RATING
    assert Rating.parse(Rating(DAY, None).to_json()) == Rating(DAY, None)


@pytest.mark.parametrize(
    "changed",
    [
        {"to": "+31207654321"},
        {"from": "+31207654321"},
        {"call": "0" * 32},
        {"version": 2},
        {"day": "2026-03-14T12:00"},
        {"day": "14 March"},
        {"seconds": "61"},
        {"seconds": -1},
        {"seconds": True},
        {"seconds": 31_201_234_567},
        {"direction": "to +31207654321"},
        {"own": "sip:bob@example.com"},
        {"own": None},
    ],
    ids=str,
)
def test_sp_06_anything_else_is_no_rating(changed: dict[str, object]) -> None:
    with pytest.raises(Refused):
        Rating.parse(json.dumps(json.loads(RATING.to_json()) | changed).encode())


@pytest.mark.parametrize("document", [b"", b"60 s", b"[]", b"null", b"{}", RATING.to_json() + b" " * 300])
def test_what_is_no_object_of_these_members_is_no_rating(document: bytes) -> None:
    with pytest.raises(Refused):
        Rating.parse(document)


def test_ip_02_no_kind_that_holds_content_or_parties_stands_under_the_statutory_root() -> None:
    said = {Kind.AUDIO, Kind.REDACTED_AUDIO, Kind.VOICEMAIL, Kind.TRANSCRIPT, Kind.REDACTED_TRANSCRIPT}
    said |= {Kind.SPANS, Kind.DTMF, Kind.IDENTITY, Kind.CALL_DETAIL}
    assert {ROOTS[kind] for kind in said} == {Root.CONTENT}
    assert ROOTS[Kind.RATING] is Root.STATUTORY


def test_ip_02_content_is_refused_under_the_statutory_root_on_every_way_in(store: Recordings, tenant: TenantId) -> None:
    new = rated_call(store, tenant)
    rating = new.find(Kind.RATING).ref.artefact
    for content in (b"what was said", json.dumps({"text": "what was said"}).encode(), b"x" * 40_000):
        fresh = store.begin(tenant, CallId(new_id()), [Wanted(NO_PARTICIPANT, Kind.RATING, BILLING)])
        with pytest.raises(Refused):
            store.save([fresh], {fresh.artefacts[0].ref.artefact: content})
        with pytest.raises(Refused):
            store.put_documents(new, {rating: content})
        with pytest.raises(Refused):
            store.add_derived(tenant, new.call, [], [Derived(NO_PARTICIPANT, Kind.RATING, BILLING, content)])
    assert list(store.objects.list()) == []
    with pytest.raises(Refused):
        store.begin(tenant, CallId(new_id()), [Wanted(NO_PARTICIPANT, Kind.RATING, "quality")])


def test_ip_02_audio_is_not_taken_under_a_ratings_key(store: Recordings, tenant: TenantId) -> None:
    new = rated_call(store, tenant)
    spool(store, [(new.find(Kind.RATING), [b"audio"])])
    upload(store)
    assert list(store.objects.list()) == []
    found = store.slices.artefact_keys([new.find(Kind.RATING).ref.artefact])
    assert [type(outcome) for outcome in found.values()] == [NotFound]


def test_up_05_a_rating_survives_its_calls_erasure_and_has_a_key_of_its_own(
    tmp_path: Path, store: Recordings, tenant: TenantId
) -> None:
    new = rated_call(store, tenant, 61)
    stored_call(store, tenant)  # has none
    keys = {path.name for path in (tmp_path / "keys").iterdir()}
    store.erase_call(tenant, new.call, ground="Art. 17(1)(a)", actor="test")
    gone = keys - {path.name for path in (tmp_path / "keys").iterdir()}
    assert [name.split("-")[1] for name in gone] == ["content"]  # the statutory root's was not touched
    assert list(store.ratings.of_month(tenant, new.day[:7])) == [Rating(new.day, 61)]
    with pytest.raises(Erased):
        store.document(tenant, new.find(Kind.CALL_DETAIL).ref.artefact)


def test_cl_13_ratings_of_a_month_are_read_page_by_page_and_by_tenant(
    store: Recordings, tenant: TenantId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.ratings.AT_ONCE", 2)
    made = [rated_call(store, tenant, seconds) for seconds in range(5)]
    rated_call(store, store.tenant("other"), 100)
    month = made[0].day[:7]
    assert [rating.seconds for rating in store.ratings.of_month(tenant, month)] == [0, 1, 2, 3, 4]
    assert list(store.ratings.of_month(tenant, "1999-12")) == []
    with pytest.raises(Refused):
        list(store.ratings.of_month(tenant, "2026-13"))


def test_up_05_a_call_that_is_erased_while_it_lives_is_rated_all_the_same(store: Recordings, tenant: TenantId) -> None:
    new = rated_call(store, tenant, None)
    store.erase_call(tenant, new.call, ground="Art. 17(1)(a)", actor="test")
    with pytest.raises(Erased):
        store.put_documents(new, {new.find(Kind.RATING).ref.artefact: RATING.to_json()}, CallState.ENDED)
    store.ratings.finish(new.find(Kind.RATING), Rating(new.day, 7))
    assert [rating.seconds for rating in store.ratings.of_month(tenant, new.day[:7])] == [7]
    with pytest.raises(Erased):
        store.ratings.finish(new.find(Kind.CALL_DETAIL), Rating(new.day, 7))


def test_a_rating_in_a_backup_is_no_way_to_the_erased_call(tmp_path: Path, store: Recordings, tenant: TenantId) -> None:
    new = stored_call(store, tenant)
    rated_call(store, tenant)
    copy_data(tmp_path, "backup")
    store.erase_call(tenant, new.call, ground="Art. 17(1)(a)", actor="test")
    with open_at(tmp_path, data="backup") as restored:
        assert [rating.seconds for rating in restored.ratings.of_month(tenant, new.day[:7])] == [61]
        with pytest.raises(Erased):
            restored.document(tenant, new.find(Kind.IDENTITY).ref.artefact)
        with pytest.raises(Erased), restored.stream(tenant, audio_of(new)[0].ref.artefact) as stream:
            list(stream.read(0, 1000))
