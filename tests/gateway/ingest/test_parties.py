"""Who calls whom, by which headers."""

from __future__ import annotations

import pytest

from gateway.ingest.parties import parties_of
from gateway.sip.message import Request
from tests.gateway.sip.bench import packet, request_of


def invite(extra: str = "") -> Request:
    return request_of(packet("INVITE", uri="sip:+31201234567;phone-context=x@192.0.2.1", extra=extra))


def test_parties_of_a_plain_request() -> None:
    parties = parties_of(invite(), "192.0.2.9", trusted=False)
    assert (parties.from_user, parties.from_uri) == ("alice", "sip:alice@192.0.2.9")
    assert (parties.to_user, parties.to_uri) == ("+31201234567", "sip:service@192.0.2.1")
    assert (parties.source, parties.protocol_call_id) == ("192.0.2.9", "call-1")


ASSERTED = 'P-Asserted-Identity: "Real Name" <sip:+3150@carrier.example;user=phone>, <tel:+3150>'


def test_an_asserted_identity_counts_only_where_it_is_trusted() -> None:
    assert parties_of(invite(ASSERTED), "192.0.2.9", trusted=False).from_user == "alice"
    parties = parties_of(invite(ASSERTED), "192.0.2.9", trusted=True)
    assert (parties.from_user, parties.from_display) == ("+3150", "Real Name")


@pytest.mark.parametrize(
    ("value", "user"),
    [
        ("tel:+3150", "+3150"),
        ("<mailto:a@b>", "alice"),
        ("nonsense", "alice"),
        ("<sip:>", "alice"),
        ("<mailto:a@b>, <tel:+3150>", "+3150"),
        ("<mailto:a@b>, <mailto:a@b>, <tel:+3150>", "alice"),
    ],
)
def test_only_what_can_name_a_caller_is_asserted(value: str, user: str) -> None:
    assert parties_of(invite(f"P-Asserted-Identity: {value}"), "192.0.2.9", trusted=True).from_user == user


def test_what_nobody_vouches_for_is_kept_beside_who_calls() -> None:
    parties = parties_of(invite(ASSERTED), "192.0.2.9", trusted=False)
    assert (parties.from_user, parties.asserted_uri) == ("alice", "sip:+3150@carrier.example;user=phone")


def test_a_display_name_is_cut_and_has_no_control_characters() -> None:
    raw = packet("INVITE").replace(b"From: <sip", b'From: "\\\x07Bob\\\x00' + b"x" * 400 + b'" <sip')
    display = parties_of(request_of(raw), "192.0.2.9", trusted=False).from_display
    assert display == "Bob" + "x" * 253
