"""Datagrams as messages: what vendors send is read, what is wrong is named, what was read is written as it was."""

from __future__ import annotations

from contextlib import suppress

import pytest
import sipmessage
from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.errors import Malformed
from gateway.sip.headers import MAX_HEADERS, Headers
from gateway.sip.message import MAX_HEAD_BYTES, MAX_MESSAGE_BYTES, MAX_ROUTES, Answerable, Request, Response, parse
from tests.gateway.sip.bench import OFFER, packet, request_of, response_of

TORTURE = (
    b"INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\r\n"
    b"TO :\r\n"
    b" sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\r\n"
    b'from   : "J Rosenberg \\\\\\""       <sip:jdrosen@example.com>\r\n'
    b"  ;\r\n"
    b"  tag = 98asjd8\r\n"
    b"MaX-fOrWaRdS: 0068\r\n"
    b"Call-ID: wsinv.ndaksdj@192.0.2.1\r\n"
    b"Content-Length   : 150\r\n"
    b"cseq: 0009\r\n"
    b"  INVITE\r\n"
    b"Via  : SIP  /   2.0\r\n"
    b" /UDP\r\n"
    b"    192.0.2.2;branch=390skdjuw\r\n"
    b"s :\r\n"
    b"NewFangledHeader:   newfangled value\r\n"
    b" continued newfangled value\r\n"
    b"UnknownHeaderWithUnusualValue: ;;,,;;,;\r\n"
    b"Content-Type: application/sdp\r\n"
    b"Route:\r\n"
    b" <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\r\n"
    b"v:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n"
    b"  branch  =   z9hG4bK9ikj8  ,\r\n"
    b" SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n"
    b" z9hG4bK30239\r\n"
    b'm:"Quoted string \\"\\"" <sip:jdrosen@example.com> ; newparam =\r\n'
    b"      newvalue ;\r\n"
    b"  secondparam ; q = 0.33\r\n"
    b"\r\n"
) + b"v=0".ljust(150, b".")


def test_rfc_4475_a_short_tortuous_invite_is_read() -> None:
    request = request_of(TORTURE)
    assert request.to.tag == "1918181833n"
    assert (request.from_.display, request.from_.tag) == ('J Rosenberg \\"', "98asjd8")
    assert (request.cseq.number, request.via.host, request.via.branch) == (9, "192.0.2.2", "390skdjuw")
    assert request.contact is not None
    assert request.contact.uri == "sip:jdrosen@example.com"
    assert len(request.body) == 150


def test_compact_and_oddly_cased_names_are_the_long_ones() -> None:
    raw = packet("INVITE").replace(b"Via:", b"v:").replace(b"From:", b"f:").replace(b"To:", b"t:")
    raw = raw.replace(b"Call-ID:", b"i:").replace(b"Contact:", b"m:").replace(b"Content-Type:", b"C:")
    raw = raw.replace(b"Content-Length:", b"l:").replace(b"CSeq:", b"cseq:")
    request = request_of(raw)
    assert (request.call_id, request.media_type, request.body) == ("call-1", "application/sdp", OFFER)
    assert request.headers.first("VIA") == request.headers.first("via")


def test_folded_header_is_one_line() -> None:
    request = request_of(packet("INVITE", extra="Subject: one\r\n\t two\r\n  three"))
    assert request.headers.first("Subject") == "one two three"


def test_line_ends_without_carriage_return_are_read() -> None:
    assert request_of(packet("INVITE", body=b"").replace(b"\r\n", b"\n")).call_id == "call-1"


def test_body_ends_where_content_length_says() -> None:
    assert request_of(packet("INVITE", body=b"v=0\r\n") + b"\r\njunk").body == b"v=0\r\n"
    without = packet("INVITE", drop="Content-Length")
    assert request_of(without).body == OFFER


