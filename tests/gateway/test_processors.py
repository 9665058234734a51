"""The register of sub-processors comes from the configuration in effect; what it does not say is refused there."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from gateway.api.app import create_app
from gateway.api.context import Context
from gateway.api.events import _recent, _stream
from gateway.commands.processors import processors, sample
from gateway.config import Settings, load
from gateway.errors import ConfigError
from gateway.events import Hub, event_of
from gateway.places import places_of
from gateway.processors import announce, elsewhere, host_of, register
from gateway.promises.effective import policy_of
from gateway.promises.page import Facts, page
from gateway.promises.render import markdown
from gateway.server import _settle
from storage.errors import Refused
from storage.model import TenantId
from storage.places import Part
from storage.processor import Processor
from storage.recordings import Recordings
from tests.gateway.store import opened

REMOTE = """
region = "NL-AMS"
[store]
objects = "s3://s3.example.com/calls?credentials=/c"
witness = "s3://locked.example.net/witness?credentials=/c"
catalogue = "postgresql://us@db.example.org/calls"
keys = "openbao://bao.example.org:8200/transit?token-file=/t"
[queue]
url = "tls://queue.example.org:4222"
"""
STORAGE = """
[[processors]]
name = "example-storage"
company = "Example Storage B.V."
hosts = ["s3.example.com", "locked.example.net"]
region = "NL"
retention = "30 days"
encryption = "sealed by us before it leaves; TLS 1.3"
dpa = 2026-01-01
"""
OURS = """
[[processors]]
name = "ours"
own = true
region = "NL-AMS"
hosts = ["db.example.org", "bao.example.org", "queue.example.org"]
"""
ACME = """
[[tenants]]
name = "acme"
purpose = "quality"
notice_days = 14
[[tenants.destinations]]
name = "crm"
to = "CRM"
authorised_by = "board"
authorised_on = 2026-01-01
company = "Example CRM Inc."
region = "US"
retention = "while-in-use"
encryption = "TLS 1.3"
dpa = 2026-02-01
parts = ["detail", "audio"]
fields = { detail = ["started", "duration_ms"] }
address = "https://crm.example/deletions"
[[trunks]]
name = "t"
tenant = "acme"
sources = ["127.0.0.1/32"]
"""


def settings(folder: Path, text: str) -> Settings:
    file = folder / "callvault.toml"
    file.write_text(f'data = "{folder / "data"}"\n' + text)
    return load(file, {}).settings


def problems(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        settings(folder, text)
    return "; ".join(caught.value.problems)


def test_embedded_defaults_on_this_machine_need_nothing_and_have_nobody(tmp_path: Path) -> None:
    found = load(None, {}, {"data": tmp_path}).settings
    assert elsewhere(found) == []
    assert register(found, found.tenants[0]) == []


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("file:/data/objects", ""),
        ("s3+http://127.0.0.1:9000/calls", ""),
        ("s3://[::1]:9000/calls", ""),
        ("s3://localhost/calls", ""),
        ("pkcs11:token=x?module-path=/m", ""),
        ("postgresql:///calls?host=/run/postgresql", ""),
        ("postgresql://us@DB.example.org:5433/calls", "db.example.org"),
        ("embedded", ""),
        ("", ""),
        ("nats://192.0.2.1:4222", "192.0.2.1"),
    ],
)
def test_what_is_another_machine(url: str, host: str) -> None:
    assert host_of(url) == host


def test_ip_06_every_other_machine_needs_an_entry_that_says_whose_it_is(tmp_path: Path) -> None:
    told = problems(tmp_path, REMOTE)
    for part, host in (
        ("objects", "s3.example.com"),
        ("witness", "locked.example.net"),
        ("catalogue", "db.example.org"),
        ("keys", "bao.example.org"),
        ("queue", "queue.example.org"),
    ):
        assert f"{part} are at {host}, another machine" in told
    settings(tmp_path, REMOTE + STORAGE + OURS)


@pytest.mark.parametrize(
    ("lacks", "line"),
    [
        ("company", 'company = "Example Storage B.V."'),
        ("region", 'region = "NL"'),
        ("retention", 'retention = "30 days"'),
        ("encryption", 'encryption = "sealed by us before it leaves; TLS 1.3"'),
        ("dpa", "dpa = 2026-01-01"),
    ],
)
def test_ct_04_a_processor_without_its_facts_is_refused_at_configuration(tmp_path: Path, lacks: str, line: str) -> None:
    assert f"'example-storage' gets nothing before its {lacks} is said" in problems(
        tmp_path, REMOTE + STORAGE.replace(line, "") + OURS
    )


@pytest.mark.parametrize("lacks", ["company", "region", "retention", "encryption", "dpa"])
def test_ct_04_a_destination_without_its_facts_is_refused_at_configuration(tmp_path: Path, lacks: str) -> None:
    text = "\n".join(line for line in ACME.splitlines() if not line.startswith(lacks))
    assert f"tenant 'acme': destination:crm gets nothing before its {lacks} is said" in problems(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (STORAGE, "has host locked.example.net, and nothing is there"),
        (REMOTE + STORAGE + OURS + STORAGE, "'example-storage' is defined twice"),
        (REMOTE + STORAGE + OURS.replace("db.example.org", "s3.example.com"), "'s3.example.com' belongs to two"),
        (
            REMOTE.replace("[queue]", 'objects_region = "US"\n[queue]') + STORAGE + OURS,
            "in US by one setting and in NL",
        ),
        ('[[processors]]\nname = "x"\nown = false\n', "has no hosts and gets nothing"),
        ('region = "NL"\n' + ACME.replace("notice_days", 'regions = ["NL"]\nnotice_days'), "is in US"),
    ],
)
def test_what_does_not_fit_together_is_told(tmp_path: Path, text: str, problem: str) -> None:
    assert problem in problems(tmp_path, text)


def test_up_10_the_register_has_every_outside_party_with_what_it_gets(tmp_path: Path) -> None:
    hosting = STORAGE.replace("example-storage", "hosting").replace('["s3.example.com", "locked.example.net"]', "[]")
    found = settings(tmp_path, REMOTE + STORAGE + hosting + 'gets = ["spool", "calls"]\n' + OURS + ACME)
    entries = {entry.name: entry for entry in register(found, found.tenants[0])}
    assert entries["example-storage"] == Processor(
        *("example-storage", "Example Storage B.V.", "NL", ("objects", "witness"), (), "30 days"),
        *("sealed by us before it leaves; TLS 1.3", "2026-01-01", "locked.example.net s3.example.com"),
    )
    assert entries["hosting"].gets == ("calls", "spool")
    crm = entries["destination:crm"]
    assert (crm.gets, crm.fields, crm.in_eea) == (("audio", "detail"), ("detail.duration_ms", "detail.started"), False)
    assert (crm.retention, crm.place) == ("while-in-use", "crm.example")  # CL-12
    assert entries.keys() == {"example-storage", "hosting", "destination:crm"}  # and not our own machines
    places = {place.part: place for place in places_of(found)}
    assert (places[Part.CATALOGUE].region, places[Part.CATALOGUE].name) == ("NL-AMS", "db.example.org")
    assert (places[Part.OBJECTS].region, places[Part.QUEUE].region) == ("NL", "NL-AMS")


def test_a_tenants_own_key_provider_is_its_sub_processor_and_nobody_elses(tmp_path: Path) -> None:
    own = ACME.replace('purpose = "quality"', 'keys = "openbao://theirs.example/transit?token-file=/t"')
    row = STORAGE.replace('["s3.example.com", "locked.example.net"]', '["theirs.example"]')
    found = settings(tmp_path, own + '[[tenants]]\nname = "beta"\n' + row)
    acme, beta = found.tenants
    assert register(found, acme)[0].gets == ("keys",)
    assert register(found, beta) == []


def test_of_a_tenant_that_stores_nothing_nobody_gets_anything(tmp_path: Path) -> None:
    found = settings(tmp_path, REMOTE + STORAGE + OURS + ACME.replace('purpose = "quality"', 'record = "events"'))
    assert register(found, found.tenants[0]) == []


def test_up_10_a_start_tells_every_tenant_before_anything_else_and_once(tmp_path: Path) -> None:
    found = settings(tmp_path, ACME + '[[tenants]]\nname = "beta"\n')
    with opened(tmp_path) as recordings:
        acme, beta = recordings.tenant("acme"), recordings.tenant("beta")
        ((tenant, notice),) = announce(recordings, found)
        assert (tenant, notice.event, notice.facts["processor"]) == (acme, "processor_announced", "destination:crm")
        assert announce(recordings, found) == []
        assert recordings.register.notices(beta) == []
        with pytest.raises(Refused, match="given notice"):  # notice_days = 14
            recordings.register.check(acme, found.tenants[0].destinations[0].entry())


def test_cl_10_a_change_of_location_is_a_notice_and_the_first_is_none(tmp_path: Path) -> None:
    trunk = '[[tenants]]\nname = "acme"\n[[trunks]]\nname = "t"\ntenant = "acme"\nsources = ["127.0.0.1/32"]\n'
    moves: list[Any] = []
    for region in ("GB-LON", "IE-DUB", "IE-DUB"):
        found = settings(tmp_path, f'region = "{region}"\n' + trunk)
        with opened(tmp_path, places=places_of(found)) as recordings:
            moves.append([notice for _, notice in _settle(recordings, found)])
            notices = recordings.register.notices(recordings.tenant("acme"))
    first, moved, again = moves
    assert first == again == []
    assert {notice.facts["part"] for notice in moved} == {part.value for part in Part}
    assert all((one.event, one.facts["region"]) == ("location_changed", "IE-DUB") for one in moved)
    assert sorted(moved, key=lambda one: -one.seq) == notices
    fields = event_of(TenantId("t"), moved[0]).fields()
    assert fields.keys() == {"notice", "at", "part", "region", "place"}


def test_up_10_whoever_follows_events_is_told_first_what_was_told_before(tmp_path: Path) -> None:
    found = settings(tmp_path, ACME)
    with opened(tmp_path) as recordings:
        tenant = recordings.tenant("acme")
        ((_, notice),) = announce(recordings, found)
        context = Context(recordings, recordings.tokens, Hub(), lambda _call: None, list, dict)

        async def scenario() -> list[str]:
            stream = _stream(context.hub, tenant, _recent(context, tenant))
            told = [await anext(stream), await anext(stream)]
            context.hub.publish(event_of(tenant, notice))
            return [*told, await anext(stream)]

        connected, before, live = asyncio.run(scenario())
        assert connected.startswith(":")
        assert before.startswith("event: processor_announced\n")
        told = json.loads(before.partition("data: ")[2])
        assert (told["notice"], told["processor"]) == (notice.seq, "destination:crm")
        assert "call" not in told and "board" not in before
        assert json.loads(live.partition("data: ")[2]) == told
        late = Context(*(recordings, recordings.tokens, Hub(), lambda _call: None, list, dict), clock=lambda: 4e9)
        assert _recent(late, tenant) == []
        with TestClient(create_app(context)) as client:
            assert client.get("/v1/processors").status_code == 401


@pytest.mark.parametrize(
    ("language", "outside"),
    [("en", "US, outside the"), ("nl", "US, buiten de"), ("de", "US, außerhalb des")],
)
def test_up_10_the_page_lists_the_register(tmp_path: Path, language: str, outside: str) -> None:
    found = settings(tmp_path, REMOTE + STORAGE + OURS + ACME)
    (tenant,) = found.tenants
    text = markdown(page(policy_of(tenant), Facts.of(tenant, register(found, tenant)), language))
    for said in ("Example Storage B.V.", "2026-01-01", "Example CRM Inc.", outside, "sealed by us before it leaves"):
        assert said in text
    assert "board" not in text
    nobody = markdown(page(policy_of(tenant), Facts.of(tenant), language))
    assert "Example" not in nobody


def test_the_commands_show_the_register_and_a_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = settings(tmp_path, ACME)
    given = argparse.Namespace(config=tmp_path / "callvault.toml", data=None, tenant=None, json=False, name="crm")
    assert processors(given) == 1
    assert "NOT TOLD YET" in capsys.readouterr().out
    with Recordings.open(
        *(found.data_folder, found.keys_url, found.objects_url), node="t", witness=found.witness_url
    ) as recordings:
        announce(recordings, found)
    assert processors(given) == 0
    assert "US, OUTSIDE the EEA  told by ledger entry" in capsys.readouterr().out
    given.json = True
    assert processors(given) == 0
    (row,) = json.loads(capsys.readouterr().out)["tenants"][0]["processors"]
    assert (row["authorised_by"], row["authorised_on"], row["told"]) == ("board", "2026-01-01", True)
    assert sample(given) == 0
    told = json.loads(capsys.readouterr().out)
    assert [name.rpartition("/")[2] for name in told["files"]] == ["detail.json", "track-0.wav", "index.json"]
    given.name = "nobody"
    assert sample(given) == 2
