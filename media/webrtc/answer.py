"""Our answer to a browser's offer: what it sends is received, at one address of ours and no other (RFC 9725 §4.2)."""

from __future__ import annotations

from dataclasses import dataclass

from media.sdp import Attribute, Connection, Direction, Media, Origin, SessionDescription
from media.webrtc.offer import LEVEL_URI, Offer

_PRIORITY = (126 << 24) | (65535 << 8) | 255  # of a host candidate, RFC 8445 §5.1.2: there is only one
_ECHOED = ("stereo", "sprop-stereo", "usedtx")
"""What a sender that says it of itself may go on doing (RFC 7587 §6.1): it is kept as it comes."""


@dataclass(frozen=True, slots=True)
class Ours:
    """Our end of the transport."""

    address: str
    port: int
    ufrag: str
    password: str
    fingerprint: tuple[str, str]


def write_answer(offer: Offer, ours: Ours, *, origin_id: int) -> bytes:
    """The answer: the offer's first codec of ours, everything on one port, the peer opens DTLS."""
    number, codec, entry = offer.payload_type, offer.codec, offer.media.rtpmaps.get(offer.payload_type)
    channels = f"/{entry.channels}" if entry is not None and entry.channels > 1 else ""
    candidate = f"1 1 udp {_PRIORITY} {ours.address} {ours.port} typ host"
    pairs: list[tuple[str, str | None]] = [
        ("mid", offer.media.mid),
        ("ice-ufrag", ours.ufrag),
        ("ice-pwd", ours.password),
        ("fingerprint", " ".join(ours.fingerprint)),
        ("setup", "passive"),
        ("rtpmap", f"{number} {codec.name}/{codec.clock_hz}{channels}"),
    ]
    attributes = [Attribute(name, value) for name, value in pairs if value is not None]
    if parameters := _parameters(offer, number, codec.name):
        attributes.append(Attribute("fmtp", f"{number} {parameters}"))
    if offer.level_id:
        attributes.append(Attribute("extmap", f"{offer.level_id} {LEVEL_URI}"))
    attributes += [Attribute("candidate", candidate), Attribute("end-of-candidates"), Attribute("rtcp-mux")]
    attributes.append(Attribute(Direction.RECVONLY.value))
    media = Media(
        "audio", ours.port, offer.media.protocol, (str(number),), Connection(ours.address), attributes=tuple(attributes)
    )
    bundle = () if offer.media.mid is None else (Attribute("group", f"BUNDLE {offer.media.mid}"),)
    origin = Origin("-", str(origin_id), "1", "IP4", ours.address)
    return SessionDescription(origin, (media,), attributes=bundle).to_bytes()


def _parameters(offer: Offer, number: int, name: str) -> str:
    """Of Opus (RFC 7587 §6.1): we can use its error correction, and take what else the sender wants to send."""
    if name.lower() != "opus":
        return ""
    said = dict(_pair(text) for text in offer.media.fmtp.get(number, "").split(";"))
    echoed = [f"{key}=1" for key in _ECHOED if said.get(key) == "1"]
    if said.get("sprop-stereo") == "1" and said.get("stereo") != "1":
        echoed.append("stereo=1")
    return ";".join(["minptime=10", "useinbandfec=1", *echoed])


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip()
