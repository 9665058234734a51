"""What one m-line of a peer's description means for the leg that we receive it with (RFC 3264), and what we offer."""

from __future__ import annotations

from dataclasses import replace

from media.codecs import CODECS, Plain
from media.sdp import Direction, Media, SessionDescription, choose_codec, codecs_of

OURS = tuple(codec for codec in CODECS if isinstance(codec, Plain))
"""The codecs of our own offers: everybody has them."""
OFFERED = {codec.offered_as: codec.name for codec in OURS}
"""What we offer to a peer that leaves the offer to us, by payload type."""
OFFERED_EVENT_PT = 101

LEGS_MAX = 16  # of one call at once, for a large meeting; m-lines beyond are refused
DISCARD_PORT = 9  # RFC 863: where nobody listens
LABEL_CHARACTERS_MAX = 64  # of a=label (RFC 4574): recording clients number them


def labels_of(offer: SessionDescription) -> dict[int, str]:
    """The m-lines that have a codec of ours, by index, with their labels."""
    found = {index: media for index, media in enumerate(offer.media) if choose_codec(media) is not None}
    return {index: (media.value("label") or str(index))[:LABEL_CHARACTERS_MAX] for index, media in found.items()}


def answerable(offer: SessionDescription) -> bool:
    """Whether any m-line of the offer has a codec of ours."""
    return any(choose_codec(media) is not None for media in offer.media)


def told(described: SessionDescription, index: int) -> bool:
    """Whether an m-line says where its media come from, in any way; else the answer to our offer is awaited."""
    media = described.media[index]
    return media.port != DISCARD_PORT or described.connection_of(media) is not None


def over_ipv6(described: SessionDescription, index: int) -> bool:
    """Whether an m-line's media come over IPv6."""
    connection = described.connection_of(described.media[index])
    return connection is not None and connection.kind == "IP6"


def parts_from(described: SessionDescription, index: int, *, ipv6: bool) -> bool:
    """Whether an m-line cannot go on where its media come over IPv6, or do not: it names the other family.

    A line that is refused does not, nor one that names nobody's address, as those on hold once did (RFC 3264 §8.4).
    """
    media = described.media[index]
    nobody = described.address(media) in (None, "0.0.0.0", "::")  # noqa: S104 - nothing is bound
    return media.port != 0 and not nobody and over_ipv6(described, index) is not ipv6


def reachable(offer: SessionDescription, *, ipv6: bool) -> SessionDescription:
    """The offer without the m-lines that come over IPv6, where nothing is received over it (`ipv6` False)."""
    lines = range(len(offer.media))
    if ipv6 or not any(over_ipv6(offer, index) for index in lines):
        return offer
    media = [replace(line, port=0) if over_ipv6(offer, index) else line for index, line in enumerate(offer.media)]
    return replace(offer, media=tuple(media))


def codecs(media: Media) -> dict[int, str]:
    """Payload types of ours, by name."""
    return {number: codec.name for number, codec in codecs_of(media).items()}


def sends(offer: SessionDescription, media: Media) -> bool:
    """Whether the peer may send on this m-line now."""
    return media.port != 0 and offer.direction(media) in (Direction.SENDONLY, Direction.SENDRECV)


def hears(offer: SessionDescription, media: Media, *, receive_only: bool) -> bool:
    """Whether the peer takes what we send; to a trunk that we only receive from nothing is sent."""
    flows = media.port != 0 and offer.direction(media) in (Direction.RECVONLY, Direction.SENDRECV)
    return flows and not receive_only


def reports(offer: SessionDescription, media: Media) -> tuple[str, int] | None:
    """Where the peer says that reports go (RFC 3605); None where it leaves that to the port above its media's.

    The media's own port means that both share it, which is agreed on by other words (RFC 5761).
    """
    told, address = media.rtcp, offer.address(media)
    if told is None or address is None or told[0] in (0, media.port):
        return None
    return told[1] or address, told[0]


def remote(offer: SessionDescription, media: Media) -> tuple[str, int] | None:
    """Where the peer says that its media comes from and goes to; None where it names nothing."""
    address = offer.address(media)
    return None if address is None or media.port == 0 else (address, media.port)
