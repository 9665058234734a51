"""Configuration: one file, the environment over it, every problem told at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.addresses import parse_address
from gateway.config import Settings, describe, load
from gateway.errors import ConfigError


def test_nothing_is_needed_to_start() -> None:
    settings = load(None, {}).settings
    assert settings.sip.listen == "127.0.0.1:5060"
    assert [tenant.name for tenant in settings.tenants] == ["default"]


def test_the_keyring_never_lies_inside_the_data_folder() -> None:
    settings = load(None, {}, {"data": "/srv/vault"}).settings
    assert settings.objects_url == "file:/srv/vault/objects"
    assert settings.keys_url == "file:/srv/vault-keys"


def test_the_spool_must_hold_a_file_of_each_media_worker_and_two_more() -> None:
    sizes = {"store.spool_limit_mib": 256, "store.spool_file_mib": 64}
    assert load(None, {}, sizes | {"media.workers": 2}).settings.media.workers == 2
    with pytest.raises(ConfigError) as caught:
        load(None, {}, sizes | {"media.workers": 3})
    (problem,) = caught.value.problems
    assert "each of media.workers" in problem


@pytest.mark.parametrize("url", ["postgresql://me:pass-word@db/calls", "postgresql://db/calls?password=pass-word"])
def test_a_password_of_the_catalogue_is_neither_taken_nor_shown(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {"CALLVAULT_STORE__CATALOGUE": url})
    (problem,) = caught.value.problems
    assert "?passfile=" in problem
    assert "pass-word" not in problem


def test_environment_overrides_the_file_and_origins_are_told(tmp_path: Path) -> None:
    file = tmp_path / "callvault.toml"
    file.write_text('[sip]\nlisten = "127.0.0.1:5070"\ncalls_max = 10\n')
    loaded = load(file, {"CALLVAULT_SIP__LISTEN": "127.0.0.1:5080", "PATH": "/bin"}, {"data": "/srv/x"})
    assert loaded.settings.sip.listen == "127.0.0.1:5080"
    rows = {key: (value, origin) for key, value, origin in describe(loaded)}
    assert rows["sip.listen"] == ('"127.0.0.1:5080"', "environment CALLVAULT_SIP__LISTEN")
    assert rows["sip.calls_max"] == ("10", str(file))
    assert rows["data"] == ('"/srv/x"', "command line")
    assert rows["http.listen"][1] == "default"


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    file = tmp_path / "callvault.toml"
    file.write_text('colour = "red"\n[sip]\nlisten = "nowhere"\n[http]\nport = 1\n')
    with pytest.raises(ConfigError) as caught:
        load(file, {"CALLVAULT_MEDIA__PORT_FIRST": "80"})
    told = "\n".join(caught.value.problems)
    for expected in ("colour: unknown key", "sip.listen", "http.port: unknown key", "media.port_first"):
        assert expected in told


def test_an_environment_variable_that_names_no_setting_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"sip\.lisen: unknown key"):
        load(None, {"CALLVAULT_SIP__LISEN": "127.0.0.1:1"})


@pytest.mark.parametrize(
    "sip", [{"transports": ["tls"]}, {"listeners": [{"name": "a", "address": "127.0.0.1:1", "transports": ["tls"]}]}]
)
def test_tls_without_a_certificate_is_an_error(sip: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"tls\.certificate"):
        Settings.model_validate({"sip": sip})


def test_a_trunk_of_an_unknown_tenant_is_an_error() -> None:
    tree = {"trunks": [{"name": "t", "tenant": "nobody", "sources": ["192.0.2.0/24"]}]}
    with pytest.raises(ValueError, match="nobody"):
        Settings.model_validate(tree)


def test_a_missing_or_broken_file_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "absent.toml", {})
    broken = tmp_path / "broken.toml"
    broken.write_text("= =")
    with pytest.raises(ConfigError, match=r"broken\.toml"):
        load(broken, {})


def test_settings_survive_the_way_to_a_child_process() -> None:
    settings = load(None, {}, {"data": "/srv/vault"}).settings
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize("text", ["127.0.0.1", "localhost:5060", "127.0.0.1:70000", ":5060", "127.0.0.1:x"])
def test_addresses_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_address(text)


def test_a_bracketed_v6_address_is_read() -> None:
    assert parse_address("[::1]:5060") == ("::1", 5060)


@pytest.mark.parametrize(
    ("section", "values", "problem"),
    [
        ("sip", {"advertised": "0.0.0.0"}, "no address that peers can send to"),
        ("sip", {"advertised": "sip.example.com"}, "is not ADDRESS:PORT"),
        ("sip", {"advertised": "192.0.2.1:70000"}, "is not ADDRESS:PORT"),
        ("media", {"advertised": "192.0.2.1:20000"}, "media.advertised"),
        ("media", {"advertised": "224.0.0.1"}, "no address that peers can send to"),
        ("media", {"advertised": "2001:db8::1"}, "media.advertised"),
        ("media", {"address": "0.0.0.0"}, "no address that answers can name: set media.advertised"),
        ("media", {"address": "::1"}, "media.address"),
        ("media", {"address6": "192.0.2.1"}, "media.address6"),
        ("media", {"address6": "fe80::1"}, "no address that descriptions can name"),
        ("media", {"address6": "::ffff:192.0.2.1"}, "no address that descriptions can name"),
        ("media", {"address6": "::"}, "no address that answers can name: set media.advertised6"),
        ("media", {"advertised6": "2001:db8::1"}, "advertised6 needs address6"),
        ("media", {"address6": "2001:db8::1", "advertised6": "::"}, "no address that peers can send to"),
        (
            "sip",
            {
                "listen": "10.0.0.1:5060",
                "advertised": "192.0.2.1",
                "listeners": [{"name": "b", "address": "10.0.1.1:5060", "advertised": "192.0.2.1:5060"}],
            },
            "several listeners are reached by 192.0.2.1:5060",
        ),
    ],
)
def test_an_address_that_peers_cannot_use_is_told_at_start(
    section: str, values: dict[str, object], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        load(None, {}, {f"{section}.{name}": value for name, value in values.items()})


def test_answers_name_the_advertised_address_and_otherwise_the_bound_one() -> None:
    assert load(None, {}, {"media.address": "10.0.0.1"}).settings.media.named == "10.0.0.1"
    told = load(None, {}, {"media.address": "0.0.0.0", "media.advertised": "192.0.2.1"}).settings.media
    assert (told.address, told.named) == ("0.0.0.0", "192.0.2.1")
    six = load(None, {}, {"media.address6": "[2001:DB8::1]"}).settings.media
    assert (six.named, six.names(ipv6=False), six.names(ipv6=True)) == ("127.0.0.1", "127.0.0.1", "2001:db8::1")
    six = load(None, {}, {"media.address6": "::", "media.advertised6": "2001:db8::9"}).settings.media
    assert (six.address6, six.named6) == ("::", "2001:db8::9")
