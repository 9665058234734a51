"""What a trunk can be known by, and what keeps trunks from being told apart."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config import Loaded, Settings, describe
from gateway.peers import PeerName

HASH = "0123456789abcdef" * 4
ACCOUNT = {"registrar": "sip:192.0.2.5", "user": "4420", "password_file": "/etc/callvault/carrier"}
LAN = {"name": "lan", "address": "192.0.2.1:5070"}


def settings(trunk: dict[str, Any], **sip: Any) -> Settings:
    tree = {"sip": sip, "trunks": [{"name": "t", "tenant": "default", **trunk}]}
    return Settings.model_validate(tree)


@pytest.mark.parametrize(
    ("trunk", "problem"),
    [
        ({}, "needs sources, users, tls_names or a listener"),
        ({"tls_names": ["a"], "sources": ["192.0.2.0/24"]}, "need the transport tls and sip.tls.client_ca"),
        ({"tls_names": ["a", "A"], "sources": ["192.0.2.0/24"]}, "tls name 'a' is defined twice"),
        (
            {"tls_names": ["a"], "users": [{"name": "u", "sha256": HASH}], "sources": ["192.0.2.0/24"]},
            "tls_names and users: one of them",
        ),
        ({"listener": "lan", "sources": ["192.0.2.0/24"]}, "names listener 'lan', which is not defined"),
        ({"users": [{"name": "u", "sha256": HASH}]}, "needs media_networks"),
        ({"users": [{"name": "u"}], "sources": ["192.0.2.0/24"]}, "has no hash"),
        ({"users": [{"name": "u", "sha256": "secret"}], "sources": ["192.0.2.0/24"]}, "64 hexadecimal digits"),
        ({"users": [{"name": "u", "md5": HASH}], "sources": ["192.0.2.0/24"]}, "32 hexadecimal digits"),
        (
            {"users": [{"name": "u", "realm": "other", "sha256": HASH}], "sources": ["192.0.2.0/24"]},
            "hashes of another realm",
        ),
        ({"users": [{"name": "u", "sha256": HASH}] * 2, "sources": ["192.0.2.0/24"]}, "user 'u' is defined twice"),
        ({"sources": ["host:"]}, "say host:NAME"),
        ({"sources": ["host:a b"]}, "say host:NAME"),
        ({"sources": ["host:*.example.com"]}, "say host:NAME"),
        ({"sources": ["host:0.0.0.0"]}, "an address is written as a network"),
        ({"sources": ["srv:carrier.example"]}, "say host:NAME, or srv:"),
        ({"sources": ["sbc.example"]}, "sources"),
        ({"sources": ["host:a.example"], "media_networks": ["host:a.example"]}, "media_networks"),
        ({"sources": ["192.0.2.0/24"], "registration": {**ACCOUNT, "registrar": "sip:198.51.100.1"}}, "not within its"),
        ({"sources": ["192.0.2.0/24"], "registration": {**ACCOUNT, "registrar": "sips:a.example"}}, "say sip:HOST"),
        ({"sources": ["192.0.2.0/24"], "registration": {**ACCOUNT, "registrar": "sip:u@a.example"}}, "say sip:HOST"),
        ({"sources": ["192.0.2.0/24"], "registration": {**ACCOUNT, "registrar": "sip:a;lr"}}, "say sip:HOST"),
        (
            {"sources": ["192.0.2.0/24"], "registration": {**ACCOUNT, "registrar": "sip:a;transport=ws"}},
            "udp, tcp or tls",
        ),
        ({"sources": ["192.0.2.0/24"], "registration": {**ACCOUNT, "user": "a b"}}, "user"),
    ],
)
def test_a_trunk_that_cannot_be_known_is_told(trunk: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        settings(trunk)


def test_listeners_have_names_of_their_own() -> None:
    with pytest.raises(ValueError, match="listener 'lan' is defined twice"):
        settings({"sources": ["192.0.2.0/24"]}, listeners=[LAN, LAN])


def test_a_trunk_may_be_known_by_its_listener_alone() -> None:
    made = settings({"listener": "lan", "media_networks": ["10.0.0.0/8"]}, listeners=[LAN])
    assert made.sip.listeners[0].transports == ("udp", "tcp")


def test_hashes_are_shown_nowhere_and_children_get_none() -> None:
    made = settings({"users": [{"name": "u", "sha256": HASH}], "sources": ["192.0.2.0/24"]})
    shown = "".join(value for _, value, _ in describe(Loaded(made, {})))
    for text in (repr(made), str(made), made.model_dump_json(), shown):
        assert HASH not in text
    assert Settings.model_validate_json(made.model_dump_json()).trunks[0].users[0].name == "u"


@pytest.mark.parametrize(
    ("text", "question", "port", "uri"),
    [
        ("sip:192.0.2.5", None, 5060, "sip:192.0.2.5"),
        ("sip:[2001:db8::5]:5070", None, 5070, "sip:[2001:db8::5]:5070"),
        ("sip:a.example", PeerName("either", "_sip._udp.a.example"), 5060, "sip:a.example"),
        ("sip:A.example:5080", PeerName("host", "a.example"), 5080, "sip:a.example:5080"),
        ("sip:a.example;transport=tcp", PeerName("either", "_sip._tcp.a.example"), 5060, "sip:a.example"),
        ("sip:a.example;transport=tls", PeerName("either", "_sips._tcp.a.example"), 5061, "sip:a.example"),
    ],
)
def test_a_registrar_is_looked_for_as_rfc_3263_says(text: str, question: object, port: int, uri: str) -> None:
    made = settings({"sources": ["0.0.0.0/0", "::/0"], "registration": {**ACCOUNT, "registrar": text}})
    registration = made.trunks[0].registration
    assert registration is not None
    address = registration.address
    assert (address.name, address.default_port, address.uri) == (question, port, uri)
    assert Settings.model_validate_json(made.model_dump_json()) == made, "a child process is told the same"


def test_a_registrars_name_is_enough_to_be_known_by() -> None:
    made = settings({"registration": {**ACCOUNT, "registrar": "sip:a.example"}})
    assert made.trunks[0].names == (PeerName("either", "_sip._udp.a.example"),)
