"""Whose call it is: source network, then the dialled number within that trunk only."""

from __future__ import annotations

import pytest

from gateway.config import Settings
from gateway.peers import PeerName
from gateway.tenants import Directory, media_networks, within

SETTINGS = Settings.model_validate(
    {
        "tenants": [{"name": "acme"}, {"name": "beta"}, {"name": "gamma"}],
        "trunks": [
            {"name": "wide", "tenant": "acme", "sources": ["192.0.2.0/24"]},
            {
                "name": "narrow",
                "tenant": "beta",
                "sources": ["192.0.2.8/29", "2001:db8::/32"],
                "dialled": {"3120": "gamma", "31": "acme"},
            },
        ],
    }
)


@pytest.mark.parametrize(
    ("source", "dialled", "trunk", "tenant"),
    [
        ("192.0.2.1", "1000", "wide", "acme"),
        ("192.0.2.1", "3120555", "wide", "acme"),  # another trunk's numbers mean nothing here
        ("192.0.2.9", "1000", "narrow", "beta"),
        ("192.0.2.9", "3120555", "narrow", "gamma"),  # the longest prefix
        ("192.0.2.9", "3130555", "narrow", "acme"),
        ("2001:db8::5", "1000", "narrow", "beta"),
        ("::ffff:192.0.2.1", "1000", "wide", "acme"),
    ],
)
def test_the_narrowest_network_then_the_longest_prefix(source: str, dialled: str, trunk: str, tenant: str) -> None:
    match = Directory(SETTINGS).find(source, dialled)
    assert match is not None
    assert (match.trunk.name, match.tenant.name) == (trunk, tenant)


def test_an_unknown_source_gets_nothing() -> None:
    assert Directory(SETTINGS).find("198.51.100.1", "3120555") is None


def test_a_host_name_is_within_no_network() -> None:
    assert not within("example.com", ["0.0.0.0/0"])
    assert within("192.0.2.77", ["192.0.2.0/24"])


NAMED = Settings.model_validate(
    {
        "trunks": [
            {"name": "named", "tenant": "default", "sources": ["host:sbc.example", "192.0.2.0/28"]},
            {
                "name": "signed",
                "tenant": "default",
                "sources": ["host:pbx.example"],
                "users": [{"name": "u", "md5": "0" * 32}],
            },
            {"name": "tls", "tenant": "default", "sources": ["host:tls.example"], "tls_names": ["tls.example"]},
        ],
        "sip": {"transports": ["tls"], "tls": {"certificate": "a", "key": "b", "client_ca": "c"}},
    }
)
SBC = PeerName("host", "sbc.example")


def test_a_name_stands_for_its_addresses_and_for_nothing_else() -> None:
    directory = Directory(NAMED, {SBC: [("198.51.100.7", 0), ("2001:db8::7", 0)]})
    for source in ("198.51.100.7", "2001:db8::7", "192.0.2.1"):
        match = directory.find(source, "200")
        assert match is not None
        assert match.trunk.name == "named"
        assert directory.known(source)
        assert directory.reaches("named", source)
        assert within(source, media_networks(match.trunk)), "its media may come from there as well"
    for source in ("198.51.100.8", "2001:db8::8", "0.0.0.0"):
        assert directory.find(source, "200") is None
        assert not directory.known(source)
        assert not directory.reaches("named", source)


def test_a_name_without_an_answer_lets_nobody_in() -> None:
    """It must never become the `everywhere` of a trunk that names no sources."""
    directory = Directory(NAMED)
    for source in ("198.51.100.7", "127.0.0.1", "0.0.0.0"):
        assert directory.find(source, "200") is None
        assert directory.of_user("u", source) is None
        assert not directory.asks(source)
        assert not directory.known(source)
        assert not any(directory.reaches(trunk, source) for trunk in ("named", "signed", "tls"))
        found = directory.of_names(["tls.example"])
        assert found is not None
        assert not directory.may(found[1], source, "")
        assert media_networks(found[1]) == ()


def test_a_certificate_is_trusted_for_the_name_that_was_asked_for() -> None:
    directory = Directory(NAMED, {SBC: [("198.51.100.7", 5061)]})
    assert directory.trusts("198.51.100.7", ["sbc.example"])
    assert not directory.trusts("198.51.100.8", ["sbc.example"])
    assert not directory.trusts("198.51.100.7", ["pbx.example"])


def test_a_peer_is_called_as_we_were_told_and_a_registrar_first() -> None:
    trunks = [
        {"name": "named", "tenant": "default", "sources": ["host:sbc.example"]},
        {
            "name": "registered",
            "tenant": "default",
            "registration": {"registrar": "sip:carrier.example;transport=tls", "user": "u", "password_file": "p"},
        },
    ]
    registrar = PeerName("either", "_sips._tcp.carrier.example")
    answers = {SBC: [("198.51.100.7", 0), ("2001:db8::7", 0)], registrar: [("198.51.100.7", 5061)]}
    directory = Directory(Settings.model_validate({"trunks": trunks}), answers)
    names = [directory.called(host) for host in ("198.51.100.7", "2001:db8::7", "198.51.100.8")]
    assert names == ["carrier.example", "sbc.example", ""]
