"""Offer and answer (RFC 3264): which codec, which direction, and one mirrored m-line for each offered one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from media.codecs import BY_PAYLOAD_TYPE, CLOCK_HZ_PLAIN, CODECS, COMFORT_NOISE, OPUS, Codec, find
from media.redundancy import NAME as REDUNDANCY
from media.sdp.crypto import PLAIN_RTP, SECURE_PROTOCOLS, Crypto, crypto_of
from media.sdp.description import Attribute, Connection, Direction, Media, Origin, SessionDescription

EVENT_PAYLOAD_TYPE = 101  # what nearly everyone uses for telephone-event; our offers do too
EVENT_PAYLOAD_TYPE_OPUS = 102  # the same at 48 kHz
PTIME_MS_DEFAULT = 20  # RFC 3551 §4.2
PTIME_MS_RANGE = range(10, 61)  # what the engine is built and tested for

REPORT_LIKE = range(64, 96)  # payload types that, with a marker, have the second octet of RTCP (RFC 5761 §4)

_MUX, _MUX_ONLY = "rtcp-mux", "rtcp-mux-only"
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
    """Our end of an accepted m-line: the RTP port; RTCP is the next one, unless they share it. `crypto` is our key
    where it is encrypted, `address` ours where it is not that of the whole description.
    """

    port: int
    crypto: Crypto | None = None
    address: str = ""


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
    mux: bool = False
    address: str = ""


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
    """The codec we answer `media` with; None where it must be refused: no audio, no RTP, no key, no common codec, or a
    port that must be shared (RFC 8858) and cannot be.
    """
    if media.kind != "audio" or media.port == 0:
        return None
    if media.protocol != PLAIN_RTP and not (media.protocol in SECURE_PROTOCOLS and crypto_of(media)):
        return None
    if media.rtcp_mux_only and not shares_port(media):
        return None
    return next(iter(codecs_of(media).values()), None)


def shares_port(media: Media) -> bool:
    """Whether RTP and RTCP share a port by our answer to `media`: where that is offered (RFC 5761 §5.1.1, RFC 8858 §4),
    and no payload type that we take looks like a report (RFC 5761 §4).
    """
    types = (next(iter(codecs_of(media)), None), event_payload_type(media), redundancy_payload_type(media))
    offered = media.rtcp_mux or media.rtcp_mux_only
    return offered and all(number not in REPORT_LIKE for number in types)


def taken_up(answered: SessionDescription, ours: SessionDescription) -> SessionDescription:
    """An answer to `ours`, in which a port is shared only where we have offered that."""
    media = list(answered.media)
    for index, theirs in enumerate(media):
        if index >= len(ours.media) or not ours.media[index].rtcp_mux:
            others = tuple(a for a in theirs.attributes if a.name not in (_MUX, _MUX_ONLY))
            media[index] = replace(theirs, attributes=others)
    return replace(answered, media=tuple(media))


def event_payload_type(media: Media) -> int | None:
    """The payload type of telephone-events at the clock of the codec we choose (RFC 4733 §2.4.1), where offered."""
    return _beside(media, _EVENT_NAME)


def redundancy_payload_type(media: Media) -> int | None:
    """The payload type of redundant audio (RFC 2198) at the clock of the codec we choose, where offered."""
    return _beside(media, REDUNDANCY)


def _beside(media: Media, name: str) -> int | None:
    """The payload type of this name that goes with the codec we choose."""
    clocks_hz = [codec.clock_hz for codec in codecs_of(media).values()]
    for number, entry in media.rtpmaps.items():
        if entry.name.lower() == name and number in media.payload_types and [entry.clock_hz] == clocks_hz[:1]:
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
            media.append(_accepted(offered, ours, direction, address))
    whole = Connection.to(address)
    origin = Origin("-", str(origin_id), str(origin_version), whole.kind, address)
    return SessionDescription(origin, tuple(media), whole, timing=offer.timing)


def offer(media: Sequence[OfferedMedia], *, origin_id: int, origin_version: int, address: str) -> SessionDescription:
    """An offer of one audio m-line for each of `media`, with telephone-event and comfort noise."""
    whole = Connection.to(address)
    origin = Origin("-", str(origin_id), str(origin_version), whole.kind, address)
    return SessionDescription(origin, tuple(_offered(entry, address) for entry in media), whole)


def _accepted(offered: Media, ours: LocalMedia, direction: Direction, address: str) -> Media:
    number, codec = next(iter(codecs_of(offered).items()))
    formats = [str(number)]
    attributes = [_codec_map(number, codec)]
    if codec is OPUS:
        attributes.append(Attribute("fmtp", f"{number} {wanted_of_opus(offered.fmtp.get(number, ''))}"))
    red = redundancy_payload_type(offered)
    if red is not None:
        # RFC 2198 §5: its generations, each in a codec that is listed too.
        formats.insert(0, str(red))
        channels = f"/{codec.channels}" if codec.channels > 1 else ""
        attributes.append(Attribute("rtpmap", f"{red} {REDUNDANCY}/{codec.clock_hz}{channels}"))
        attributes.append(Attribute("fmtp", f"{red} {number}/{number}"))
    event = event_payload_type(offered)
    if event is not None:
        formats.append(str(event))
        attributes += _event_attributes(event, codec.clock_hz)
    if COMFORT_NOISE in offered.payload_types and codec.clock_hz == CLOCK_HZ_PLAIN:
        # RFC 3389 §4: listed by both ends or not sent; silence then costs the peer nothing, and us a gap's reason.
        formats.append(str(COMFORT_NOISE))
        attributes.append(_rtpmap(COMFORT_NOISE, _COMFORT_NAME, CLOCK_HZ_PLAIN))
    ptime_ms = offered.ptime_ms if offered.ptime_ms in PTIME_MS_RANGE else PTIME_MS_DEFAULT
    attributes.append(Attribute("ptime", str(ptime_ms)))
    if ours.crypto is not None:
        attributes.append(ours.crypto.attribute)
    if shares_port(offered):
        attributes.append(Attribute(_MUX))
    attributes += _echoed(offered)
    attributes.append(Attribute(direction.value))
    own = _own_connection(ours.address, address)
    return Media(offered.kind, ours.port, offered.protocol, tuple(formats), own, tuple(attributes))


def _refused(offered: Media) -> Media:
    return Media(offered.kind, 0, offered.protocol, offered.formats, attributes=tuple(_echoed(offered)))


def _own_connection(address: str, whole: str) -> Connection | None:
    """Of an m-line of another address than the whole description's."""
    return None if address in ("", whole) else Connection.to(address)


