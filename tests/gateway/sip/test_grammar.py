"""Header values as the field writes them, and what is refused."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
import sipmessage
from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.errors import Malformed
from gateway.sip.grammar import CSeq, NameAddr, Uri, Via, parse_parameters, split_list

SECONDS_MAX = 0.5  # a quadratic reader needs 2.6 s for the same text on the same machine


def test_via_with_underscore_and_spaces_is_read() -> None:
    via = Via.parse("SIP  / 2.0 / UDP   my_host.example : 5070 ; branch = z9hG4bK1 ;rport")
    assert (via.transport, via.host, via.port, via.branch) == ("UDP", "my_host.example", 5070, "z9hG4bK1")


def test_via_of_ipv6_is_read_and_written() -> None:
    text = "SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bK1"
    assert str(Via.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "SIP/2.0/UDP", "SIP/2.0/UDP a b", "SIP/3.0/UDP a", "SIP/2.0/UDP a:0", "SIP/2.0/UDP a:70000", "UDP a", ";"],
)
def test_via_that_names_no_host_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        Via.parse(text)


def test_via_is_stamped_with_the_source_where_it_asks_or_lies() -> None:
    plain = Via.parse("SIP/2.0/UDP 192.0.2.1:5061;branch=b")
    assert plain.stamped(("192.0.2.1", 9)) is plain
    assert plain.reply_to(("192.0.2.1", 9)) == ("192.0.2.1", 5061)
    lying = Via.parse("SIP/2.0/UDP pc33.example;branch=b;received=203.0.113.1")
    assert str(lying.stamped(("192.0.2.7", 9))) == "SIP/2.0/UDP pc33.example;branch=b;received=192.0.2.7"
    assert lying.reply_to(("192.0.2.7", 9)) == ("192.0.2.7", 5060)
    asking = Via.parse("SIP/2.0/UDP 10.1.1.1;rport;branch=b")
    assert str(asking.stamped(("192.0.2.7", 9))) == "SIP/2.0/UDP 10.1.1.1;branch=b;received=192.0.2.7;rport=9"
    assert asking.reply_to(("192.0.2.7", 9)) == ("192.0.2.7", 9)


def test_responses_never_go_to_a_third_host() -> None:
    via = Via.parse("SIP/2.0/UDP 203.0.113.5:5060;maddr=203.0.113.6;received=203.0.113.7;branch=b")
    assert via.reply_to(("192.0.2.7", 9)) == ("192.0.2.7", 5060)


@pytest.mark.parametrize(
    ("text", "display", "uri", "tag"),
    [
        ('"A. G. Bell" <sip:agb@bell.example> ;tag=a48s', "A. G. Bell", "sip:agb@bell.example", "a48s"),
        ("Anonymous <sip:c8oqz84zk7z@privacy.org>;tag=hyh8", "Anonymous", "sip:c8oqz84zk7z@privacy.org", "hyh8"),
        ("sip:+12125551212@phone2net.com;tag=887s", "", "sip:+12125551212@phone2net.com", "887s"),
        ('"quoted \\"string\\", <x>;tag=no" <sip:j@e.com>', 'quoted "string", <x>;tag=no', "sip:j@e.com", ""),
        ("<sip:a@b;transport=udp>;+sip.src;tag=1", "", "sip:a@b;transport=udp", "1"),
        ("caller<sip:a@[::1]:5060>;tag = x", "caller", "sip:a@[::1]:5060", "x"),
        ("O'Brien, Jr. <tel:+4930123456>", "O'Brien, Jr.", "tel:+4930123456", ""),
    ],
)
def test_addresses_are_read(text: str, display: str, uri: str, tag: str) -> None:
    address = NameAddr.parse(text)
    assert (address.display, address.uri, address.tag) == (display, uri, tag)
    assert NameAddr.parse(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", "<>", "bob", '"bob" sip:b@c', "<sip:a@b", "<sip:a b>", "<sip:a@b> x", "<sip:a>;tag=", "sip:a>b@c"]
)
def test_addresses_without_a_uri_are_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        NameAddr.parse(text)


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("sip:alice@example.com", "alice", "example.com", None),
        ("SIPS:%61lice:secret@EXAMPLE.com:5061;transport=tcp", "alice", "example.com", 5061),
        (
            "sip:+1-212;phone-context=x@gw_1.example;user=phone?Subject=a",
            "+1-212;phone-context=x",
            "gw_1.example",
            None,
        ),
        ("tel:+358-555-1234567;postd=pp22", "+358-555-1234567", "", None),
        ("urn:service:sos", "", "", None),
        ("sip:[::1]", "", "[::1]", None),
    ],
)
def test_uris_are_read(text: str, user: str, host: str, port: int | None) -> None:
    uri = Uri.parse(text)
    assert (uri.user, uri.host, uri.port) == (user, host, port)


@pytest.mark.parametrize("text", ["alice", "sip:", "sip:a@", "sip:a@b c", "sip:a@b:99999", "1:2"])
def test_uris_without_a_host_are_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        Uri.parse(text)


def test_user_part_with_undecodable_bytes_is_clean_text() -> None:
    raw = b"sip:\xff\xfe%ff@example.com".decode("utf-8", "surrogateescape")
    Uri.parse(raw).user.encode()
    NameAddr.parse(f"\udcff <{raw}>").display.encode()


@pytest.mark.parametrize(
    "text", ["", "1", "INVITE", "1INVITE", "-1 INVITE", "2147483648 INVITE", "1 IN VITE", "9" * 40 + " X"]
)
def test_cseq_out_of_grammar_or_range_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        CSeq.parse(text)


def test_cseq_with_leading_zeros_is_read() -> None:
    assert CSeq.parse("0009  INVITE") == CSeq(9, "INVITE")


def test_identifiers_have_a_longest() -> None:
    with pytest.raises(Malformed, match="tag too long"):
        NameAddr.parse(f"<sip:a@b>;tag={'x' * 513}")
    with pytest.raises(Malformed, match="branch too long"):
        Via.parse(f"SIP/2.0/UDP a;branch={'x' * 513}")


def test_list_is_split_outside_quotes_and_brackets() -> None:
    assert split_list('"a,b" <sip:c,d@e>, , <sip:f>;x="g,h" ,i') == ['"a,b" <sip:c,d@e>', '<sip:f>;x="g,h"', "i"]
    assert split_list('"never closed, <x>, y') == ['"never closed, <x>, y']


def test_parameters_keep_quotes_and_order() -> None:
    assert parse_parameters(' ; A="x;y" ;; b ; c = d') == (("a", '"x;y"'), ("b", None), ("c", "d"))
    with pytest.raises(Malformed):
        parse_parameters("a=b")


@pytest.mark.parametrize(
    "text",
    [
        "tel:+" + "1" * 8000 + "!",
        '"' + '\\"' * 4000,
        "<" * 8000,
        '"' * 8001,
        "sip:" + "a." * 4000,
        "SIP/2.0/UDP " + "a" * 8000 + " x",
        " " * 8000,
        ";=" * 4000,
    ],
)
def test_reading_takes_linear_time(text: str) -> None:
    began = time.process_time()
    for read in (NameAddr.parse, Via.parse, Uri.parse, CSeq.parse, split_list, parse_parameters):
        for _ in range(20):
            with suppress(Malformed):
                read(text)
    assert time.process_time() - began < SECONDS_MAX


@given(st.text(max_size=60))
def test_any_text_is_read_or_malformed(text: str) -> None:
    for read in (NameAddr.parse, Via.parse, Uri.parse, CSeq.parse, parse_parameters):
        with suppress(Malformed):
            read(text)
    split_list(text)


def test_a_strict_reader_agrees() -> None:
    via = "SIP/2.0/UDP host.example.com:5070;branch=z9hG4bK1;rport"
    theirs = sipmessage.Via.parse(via)
    assert (theirs.host, theirs.port, theirs.parameters["branch"]) == ("host.example.com", 5070, Via.parse(via).branch)
    address = '"A. G. Bell" <sip:agb@bell.example:5070>;tag=a48s'
    strict, ours = sipmessage.Address.parse(address), NameAddr.parse(address)
    assert (strict.name, str(strict.uri), strict.parameters["tag"]) == (ours.display, ours.uri, ours.tag)
