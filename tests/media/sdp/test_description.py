"""Session descriptions are read as real peers write them, kept whole, and bounded."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.errors import Malformed
from media.sdp import Attribute, Connection, Direction, Media, Origin, RtpMap, SessionDescription, parse

RECORDING = b"""v=0\r
o=SBC 20518437238297849841 1 IN IP4 192.0.2.10\r
s=-\r
c=IN IP4 192.0.2.10\r
t=0 0\r
a=sendonly\r
m=audio 40000 RTP/AVP 8 0 101 13\r
a=rtpmap:8 PCMA/8000\r
a=rtpmap:101 telephone-event/8000\r
a=fmtp:101 0-15\r
a=ptime:30\r
a=label:a_leg\r
a=rtcp:40011 IN IP4 192.0.2.11\r
a=x-vendor\r
m=audio 40002 RTP/AVP 96\r
c=IN IP4 192.0.2.12/127\r
a=rtpmap:96 opus/48000/2\r
a=inactive\r
a=rtcp-mux\r
a=mid:two\r
m=video 0 RTP/AVP 31\r
"""


def test_a_recorders_offer_is_read_whole() -> None:
    description = parse(RECORDING)
    first, second, video = description.media
    assert description.origin == Origin("SBC", "20518437238297849841", "1", "IP4", "192.0.2.10")
    assert (first.kind, first.port, first.protocol, first.payload_types) == ("audio", 40000, "RTP/AVP", (8, 0, 101, 13))
    assert first.rtpmaps == {8: RtpMap(8, "PCMA", 8000), 101: RtpMap(101, "telephone-event", 8000)}
    assert first.fmtp == {101: "0-15"}
    assert (first.ptime_ms, first.label, first.rtcp) == (30, "a_leg", (40011, "192.0.2.11"))
    assert Attribute("x-vendor") in first.attributes
    assert second.rtpmaps == {96: RtpMap(96, "opus", 48000, 2)}
    assert (second.rtcp_mux, second.mid, second.rtcp) == (True, "two", None)
    assert [description.direction(media) for media in (first, second, video)] == [
        *(Direction.SENDONLY, Direction.INACTIVE, Direction.SENDONLY)
    ]
    assert [description.address(media) for media in (first, second)] == ["192.0.2.10", "192.0.2.12"]


def test_what_is_left_out_has_its_default() -> None:
    description = parse(b"v=0\no=- 1 1 IN IP4 h\nm=audio 4000/2 RTP/AVP 0\n")
    (media,) = description.media
    assert (media.port, media.port_count) == (4000, 2)
    assert description.direction(media) is Direction.SENDRECV
    assert description.address(media) is None
    assert (media.ptime_ms, media.label, media.rtcp) == (None, None, None)


def test_text_of_any_encoding_is_carried_through() -> None:
    data = b"v=0\r\no=J\xf6rg 1 1 IN IP4 h\r\ns=\xc3\xa9\r\nt=0 0\r\n"
    assert parse(data).to_bytes() == data


TOKEN = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8)
ATTRIBUTES = st.lists(st.builds(Attribute, TOKEN, st.none() | TOKEN), max_size=4).map(tuple)
CONNECTIONS = st.none() | st.builds(Connection, TOKEN, st.sampled_from(["IP4", "IP6"]))
PORTS = st.integers(0, 65535)
FORMATS = st.lists(TOKEN, min_size=1, max_size=5).map(tuple)
DESCRIPTIONS = st.builds(
    SessionDescription,
    st.builds(Origin, TOKEN, TOKEN, TOKEN, st.just("IP4"), TOKEN),
    st.lists(st.builds(Media, TOKEN, PORTS, TOKEN, FORMATS, CONNECTIONS, ATTRIBUTES, PORTS), max_size=4).map(tuple),
    CONNECTIONS,
    ATTRIBUTES,
    TOKEN,
    st.just("0 0"),
)


@given(DESCRIPTIONS)
def test_what_is_written_is_read_again(description: SessionDescription) -> None:
    assert parse(description.to_bytes()) == description


HEAD = b"v=0\r\no=- 1 1 IN IP4 h\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"o=- 1 1 IN IP4 h\r\n",
        b"v=1\r\no=- 1 1 IN IP4 h\r\n",
        b"v=0\r\ns=-\r\n",
        b"v=0\r\no=- 1 1 IN IP4\r\n",
        HEAD + b"audio\r\n",
        HEAD + b"m=audio\r\n",
        HEAD + b"m=audio x RTP/AVP 0\r\n",
        HEAD + b"m=audio 65536 RTP/AVP 0\r\n",
        HEAD + "m=audio ٤ RTP/AVP 0\r\n".encode(),
        HEAD + b"m=audio 4000/x RTP/AVP 0\r\n",
        HEAD + b"c=IN IP9 h\r\n",
        HEAD + b"c=IN IP4 /127\r\n",
        HEAD + b"m=audio 1 RTP/AVP" + b" 0" * 200 + b"\r\n",
        HEAD + b"m=audio 1 RTP/AVP 0\r\n" * 65,
        HEAD + b"a=x\r\n" * 1000,
        HEAD + b"a=" + b"x" * 65536,
    ],
)
def test_what_is_none_or_too_much_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse(data)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        *[("ptime", "0"), ("ptime", "20.5"), ("ptime", "9" * 9), ("ptime", "00001234567"), ("ptime", "1" * 5000)],
        *[("rtcp", "port"), ("rtcp", "70000"), ("rtcp", ""), ("rtcp", "00000199999"), ("rtcp", "1" * 5000)],
    ],
)
def test_an_unreadable_attribute_is_as_good_as_none(attribute: str, value: str) -> None:
    media = parse(HEAD + f"m=audio 1 RTP/AVP 0\r\na={attribute}:{value}\r\n".encode()).media[0]
    assert (media.ptime_ms, media.rtcp) == (None, None)


def test_a_payload_type_of_thousands_of_digits_is_none() -> None:
    """Python raises where it is to convert so many (ValueError, by PYTHONINTMAXSTRDIGITS)."""
    digits = "1" * 5000
    media = parse(HEAD + f"m=audio 1 RTP/AVP {digits} 8\r\na=fmtp:{digits} x\r\na=fmtp:8 y\r\n".encode()).media[0]
    assert (media.payload_types, media.fmtp) == ((8,), {8: "y"})


@pytest.mark.parametrize("end", [b"\0", b"\0\xc2\x85", b" \0 \xc2\xa0"])
def test_what_some_end_a_line_with_is_no_part_of_it(end: bytes) -> None:
    described = parse(HEAD + b"m=audio 1 RTP/AVP 8" + end + b"\r\na=label:x" + end + b"\r\n")
    assert (described.media[0].formats, described.media[0].label) == (("8",), "x")
    assert parse(described.to_bytes()) == described


@pytest.mark.parametrize("value", ["", "8", "8 PCMA", "x PCMA/8000", "200 PCMA/8000", "8 PCMA/x", "8 /8000"])
def test_an_unreadable_rtpmap_maps_nothing(value: str) -> None:
    assert parse(HEAD + f"m=audio 1 RTP/AVP 8\r\na=rtpmap:{value}\r\n".encode()).media[0].rtpmaps == {}


@given(st.binary(max_size=200))
def test_no_octets_do_worse_than_malformed(data: bytes) -> None:
    with suppress(Malformed):
        for media in parse(HEAD + b"m=audio 1 RTP/AVP 8\r\na=" + data).media:
            _ = (media.rtpmaps, media.fmtp, media.ptime_ms, media.rtcp, media.own_direction, media.payload_types)
