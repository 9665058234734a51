"""Opus in RTP (RFC 6716, RFC 7587): how long a packet lasts, from its first two octets, and what decodes it.

Whatever the coder does inside (8 to 48 kHz, mono or stereo, silence left out), the RTP clock runs at 48 kHz and a
decoder gives 48 kHz samples. Stereo is mixed to one channel when it is decoded; what is stored stays stereo.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from media.codecs.g711 import Samples
from media.codecs.libav import LibavDecoder, encoded

RATE_HZ = 48_000
CHUNK_TICKS = RATE_HZ // 50  # SILK codes 20 ms at once, unless a frame is shorter
PACKET_TICKS_MAX = RATE_HZ * 120 // 1000  # RFC 6716 §3.4 [R5]: no packet lasts longer
_FRAMES_MAX = 48  # of a packet: 120 ms of 2.5 ms

# RFC 6716 Table 2: the length of a frame by its configuration, in tenths of a millisecond.
_SILK, _HYBRID, _CELT = (100, 200, 400, 600), (100, 200), (25, 50, 100, 200)
_FRAME_TENTHS = _SILK * 3 + _HYBRID * 2 + _CELT * 4


def _ticks_by_head() -> NDArray[np.int64]:
    """RTP ticks of a packet, by its first two octets as one number; 0 of those that begin no packet (RFC 6716 §3.2)."""
    heads = np.arange(1 << 16)
    frame = np.array(_FRAME_TENTHS, np.int64)[heads >> 11] * RATE_HZ // 10_000
    code, told = heads >> 8 & 3, heads & 0x3F
    frames = np.where(code == 0, 1, np.where(code == 3, told, 2))
    ticks = frame * np.where(frames <= _FRAMES_MAX, frames, 0)
    return np.where(ticks <= PACKET_TICKS_MAX, ticks, 0)


TICKS_BY_HEAD = _ticks_by_head()

_STEREO, _MANY = 0x04, 0x03  # of a TOC (§3.1): the channels; code 3, so many frames as the next octet says (§3.2.5)
_VARIABLE, _PADDED = 0x80, 0x40  # of that octet
_CELT_FROM = 16  # the configurations from here on are CELT alone, which repeats nothing
_SILENT_FRAME = b"\xff\xfe"  # of CELT: the first symbol says silence (§4.3), whatever came before
_CELT_FULLBAND = {120: 28, 240: 29, 480: 30, 960: 31}  # configurations by the ticks of a frame (Table 2)
_PADDING_MAX = 254  # octets of padding that a padding count of 255 stands for


def repeats(payload: bytes) -> bool:
    """Whether a packet may say again what the packet before it said: in-band FEC (LBRR, RFC 6716 §4.2.4, §4.2.5).

    The flags begin the first frame, each as likely as not, so they lie as bits in its first octet: a voice flag for
    each 20 ms, one for the repetition; the same for the other channel.
    """
    if not payload or payload[0] >> 3 >= _CELT_FROM or (at := _first_frame(payload)) >= len(payload):
        return False
    chunks = max(1, _FRAME_TENTHS[payload[0] >> 3] * RATE_HZ // 10_000 // CHUNK_TICKS)
    flags = payload[at] >> 7 - chunks & 1
    if payload[0] & _STEREO:
        flags |= payload[at] >> 6 - 2 * chunks & 1
    return bool(flags)


def silent(payload: bytes) -> bytes:
    """A packet of silence that is as long as this one, in octets and in time.

    It is made of CELT frames, which also make a decoder forget what SILK had in mind. One too short for that has no
    room for anything: it becomes a packet without content, which decoders bridge with what came before.
    """
    if len(payload) == 1:
        return payload
    return _silent(payload[0] & _STEREO, int(TICKS_BY_HEAD[int.from_bytes(payload[:2], "big")]), len(payload))


@lru_cache(4096)  # far more lengths than a call has
def _silent(stereo: int, ticks: int, octets: int) -> bytes:
    frame = max(size for size in _CELT_FULLBAND if ticks % size == 0)
    toc, count = _CELT_FULLBAND[frame] << 3 | stereo, ticks // frame
    content = _SILENT_FRAME * count
    if count == 1 and octets == 1 + len(content):
        return bytes((toc,)) + content
    if octets < 2 + len(content):
        content = b""
    rest = octets - 2 - len(content)
    if not rest:
        return bytes((toc | _MANY, count)) + content
    # The octets that count the padding are part of what is to be filled.
    full, left = divmod(rest - 1, _PADDING_MAX + 1)
    counts = b"\xff" * full + bytes((left,))
    return bytes((toc | _MANY, _PADDED | count)) + counts + content + bytes(rest - len(counts))


def _first_frame(payload: bytes) -> int:
    """Where the first frame of a packet begins (RFC 6716 §3.2), or an offset beyond its end."""
    code = payload[0] & _MANY
    if code < 2:
        return 1
    if code == 2:
        return 1 + _length_octets(payload, 1)
    head = payload[1] if len(payload) > 1 else 0
    at = 2
    if head & _PADDED:
        while payload[at : at + 1] == b"\xff":
            at += 1
        at += 1
    if head & _VARIABLE:
        for _ in range((head & 0x3F) - 1):
            at += _length_octets(payload, at)
    return at


def _length_octets(payload: bytes, at: int) -> int:
    """How many octets say a frame's length (§3.2.1)."""
    return 1 if payload[at : at + 1] < b"\xfc" else 2


def decoder() -> LibavDecoder:
    """A decoder in its first state."""
    return LibavDecoder("libopus", RATE_HZ)


def packets(samples: Samples, ptime_ms: int) -> list[bytes]:
    """48 kHz samples as packets of 10, 20, 40 or 60 ms; silence fills the last. Coded for speech, with FEC."""
    frame = RATE_HZ * ptime_ms // 1000
    padded = np.pad(samples, (0, -len(samples) % frame))
    options = {"application": "voip", "frame_duration": str(ptime_ms), "b": "24000", "fec": "1", "packet_loss": "5"}
    return encoded("libopus", RATE_HZ, padded, frame, options)[: len(padded) // frame]
