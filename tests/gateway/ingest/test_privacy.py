"""Whose number is withheld: by the headers of RFC 3323 and 3325, by an older one, or by a From that names nobody."""

from __future__ import annotations

import pytest

from gateway.ingest.parties import parties_of
from gateway.ingest.privacy import is_private
from gateway.sip.message import Request
from tests.gateway.sip.bench import packet, request_of


def invite(header: str = "", caller: str = "sip:alice@192.0.2.9") -> Request:
    raw = packet("INVITE", extra=header).replace(b"<sip:alice@192.0.2.9>", f"<{caller}>".encode())
    assert caller.encode() in raw
    return request_of(raw)


@pytest.mark.parametrize(
    ("header", "private"),
    [
        ("", False),
        ("Privacy: id", True),
        ("Privacy: header; ID;critical", True),
        ("Privacy: user", True),
        ("Privacy: full", True),
        ("Privacy: none", False),
        ("Privacy: session", False),
        ("Privacy: history", False),
        ("Privacy: critical", False),
        ("Privacy: identity", False),
        ("Privacy: none\r\nPrivacy: user;id", True),
        ("Privacy: session, id", True),
        ("Remote-Party-ID: <sip:+3150@carrier.example>;party=calling;privacy=full", True),
        ('Remote-Party-ID: <sip:+3150@carrier.example>; privacy = "uri"', True),
        ("Remote-Party-ID: <sip:+3150@carrier.example>;privacy=off", False),
        ("Remote-Party-ID: <sip:+3150@carrier.example>;screen=yes", False),
    ],
)
def test_sp_11_a_wish_for_privacy_is_seen(header: str, private: bool) -> None:
    assert is_private(invite(header)) is private


@pytest.mark.parametrize(
    ("caller", "private"),
    [
        ("sip:anonymous@anonymous.invalid", True),
        ("sip:c8oqz84zk7z@anonymous.invalid", True),
        ("sip:Anonymous@carrier.example", True),
        ("sip:Restricted@192.0.2.9;user=phone", True),
        ("sip:anonymous1@carrier.example", False),
        ("sip:+31201234567@carrier.example", False),
        ("tel:+31201234567", False),
        ("x:", False),
    ],
)
def test_sp_11_a_from_that_names_nobody_withholds_the_number(caller: str, private: bool) -> None:
    assert is_private(invite(caller=caller)) is private


@pytest.mark.parametrize("trusted", [False, True])
def test_sp_10_a_number_is_shown_as_it_came_where_nobody_withholds_it(trusted: bool) -> None:
    shown, asserted = "sip:+31201234567@carrier.example", "sip:+31207654321@carrier.example"
    request = invite(f"P-Asserted-Identity: <{asserted}>", shown)
    found = parties_of(request, "192.0.2.9", trusted=trusted)
    assert not found.private
    assert found.from_uri == (asserted if trusted else shown) and found.asserted_uri == asserted
    assert found.from_user == ("+31207654321" if trusted else "+31201234567")
