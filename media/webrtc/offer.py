"""A browser's offer as WHIP allows it (RFC 9725 §4.4): one audio stream that it sends, bundled, over ICE and DTLS.

What else is offered refuses the whole: an answer that takes a part of it would mislead (§4.4.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from media.codecs import Codec
from media.errors import Malformed, Unsupported
from media.sdp import Direction, Media, SessionDescription, codecs_of

PROTOCOLS = frozenset({"UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP"})
LEVEL_URI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"  # RFC 6464 §4
LEVEL_IDS = range(1, 15)  # of one-byte header elements (RFC 8285 §4.2)
FINGERPRINTS_MAX = 8  # one for each hash function; there are six
HASHES = {"sha-256": 32, "sha-384": 48, "sha-512": 64}  # octets; what is weaker vouches for nothing

_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")  # RFC 8839 §5.4
_PASSWORD = re.compile(r"[A-Za-z0-9+/]{22,256}")
_SETUPS = ("actpass", "active")


@dataclass(frozen=True, slots=True)
class Offer:
    """What is taken of the offer."""

    media: Media
    payload_type: int
    codec: Codec  # the first that we have, in the order of its preference
    ufrag: str
    password: str
    fingerprints: tuple[tuple[str, str], ...]
    level_id: int  # 0: the sender tells no audio level


def read_offer(described: SessionDescription) -> Offer:
    """The stream that is offered. Raises Malformed, or Unsupported where we cannot take all of what is offered."""
    if len(described.media) != 1 or described.media[0].kind != "audio" or described.media[0].port == 0:
        raise Unsupported("one audio stream is taken, and nothing else")
    media = described.media[0]
    if media.protocol not in PROTOCOLS or not media.rtcp_mux:
        raise Unsupported("audio comes over DTLS-SRTP, with its RTCP multiplexed")
    if described.direction(media) not in (Direction.SENDONLY, Direction.SENDRECV):
        raise Unsupported("the offer sends nothing")
    if _first(described, media, "setup") not in _SETUPS:
        raise Unsupported("the peer must be able to open the DTLS connection")
    codecs = codecs_of(media)
    if not codecs:
        raise Unsupported("no codec of ours is offered")
    ufrag, password = _first(described, media, "ice-ufrag"), _first(described, media, "ice-pwd")
    if ufrag is None or password is None or not _UFRAG.fullmatch(ufrag) or not _PASSWORD.fullmatch(password):
        raise Malformed("the offer has no ICE user fragment and password")
    return Offer(media, *next(iter(codecs.items())), ufrag, password, _fingerprints(described, media), _level_id(media))


def _first(described: SessionDescription, media: Media, name: str) -> str | None:
    """An attribute of the stream, or else of the session."""
    return next(_all(described, media, name), None)


def _all(described: SessionDescription, media: Media, name: str) -> Iterator[str]:
    yield from media.values(name)
    yield from (attribute.value or "" for attribute in described.attributes if attribute.name == name)


def _fingerprints(described: SessionDescription, media: Media) -> tuple[tuple[str, str], ...]:
    """Those made with a hash function that can be trusted (RFC 8122 §5)."""
    found = []
    for text in _all(described, media, "fingerprint"):
        name, _, value = text.partition(" ")
        octets = HASHES.get(name.lower())
        if octets is None:
            continue
        if not re.fullmatch(f"[0-9A-Fa-f]{{2}}(:[0-9A-Fa-f]{{2}}){{{octets - 1}}}", value.strip()):
            raise Malformed("a fingerprint is none of its hash function")
        found.append((name.lower(), value.strip().upper()))
    if not found or len(found) > FINGERPRINTS_MAX:
        raise Malformed("the offer has no fingerprint by SHA-256 or better, or too many")
    return tuple(found)


def _level_id(media: Media) -> int:
    """The number of the audio level's header extension, if it is offered towards us."""
    for text in media.values("extmap"):
        words = text.split()
        if len(words) < 2 or words[1] != LEVEL_URI:
            continue
        number, _, direction = words[0].partition("/")
        if number.isascii() and number.isdecimal() and len(number) < 3 and direction in ("", "sendonly", "sendrecv"):
            return int(number) if int(number) in LEVEL_IDS else 0
    return 0
