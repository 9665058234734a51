"""An answer mirrors its offer: one m-line for each, its codec, its label, the direction that fits."""

from __future__ import annotations

import pytest

from media.codecs import PCMA, PCMU
from media.sdp import (
    Direction,
    LocalMedia,
    Media,
    OfferedMedia,
    SessionDescription,
    answer,
    choose_codec,
    codecs_of,
    event_payload_type,
    offer,
    parse,
    redundancy_payload_type,
    shares_port,
    taken_up,
)


def offered(line: str, *attributes: str) -> SessionDescription:
    lines = ["v=0", "o=- 1 1 IN IP4 h", "s=-", "c=IN IP4 192.0.2.1", "t=0 0", f"m={line}"]
    return parse("\r\n".join([*lines, *(f"a={attribute}" for attribute in attributes)]).encode())


def answered(
    description: SessionDescription, *ports: int | None, receive_only: bool = False
) -> tuple[SessionDescription, tuple[Media, ...]]:
    local = [None if port is None else LocalMedia(port) for port in ports]
    ours = answer(description, local, origin_id=7, origin_version=2, address="192.0.2.9", receive_only=receive_only)
    assert parse(ours.to_bytes()) == ours
    return ours, ours.media


@pytest.mark.parametrize(
    ("theirs", "plain", "recording"),
    [
        ("sendonly", "recvonly", "recvonly"),
        ("sendrecv", "sendrecv", "recvonly"),
        ("inactive", "inactive", "inactive"),
        ("recvonly", "inactive", "inactive"),
    ],
)
def test_directions_are_answered(theirs: str, plain: str, recording: str) -> None:
    description = offered("audio 4000 RTP/AVP 8", theirs)
    for receive_only, expected in ((False, plain), (True, recording)):
        _, (media,) = answered(description, 5000, receive_only=receive_only)
        assert media.own_direction == expected


def test_the_direction_of_the_session_counts_where_the_line_has_none() -> None:
    description = parse(b"v=0\r\no=- 1 1 IN IP4 h\r\na=sendonly\r\nm=audio 4000 RTP/AVP 8\r\n")
    _, (media,) = answered(description, 5000)
    assert media.own_direction is Direction.RECVONLY


def test_every_line_is_mirrored_and_refused_ones_have_port_zero() -> None:
    description = offer(
        [OfferedMedia(4000, label="1"), OfferedMedia(4002, label="2"), OfferedMedia(4004, label="a_leg")],
        origin_id=1,
        origin_version=1,
        address="192.0.2.1",
    )
    ours, media = answered(description, 5000, None, 5004)
    assert [(line.port, line.label) for line in media] == [(5000, "1"), (0, "2"), (5004, "a_leg")]
    assert media[1].formats == description.media[1].formats
    assert (ours.origin.session_id, ours.origin.version, ours.origin.address) == ("7", "2", "192.0.2.9")


@pytest.mark.parametrize(
    "line",
    ["audio 0 RTP/AVP 8", "audio 4000 RTP/SAVP 8", "audio 4000 RTP/AVP 18 4", "video 4000 RTP/AVP 31", "text 1 udp x"],
)
def test_what_we_cannot_receive_is_refused_whatever_port_is_at_hand(line: str) -> None:
    description = offered(line)
    assert choose_codec(description.media[0]) is None
    _, (media,) = answered(description, 5000)
    assert media.port == 0
    assert media.formats == description.media[0].formats


def test_the_offers_first_codec_that_we_have_is_chosen() -> None:
    (media,) = offered("audio 4000 RTP/AVP 18 0 8").media
    assert choose_codec(media) is PCMU
    assert codecs_of(media) == {0: PCMU, 8: PCMA}


def test_a_codec_may_have_a_dynamic_number_and_a_static_number_another_meaning() -> None:
    description = offered("audio 4000 RTP/AVP 8 97", "rtpmap:8 speex/8000", "rtpmap:97 pcma/8000")
    assert codecs_of(description.media[0]) == {97: PCMA}
    _, (media,) = answered(description, 5000)
    assert media.formats == ("97",)
    assert media.rtpmaps[97].name == "PCMA"


def test_events_comfort_noise_and_ptime_are_answered_in_kind() -> None:
    description = offered("audio 4000 RTP/AVP 8 13 100", "rtpmap:100 telephone-event/8000", "ptime:40")
    assert event_payload_type(description.media[0]) == 100
    _, (media,) = answered(description, 5000)
    assert media.formats == ("8", "100", "13")
    assert (media.ptime_ms, media.rtpmaps[100].name) == (40, "telephone-event")


def test_events_at_another_clock_are_not_ours() -> None:
    description = offered("audio 4000 RTP/AVP 8 100", "rtpmap:100 telephone-event/48000")
    assert event_payload_type(description.media[0]) is None


def test_our_offer_is_one_we_would_answer() -> None:
    description = offer(
        [OfferedMedia(4000, (PCMU,), Direction.SENDONLY, "1", 30)], origin_id=1, origin_version=1, address="192.0.2.1"
    )
    (media,) = parse(description.to_bytes()).media
    assert (choose_codec(media), event_payload_type(media), media.ptime_ms) == (PCMU, 101, 30)
    assert media.rtpmaps[13].name == "CN"
    assert media.formats == ("0", "101", "13")


