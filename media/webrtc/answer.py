"""Our answer to a browser's offer: what it sends is received, at one address of ours and no other (RFC 9725 §4.2)."""

from __future__ import annotations

from dataclasses import dataclass

from media.codecs import OPUS
from media.sdp import Attribute, Connection, Direction, Media, Origin, SessionDescription, wanted_of_opus
from media.webrtc.offer import LEVEL_URI, Offer

_PRIORITY = (126 << 24) | (65535 << 8) | 255  # of a host candidate, RFC 8445 §5.1.2: there is only one


@dataclass(frozen=True, slots=True)
class Ours:
    """Our end of the transport."""

    address: str
    port: int
    ufrag: str
    password: str
    fingerprint: tuple[str, str]


def write_answer(offer: Offer, ours: Ours, *, origin_id: int, repetition: bool = True) -> bytes:
    """The answer: the offer's first codec of ours, everything on one port, the peer opens DTLS.

    `repetition`: packets may repeat the ones before them (in-band FEC of Opus).
    """
    number, codec = offer.payload_type, offer.codec
    channels = f"/{codec.channels}" if codec.channels > 1 else ""
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
    if codec is OPUS:
        wanted = wanted_of_opus(offer.media.fmtp.get(number, ""), repetition=repetition)
        attributes.append(Attribute("fmtp", f"{number} {wanted}"))
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
