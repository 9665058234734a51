"""The codecs that a track can be received in: one row each, and the only place that names them.

A new codec is a module beside this file and a row in the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from media.codecs import g711, g722, opus
from media.codecs.g711 import Octets, SamplePairs, Samples
from media.errors import Unsupported

CLOCK_HZ_PLAIN = 8000
CELL_OCTETS = 160  # 20 ms of every codec that is `in_octets`


class Decoder(Protocol):
    """One stream's decoder, which keeps its state from frame to frame."""

    def decode(self, payload: bytes) -> Samples:
        """The samples of the next frame, at the codec's `sample_hz`; none where it cannot be decoded."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Codec:
    """One way to code speech in RTP: `Plain` or `Stateful`. Each is only itself."""

    name: str  # the encoding name of its rtpmap, compared without regard to case
    number: int  # how a frame log names it: stored, so never reused
    payload_type: int | None  # RFC 3551's static number
    offered_as: int  # the payload type in our own offers
    clock_hz: int  # ticks of the RTP timestamp in a second
    sample_hz: int  # decoded samples in a second, a multiple of 8 kHz
    channels: int  # of its rtpmap
    ticks_per_octet: int  # RTP ticks of each payload octet; 0 where a packet says itself how long it lasts
    packets: Callable[[Samples, int], list[bytes]]  # samples at `sample_hz` as payloads of so many ms
    silent: Callable[[bytes], bytes]  # silence instead of a payload, as long as it in octets and in time

    @property
    def in_octets(self) -> bool:
        """Whether each payload octet is a tick of 8 kHz: what the intake takes in batches."""
        return self.ticks_per_octet == 1 and self.clock_hz == CLOCK_HZ_PLAIN

    def ticks(self, payload: bytes) -> int:
        """RTP ticks that a payload lasts; 0 of one that is none."""
        return len(payload) * self.ticks_per_octet


@dataclass(frozen=True, slots=True, eq=False)
class Plain(Codec):
    """A codec in which each octet stands for one sample, whatever came before it."""

    pairs: SamplePairs  # the samples of every two octets, for batches
    decode: Callable[[bytes | memoryview | Octets], Samples]
    encode: Callable[[Samples], bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Stateful(Codec):
    """A codec whose frames build on each other."""

    decoder: Callable[[], Decoder]  # a new one, for frames in order
    ticks_by_head: NDArray[np.int64] | None = None  # a packet's ticks by its first two octets, 0 of what is none
    repeats: Callable[[bytes], bool] | None = None  # whether a payload may say again what the one before it said

    def ticks(self, payload: bytes) -> int:
        """RTP ticks that a payload lasts; 0 of one that is none."""
        if self.ticks_by_head is None:
            return len(payload) * self.ticks_per_octet
        return int(self.ticks_by_head[int.from_bytes(payload[:2].ljust(2, b"\0"), "big")]) if payload else 0


def _of(octet: int) -> Callable[[bytes], bytes]:
    """Silence of a codec in which this octet, repeated, is silence."""
    return lambda payload: bytes((octet,)) * len(payload)


PCMU = Plain(
    *("PCMU", 0, 0, 0, 8000, 8000, 1, 1, g711.ulaw_packets, _of(g711.ULAW_SILENCE)),
    *(g711.ULAW_PAIRS, g711.decode_ulaw, g711.encode_ulaw),
)
PCMA = Plain(
    *("PCMA", 8, 8, 8, 8000, 8000, 1, 1, g711.alaw_packets, _of(g711.ALAW_SILENCE)),
    *(g711.ALAW_PAIRS, g711.decode_alaw, g711.encode_alaw),
)
G722 = Stateful("G722", 9, 9, 9, 8000, g722.RATE_HZ, 1, 1, g722.packets, _of(g722.SILENCE), g722.decoder)
OPUS = Stateful(
    *("opus", 128, None, 111, 48_000, opus.RATE_HZ, 2, 0, opus.packets, opus.silent, opus.decoder),
    *(opus.TICKS_BY_HEAD, opus.repeats),
)

CODECS: tuple[Codec, ...] = (PCMA, PCMU, G722, OPUS)  # in our order of preference where an offer leaves it to us
BY_NAME = {codec.name.upper(): codec for codec in CODECS}
BY_NUMBER = {codec.number: codec for codec in CODECS}
BY_PAYLOAD_TYPE = {codec.payload_type: codec for codec in CODECS if codec.payload_type is not None}

COMFORT_NOISE = 13  # RFC 3389: static payload type of comfort noise at 8 kHz


def plain(number: int) -> Plain:
    """The codec that a frame log names so, where it is known to be a plain one."""
    codec = BY_NUMBER[number]
    assert isinstance(codec, Plain), "codecs with a state are decoded apart"
    return codec


def find(name: str, clock_hz: int, channels: int = 1) -> Codec | None:
    """The codec of an rtpmap's `name/clock/channels`, or None if we do not have it."""
    codec = BY_NAME.get(name.upper())
    if codec is None or codec.clock_hz != clock_hz or codec.channels != channels:
        return None
    return codec


def codecs_named(names: dict[int, str]) -> dict[int, Codec]:
    """The codecs of these names, by payload type; raises Unsupported for none, or one that we do not have.

    Comfort noise is none, and always taken.
    """
    speech = {number: name.upper() for number, name in names.items() if number != COMFORT_NOISE}
    if not speech or any(name not in BY_NAME for name in speech.values()):
        raise Unsupported("no codec, or one that the engine does not have")
    return {number: BY_NAME[name] for number, name in speech.items()}
