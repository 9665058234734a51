"""G.711: A-law and µ-law by table, exact to the ITU's reference implementation (G.191 Software Tools Library).

Linear samples are signed 16-bit, left-justified as in G.191: A-law carries 13 significant bits, µ-law 14.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Samples: TypeAlias = NDArray[np.int16]
Octets: TypeAlias = NDArray[np.uint8]
SamplePairs: TypeAlias = NDArray[np.uint32]

ALAW_SILENCE, ULAW_SILENCE = 0xD5, 0xFF
_ALAW_TOGGLE = 0x55  # G.711 Table 1a note: even bits are inverted on the wire
_ULAW_BIAS = 33  # G.711 Table 2a: the chords begin at 31 + 2 in 14-bit units
_ULAW_CLIP = 0x1FFF  # largest magnitude of 14-bit linear


def _alaw_expansion() -> Samples:
    """All 256 A-law codes as linear samples (G.191 `alaw_expand`)."""
    code = np.arange(256, dtype=np.int32) ^ _ALAW_TOGGLE
    exponent = (code >> 4) & 7
    mantissa = code & 0x0F
    # The half step is added so that a decoded value lies in the middle of its interval.
    step = np.where(exponent > 0, (mantissa + 16) << np.maximum(exponent - 1, 0), mantissa)
    half = np.where(exponent > 0, 8 << np.maximum(exponent - 1, 0), 8)
    magnitude = (step << 4) + half
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def _ulaw_expansion() -> Samples:
    """All 256 µ-law codes as linear samples (G.191 `ulaw_expand`)."""
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    exponent = (code >> 4) & 7
    mantissa = code & 0x0F
    step = 4 << (exponent + 1)
    magnitude = (0x80 << exponent) + step * mantissa + step // 2 - 4 * _ULAW_BIAS
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_compression() -> Octets:
    """The code of every 16-bit sample, indexed by its unsigned view (G.191 `alaw_compress`)."""
    linear = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    magnitude = np.where(linear < 0, ~linear, linear) >> 4
    exponent = np.zeros_like(magnitude)
    rest = magnitude.copy()
    for _ in range(7):
        large = rest > 16 + 15
        rest = np.where(large, rest >> 1, rest)
        exponent += large
    code = np.where(magnitude > 15, ((exponent + 1) << 4) + (rest - 16), magnitude)
    signed = np.where(linear >= 0, code | 0x80, code)
    return np.asarray(signed ^ _ALAW_TOGGLE, np.uint8)


def _ulaw_compression() -> Octets:
    """The code of every 16-bit sample, indexed by its unsigned view (G.191 `ulaw_compress`)."""
    linear = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    magnitude = np.minimum((np.where(linear < 0, ~linear, linear) >> 2) + _ULAW_BIAS, _ULAW_CLIP)
    segment = np.ones_like(magnitude)
    for shift in range(6, 13):
        segment += (magnitude >> shift) > 0
    high = 8 - segment
    low = 0x0F - ((magnitude >> segment) & 0x0F)
    code = (high << 4) | low
    signed = np.where(linear >= 0, code | 0x80, code)
    return np.asarray(signed, np.uint8)


def _pairs(expansion: Samples) -> SamplePairs:
    """The two samples of every two octets, both read as one native number: half the look-ups for a whole batch."""
    octets = np.arange(65536, dtype=np.uint16).view(np.uint8).reshape(-1, 2)
    return expansion[octets].view(np.uint32)[:, 0].copy()


_ALAW_TO_LINEAR = _alaw_expansion()
_ULAW_TO_LINEAR = _ulaw_expansion()
ALAW_PAIRS = _pairs(_ALAW_TO_LINEAR)
ULAW_PAIRS = _pairs(_ULAW_TO_LINEAR)
_LINEAR_TO_ALAW = _alaw_compression()
_LINEAR_TO_ULAW = _ulaw_compression()


def _octets(data: bytes | memoryview | Octets) -> Octets:
    return data if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)


def decode_alaw(data: bytes | memoryview | Octets) -> Samples:
    """A-law octets as linear samples, one for one and of the same shape."""
    return _ALAW_TO_LINEAR.take(_octets(data))


def decode_ulaw(data: bytes | memoryview | Octets) -> Samples:
    """µ-law octets as linear samples, one for one and of the same shape."""
    return _ULAW_TO_LINEAR.take(_octets(data))


def encode_alaw(samples: Samples) -> bytes:
    """Linear samples as A-law octets."""
    return _LINEAR_TO_ALAW[np.ascontiguousarray(samples, np.int16).view(np.uint16)].tobytes()


def encode_ulaw(samples: Samples) -> bytes:
    """Linear samples as µ-law octets."""
    return _LINEAR_TO_ULAW[np.ascontiguousarray(samples, np.int16).view(np.uint16)].tobytes()


def alaw_packets(samples: Samples, ptime_ms: int) -> list[bytes]:
    """8 kHz samples as A-law payloads of so many milliseconds; silence fills the last."""
    return _packets(encode_alaw(_whole(samples, ptime_ms)), ptime_ms)


def ulaw_packets(samples: Samples, ptime_ms: int) -> list[bytes]:
    """The same in µ-law."""
    return _packets(encode_ulaw(_whole(samples, ptime_ms)), ptime_ms)


def _whole(samples: Samples, ptime_ms: int) -> Samples:
    return np.pad(samples, (0, -len(samples) % (8 * ptime_ms)))


def _packets(octets: bytes, ptime_ms: int) -> list[bytes]:
    return [octets[at : at + 8 * ptime_ms] for at in range(0, len(octets), 8 * ptime_ms)]
