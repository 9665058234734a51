"""Offer and answer (RFC 3264): which codec, which direction, and one mirrored m-line for each offered one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from media.codecs import BY_PAYLOAD_TYPE, CODECS, COMFORT_NOISE, Codec, find
from media.sdp.crypto import PLAIN_RTP, SECURE_PROTOCOLS, Crypto, crypto_of
from media.sdp.description import Attribute, Connection, Direction, Media, Origin, SessionDescription

EVENT_PAYLOAD_TYPE = 101  # what nearly everyone uses for telephone-event; our offers do too
PTIME_MS_DEFAULT = 20  # RFC 3551 §4.2
PTIME_MS_RANGE = range(10, 61)  # what the engine is built and tested for

_EVENT_NAME = "telephone-event"
_COMFORT_NAME = "CN"
_ANSWERED = {
    Direction.SENDONLY: Direction.RECVONLY,
    Direction.SENDRECV: Direction.SENDRECV,
    Direction.INACTIVE: Direction.INACTIVE,
    # Whoever only wants to receive gets nothing from a recorder, so nothing flows.
    Direction.RECVONLY: Direction.INACTIVE,
}


@dataclass(frozen=True, slots=True)
class LocalMedia:
    """Our end of an accepted m-line: the RTP port; RTCP is the next one. `crypto` is our key where it is encrypted."""

    port: int
    crypto: Crypto | None = None


@dataclass(frozen=True, slots=True)
class OfferedMedia:
    """One audio m-line that we offer."""

    port: int
    codecs: tuple[Codec, ...] = CODECS
    direction: Direction = Direction.SENDRECV
    label: str | None = None
    ptime_ms: int = PTIME_MS_DEFAULT
    protocol: str = PLAIN_RTP
    cryptos: tuple[Crypto, ...] = ()


def codecs_of(media: Media) -> dict[int, Codec]:
    """The codecs of `media` that we have, by payload type, in the order offered (RFC 3264: its preference)."""
    maps = media.rtpmaps
    found: dict[int, Codec] = {}
    for number in media.payload_types:
        entry = maps.get(number)
        codec = BY_PAYLOAD_TYPE.get(number) if entry is None else find(entry.name, entry.clock_hz, entry.channels)
        if codec is not None:
            found[number] = codec
    return found


def choose_codec(media: Media) -> Codec | None:
    """The codec we answer `media` with; None where it must be refused: no audio, no RTP, no key, no common codec."""
    if media.kind != "audio" or media.port == 0:
        return None
    if media.protocol != PLAIN_RTP and not (media.protocol in SECURE_PROTOCOLS and crypto_of(media)):
        return None
    return next(iter(codecs_of(media).values()), None)


def event_payload_type(media: Media) -> int | None:
    """The payload type of RFC 4733 telephone-events at 8 kHz, where offered."""
    for number, entry in media.rtpmaps.items():
        if entry.name.lower() == _EVENT_NAME and entry.clock_hz == 8000 and number in media.payload_types:
            return number
    return None


def answered_direction(offered: Direction, *, receive_only: bool) -> Direction:
    """What we answer to a direction; a recording session (`receive_only`) never sends."""
    direction = _ANSWERED[offered]
    return Direction.RECVONLY if receive_only and direction is Direction.SENDRECV else direction


def answer(
    offer: SessionDescription,
    local: Sequence[LocalMedia | None],
    *,
    origin_id: int,
    origin_version: int,
    address: str,
    receive_only: bool,
) -> SessionDescription:
    """The answer to `offer`: one m-line for each of its, in order; None in `local`, or no common codec, refuses one.

    So does an m-line that must be encrypted, and for which we have no key.
    """
    if len(local) != len(offer.media):
        raise ValueError("an answer has as many m-lines as its offer")
    media = []
    for offered, ours in zip(offer.media, local, strict=True):
        if ours is None or choose_codec(offered) is None or (ours.crypto is None and offered.protocol != PLAIN_RTP):
            media.append(_refused(offered))
        else:
            direction = answered_direction(offer.direction(offered), receive_only=receive_only)
            media.append(_accepted(offered, ours, direction))
    origin = Origin("-", str(origin_id), str(origin_version), "IP4", address)
    return SessionDescription(origin, tuple(media), Connection(address), timing=offer.timing)


def offer(media: Sequence[OfferedMedia], *, origin_id: int, origin_version: int, address: str) -> SessionDescription:
    """An offer of one audio m-line for each of `media`, with telephone-event and comfort noise."""
    origin = Origin("-", str(origin_id), str(origin_version), "IP4", address)
    return SessionDescription(origin, tuple(_offered(entry) for entry in media), Connection(address))


def _accepted(offered: Media, ours: LocalMedia, direction: Direction) -> Media:
    number, codec = next(iter(codecs_of(offered).items()))
    formats = [str(number)]
    attributes = [_rtpmap(number, codec.name, codec.clock_hz)]
    event = event_payload_type(offered)
    if event is not None:
        formats.append(str(event))
        attributes += _event_attributes(event)
    if COMFORT_NOISE in offered.payload_types:
        # RFC 3389 §4: listed by both ends or not sent; silence then costs the peer nothing, and us a gap's reason.
        formats.append(str(COMFORT_NOISE))
        attributes.append(_rtpmap(COMFORT_NOISE, _COMFORT_NAME, 8000))
    ptime_ms = offered.ptime_ms if offered.ptime_ms in PTIME_MS_RANGE else PTIME_MS_DEFAULT
    attributes.append(Attribute("ptime", str(ptime_ms)))
    if ours.crypto is not None:
        attributes.append(ours.crypto.attribute)
    attributes += _echoed(offered)
    attributes.append(Attribute(direction.value))
    return Media(offered.kind, ours.port, offered.protocol, tuple(formats), attributes=tuple(attributes))


def _refused(offered: Media) -> Media:
    return Media(offered.kind, 0, offered.protocol, offered.formats, attributes=tuple(_echoed(offered)))


def _offered(entry: OfferedMedia) -> Media:
    numbers = [(codec.payload_type, codec) for codec in entry.codecs if codec.payload_type is not None]
    attributes = [_rtpmap(number, codec.name, codec.clock_hz) for number, codec in numbers]
    attributes += _event_attributes(EVENT_PAYLOAD_TYPE)
    attributes.append(_rtpmap(COMFORT_NOISE, _COMFORT_NAME, 8000))
    attributes.append(Attribute("ptime", str(entry.ptime_ms)))
    if entry.label is not None:
        attributes.append(Attribute("label", entry.label))
    attributes += [line.attribute for line in entry.cryptos]
    attributes.append(Attribute(entry.direction.value))
    formats = (*(str(number) for number, _ in numbers), str(EVENT_PAYLOAD_TYPE), str(COMFORT_NOISE))
    return Media("audio", entry.port, entry.protocol, formats, attributes=tuple(attributes))


def _rtpmap(number: int, name: str, clock_hz: int) -> Attribute:
    return Attribute("rtpmap", f"{number} {name}/{clock_hz}")


def _event_attributes(number: int) -> list[Attribute]:
    return [_rtpmap(number, _EVENT_NAME, 8000), Attribute("fmtp", f"{number} 0-15")]


def _echoed(offered: Media) -> list[Attribute]:
    """What names the stream, so that the peer finds its own again."""
    return [a for a in offered.attributes if a.name in {"label", "mid"} and a.value is not None]
