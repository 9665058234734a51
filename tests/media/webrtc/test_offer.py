"""An offer is taken whole or refused whole, by whoever's fault it is; nothing of it is trusted."""

from __future__ import annotations

import pytest

from media.errors import Malformed, Unsupported
from media.webrtc.offer import read_offer

from .offers import CHROMIUM, SHA_256, changed, described

VIDEO = "m=video 0 UDP/TLS/RTP/SAVPF 96\na=bundle-only\na=mid:1\na=sendonly\na=rtcp-mux\na=rtpmap:96 VP8/90000\n"


def test_what_a_browser_offers_is_taken() -> None:
    offer = read_offer(described())
    assert (offer.payload_type, offer.codec.name) == (111, "opus")  # the first of ours, in its order
    assert (offer.ufrag, offer.password) == ("BUV6", "iYvrqvyE2wH6Zsn3oQdLQW8d")
    assert offer.fingerprints == (("sha-256", SHA_256),)
    assert offer.level_id == 1
    assert offer.media.mid == "0"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a=rtcp-rsize\n", f"a=rtcp-rsize\n{VIDEO}"),
        ("m=audio", "m=video"),
        ("m=audio 9", "m=audio 0"),
        ("UDP/TLS/RTP/SAVPF", "RTP/AVP"),
        ("UDP/TLS/RTP/SAVPF", "RTP/SAVPF"),
        ("a=rtcp-mux\n", ""),
        ("a=sendonly", "a=recvonly"),
        ("a=sendonly", "a=inactive"),
        ("a=setup:actpass", "a=setup:passive"),
        ("a=setup:actpass\n", ""),
        ("111 63 0 8 13", "63 13"),
    ],
)
def test_what_we_cannot_take_all_of_is_refused(old: str, new: str) -> None:
    with pytest.raises(Unsupported):
        changed(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a=ice-ufrag:BUV6\n", ""),
        ("a=ice-ufrag:BUV6", "a=ice-ufrag:BUV"),
        ("a=ice-ufrag:BUV6", "a=ice-ufrag:" + "a" * 257),
        ("a=ice-ufrag:BUV6", "a=ice-ufrag:BU V6"),
        ("a=ice-pwd:iYvrqvyE2wH6Zsn3oQdLQW8d", "a=ice-pwd:short"),
        (f"a=fingerprint:sha-256 {SHA_256}\n", ""),
        ("sha-256", "sha-1"),
        ("sha-256", "sha-512"),  # of another length
        ("AB:AB:AB", "AB:ZZ:AB"),
        ("a=setup:actpass\n", "a=setup:actpass\n" + f"a=fingerprint:sha-256 {SHA_256}\n" * 8),
    ],
)
def test_what_cannot_be_joined_or_vouched_for_is_malformed(old: str, new: str) -> None:
    with pytest.raises(Malformed):
        changed(old, new)


@pytest.mark.parametrize(
    ("line", "level_id"),
    [
        ("a=extmap:14/sendonly urn:ietf:params:rtp-hdrext:ssrc-audio-level vad=on", 14),
        ("a=extmap:1/recvonly urn:ietf:params:rtp-hdrext:ssrc-audio-level", 0),
        ("a=extmap:15 urn:ietf:params:rtp-hdrext:ssrc-audio-level", 0),
        ("a=extmap:0 urn:ietf:params:rtp-hdrext:ssrc-audio-level", 0),
        ("a=extmap:x urn:ietf:params:rtp-hdrext:ssrc-audio-level", 0),
        ("a=extmap", 0),
        ("a=sendrecv", 0),
    ],
)
def test_the_audio_level_is_agreed_on_where_it_can_be_read(line: str, level_id: int) -> None:
    assert changed("a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level", line).level_id == level_id


def test_attributes_may_stand_at_the_session() -> None:
    stream = f"a=ice-ufrag:BUV6\na=ice-pwd:iYvrqvyE2wH6Zsn3oQdLQW8d\na=fingerprint:sha-256 {SHA_256}\n"
    lines = [line for line in CHROMIUM.splitlines(keepends=True) if line not in stream]
    text = "".join(lines).replace("a=group:BUNDLE 0\n", f"a=group:BUNDLE 0\n{stream}")
    assert read_offer(described(text)).ufrag == "BUV6"
