"""Whose call it is: source network, then the dialled number within that trunk only."""

from __future__ import annotations

import pytest

from gateway.config import Settings
from gateway.tenants import Directory, within

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