def test_an_answer_needs_a_decision_for_every_line() -> None:
    with pytest.raises(ValueError, match="as many"):
        answered(offered("audio 4000 RTP/AVP 8"), 5000, 5002)


def test_opus_is_answered_with_what_we_want_of_it_and_its_events_at_its_clock() -> None:
    attributes = ["rtpmap:96 opus/48000/2", "fmtp:96 minptime=10; usedtx=1;sprop-stereo=1", "ptime:60"]
    attributes += ["rtpmap:97 telephone-event/8000", "rtpmap:98 telephone-event/48000"]
    description = offered("audio 4000 RTP/AVP 96 0 97 98 13", *attributes)
    _, (media,) = answered(description, 5000)
    assert media.formats == ("96", "98"), "comfort noise has the clock of other codecs"
    assert (media.rtpmaps[96].clock_hz, media.rtpmaps[96].channels, media.rtpmaps[98].clock_hz) == (48_000, 2, 48_000)
    assert media.fmtp[96] == "useinbandfec=1;usedtx=1;stereo=1"
    assert media.ptime_ms == 60
    _, (mono,) = answered(offered("audio 4000 RTP/AVP 96", "rtpmap:96 opus/48000/2", "fmtp:96 junk;;=;stereo=1"), 5000)
    assert mono.fmtp[96] == "useinbandfec=1"


def test_redundant_audio_is_answered_before_the_codec_that_it_repeats() -> None:
    description = offered("audio 4000 RTP/AVP 121 0 8", "rtpmap:121 red/8000/1", "fmtp:121 0/0")
    assert redundancy_payload_type(description.media[0]) == 121
    _, (media,) = answered(description, 5000)
    assert media.formats == ("121", "0")
    assert media.fmtp[121] == "0/0"
    other = offered("audio 4000 RTP/AVP 63 0", "rtpmap:63 red/48000/2")
    assert redundancy_payload_type(other.media[0]) is None, "that repeats a codec of another clock"


def test_our_offer_has_every_codec_and_events_at_each_clock() -> None:
    (media,) = parse(offer([OfferedMedia(4000)], origin_id=1, origin_version=1, address="192.0.2.1").to_bytes()).media
    assert [codec.name for codec in codecs_of(media).values()] == ["PCMA", "PCMU", "G722", "opus"]
    assert {entry.clock_hz for entry in media.rtpmaps.values() if entry.name == "telephone-event"} == {8000, 48_000}


CONFLICT = ("rtpmap:72 telephone-event/8000", "rtcp-mux")


@pytest.mark.parametrize(
    ("formats", "attributes", "shared"),
    [
        ("8", (), False),
        ("8", ("rtcp-mux",), True),
        ("8", ("rtcp-mux", "rtcp-mux-only"), True),
        ("8", ("rtcp-mux-only",), True),
        ("8 72", CONFLICT, False),  # RFC 5761 §4: with a marker it looks like a report
        ("8 63", ("rtpmap:63 telephone-event/8000", "rtcp-mux"), True),
        ("8 96", ("rtpmap:96 telephone-event/8000", "rtcp-mux"), True),
        ("8 72", ("rtpmap:72 H261/90000", "rtcp-mux"), True),  # which we do not take
        ("64", ("rtpmap:64 PCMA/8000", "rtcp-mux"), False),
        ("95 8", ("rtpmap:95 red/8000", "rtcp-mux"), False),
    ],
)
def test_a_port_is_shared_where_that_is_offered_and_nothing_looks_like_a_report(
    formats: str, attributes: tuple[str, ...], shared: bool
) -> None:
    description = offered(f"audio 4000 RTP/AVP {formats}", *attributes)
    _, (media,) = answered(description, 5000)
    assert media.port == 5000
    assert shares_port(description.media[0]) is shared
    assert (media.rtcp_mux, media.rtcp_mux_only) == (shared, False)


def test_who_takes_one_port_alone_is_refused_where_it_cannot_be() -> None:
    description = offered("audio 4000 RTP/AVP 8 72", *CONFLICT, "rtcp-mux-only")
    assert choose_codec(description.media[0]) is None
    _, (media,) = answered(description, 5000)
    assert (media.port, media.rtcp_mux) == (0, False)


def test_an_offer_of_ours_says_what_is_shared_and_where_each_line_is() -> None:
    lines = [OfferedMedia(4000, mux=True), OfferedMedia(4002, address="2001:db8::1")]
    first, second = parse(offer(lines, origin_id=1, origin_version=1, address="192.0.2.9").to_bytes()).media
    assert (first.rtcp_mux, first.connection, second.rtcp_mux) == (True, None, False)
    assert str(second.connection) == "IN IP6 2001:db8::1"


def test_an_answer_takes_up_what_was_offered() -> None:
    ours = offer([OfferedMedia(4000, mux=True), OfferedMedia(4002)], origin_id=1, origin_version=1, address="h")
    theirs = parse(b"v=0\no=- 1 1 IN IP4 h\n" + 3 * b"m=audio 5000 RTP/AVP 8\na=rtcp-mux\na=rtcp-mux-only\na=label:1\n")
    taken = taken_up(theirs, ours)
    assert [media.rtcp_mux for media in taken.media] == [True, False, False]
    assert [media.label for media in taken.media] == ["1", "1", "1"]
