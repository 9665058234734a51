"""What makes a request a recording session's, in the spellings of the field."""

from __future__ import annotations

import pytest

from gateway.sip.message import Request, parse
from gateway.sip.siprec.session import Named, is_recording, named
from tests.gateway.sip.bench import packet


def request(extra: str = "", contact: str = "<sip:src@192.0.2.1>") -> Request:
    data = packet("INVITE", extra=extra)
    lines = [line for line in data.split(b"\r\n") if not line.lower().startswith(b"contact:")]
    lines.insert(1, f"Contact: {contact}".encode())
    message = parse(b"\r\n".join(lines))
    assert isinstance(message, Request)
    return message


@pytest.mark.parametrize(
    "contact",
    [
        "<sip:src@192.0.2.1:5060>;+sip.src",
        "<sip:src@192.0.2.1:5060;transport=tcp>;+sip.src;isfocus",
        "<sip:src@192.0.2.1;+sip.src>",
        "<sip:src@192.0.2.1;transport=tls;src>",
        "<sip:src@192.0.2.1>;src",
        "sip:src@192.0.2.1;src",
        '"Recorder" <sip:192.0.2.1>;+SIP.SRC',
    ],
)
def test_a_contact_that_says_so_is_a_recording_clients(contact: str) -> None:
    assert is_recording(request(contact=contact))


@pytest.mark.parametrize(
    "extra",
    [
        "Require: siprec",
        "Require: 100rel, SIPREC",
        "Content-Type: application/rs-metadata+xml\nContent-Length: 1\n\nx",
    ],
)
def test_so_is_one_that_requires_it_or_brings_metadata(extra: str) -> None:
    assert is_recording(request(extra))


@pytest.mark.parametrize("contact", ["<sip:src@192.0.2.1>", "<sip:src@src>;source=src", "<sip:a@b;lr>;expires=1"])
def test_a_plain_call_is_none(contact: str) -> None:
    assert not is_recording(request(contact=contact))
    assert not is_recording(request("Supported: siprec"))


def test_ciscos_header_names_parties_and_their_lines() -> None:
    found = named(
        request(
            'X-Cisco-Recording-Participant: sip:708090@192.0.2.5;media-index="0"\n'
            'X-Cisco-Recording-Participant: sip:10000@192.0.2.6;media-index="1 2 x 999"\n'
            "X-Cisco-Recording-Participant: nonsense"
        )
    )
    assert found == (Named("sip:708090@192.0.2.5", (0,)), Named("sip:10000@192.0.2.6", (1, 2)))
    assert "708090" not in repr(found)
