"""The answer names one address and one codec, takes what is sent and sends nothing."""

from __future__ import annotations

import pytest

from media.sdp import Direction, parse
from media.webrtc.answer import Ours, write_answer
from media.webrtc.offer import read_offer

from .offers import SHA_256, changed, described

OURS = Ours("192.0.2.10", 20_000, "ours", "p" * 22, ("sha-256", SHA_256))


def test_the_answer_has_one_address_one_codec_and_one_direction() -> None:
    answer = parse(write_answer(read_offer(described()), OURS, origin_id=7))
    (media,) = answer.media
    assert (media.kind, media.port, media.protocol, media.formats) == ("audio", 20_000, "UDP/TLS/RTP/SAVPF", ("111",))
    assert answer.direction(media) is Direction.RECVONLY
    assert answer.address(media) == "192.0.2.10"
    assert [attribute.value for attribute in answer.attributes if attribute.name == "group"] == ["BUNDLE 0"]
    assert media.mid == "0"
    assert media.rtcp_mux
    assert media.values("candidate") == ("1 1 udp 2130706431 192.0.2.10 20000 typ host",)
    assert media.values("extmap") == ("1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",)
    assert [media.value(name) for name in ("ice-ufrag", "ice-pwd", "setup")] == ["ours", "p" * 22, "passive"]
    assert media.value("fingerprint") == f"sha-256 {SHA_256}"
    assert media.value("rtpmap") == "111 opus/48000/2"


@pytest.mark.parametrize("missing", ["a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\n", "a=mid:0\n"])
def test_what_was_not_offered_is_not_answered(missing: str) -> None:
    answer = write_answer(changed(missing, ""), OURS, origin_id=7).decode()
    name = missing.split(":", maxsplit=1)[0]
    assert name not in answer
    assert name != "a=mid" or "BUNDLE" not in answer


@pytest.mark.parametrize(
    ("says", "wanted"),
    [
        ("minptime=10;useinbandfec=1", "useinbandfec=1"),
        ("useinbandfec=1;usedtx=1", "useinbandfec=1;usedtx=1"),
        ("stereo=1;sprop-stereo=1", "useinbandfec=1;stereo=1"),
    ],
)
def test_what_an_opus_sender_wants_to_send_is_wanted(says: str, wanted: str) -> None:
    answer = write_answer(changed("minptime=10;useinbandfec=1", says), OURS, origin_id=7)
    assert parse(answer).media[0].fmtp == {111: wanted}


def test_another_codec_is_answered_where_opus_is_not_offered() -> None:
    (media,) = parse(write_answer(changed("111 63 0", "63 0"), OURS, origin_id=7)).media
    assert (media.formats, media.value("rtpmap"), media.fmtp) == (("0",), "0 PCMU/8000", {})
