"""SRTP keys in descriptions: a=crypto lines (RFC 4568), which of them we take, and what is taken without any.

Of a line's keys there is one; an MKI, a second key, or a session parameter that may not be passed over makes a line
that we do not take. A lifetime is borne: who sends under a key counts its packets, and asks for another in time.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, replace

from media.sdp.description import Attribute, Media, SessionDescription

PLAIN_RTP = "RTP/AVP"
SECURE_RTP = "RTP/SAVP"
SECURE_PROTOCOLS = frozenset({SECURE_RTP, "RTP/SAVPF"})
"""SAVPF (RFC 5124) adds feedback, which an end that names none need not send: for us it is SAVP."""

SUITES = {
    "AEAD_AES_256_GCM": 44,
    "AEAD_AES_128_GCM": 28,
    "AES_CM_128_HMAC_SHA1_80": 30,
    "AES_CM_128_HMAC_SHA1_32": 30,
}
"""Those we do, in the order of our offers, with the octets of master key and salt (RFC 4568 §6.2, RFC 7714 §12)."""

NAME = "crypto"
LINES_MAX = 32  # looked at; there are four suites, and phones that offer each of them twice
TAG_DIGITS_MAX = 9  # RFC 4568 §9.2
LIFETIME_BITS_MAX = 48  # packets under one key (RFC 3711 §9.2)
_LIFETIME_DIGITS_MAX = 15


class MasterKey:
    """A master key with its salt. It does not show; who needs the octets says so."""

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def reveal(self) -> bytes:
        """The octets."""
        return self._octets

    def __repr__(self) -> str:
        return "MasterKey(hidden)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MasterKey) and self._octets == other._octets

    def __hash__(self) -> int:
        return hash(self._octets)


@dataclass(frozen=True, slots=True)
class Crypto:
    """One a=crypto line that we could take or write."""

    tag: int
    suite: str
    key: MasterKey

    @property
    def attribute(self) -> Attribute:
        """The line; `read` is its inverse."""
        key = base64.b64encode(self.key.reveal()).decode()
        return Attribute(NAME, f"{self.tag} {self.suite} inline:{key}")


@dataclass(frozen=True, slots=True)
class Terms:
    """What is taken: whether keys count that come this way, and whether media may come without any.

    By default what a peer is told that knows no SRTP.
    """

    keys: bool = False
    plain: bool = True


def read(value: str) -> Crypto | None:
    """What an a=crypto line says, None where it is malformed or asks for something that we do not do."""
    words = value.split()
    if len(words) < 3 or any(not word.startswith("-") for word in words[3:]):
        return None  # session parameters: one that begins with - may be passed over (RFC 4568 §6.3.7)
    tag, suite, key = words[:3]
    octets = _key(key, SUITES.get(suite.upper(), 0))
    if octets is None or not (tag.isascii() and tag.isdigit() and len(tag) <= TAG_DIGITS_MAX):
        return None
    return Crypto(int(tag), suite.upper(), MasterKey(octets))


def crypto_of(media: Media) -> Crypto | None:
    """The first line that we take (RFC 4568 §5.1.1: they are in the order of preference)."""
    found = (read(value) for value in media.values(NAME)[:LINES_MAX])
    return next((line for line in found if line is not None), None)


def narrowed(description: SessionDescription, terms: Terms) -> SessionDescription:
    """The description as far as `terms` take it.

    An m-line that is to be encrypted keeps the one a=crypto line that counts; one that is not taken as it is gets port
    0, which refuses it. A key over RTP/AVP is taken too (RFC 8643): its sender can do SRTP, and would rather have it.
    """
    return replace(description, media=tuple(_narrowed(media, terms) for media in description.media))


def answering(description: SessionDescription, offered: Sequence[Sequence[Crypto]]) -> SessionDescription:
    """An answer, in which only a line counts that takes up one of those `offered` for its m-line, by tag and suite."""
    media = []
    for index, answered in enumerate(description.media):
        ours = offered[index] if index < len(offered) else ()
        line = crypto_of(answered)
        fits = line is not None and any((line.tag, line.suite) == (own.tag, own.suite) for own in ours)
        media.append(_with(answered, line if fits else None))
    return replace(description, media=tuple(media))


def _narrowed(media: Media, terms: Terms) -> Media:
    line = crypto_of(media) if terms.keys else None
    secure = media.protocol in SECURE_PROTOCOLS
    if media.protocol != PLAIN_RTP and not secure:
        return media
    kept = _with(media, line)
    return replace(kept, port=0) if line is None and (secure or not terms.plain) else kept


def _with(media: Media, line: Crypto | None) -> Media:
    """The m-line with this one for all its a=crypto lines."""
    others = tuple(attribute for attribute in media.attributes if attribute.name != NAME)
    return replace(media, attributes=others if line is None else (*others, line.attribute))


def _key(text: str, octets: int) -> bytes | None:
    """The key of `inline:KEY|LIFETIME`, if it is one of so many octets and nothing else is asked for."""
    method, _, info = text.partition(":")
    key, _, lifetime = info.partition("|")
    if not octets or method.lower() != "inline" or (lifetime and not _lives(lifetime)):
        return None
    try:
        found = base64.b64decode(key + "=" * (-len(key) % 4), validate=True)  # some leave the padding out
    except (binascii.Error, ValueError):
        return None
    return found if len(found) == octets else None


def _lives(text: str) -> bool:
    """Whether it is a lifetime (RFC 4568 §6.1), and no MKI, which has a colon."""
    power, digits = text.startswith("2^"), text.removeprefix("2^")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _LIFETIME_DIGITS_MAX):
        return False
    return 0 < int(digits) <= (LIFETIME_BITS_MAX if power else 1 << LIFETIME_BITS_MAX)
