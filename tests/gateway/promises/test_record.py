"""The record of processing and its annex: each setting that protects somebody is told as it is, none is forgotten."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel

from gateway.api.app import create_app
from gateway.api.context import Context
from gateway.cli import main
from gateway.config import Settings
from gateway.events import Hub
from gateway.policy import Tenant
from gateway.promises.effective import policy_of
from gateway.promises.measures import HEADINGS, Live
from gateway.promises.record import FORMATS, Record, live_of, record
from gateway.promises.words import LANGUAGES, words
from storage.tokens import Role
from tests.gateway.store import opened

WHOLE = {"name": "Acme BV", "contact": "Dam 1, Amsterdam", "representative": "none", "officer": "D. Poortman"}
TRUNK = {"name": "carrier", "tenant": "acme", "sources": ["192.0.2.32/28"]}
DESTINATION = {
    **{"name": "crm", "to": "Example CRM Ltd", "authorised_by": "the board", "authorised_on": "2026-01-01"},
    **{"company": "Example CRM Ltd", "region": "NL", "retention": "30 days", "encryption": "TLS 1.3"},
    **{"dpa": "2026-01-01", "parts": ["audio"]},
}
USER = {"name": "carrier", "sha256": "0" * 64}
KEY = "cvx1-public-" + "0" * 64
TLS = {"certificate": "/c.pem", "key": "/k.pem", "client_ca": "/ca.pem"}


def settings(tenant: Mapping[str, Any] = {}, trunk: Mapping[str, Any] = {}, **changed: Any) -> Settings:
    """Of one tenant `acme` with one trunk."""
    whole = {"name": "acme", "purpose": "service", **tenant}
    return Settings.model_validate({"tenants": [whole], "trunks": [{**TRUNK, **trunk}], **changed})


def made(found: Settings, language: str = "en", **facts: str) -> Record:
    tenant = found.tenants[0]
    return record(Live(found, tenant, policy_of(tenant), **facts), language)


def text(found: Settings, language: str = "en", **facts: str) -> str:
    return FORMATS["md"](made(found, language, **facts))


S3 = "s3://s3.example.com/calls"

BAO = "openbao://bao.example.com/t?token-file=/t"


def ours(host: str) -> dict[str, Any]:
    """The processors of a configuration that uses that host: it is our own machine, and nobody says where it is."""
    return {"processors": [{"name": "ours", "own": True, "hosts": [host]}]}


THEIRS = {
    **{"name": "example-storage", "company": "Example Storage BV", "hosts": ["s3.example.com"], "region": "NL"},
    **{"retention": "30 days", "encryption": "sealed by us; TLS 1.3", "dpa": "2026-01-01"},
}
FLIPS: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "region": ({"region": "US"}, {"region": "NL"}, "Outside the European", "nothing is transferred"),
    "operator": ({}, {"operator": WHOLE}, "not stated in the configuration", "D. Poortman"),
    "sip.transports": ({}, {"sip": {"transports": ["tls"], "tls": TLS}}, "TLS is not set up", "over TLS only"),
    "sip.tls": (
        *({}, {"sip": {"transports": ["udp", "tls"], "tls": TLS}}),
        *("TLS is not set up", "over TLS, and WITHOUT encryption"),
    ),
    "sip.listeners": (
        {"sip": {"transports": ["tls"], "tls": TLS}},
        {
            "sip": {
                **{"transports": ["tls"], "tls": TLS},
                "listeners": [{"name": "open", "address": "127.0.0.1:5070", "transports": ["udp"]}],
            }
        },
        *("over TLS only", "WITHOUT encryption (UDP, TCP) as well"),
    ),
    "sip.unknown": ({}, {"sip": {"unknown": "drop"}}, "strangers are refused", "no answer at all"),
    "sip.proxies": ({}, {"sip": {"proxies": ["10.0.0.0/8"]}}, "(level info)", "believed from proxies in: 10.0.0.0/8"),
    "media.workers": ({}, {"media": {"workers": 2}}, "their own (1)", "their own (2)"),
    "http.listen": ({}, {"http": {"listen": "192.0.2.1:8080"}}, "this machine alone", "TLS has to be put in front"),
    "http.metrics_networks": ({}, {"http": {"metrics_networks": ["10.1.0.0/16"]}}, "127.0.0.0/8, ::1", "10.1.0.0/16"),
    "whip.sessions_max": ({}, {"whip": {"sessions_max": 5}}, "sealed", "over WebRTC"),
    "store.objects": (
        {},
        {"store": {"objects": S3}, **ours("s3.example.com")},
        "folder of this machine",
        "s3.example.com over TLS",
    ),
    "store.objects_region": (
        {"region": "NL", "store": {"objects": S3, "objects_region": "NL"}, **ours("s3.example.com")},
        {"region": "NL", "store": {"objects": S3, "objects_region": "US"}, **ours("s3.example.com")},
        *("nothing is transferred", "Outside the European Economic Area: sealed recordings (US)"),
    ),
    "store.catalogue": (
        {},
        {"store": {"catalogue": "postgresql://u@db.example.com/c?sslmode=require"}, **ours("db.example.com")},
        *("database is a file", "NOT checked"),
    ),
    "store.keys": (
        {},
        {"store": {"keys": "openbao://bao.example.com/transit?token-file=/t&finality=30d"}, **ours("bao.example.com")},
        *("folder of files of this machine", "for 30d"),
    ),
    "store.keys_region": (
        {"region": "NL", "store": {"keys": BAO}, **ours("bao.example.com")},
        {"region": "NL", "store": {"keys": BAO, "keys_region": "NL"}, **ours("bao.example.com")},
        *("does not say where they are", "nothing is transferred"),
    ),
    "store.witness": (
        {},
        {"store": {"witness": S3}, **ours("s3.example.com")},
        *("witness is a folder of this", "witness is at s3.example.com"),
    ),
    "store.witness_region": (
        {"region": "NL", "store": {"witness": S3, "witness_region": "NL"}, **ours("s3.example.com")},
        {"region": "NL", "store": {"witness": S3, "witness_region": "US"}, **ours("s3.example.com")},
        *("nothing is transferred", "Outside the European Economic Area: the ledger of erasures"),
    ),
    "store.spool_limit_mib": ({}, {"store": {"spool_limit_mib": 2048}}, "4096 MiB", "2048 MiB"),
    "store.held_stream_mib": (
        {"tenant": {"when_keys_away": "hold"}},
        {"tenant": {"when_keys_away": "hold"}, "store": {"held_stream_mib": 16}},
        *("up to 32 MiB of a stream", "up to 16 MiB of a stream"),
    ),
    "store.held_total_mib": (
        {"tenant": {"when_keys_away": "hold"}},
        {"tenant": {"when_keys_away": "hold"}, "store": {"held_total_mib": 2048}},
        *("1024 MiB in each", "2048 MiB in each"),
    ),
    "queue.url": (
        {},
        {"queue": {"url": "nats://q.example.com:4222"}, **ours("q.example.com")},
        "queue runs on this",
        "WITHOUT encryption; jobs",
    ),
    "queue.region": (
        {"region": "NL", "queue": {"url": "tls://q.example.com:4222"}, **ours("q.example.com")},
        {"region": "NL", "queue": {"url": "tls://q.example.com:4222", "region": "NL"}, **ours("q.example.com")},
        *("does not say where they are", "nothing is transferred"),
    ),
    "log.level": ({}, {"log": {"level": "debug"}}, "(level info)", "(level debug)"),
    "transcription.workers": ({}, {"transcription": {"workers": 0}}, "| transcription |", "sealed"),
    "processors": (
        {"region": "NL", "store": {"objects": S3}, **ours("s3.example.com")},
        {"region": "NL", "store": {"objects": S3}, "processors": [THEIRS]},
        *("Nobody but the provider itself gets", "| Example Storage BV | NL, in the European Economic Area |"),
    ),
    "transcription.names_model": ({}, {"transcription": {"names_model": "off"}}, "model for names besides", "is off"),
}
"""Settings, two values of each, and what the record says under the one and the other."""

OF_TENANT: dict[str, tuple[dict[str, Any], str, str]] = {
    "organisation": ({"organisation": WHOLE}, "not stated in the configuration", "Dam 1, Amsterdam"),
    "record": ({"record": "events"}, "Calls are recorded for", "Nothing of a call is stored"),
    "media_security": ({"media_security": "srtp"}, "WITHOUT encryption otherwise", "not encrypted (SRTP) are refused"),
    "when_full": ({"when_full": "unrecorded"}, "is full, new calls are refused", "NOT recorded"),
    "keys": ({"keys": "pkcs11:token=t?module-path=/m.so&pin-file=/p"}, "of the installation", "provider of its own"),
    "when_keys_away": ({"when_keys_away": "hold"}, "two days, new calls are refused", "lost if the system stops"),
    "purpose": ({"purpose": "training"}, "recorded for: service", "recorded for: training"),
    "transcribe": ({"transcribe": False}, "transcribed automatically", "not made at present"),
    "emergency": ({"emergency": ("112", "110")}, "(112)", "(112, 110)"),
    "record_emergency": (
        {"record_emergency": "the control room has to by law"},
        *("Calls are recorded", "Emergency calls are recorded"),
    ),
    "announcement": ({"announcement": "/a.wav"}, "No announcement is played", "played to its end"),
    "dtmf": ({"dtmf": "keep"}, "that people press are not kept", "press are kept, sealed"),
    "dtmf_inband": ({"dtmf_inband": "keep"}, "are silenced", "NOT silenced"),
    "rating": ({"rating": True}, "Calls are recorded", "are kept for billing"),
    "profile": ({"profile": "upcall"}, "3 months", "12 months"),
    "retention": ({"retention": [{"term": "2 months"}]}, "3 months", "2 months"),
    "destinations": ({"destinations": [DESTINATION]}, "No destination for copies", "Copies may go to Example CRM Ltd"),
    "destinations.key": (
        {"destinations": [{**DESTINATION, "key": KEY}]},
        *("No destination for copies", "crm are sealed for its key"),
    ),
    "notice_days": ({"notice_days": 30}, "no time has to pass in between", "the time in between is 30 days"),
    "telemetry_days": ({"telemetry_days": 7}, "single tracks were heard is not kept", "heard is kept for 7 days"),
    "regions": ({"regions": ["NL"]}, "No rule limits", "every place outside of: NL"),
}

OF_TRUNK: dict[str, tuple[dict[str, Any], str, str]] = {
    "users": ({"users": [USER]}, "by the network", "by a password"),
    "srtp_keys_over": ({"srtp_keys_over": "any"}, "only where they came over TLS", "any transport from: carrier"),
}

SILENT = {
    "data": "where files lie on the machine",
    "sip.listen": "an address; whether it is encrypted is told",
    "sip.advertised": "an address",
    "sip.tls_port": "a port",
    "sip.proxy_header": "the name of a header",
    "sip.realm": "a name",
    "sip.calls_max": "a limit of load",
    "sip.drain_s": "how a stop goes",
    "sip.nameservers": "an address",
    "sip.session_s": "a timer of the protocol",
    "media.address": "an address",
    "media.advertised": "an address",
    "media.address6": "an address",
    "media.advertised6": "an address",
    "media.port_first": "a port",
    "media.port_last": "a port",
    "media.native": "a matter of speed",
    "whip.ice_servers": "told to clients; no media of ours goes there",
    "store.spool_file_mib": "the size of one file",
    "queue.credentials": "a file's name",
    "queue.ca_file": "a file's name",
    "transcription.model": "which speech model; it runs on this machine",
    "tenants": "each field is looked at",
    "trunks": "each field is looked at",
    "tenants.name": "the record's title has it",
    "tenants.language": "the language spoken",
    "tenants.announcement_language": "the announcement's language",
    "tenants.pause_limit_s": "a convenience",
    "tenants.rating_numbers": "own numbers; that ratings are kept is told",
    "tenants.statistics": "anonymous, by day or by month",
    "tenants.zone": "in which terms are counted, which the page says",
}
"""Settings that the record says nothing of, and why it need not."""


@pytest.mark.parametrize("name", FLIPS)
def test_up_22_what_the_record_says_follows_each_setting(name: str) -> None:
    before, after, was, becomes = FLIPS[name]
    texts = [re.sub(r"\\", "", text(settings(**one))) for one in (before, after)]
    assert was in texts[0] and becomes in texts[1] and texts[0] != texts[1]
    assert becomes not in texts[0] or becomes == "sealed"


@pytest.mark.parametrize("name", OF_TENANT)
def test_up_22_what_the_record_says_follows_each_setting_of_the_tenant(name: str) -> None:
    changed, was, becomes = OF_TENANT[name]
    whole: dict[str, Any] = {"region": "NL"} if name == "regions" else {}
    before, after = text(settings(**whole)), text(settings(changed, **whole))
    assert was in before and becomes in after and before != after


@pytest.mark.parametrize("name", OF_TRUNK)
def test_up_22_what_the_record_says_follows_each_setting_of_its_trunks(name: str) -> None:
    changed, was, becomes = OF_TRUNK[name]
    before, after = text(settings()), text(settings(trunk=changed))
    assert was in before and becomes in after and becomes not in before


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://u@db.example.com/c", "certificate is checked"),
        ("postgresql://u@db.example.com/c?sslmode=verify-ca", "certificate is checked"),
        ("postgresql://u@db.example.com/c?sslmode=prefer", "NOT checked"),
        ("postgresql://u@db.example.com/c?sslmode=disable", "WITHOUT encryption (sslmode disable)"),
        ("postgresql://u@127.0.0.1/c", "is a server on this machine"),
    ],
)
def test_up_22_how_the_database_is_reached_is_told_as_the_store_does_it(url: str, told: str) -> None:
    outside = {} if "127.0.0.1" in url else ours("db.example.com")
    assert told in text(settings(store={"catalogue": url}, **outside))


@pytest.mark.parametrize("language", LANGUAGES)
def test_up_22_a_recipient_in_a_third_country_is_a_transfer_also_where_our_places_are_in_none(language: str) -> None:
    away, none = (words(language, "record")("record." + name) for name in ("transfer", "transfer_none"))
    within = text(settings({"destinations": [DESTINATION]}, region="NL"), language)
    beyond = text(settings({"destinations": [{**DESTINATION, "region": "US"}]}, region="NL"), language)
    assert none in within and none not in beyond
    assert away.format(places="Example CRM Ltd (US)") in re.sub(r"\\", "", beyond)


def test_a_trunk_is_told_by_what_proves_who_it_is() -> None:
    secure = {"sip": {"transports": ["tls"], "tls": TLS}}
    assert "by its client certificate" in text(settings(trunk={"tls_names": ["sbc.example.com"]}, **secure))
    bare = {"sources": [], "listener": "open", "media_networks": ["192.0.2.0/24"]}
    listening = {"sip": {"listeners": [{"name": "open", "address": "127.0.0.1:5070"}]}}
    assert "by nothing of its own" in text(settings(trunk=bare, **listening))


def leaves(section: Any, prefix: str = "") -> Iterator[str]:
    """Every key of the configuration, lists as one."""
    for name in type(section).model_fields:
        inner = getattr(section, name)
        yield from leaves(inner, f"{prefix}{name}.") if isinstance(inner, BaseModel) else [f"{prefix}{name}"]


def test_up_22_no_setting_is_forgotten() -> None:
    known = set(FLIPS) | set(SILENT) | {f"tenants.{name}" for name in OF_TENANT}
    there = [*leaves(Settings()), *(f"tenants.{name}" for name in Tenant.model_fields)]
    forgotten = [name for name in there if name not in known and name.rpartition(".")[0] not in known]
    assert forgotten == [], "say in FLIPS what the record tells of it, or in SILENT why it need not"


def test_up_22_backups_and_restores_are_told_from_the_ledger() -> None:
    bare = text(settings())
    assert "No backup is on record" in bare and "No restore of a backup is on record" in bare
    told = text(settings(), backup="2026-11-01T03:00:00Z", restored="2026-10-01T03:00:00Z")
    assert "made at 2026-11-01T03:00:00Z" in told and "restored at 2026-10-01T03:00:00Z" in told


@pytest.mark.parametrize("language", LANGUAGES)
def test_up_22_every_line_is_there_in_every_language_and_format(language: str) -> None:
    english, there = words("en", "record").tree, words(language, "record").tree
    for section in ("record", "parts", "shares", "headings", "measures"):
        assert there[section].keys() == english[section].keys()
        for name, line in english[section].items():
            assert set(re.findall(r"\{(\w+)\}", there[section][name])) == set(re.findall(r"\{(\w+)\}", line)), name
    found = made(
        settings({"destinations": [DESTINATION], "record_emergency": "the control room has to by law"}), language
    )
    assert found.measures.keys() == HEADINGS.keys() and found.page.language == language
    body = json.loads(FORMATS["json"](found))
    assert body["language"] == language and body["measures"]["encryption"]["sip_clear"]
    assert f'<html lang="{language}">' in FORMATS["html"](found)
    for made_text in (render(found) for render in FORMATS.values()):
        assert not re.search(r"\{\w+\}", made_text.split("</style>")[-1]) or made_text.startswith("{")


def test_up_22_who_is_controller_follows_the_policy_and_gaps_are_told() -> None:
    whole: dict[str, Any] = {"region": "NL", "operator": {"name": "Voice BV", "contact": "Kade 2"}}
    found = made(settings({"organisation": WHOLE}, **whole))
    assert found.gaps == ()
    rows = found.page.blocks[0].table.rows  # type: ignore[union-attr]  # the block has one
    assert rows[0][:2] == ("Controller", "Acme BV") and rows[1][:2] == ("Processor", "Voice BV")
    assert made(settings()).gaps == (
        *("Controller: Name", "Controller: Contact", "Processor: Name", "Processor: Contact"),
        "Where some of the places are",
    )


def test_up_22_the_command_prints_the_record_and_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "callvault.toml"
    file.write_text(f'data = "{tmp_path / "data"}"\nregion = "NL"\n')
    ask = ["policy", "record", "default", "--config", str(file), "--lang", "nl"]
    assert main(ask) == 1
    out = capsys.readouterr()
    assert out.out.startswith("# Register van verwerkingsactiviteiten") and "Art. 30 GDPR asks for" in out.err
    who = '{ name = "Voice BV", contact = "Kade 2" }'
    trunk = '[[trunks]]\nname = "t"\ntenant = "acme"\nsources = ["192.0.2.0/24"]\n'
    tenant = f'[[tenants]]\nname = "acme"\norganisation = {who}\n'
    file.write_text(f'data = "{tmp_path / "data"}"\nregion = "NL"\noperator = {who}\n{tenant}{trunk}')
    ask[2] = "acme"
    assert main([*ask, "--format", "json", "--output", str(tmp_path / "record.json")]) == 0
    assert json.loads((tmp_path / "record.json").read_text())["tenant"] == "acme"


def test_up_22_an_officer_reads_its_tenants_record_and_an_agent_does_not(tmp_path: Path) -> None:
    found = settings()
    with opened(tmp_path) as store:
        tenant = store.tenant("acme")
        store.safekeeping.back_up(tmp_path / "backup")
        context = Context(
            store, store.tokens, Hub(), lambda call: None, list, dict,
            live=lambda of: live_of(store, found, found.tenants[0]) if of == tenant else None,
        )  # fmt: skip
        client = TestClient(create_app(context))
        tokens = {role: store.tokens.create(tenant, role, "test") for role in (Role.AGENT, Role.OFFICER)}
        tokens[Role.ADMIN] = store.tokens.create(store.tenant("other"), Role.ADMIN, "test")
        answers = {
            role: client.get("/v1/policy/record?format=md", headers={"Authorization": f"Bearer {token}"})
            for role, token in tokens.items()
        }
    assert [answers[role].status_code for role in (Role.AGENT, Role.OFFICER, Role.ADMIN)] == [403, 200, 404]
    assert "The last backup on record was made at" in answers[Role.OFFICER].text
