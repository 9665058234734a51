"""Calls that a crash left live: each is brought to its end from what is stored of it, and says what is missing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.calls.losses import name_losses
from gateway.calls.recovery import facts_together, recover_all, recover_call
from gateway.commands.reconcile import explain
from gateway.commands.spool import replay
from storage.audit import Weight
from storage.errors import Unavailable
from storage.model import NO_PARTICIPANT, ArtefactId, CallId, CallState, Kind, ParticipantId, TenantId, new_id
from storage.recordings import Recordings
from storage.records import NewCall, Wanted
from storage.spoollock import writing
from storage.uploader import Uploader
from tests.gateway.spooling import BEGUN_US, CHUNK_MS, Spooled, damage, gone_on, spooled, uploaded


def saved(store: Recordings, tenant: TenantId, *kinds: Kind) -> NewCall:
    """A live call of which nothing came, not even call detail."""
    store.prepare(tenant, ["quality"])
    people = {kind: ParticipantId(new_id()) if kind is Kind.AUDIO else NO_PARTICIPANT for kind in kinds}
    new = store.begin(tenant, CallId(new_id()), [Wanted(people[kind], kind, "quality") for kind in kinds])
    store.save([new])
    return new


def detail_of(store: Recordings, tenant: TenantId, new: NewCall) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(store.document(tenant, new.find(Kind.CALL_DETAIL).ref.artefact))
    return found


def gaps_of(store: Recordings, tenant: TenantId, made: Spooled) -> list[list[Any]]:
    document = json.loads(store.document(tenant, made.audio[0].ref.artefact))
    found: list[list[Any]] = document["facts"]["gaps"]
    return found


def test_call_that_was_cut_off_is_interrupted_and_says_from_when_to_when(store: Recordings, tenant: TenantId) -> None:
    made = spooled(store, tenant, [4, 2], end=False)
    answered_s = 1772359200.0  # 2026-03-01T10:00:00Z
    assert recover_call(store, tenant, made.new.call, answered_s + 2.5) is CallState.INTERRUPTED
    account = detail_of(store, tenant, made.new)
    assert [span[1] for span in account["missing_ms"]] == [2500, 2500]
    starts = [span[0] for span in account["missing_ms"]]
    assert starts == pytest.approx([4 * CHUNK_MS, 2 * CHUNK_MS], abs=20)
    assert (account["why"], account["duration_ms"]) == ("interrupted", 2500)
    assert replay(store).held is None
    assert store.call(tenant, made.new.call).state is CallState.INTERRUPTED
    assert [row.subject for row in store.outbox_pending()] == ["transcribe"]


def test_call_whose_worker_died_after_it_had_written_everything_is_stored(store: Recordings, tenant: TenantId) -> None:
    made = spooled(store, tenant, [4, 4], end=False)
    ended_s = 1772359200.0 + 3.9 * CHUNK_MS / 1000  # before the instant of what was written last
    assert recover_call(store, tenant, made.new.call, ended_s) is CallState.ENDED
    assert detail_of(store, tenant, made.new)["missing_ms"] == [[], []]
    with Uploader(
        store.spool_folder, store.slices, store.objects, on_closing=lambda due: name_losses(store, due)
    ) as uploader:
        uploaded(uploader)
    assert store.call(tenant, made.new.call).state is CallState.STORED
    assert [row.subject for row in store.outbox_pending()] == ["transcribe"]


def test_a_track_of_a_call_that_was_cut_off_has_the_quality_of_one_that_was_not(
    store: Recordings, tenant: TenantId
) -> None:
    whole, cut = spooled(store, tenant, [4]), spooled(store, tenant, [4], end=False)
    recover_all(store)
    told, again = (json.loads(store.document(tenant, made.audio[0].ref.artefact)) for made in (whole, cut))
    assert told["quality"] == again["quality"]
    fields = {"mos", "r", "loss_percent", "jitter_ms", "late", "out_of_order", "burst_ratio"}
    assert told["quality"].keys() == fields
    assert (told["quality"]["mos"], told["quality"]["loss_percent"]) == (4.41, 0)


def test_tracks_of_one_device_are_tied_after_a_crash_as_they_are_without(store: Recordings, tenant: TenantId) -> None:
    made = spooled(store, tenant, [10, 10], end=False, held_up_us=(0, 80_000))
    recover_all(store)
    told = facts_together({ArtefactId(str(i)): facts.to_json() for i, facts in enumerate(made.facts)})
    for number, (artefact, alone) in enumerate(zip(made.audio, made.facts, strict=True)):
        facts = json.loads(store.document(tenant, artefact.ref.artefact))["facts"]
        assert facts == json.loads(json.dumps(told[ArtefactId(str(number))]))
        assert facts["sender_reports"]["tied"] == 1
        assert "walls" not in facts
        assert facts["map"][0][2] == BEGUN_US
        assert alone.map[0].at_us == BEGUN_US + 80_000 * number


def test_facts_without_wall_clocks_stay_as_they_are(store: Recordings, tenant: TenantId) -> None:
    facts = {ArtefactId("a"): spooled(store, tenant, [4]).facts[0].to_json(), ArtefactId("b"): {}}
    assert facts_together(facts) is facts


def test_call_of_which_nothing_reached_the_spool_has_no_media_and_gets_its_manifest(
    store: Recordings, tenant: TenantId
) -> None:
    new = saved(store, tenant, Kind.CALL_DETAIL, Kind.IDENTITY, Kind.AUDIO)
    assert recover_all(store) == 1
    assert replay(store).held is None
    assert store.call(tenant, new.call).state is CallState.NO_MEDIA
    (audio,) = store.call(tenant, new.call).find(Kind.AUDIO)
    assert json.loads(store.document(tenant, audio.ref.artefact))["quality"] is None
    assert store.manifest(tenant, new.call)["call"] == new.call
    assert store.reconcile(explain).findings == {}


def test_call_that_was_not_to_be_recorded_is_ended_as_that(store: Recordings, tenant: TenantId) -> None:
    new = saved(store, tenant, Kind.CALL_DETAIL, Kind.IDENTITY)
    assert recover_all(store) == 1
    assert store.call(tenant, new.call).state is CallState.NOT_RECORDED
    assert detail_of(store, tenant, new)["why"] == "interrupted"
    assert replay(store).held is None
    assert store.reconcile(explain).findings == {}


def test_recovery_goes_on_past_a_damaged_record_and_names_it(store: Recordings, tenant: TenantId) -> None:
    made = spooled(store, tenant, [5], end=False)
    damage(store, made.audio[0], 2)
    assert recover_all(store) == 1
    assert [800_000, 1_200_000, "corrupted"] in gaps_of(store, tenant, made)
    assert not [gap for gap in gaps_of(store, tenant, made) if gap[2] == "lost"]
    assert replay(store).held is None
    assert store.call(tenant, made.new.call).state is CallState.INTERRUPTED
    assert detail_of(store, tenant, made.new)["missing_ms"][0][0] == pytest.approx(5 * CHUNK_MS, abs=20)
    assert store.reconcile(explain).total(Weight.UNEXPLAINED) == 0


def test_call_whose_worker_had_died_before_its_gateway_did_says_both(store: Recordings, tenant: TenantId) -> None:
    made = spooled(store, tenant, [3], end=False)
    gone_on(store, made, chunks=2, after_ms=2000)
    answered_s = 1772359200.0  # 2026-03-01T10:00:00Z
    assert recover_call(store, tenant, made.new.call, answered_s + 4.0) is CallState.INTERRUPTED
    account = detail_of(store, tenant, made.new)
    assert account["missing_ms"] == [[3 * CHUNK_MS, 2000, 2000 + 2 * CHUNK_MS - 20, 4000]]
    facts = json.loads(store.document(tenant, made.audio[0].ref.artefact))["facts"]
    assert facts["packets"] == 5 * 20
    assert [3 * CHUNK_MS * 1000, 2_000_000, "worker_lost"] in facts["gaps"]
    assert replay(store).held is None
    assert set(store.reconcile(explain).findings) == {(Weight.PENDING, "job not handed to the queue yet")}


def test_calls_of_a_server_that_still_writes_are_not_taken_for_a_dead_ones(store: Recordings, tenant: TenantId) -> None:
    made = spooled(store, tenant, [1], end=False)
    with writing(store.spool_folder), pytest.raises(Unavailable, match="another callvault"):
        recover_all(store, wait_s=0.0)
    assert store.call(tenant, made.new.call).state is CallState.LIVE
    assert recover_all(store) == 1