def test_copies_that_agree_count_once() -> None:
    assert request_of(packet("BYE", extra="Content-Length: 0")).body == b""


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (packet("INVITE", drop="CSeq"), "CSeq missing"),
        (packet("INVITE", drop="From"), "From missing"),
        (packet("INVITE", drop="To"), "To missing"),
        (packet("INVITE", drop="Call-ID"), "Call-ID missing"),
        (packet("INVITE", extra="Content-Length: 7"), "Content-Length given twice"),
        (packet("INVITE", extra="Call-ID: other"), "Call-ID given twice"),
        (packet("INVITE", body=b"", extra="l: 10", drop="Content-Length"), "Content-Length exceeds the message"),
        (packet("INVITE", body=b"", extra="l: -1", drop="Content-Length"), "Content-Length is not valid"),
        (packet("INVITE", body=b"", extra="l: ten", drop="Content-Length"), "Content-Length is not valid"),
        (packet("INVITE").replace(b"CSeq: 1 INVITE", b"CSeq: 1 BYE"), "CSeq names another method"),
        (packet("INVITE").replace(b"CSeq: 1 ", b"CSeq: 4294967296 "), "CSeq out of range"),
        (packet("INVITE").replace(b"Max-Forwards: 70", b"Max-Forwards: 300"), "Max-Forwards is not valid"),
        (packet("INVITE", extra="no colon here"), "header line is not valid"),
        (packet("INVITE", extra="Subject: a\x00b"), "control character in head"),
        (packet("INVITE", extra="Subject: ab").replace(b": ab", b": a\rb"), "control character in head"),
        (packet("INVITE", extra="\n".join(f"X-{n}: 1" for n in range(MAX_HEADERS))), "too many headers"),
        (packet("INVITE", extra=f"Subject: {'x' * 8193}"), "header too long"),
        (packet("INVITE", extra=f"Record-Route: {','.join(['<sip:p;lr>'] * (MAX_ROUTES + 1))}"), "too many Record-Rou"),
        (packet("INVITE").replace(b"Contact: <sip:alice@192.0.2.9:5061>", b"Contact: ,"), "address without URI"),
        (packet("INVITE", uri="<sip:a@b>"), "Request-URI is not valid"),
        (packet("INVITE", uri="sip:a b@c"), "request line is not valid"),
        (packet("INVITE", uri=f"sip:{'a' * 2048}@b"), "Request-URI is not valid"),
        (packet("INVITE", body=b"").removesuffix(b"\r\n\r\n"), "headers without end"),
        (packet("INVITE").replace(b"Contact: <", b"Contact: <<"), "address without URI"),
    ],
)
def test_broken_request_can_be_answered(raw: bytes, reason: str) -> None:
    with pytest.raises(Answerable, match=reason) as caught:
        parse(raw)
    assert caught.value.status == 400
    assert caught.value.method == "INVITE"


def test_version_and_size_have_answers_of_their_own() -> None:
    with pytest.raises(Answerable) as version:
        parse(packet("INVITE").replace(b" SIP/2.0\r\nVia", b" SIP/7.0\r\nVia"))
    assert version.value.status == 505
    with pytest.raises(Answerable) as size:
        parse(packet("INVITE", extra="\n".join(f"X-{n}: {'x' * 4000}" for n in range(MAX_HEAD_BYTES // 4000 + 1))))
    assert size.value.status == 513


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n\r\n",
        b"\0\0\0\0",
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        bytes(range(256)) * 8,
        packet("INVITE", drop="Via"),
        packet("ACK", drop="CSeq"),
        packet("INVITE").replace(b"Via: SIP/2.0/UDP 192.0.2.9:5061", b"Via: nonsense"),
        packet("INVITE").replace(b"Via: SIP/2.0/UDP 192.0.2.9:5061;branch=z9hG4bK-a", b"Via: ,"),
        b"SIP/2.0 99 Low\r\n\r\n",
        b"SIP/2.0 700 High\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"SIP/2.0\r\n\r\n",
        packet("INVITE", body=b"x" * MAX_MESSAGE_BYTES),
    ],
)
def test_what_cannot_be_answered_is_only_malformed(raw: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        parse(raw)
    assert not isinstance(caught.value, Answerable)


def test_bytes_that_are_no_utf8_come_out_as_they_went_in() -> None:
    raw = packet("INVITE").replace(b"From: <", b'From: "\xff\xfe" <')
    assert b'"\xff\xfe"' in request_of(raw).to_bytes()


_value = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), max_size=20)


@given(
    st.lists(st.tuples(st.sampled_from(["Subject", "X-Any", "Route", "Supported"]), _value), max_size=8),
    st.binary(max_size=80),
)
def test_request_that_was_written_is_read_as_the_same(fields: list[tuple[str, str]], body: bytes) -> None:
    base = request_of(packet("INVITE"))
    lines = [pair for pair in base.headers if pair[0] != "Content-Length"] + fields
    request = Request.make("INVITE", base.uri, Headers((*lines, ("Content-Length", str(len(body))))), body)
    assert parse(request.to_bytes()) == request


def test_response_that_was_written_is_read_as_the_same() -> None:
    fields = tuple(request_of(packet("INVITE", body=b"")).headers)
    response = Response.make(180, "Ringing", Headers(fields))
    assert parse(response.to_bytes()) == response
    assert response_of(response.to_bytes()).reason == "Ringing"


def test_what_is_written_is_read_by_a_strict_reader() -> None:
    strict = sipmessage.Request.parse(request_of(packet("INVITE", extra="Supported: timer, 100rel")).to_bytes())
    assert isinstance(strict, sipmessage.Request)
    assert (strict.cseq.sequence, strict.content_length, strict.body) == (1, len(OFFER), OFFER)


def test_representations_show_no_numbers_or_names() -> None:
    request = request_of(packet("INVITE"))
    assert "alice" not in repr(request) + repr(request.headers)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_malformed(raw: bytes) -> None:
    for data in (raw, b"INVITE sip:a SIP/2.0\r\n" + raw, b"SIP/2.0 200 OK\r\nVia: " + raw):
        with suppress(Malformed):
            parse(data)
