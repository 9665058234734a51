"""The codecs that a track can be received in: one row each, and the only place that names them.

A new codec is a module beside this file and a row in the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from media.codecs import g711
from media.codecs.g711 import Octets, SamplePairs, Samples


@dataclass(frozen=True, slots=True)
class Codec:
    """One way to code speech in RTP."""

    name: str  # the encoding name of its rtpmap, compared without regard to case
    number: int  # how a frame log names it: stored, so never reused
    payload_type: int | None  # RFC 3551's static number
    clock_hz: int  # ticks of the RTP timestamp in a second
    sample_hz: int  # decoded samples in a second
    channels: int
    ticks_per_octet: int  # RTP ticks for each payload octet, for codecs of constant rate
    pairs: SamplePairs  # the samples of every two octets, for batches
    decode: Callable[[bytes | memoryview | Octets], Samples]
    encode: Callable[[Samples], bytes]


PCMU = Codec("PCMU", 0, 0, 8000, 8000, 1, 1, g711.ULAW_PAIRS, g711.decode_ulaw, g711.encode_ulaw)
PCMA = Codec("PCMA", 8, 8, 8000, 8000, 1, 1, g711.ALAW_PAIRS, g711.decode_alaw, g711.encode_alaw)

CODECS: tuple[Codec, ...] = (PCMA, PCMU)  # in our order of preference where an offer leaves it to us
BY_NAME = {codec.name: codec for codec in CODECS}
BY_NUMBER = {codec.number: codec for codec in CODECS}
BY_PAYLOAD_TYPE = {codec.payload_type: codec for codec in CODECS if codec.payload_type is not None}

COMFORT_NOISE = 13  # RFC 3389: static payload type of comfort noise at 8 kHz


def find(name: str, clock_hz: int, channels: int = 1) -> Codec | None:
    """The codec of an rtpmap's `name/clock/channels`, or None if we do not have it."""
    codec = BY_NAME.get(name.upper())
    if codec is None or codec.clock_hz != clock_hz or codec.channels != channels:
        return None
    return codec
