"""Where the parts of an installation are, and whom its configuration therefore refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from gateway.api.app import create_app
from gateway.api.context import Context
from gateway.commands.residency import as_text, survey
from gateway.config import load
from gateway.errors import ConfigError
from gateway.events import Hub
from gateway.places import places_of
from gateway.server import _settle
from storage.errors import Misplaced
from storage.places import Part, Place
from storage.recordings import Recordings
from storage.tokens import Role
from tests.gateway.store import opened, recorded


def configured(folder: Path, text: str) -> Path:
    path = folder / "callvault.toml"
    path.write_text(text)
    return path


TENANTS = """
[[tenants]]
name = "dutch"
regions = ["NL"]
[[tenants]]
name = "european"
regions = ["EEA"]
[[tenants]]
name = "anywhere"
[[trunks]]
name = "t"
tenant = "dutch"
sources = ["127.0.0.1/32"]
"""


def test_up_07_a_store_elsewhere_is_refused_at_configuration_for_each_tenant(tmp_path: Path) -> None:
    text = """
region = "NL-AMS"
[store]
objects = "s3://s3.example.com/calls"
objects_region = "US"
keys_region = "DE"
[queue]
url = "nats://queue.example.com:4222"
[[processors]]
name = "ours"
own = true
hosts = ["s3.example.com", "queue.example.com"]
"""
    with pytest.raises(ConfigError) as caught:
        load(configured(tmp_path, text + TENANTS), {})
    told = "; ".join(caught.value.problems)
    for expected in (
        "tenant 'dutch' allows NL only: objects (s3.example.com/calls) in US",
        "tenant 'dutch' allows NL only: keys (here) in DE",
        "tenant 'dutch' allows NL only: queue (queue.example.com) in an unknown region",
        "tenant 'european' allows EEA only: objects (s3.example.com/calls) in US",
        "tenant 'european' allows EEA only: queue (queue.example.com) in an unknown region",
    ):
        assert expected in told
    assert "anywhere" not in told
    assert "'european' allows EEA only: keys" not in told


def test_up_08_a_machine_that_does_not_say_where_it_is_takes_no_restricted_tenant(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(configured(tmp_path, TENANTS), {})
    told = "; ".join(caught.value.problems)
    for part in ("catalogue", "spool", "calls", "objects", "keys", "witness", "queue", "transcription"):
        assert f"tenant 'dutch' allows NL only: {part} (here) in an unknown region" in told
    assert load(configured(tmp_path, 'region = "NL-AMS"' + TENANTS), {}).settings.region == "NL-AMS"


def test_up_08_transcription_here_counts_where_there_is_some(tmp_path: Path) -> None:
    path = configured(tmp_path, 'region = "NL"\n[transcription]\nworkers = 0' + TENANTS)
    settings = load(path, {}).settings
    assert Part.TRANSCRIPTION not in {place.part for place in places_of(settings)}
    assert Part.TRANSCRIPTION in {place.part for place in places_of(settings, transcribing=True)}


def test_a_key_providers_url_may_say_where_it_is_and_so_may_the_witnesss_setting(tmp_path: Path) -> None:
    text = 'region = "NL"\n[store]\nkeys = "openbao://bao.example.com/transit?region=DE"\n'
    text += 'witness = "s3://s3.example.com/witness"\nwitness_region = "FR"\n'
    text += '[[processors]]\nname = "ours"\nown = true\nhosts = ["bao.example.com", "s3.example.com"]\n'
    found = {place.part: place for place in places_of(load(configured(tmp_path, text), {}).settings)}
    assert (found[Part.KEYS].region, found[Part.KEYS].name) == ("DE", "bao.example.com")
    assert found[Part.OBJECTS].region == "NL"
    assert found[Part.WITNESS] == Place(Part.WITNESS, "FR", "s3.example.com/witness")


@pytest.mark.parametrize("text", ['region = "UK"', 'region = "eu-1"', '[store]\nobjects_region = "EEA"'])
def test_a_region_that_is_none_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load(configured(tmp_path, text), {})


def test_cl_10_the_report_names_every_location_and_those_outside_the_rule(tmp_path: Path) -> None:
    text = 'data = "{}"\nregion = "{}"\n'
    loose = '[[tenants]]\nname = "acme"\n[[trunks]]\nname = "t"\ntenant = "acme"\nsources = ["127.0.0.1/32"]\n'
    before = load(configured(tmp_path, text.format(tmp_path / "data", "GB-LON") + loose), {}).settings
    after = load(configured(tmp_path, text.format(tmp_path / "data", "IE-DUB") + loose), {}).settings
    for settings in (before, after):
        with Recordings.open(
            settings.data_folder, settings.keys_url, settings.objects_url, node="t", places=places_of(settings)
        ) as recordings:
            _settle(recordings, settings)
    strict = after.model_copy(update={"tenants": (after.tenants[0].model_copy(update={"regions": ("IE",)}),)})
    with Recordings.open(
        strict.data_folder, strict.keys_url, strict.objects_url, node="t", places=places_of(strict)
    ) as recordings:
        report = survey(strict, recordings)
    (tenant,) = report["tenants"]
    objects = [row for row in tenant["locations"] if row["part"] == "objects"]
    assert [(row["region"], row["current"], row["allowed"]) for row in objects] == [
        ("GB-LON", False, False),
        ("IE-DUB", True, True),
    ]
    assert {row["part"] for row in tenant["locations"]} == {part.value for part in Part}
    assert "NOT ALLOWED" in as_text(report)
    json.dumps(report)


def test_ct_03_every_call_shows_where_it_is_stored_and_no_placement_wins_over_the_rule(tmp_path: Path) -> None:
    nearest = [Place(Part.OBJECTS, "NL-AMS", "s3.example.com/calls"), Place(Part.KEYS, "NL")]
    with opened(tmp_path, places=nearest) as recordings:
        tenant = recordings.tenant("acme")
        recordings.residency.settle(tenant, ["EEA"])
        call, _ = recorded(tmp_path, recordings, tenant, 1.0)
        context = Context(recordings, recordings.tokens, Hub(), lambda _call: None, list, dict)
        token = recordings.tokens.create(tenant, Role.AGENT, "")
        with TestClient(create_app(context), headers={"Authorization": f"Bearer {token}"}) as client:
            listed = client.get("/v1/calls").json()["calls"]
            one = client.get(f"/v1/calls/{call}").json()
        assert [row["stored_in"] for row in (*listed, one)] == [{"objects": ["NL-AMS"], "keys": ["NL"]}] * 2
        with pytest.raises(Misplaced):
            recordings.residency.settle(tenant, ["NL-AMS"])  # the keys' place is not as near as that


def test_of_a_tenant_that_stores_nothing_only_where_calls_are_taken_matters(tmp_path: Path) -> None:
    text = 'region = "NL"\n[store]\nobjects_region = "US"\n'
    tenants = '[[tenants]]\nname = "silent"\nrecord = "events"\nregions = ["{}"]\n'
    trunk = '[[trunks]]\nname = "t"\ntenant = "silent"\nsources = ["127.0.0.1/32"]\n'
    settings = load(configured(tmp_path, text + tenants.format("NL") + trunk), {}).settings
    with opened(tmp_path, places=places_of(settings)) as recordings:
        _settle(recordings, settings)
        told = recordings.residency.locations(recordings.tenant("silent"))
        assert [location.place for location in told] == [Place(Part.CALLS, "NL")]
    with pytest.raises(ConfigError, match="calls"):
        load(configured(tmp_path, text + tenants.format("DE") + trunk), {})
