"""What a trunk can be known by, and what keeps trunks from being told apart."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config import Loaded, Settings, describe

HASH = "0123456789abcdef" * 4
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