def _offered(entry: OfferedMedia, address: str) -> Media:
    attributes = [_codec_map(codec.offered_as, codec) for codec in entry.codecs]
    if OPUS in entry.codecs:
        attributes.append(Attribute("fmtp", f"{OPUS.offered_as} {wanted_of_opus('')}"))
    events = {EVENT_PAYLOAD_TYPE: CLOCK_HZ_PLAIN, EVENT_PAYLOAD_TYPE_OPUS: OPUS.clock_hz}
    clocks_hz = {codec.clock_hz for codec in entry.codecs}
    events = {number: clock_hz for number, clock_hz in events.items() if clock_hz in clocks_hz}
    for number, clock_hz in events.items():
        attributes += _event_attributes(number, clock_hz)
    attributes.append(_rtpmap(COMFORT_NOISE, _COMFORT_NAME, CLOCK_HZ_PLAIN))
    attributes.append(Attribute("ptime", str(entry.ptime_ms)))
    if entry.label is not None:
        attributes.append(Attribute("label", entry.label))
    attributes += [line.attribute for line in entry.cryptos]
    if entry.mux:
        attributes.append(Attribute(_MUX))
    attributes.append(Attribute(entry.direction.value))
    formats = tuple(str(n) for n in (*(codec.offered_as for codec in entry.codecs), *events, COMFORT_NOISE))
    own = _own_connection(entry.address, address)
    return Media("audio", entry.port, entry.protocol, formats, own, tuple(attributes))


def _rtpmap(number: int, name: str, clock_hz: int) -> Attribute:
    return Attribute("rtpmap", f"{number} {name}/{clock_hz}")


def _codec_map(number: int, codec: Codec) -> Attribute:
    channels = f"/{codec.channels}" if codec.channels > 1 else ""
    return Attribute("rtpmap", f"{number} {codec.name}/{codec.clock_hz}{channels}")


def wanted_of_opus(offered: str) -> str:
    """What we want to receive (RFC 7587 §6.1), given the peer's own parameters.

    FEC, which costs us nothing; silence left out and stereo only where the peer speaks of them first: a recording is of
    what people say, and it should be what the call sounds like.
    """
    theirs = dict(text.strip().partition("=")[::2] for text in offered.split(";"))
    wanted = ["useinbandfec=1"]
    if theirs.get("usedtx") == "1":
        wanted.append("usedtx=1")
    if theirs.get("sprop-stereo") == "1":
        wanted.append("stereo=1")
    return ";".join(wanted)


def _event_attributes(number: int, clock_hz: int) -> list[Attribute]:
    return [_rtpmap(number, _EVENT_NAME, clock_hz), Attribute("fmtp", f"{number} 0-15")]


def _echoed(offered: Media) -> list[Attribute]:
    """What names the stream, so that the peer finds its own again."""
    return [a for a in offered.attributes if a.name in {"label", "mid"} and a.value is not None]
