"""Keys' tones as a telephone makes them (ITU-T Q.23), at a level in dBm0."""

from __future__ import annotations

import numpy as np

from media.codecs.g711 import Samples
from media.tones import HIGH_HZ, KEYS, LOW_HZ, RATE_HZ

PEAK_0_DBM0 = 32_767 / 10 ** (3.14 / 20)  # a sine of 0 dBm0: A-law's overload is at 3.14 (G.711 §5)


def tone(key: str, ms: float = 40, level_dbm0: float = -10, *, twist_db: float = 0, off: float = 0) -> Samples:
    """One key; the louder of its two tones has that level, and the high one is `twist_db` above the low one."""
    row = next(i for i, keys in enumerate(KEYS) if key in keys)
    at = np.arange(round(ms * RATE_HZ / 1000)) / RATE_HZ
    low, high = LOW_HZ[row] * (1 + off), HIGH_HZ[KEYS[row].index(key)] * (1 + off)
    low_peak = PEAK_0_DBM0 * 10 ** ((level_dbm0 - max(0.0, twist_db)) / 20)
    high_peak = PEAK_0_DBM0 * 10 ** ((level_dbm0 + min(0.0, twist_db)) / 20)
    sum_ = low_peak * np.sin(2 * np.pi * low * at + 0.3) + high_peak * np.sin(2 * np.pi * high * at + 1.1)
    return np.asarray(sum_.clip(-32_768, 32_767), np.int16)


def silence(ms: float) -> Samples:
    return np.zeros(round(ms * RATE_HZ / 1000), np.int16)


def dialled(keys: str, ms: float = 40, level_dbm0: float = -10) -> Samples:
    """Keys one after the other, as long as the silence between them (Q.24: 40 ms each)."""
    return np.concatenate([part for key in keys for part in (tone(key, ms, level_dbm0), silence(ms))])
