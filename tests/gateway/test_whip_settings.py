"""WHIP is off until it is asked for; what clients are told of STUN and TURN servers can be said in a header."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.config import Settings, Whip

SECRET = "turn-credential"


def test_whip_is_off_by_default() -> None:
    assert Settings().whip.sessions_max == 0


@pytest.mark.parametrize(
    "url", ["stun:stun.example.net", "stuns:192.0.2.1:5349", "turn:turn.example.net:3478?transport=udp", "turns:[::1]"]
)
def test_servers_are_named_by_their_uris(url: str) -> None:
    (server,) = Whip.model_validate({"ice_servers": [{"url": url}]}).ice_servers
    assert server.url == url


@pytest.mark.parametrize(
    "server",
    [
        {"url": "http://stun.example.net"},
        {"url": 'stun:a>; rel="x'},
        {"url": "turn:a?transport=tls"},
        {"url": "turn:a", "username": 'a"b'},
        {"url": "turn:a", "username": "a b"},
        {"url": "turn:a", "username": "é"},
        {"url": "turn:a", "credential": "a\r\nb"},
        {"url": "turn:a", "credential": "a\\b"},
        {"url": "turn:a", "password": SECRET},
    ],
)
def test_what_would_not_be_a_header_is_refused(server: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Whip.model_validate({"ice_servers": [server]})


def test_a_credential_is_shown_nowhere_and_children_get_none() -> None:
    servers = [{"url": "turn:turn.example.net", "username": "user", "credential": SECRET}]
    settings = Settings.model_validate({"whip": {"ice_servers": servers}})
    assert SECRET not in repr(settings)
    assert SECRET not in settings.model_dump_json()
    assert Settings.model_validate_json(settings.model_dump_json()).whip.ice_servers[0].username == "user"
