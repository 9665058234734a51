"""Comfort noise (RFC 3389) for a listener: what a sender's silence sounds like, where its level was told.

The noise is white and a function of level and sample number alone, so any part of a recording renders the same, however
it is asked for. The spectrum that RFC 3389 can tell is not kept: at these levels few would hear it.
"""

from __future__ import annotations

import numpy as np

from media.codecs.g711 import Samples
from media.timeline import TrackFacts

_FULL_SCALE = 32_768.0  # 0 dBov is the level of a square wave at the system's overload (ITU-T G.100.1)


def fill(samples: Samples, facts: TrackFacts, first_sample: int, rate_hz: int) -> None:
    """Put noise into `samples`, which begin at `first_sample` of the track, where a gap has a level."""
    for gap in facts.gaps:
        if gap.noise_db is None:
            continue
        start = max(0, gap.start_us * rate_hz // 1_000_000 - first_sample)
        end = min(len(samples), gap.end_us * rate_hz // 1_000_000 - first_sample)
        if start < end:
            samples[start:end] = noise(gap.noise_db, first_sample + start, first_sample + end)


def noise(level_db: int, first_sample: int, last_sample: int) -> Samples:
    """The samples [first_sample, last_sample) of endless noise at -`level_db` dBov, root mean square."""
    # The finalizer of MurmurHash3: each sample number gives a number that tells nothing of its neighbours'.
    bits = np.arange(first_sample, last_sample, dtype=np.uint64).astype(np.uint32)
    bits ^= bits >> np.uint32(16)
    bits *= np.uint32(0x85EBCA6B)
    bits ^= bits >> np.uint32(13)
    bits *= np.uint32(0xC2B2AE35)
    bits ^= bits >> np.uint32(16)
    # Uniform in [-1, 1), whose root mean square is 1 / sqrt(3).
    uniform = bits.view(np.int32).astype(np.float64) / 2**31
    amplitude: float = _FULL_SCALE * 10 ** (-level_db / 20) * 3**0.5
    return np.round(uniform * amplitude).clip(-32_768, 32_767).astype(np.int16)
