"""G.722 at 64 kbit/s: 16 kHz samples, two to an octet, by adaptive prediction in two bands.

RFC 3551 §4.5.2: its RTP clock is 8 kHz all the same, an error of RFC 1890 that stays; so an octet is one tick.
"""

from __future__ import annotations

import numpy as np

from media.codecs.g711 import Samples
from media.codecs.libav import LibavDecoder, encoded

RATE_HZ = 16_000
OCTETS_PER_MS = 8
SILENCE = 0xFD
"""Repeated, it brings any decoder to rest within 10 ms: the least of both bands. -55 dBov or less stays."""


def decoder() -> LibavDecoder:
    """A decoder in its first state (ITU-T G.722 §3.5, reset)."""
    return LibavDecoder("g722", RATE_HZ)


def packets(samples: Samples, ptime_ms: int) -> list[bytes]:
    """16 kHz samples as payloads of so many milliseconds; silence fills the last."""
    frame = RATE_HZ * ptime_ms // 1000
    padded = np.pad(samples, (0, -len(samples) % frame))
    # libav's encoder hands out the octets as it likes; the stream is one all the same.
    stream = b"".join(encoded("g722", RATE_HZ, padded, frame, {}))
    size = OCTETS_PER_MS * ptime_ms
    return [stream[at : at + size] for at in range(0, len(stream), size)]
