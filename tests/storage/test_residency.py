"""Data goes only where its tenant's rule allows it, whoever opens the store; and where it was stays told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from storage.catalogue import Catalogue
from storage.errors import Misplaced, Refused
from storage.model import ArtefactId, CallState, Kind, TenantId
from storage.places import Part, Place
from storage.recordings import Recordings
from storage.records import Derived
from storage.regions import EEA, is_within, region_problem, rule_problem
from storage.residency import held_in
from storage.tables import ledger
from storage.uploader import Uploader
from tests.storage.stores import audio_of, begin_call, open_at, save_call, spool, stored_call

DAY_S = 86_400.0
LARGE = b"t" * 40_000  # more than stands in a row: an object


def places(region: str, objects: str = "") -> list[Place]:
    """Everything in one region; the objects perhaps in another."""
    here = [Place(part, region) for part in (Part.CATALOGUE, Part.SPOOL, Part.KEYS, Part.TRANSCRIPTION)]
    return [*here, Place(Part.OBJECTS, objects or region, "s3.example.com/calls")]


@pytest.fixture
def dutch(tmp_path: Path) -> Iterator[Recordings]:
    with open_at(tmp_path, places=places("NL-AMS")) as store:
        store.residency.settle(store.tenant("acme"), ["NL"])
        yield store


@pytest.mark.parametrize(
    ("region", "rules", "allowed"),
    [
        ("NL", [], True),
        ("", [], True),
        ("", ["NL"], False),
        ("", ["EEA"], False),
        ("NL", ["NL"], True),
        ("NL-AMS", ["NL"], True),
        ("NL-AMS-1", ["NL-AMS"], True),
        ("NL-AMSX", ["NL-AMS"], False),
        ("NL", ["NL-AMS"], False),
        ("DE", ["NL"], False),
        ("DE", ["NL", "DE"], True),
        ("IE-DUB", ["EEA"], True),
        ("NO", ["EEA"], True),
        ("NO", ["EU"], False),
        ("GB-LON", ["EEA"], False),
        ("GB-LON", ["GB", "IE"], True),
        ("CH", ["EEA"], False),
        ("US", ["EEA"], False),
    ],
)
def test_a_region_is_within_its_country_its_parts_and_groups(region: str, rules: list[str], allowed: bool) -> None:
    assert is_within(region, rules) is allowed


def test_the_area_has_its_thirty_countries() -> None:
    assert len(EEA) == 30
    assert not any(map(region_problem, EEA))


@pytest.mark.parametrize("text", ["", "nl", "NLD", "NL_AMS", "NL-", "NL-ams", "eu-west-1", "UK", "UK-LON", "EL"])
def test_what_no_place_could_be_in_is_no_rule(text: str) -> None:
    assert rule_problem(text)


def test_a_group_is_a_rule_and_no_region() -> None:
    assert not rule_problem("EEA")
    assert region_problem("EEA")


def test_up_07_a_tenant_is_refused_where_its_data_may_not_be(tmp_path: Path) -> None:
    with open_at(tmp_path, places=places("NL-AMS", objects="US")) as store:
        tenant = store.tenant("acme")
        with pytest.raises(Misplaced, match=r"allows NL only: objects \(s3.example.com/calls\) in US"):
            store.residency.settle(tenant, ["NL"])
        assert store.residency.rules(tenant) == ()
        assert store.residency.locations(tenant) == []


def test_up_07_a_place_that_nobody_has_named_is_refused(tmp_path: Path) -> None:
    with open_at(tmp_path, places=[Place(Part.SPOOL)]) as store:
        store.residency.settle(store.tenant("anywhere"), [])
        with pytest.raises(Misplaced, match=r"spool \(here\) in an unknown region"):
            store.residency.settle(store.tenant("acme"), ["EEA"])


def test_up_07_nothing_is_written_by_a_process_elsewhere(tmp_path: Path, dutch: Recordings) -> None:
    tenant = dutch.tenant("acme")
    stored = stored_call(dutch, tenant)
    source = audio_of(stored)[0]
    begun = save_call(dutch, tenant)
    objects = sorted(dutch.objects.list())
    with open_at(tmp_path, places=places("NL", objects="US")) as elsewhere:
        derived = [Derived(source.ref.participant, Kind.TRANSCRIPT, "recording", LARGE)]
        with pytest.raises(Misplaced):
            elsewhere.add_derived(tenant, stored.call, [source.ref.artefact], derived)
        with pytest.raises(Misplaced):
            elsewhere.save([begin_call(elsewhere, tenant)])
        with pytest.raises(Misplaced):
            elsewhere.put_documents(begun, {begun.find(Kind.CALL_DETAIL).ref.artefact: b"detail"})
        with pytest.raises(Misplaced):
            elsewhere.prepare(tenant, ["billing"])
    assert sorted(dutch.objects.list()) == objects
    assert len(dutch.calls(tenant)) == 2


def test_up_08_spool_records_wait_for_an_uploader_that_may_take_them(tmp_path: Path, dutch: Recordings) -> None:
    tenant = dutch.tenant("acme")
    new = save_call(dutch, tenant)
    spool(dutch, [(artefact, [b"audio"]) for artefact in audio_of(new)])
    dutch.put_documents(new, {}, CallState.ENDED)
    with (
        open_at(tmp_path, places=places("DE")) as elsewhere,
        Uploader(elsewhere.spool_folder, elsewhere.slices, elsewhere.objects) as uploader,
    ):
        progress = uploader.step(1000.0)
        assert (progress.slices, progress.held_streams) == (0, 2)
    assert list(dutch.objects.list()) == []
    with Uploader(dutch.spool_folder, dutch.slices, dutch.objects) as uploader:
        assert uploader.step(1000.0).slices == 2


def test_up_08_transcription_counts_as_a_location_and_other_tenants_go_on(tmp_path: Path, dutch: Recordings) -> None:
    acme, other = dutch.tenant("acme"), dutch.tenant("other")
    dutch.residency.settle(other, ["EEA"])
    with open_at(tmp_path, places=[Place(Part.TRANSCRIPTION, "DE", "gpu-1")]) as worker:
        with pytest.raises(Misplaced, match="transcription"):
            worker.residency.enter(acme)
        worker.residency.enter(other)
        worker.residency.enter(other)
    told = [location.place for location in dutch.residency.locations(other)]
    assert told == [*places("NL-AMS"), Place(Part.TRANSCRIPTION, "DE", "gpu-1")]


def test_cl_10_a_change_of_location_is_a_signed_entry_before_data_flows(tmp_path: Path) -> None:
    now_s = [100 * DAY_S]
    with open_at(tmp_path, places=places("GB-LON"), clock=lambda: now_s[0]) as store:
        tenant = store.tenant("acme")
        assert store.residency.settle(tenant, ["GB", "IE"]) == places("GB-LON")
        assert store.residency.settle(tenant, ["GB", "IE"]) == []  # a restart changes nothing
        day = stored_call(store, tenant).day
    now_s[0] += 30 * DAY_S
    with open_at(tmp_path, places=places("GB-LON", objects="IE-DUB"), clock=lambda: now_s[0]) as store:
        assert store.residency.settle(tenant, ["GB", "IE"]) == [Place(Part.OBJECTS, "IE-DUB", "s3.example.com/calls")]
        found = store.residency.locations(tenant)
        assert found[-1].place.region == "IE-DUB"
        assert held_in(found, day)["objects"] == ["GB-LON", "IE-DUB"]
        later = save_call(store, tenant)
        assert held_in(found, later.day) == {part.value: ["GB-LON"] for part in Part if part in _USED} | {
            "objects": ["IE-DUB"]
        }
        store.check()  # the chain holds, and every signature
    entries = ledger_of(tmp_path)
    assert [entry["type"] for entry in entries if entry["type"] in ("regions", "location")] == [
        "regions",
        *["location"] * 6,
    ]
    moved = next(entry for entry in entries if entry["seq"] == found[-1].seq)
    assert (moved["part"], moved["region"], moved["at"]) == ("objects", "IE-DUB", "1970-05-11T00:00:00Z")


def test_cl_10_moving_back_is_a_change_too(tmp_path: Path) -> None:
    for region in ("GB-LON", "IE-DUB", "GB-LON"):
        with open_at(tmp_path, places=[Place(Part.OBJECTS, region)]) as store:
            tenant = store.tenant("acme")
            store.residency.settle(tenant, [])
    with open_at(tmp_path) as store:
        regions = [location.place.region for location in store.residency.locations(tenant)]
    assert regions == ["GB-LON", "IE-DUB", "GB-LON"]


def test_a_changed_rule_is_in_the_ledger(tmp_path: Path, dutch: Recordings) -> None:
    tenant = dutch.tenant("acme")
    dutch.residency.settle(tenant, ["EEA"])
    dutch.residency.settle(tenant, [])
    told = [entry["rules"] for entry in ledger_of(tmp_path) if entry["type"] == "regions"]
    assert told == [["NL"], ["EEA"], []]


def test_a_rule_or_place_that_is_none_is_refused(dutch: Recordings) -> None:
    with pytest.raises(Refused):
        dutch.residency.settle(dutch.tenant("acme"), ["UK"])
    with pytest.raises(Refused):
        Place(Part.OBJECTS, "eu-west-1")
    with pytest.raises(Refused):
        Place(Part.OBJECTS, "NL", "")


def test_erasing_is_never_refused_for_where_it_is_done(tmp_path: Path, dutch: Recordings) -> None:
    tenant: TenantId = dutch.tenant("acme")
    stored = stored_call(dutch, tenant)
    with open_at(tmp_path, places=places("US")) as elsewhere:
        elsewhere.erase_call(tenant, stored.call, ground="Art. 17(1)(a)", actor="test")
    with pytest.raises(Refused):
        dutch.document(tenant, ArtefactId(stored.find(Kind.IDENTITY).ref.artefact))


_USED = (Part.CATALOGUE, Part.SPOOL, Part.KEYS, Part.TRANSCRIPTION)


def ledger_of(root: Path) -> list[dict[str, object]]:
    """What the ledger's entries say, in order."""
    catalogue = Catalogue(root / "data")
    with catalogue.reading() as connection:
        bodies = connection.scalars(select(ledger.c.body).order_by(ledger.c.seq)).all()
    catalogue.close()
    return [json.loads(body) for body in bodies]
