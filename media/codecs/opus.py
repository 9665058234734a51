"""Opus in RTP (RFC 6716, RFC 7587): how long a packet lasts, from its first two octets, and what decodes it.

Whatever the coder does inside (8 to 48 kHz, mono or stereo, silence left out), the RTP clock runs at 48 kHz and a
decoder gives 48 kHz samples. Stereo is mixed to one channel when it is decoded; what is stored stays stereo.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from media.codecs.g711 import Samples
from media.codecs.libav import LibavDecoder, encoded

RATE_HZ = 48_000
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


def decoder() -> LibavDecoder:
    """A decoder in its first state."""
    return LibavDecoder("libopus", RATE_HZ)


def packets(samples: Samples, ptime_ms: int) -> list[bytes]:
    """48 kHz samples as packets of 10, 20, 40 or 60 ms; silence fills the last. Coded for speech, with FEC."""
    frame = RATE_HZ * ptime_ms // 1000
    padded = np.pad(samples, (0, -len(samples) % frame))
    options = {"application": "voip", "frame_duration": str(ptime_ms), "b": "24000", "fec": "1", "packet_loss": "5"}
    return encoded("libopus", RATE_HZ, padded, frame, options)[: len(padded) // frame]
