"""Targets: what browsers send over WHIP, and what the gateway and its WebRTC worker say to each other."""

from __future__ import annotations

from typing import Any

from media import sdp
from media.errors import Malformed, MediaError
from media.webrtc import messages
from media.webrtc.answer import Ours, write_answer
from media.webrtc.fragment import LINES_MAX, Fragment, read_fragment
from media.webrtc.offer import FINGERPRINTS_MAX, Offer, read_offer
from tests.fuzz.target import Target
from tests.media.webrtc.offers import CHROMIUM, SHA_256

OURS = Ours("192.0.2.1", 40_000, "ufrag", "p" * 22, ("sha-256", SHA_256))


def _offer(data: bytes) -> Offer:
    return read_offer(sdp.parse(data))


def _use_offer(offer: Offer) -> None:
    assert 0 < len(offer.fingerprints) <= FINGERPRINTS_MAX
    answer = sdp.parse(write_answer(offer, OURS, origin_id=1))
    assert [media.payload_types for media in answer.media] == [(offer.payload_type,)]
    assert answer.media[0].mid == offer.media.mid


def _offers() -> list[bytes]:
    old = CHROMIUM.replace("UDP/TLS/RTP/SAVPF 111 63", "UDP/TLS/RTP/SAVP").replace("actpass", "active")
    stereo = CHROMIUM.replace("useinbandfec=1", "sprop-stereo=1;usedtx=1").replace("extmap:1 ", "extmap:1/sendonly ")
    return [text.replace("\n", "\r\n").encode() for text in (CHROMIUM, old, stereo)]


def _use_fragment(fragment: Fragment) -> None:
    assert 0 <= fragment.candidates <= LINES_MAX


def _fragments() -> list[bytes]:
    head = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n"
    host = "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0\r\n"
    tcp = "a=candidate:473322822 1 tcp 1518280447 h.local 9 typ host tcptype active\r\n"
    return [text.encode() for text in (head + host + tcp, head + "a=end-of-candidates\r\n")]


def _use_control(message: messages.Message) -> None:
    written = messages.encode(message)
    assert messages.encode(messages.decode(written)) == written


def _controls() -> list[bytes]:
    said = (
        messages.Accept(1, "ufrag", "password", (("sha-256", "AB:CD"), ("sha-512", "EF")), 3),
        messages.Accepted(3, "ufrag", "password", ("sha-256", "AB:CD")),
        messages.HangUp(2),
        messages.Over(5, "the peer has gone"),
        messages.Stats(6, 7, 8),
    )
    return [messages.encode(message) for message in said]


WHIP: tuple[Target[Any], ...] = (
    Target("whip-offer", _offer, _use_offer, (MediaError,), _offers),
    Target("whip-fragment", read_fragment, _use_fragment, (Malformed,), _fragments),
    Target("whip-control", messages.decode, _use_control, (Malformed,), _controls),
)
