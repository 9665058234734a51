"""Samples between the instants at which they were taken: other rates and other clocks, exact for any part.

A windowed sinc over 32 neighbours, in whole numbers throughout, so that a sample comes out the same whatever part of a
track is asked for. An output sample lies at a position of the input, counted in 96ths of a sample: rates that are whole
multiples fall on them exactly and keep the samples that were there, a clock that drifts is at most half a 96th off.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from media.codecs.g711 import Samples

PHASES = 96  # divisible by every ratio between 8, 16 and 48 kHz; noise from rounding to it is below G.711's own
REACH = 16  # input samples on either side that an output sample depends on
_SHIFT = 15  # of the taps, as whole numbers
_KAISER_BETA = 6.0  # 60 dB beside the pass band


def _taps() -> NDArray[np.int64]:
    """For each phase the weights of the neighbours, which sum to one."""
    offsets = np.arange(-REACH + 1, REACH + 1)
    distance = offsets[None, :] - np.arange(PHASES)[:, None] / PHASES
    window = np.i0(_KAISER_BETA * np.sqrt(np.maximum(0, 1 - (distance / REACH) ** 2))) / np.i0(_KAISER_BETA)
    weights = np.sinc(distance) * window
    taps = np.round(weights / weights.sum(axis=1, keepdims=True) * (1 << _SHIFT)).astype(np.int64)
    taps[np.arange(PHASES), taps.argmax(axis=1)] += (1 << _SHIFT) - taps.sum(axis=1)
    return np.asarray(taps, np.int64)


_TAPS = _taps()


def interpolated(samples: Samples, positions: NDArray[np.int64]) -> Samples:
    """The samples at these positions, in 96ths of an input sample; beyond either end there is silence."""
    padded = np.pad(samples.astype(np.int64), REACH)
    whole, phase = np.divmod(positions, PHASES)
    inside = np.clip(whole + REACH, REACH - 1, len(samples) + REACH - 1)
    total = np.zeros(len(positions), np.int64)
    for index in range(2 * REACH):
        total += padded[inside + index - REACH + 1] * _TAPS[phase, index]
    total = total + (1 << _SHIFT - 1) >> _SHIFT
    total[(whole < -1) | (whole > len(samples))] = 0
    return total.clip(-32_768, 32_767).astype(np.int16)


def upsampled(samples: Samples, factor: int) -> Samples:
    """The samples at `factor` times their rate."""
    if factor == 1:
        return samples
    return interpolated(samples, np.arange(len(samples) * factor, dtype=np.int64) * (PHASES // factor))
