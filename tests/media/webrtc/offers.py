"""Offers as browsers make them, to change a line of."""

from __future__ import annotations

from media.sdp import SessionDescription, parse
from media.webrtc.offer import Offer, read_offer

SHA_256 = ":".join(["AB"] * 32)

CHROMIUM = f"""v=0
o=- 5899745489256388022 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
a=extmap-allow-mixed
a=msid-semantic: WMS
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0 8 13 110 126
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:BUV6
a=ice-pwd:iYvrqvyE2wH6Zsn3oQdLQW8d
a=ice-options:trickle
a=fingerprint:sha-256 {SHA_256}
a=setup:actpass
a=mid:0
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=sendonly
a=msid:- d891f71c-beaa-4f33-aa9f-50dd4c7ad5d2
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:13 CN/8000
a=rtpmap:110 telephone-event/48000
a=rtpmap:126 telephone-event/8000
a=ssrc:1767270412 cname:yKLErHhjcWoLkEzi
"""


def described(text: str = CHROMIUM) -> SessionDescription:
    return parse(text.replace("\n", "\r\n").encode())


def changed(old: str, new: str) -> Offer:
    """The offer with one text in another's place."""
    assert old in CHROMIUM
    return read_offer(described(CHROMIUM.replace(old, new)))
