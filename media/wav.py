"""The WAV file around rendered samples: where everything lies in it, and any byte range of it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from media.codecs.g711 import Samples

WAV_HEADER_BYTES = 44
WAV_DATA_BYTES_MAX = 0xFFFFFFFF - WAV_HEADER_BYTES  # RIFF counts in 32 bits: 74 hours of one channel at 8 kHz
_SAMPLE_BYTES = 2


@dataclass(frozen=True, slots=True)
class WavLayout:
    """Where everything lies in a 16-bit PCM WAV file of so many interleaved channels."""

    channels: int
    rate_hz: int
    samples: int  # of each channel

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return _SAMPLE_BYTES * self.channels

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return WAV_HEADER_BYTES + self.samples * self.frame_bytes

    def header(self) -> bytes:
        """The file's first 44 bytes."""
        return wav_header(self.channels, self.rate_hz, self.samples)

    def span(self, first_byte: int, last_byte: int) -> WavSpan:
        """What to put together for the bytes [first_byte, last_byte) of the file."""
        header = self.header()[first_byte:last_byte]
        first = max(0, first_byte - WAV_HEADER_BYTES)
        last = max(0, last_byte - WAV_HEADER_BYTES)
        frame = self.frame_bytes
        return WavSpan(header, first // frame, -(-last // frame), first % frame, max(0, last - first))


@dataclass(frozen=True, slots=True)
class WavSpan:
    """A byte range of a WAV file: `header`, then `length` bytes from `skip` on of the samples [first, last)."""

    header: bytes
    first_sample: int
    last_sample: int
    skip: int
    length: int


def wav_header(channels: int, rate_hz: int, samples: int) -> bytes:
    """The RIFF header of 16-bit PCM; a length beyond 32 bits is written as the largest there is."""
    data = min(samples * channels * _SAMPLE_BYTES, WAV_DATA_BYTES_MAX)
    frame = channels * _SAMPLE_BYTES
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", WAV_HEADER_BYTES - 8 + data, b"WAVE"),
        *(b"fmt ", 16, 1, channels, rate_hz, rate_hz * frame, frame, 8 * _SAMPLE_BYTES),
        *(b"data", data),
    )


def interleave(tracks: Sequence[Samples]) -> bytes:
    """Samples of equal length, one array a channel, as WAV data."""
    return np.stack(tracks, axis=1).astype("<i2").tobytes()
