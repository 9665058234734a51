"""Audio between the call's rate and the engine's; the home of soxr."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import soxr

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENGINE_RATE_HZ = 16_000
"""What speech engines take: Whisper and its kin were all trained at 16 kHz."""

FULL_SCALE = 32_768.0
"""One beyond the loudest int16 sample: maps [-32768, 32767] into [-1, 1)."""

QUIET_MS = 200
"""A pause between words; shorter ones are inside them."""


def to_engine(pcm: NDArray[np.int16], rate_hz: int) -> NDArray[np.float32]:
    """Samples of any rate as float32 in [-1, 1) at ENGINE_RATE_HZ."""
    samples = pcm.astype(np.float32) / np.float32(FULL_SCALE)
    if rate_hz == ENGINE_RATE_HZ:
        return samples
    return np.asarray(soxr.resample(samples, rate_hz, ENGINE_RATE_HZ), dtype=np.float32)


def resample(pcm: NDArray[np.int16], from_hz: int, to_hz: int) -> NDArray[np.int16]:
    """Samples at another rate, clipped to int16; for callers that make telephone audio of studio audio."""
    if from_hz == to_hz:
        return pcm
    return np.asarray(soxr.resample(pcm, from_hz, to_hz), dtype=np.int16)


def quiet_cut(pcm: NDArray[np.int16], rate_hz: int, within_s: int) -> int:
    """Where best to cut: the middle of the quietest 200 ms among the last `within_s` seconds, as a sample index."""
    cell = rate_hz * QUIET_MS // 1000
    tail = pcm[max(0, len(pcm) - within_s * rate_hz) :]
    cells = len(tail) // cell
    if cells == 0:
        return len(pcm)
    energy = np.square(tail[-cells * cell :].astype(np.float32)).reshape(cells, cell).sum(axis=1)
    quietest = cells - 1 - int(np.argmin(energy[::-1]))
    return len(pcm) - (cells - quietest) * cell + cell // 2
