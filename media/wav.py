"""The WAV file around rendered samples: where everything lies in it, and any byte range of it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from media.codecs.g711 import Samples

WAV_HEADER_BYTES = 44
WAV_DATA_BYTES_MAX = 0xFFFFFFFF - WAV_HEADER_BYTES  # RIFF counts in 32 bits: 74 hours of one channel at 8 kHz
_SAMPLE_BYTES = 2
_REGION = b"rgn "


@dataclass(frozen=True, slots=True)
class Mark:
    """The samples [first, last) of a file are marked with a text."""

    first: int
    last: int
    label: str


@dataclass(frozen=True, slots=True)
class WavLayout:
    """Where everything lies in a 16-bit PCM WAV file of so many interleaved channels.

    Marks stand behind the samples, so that these lie where they do without; a file too long for RIFF's 32 bits has
    none.
    """

    channels: int
    rate_hz: int
    samples: int  # of each channel
    marks: tuple[Mark, ...] = ()
    _tail: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        tail = marks_chunks(self.marks)
        fits = self.samples * self.frame_bytes + len(tail) <= WAV_DATA_BYTES_MAX
        object.__setattr__(self, "_tail", tail if fits else b"")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return _SAMPLE_BYTES * self.channels

    @property
    def data_end(self) -> int:
        """The byte after the last sample."""
        return WAV_HEADER_BYTES + self.samples * self.frame_bytes

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.data_end + len(self._tail)

    def header(self) -> bytes:
        """The file's first 44 bytes."""
        return wav_header(self.channels, self.rate_hz, self.samples, len(self._tail))

    def span(self, first_byte: int, last_byte: int) -> WavSpan:
        """What to put together for the bytes [first_byte, last_byte) of the file."""
        header = self.header()[first_byte:last_byte]
        first, last = (max(0, min(byte, self.data_end) - WAV_HEADER_BYTES) for byte in (first_byte, last_byte))
        tail = self._tail[max(0, first_byte - self.data_end) : max(0, last_byte - self.data_end)]
        frame = self.frame_bytes
        return WavSpan(header, first // frame, -(-last // frame), first % frame, max(0, last - first), tail)


@dataclass(frozen=True, slots=True)
class WavSpan:
    """A byte range of a WAV file: `header`, `length` bytes from `skip` on of the samples [first, last), `tail`."""

    header: bytes
    first_sample: int
    last_sample: int
    skip: int
    length: int
    tail: bytes = b""


def wav_header(channels: int, rate_hz: int, samples: int, tail: int = 0) -> bytes:
    """The RIFF header of 16-bit PCM, with so many bytes after it; a length beyond 32 bits is written as the largest."""
    data = min(samples * channels * _SAMPLE_BYTES, WAV_DATA_BYTES_MAX - tail)
    frame = channels * _SAMPLE_BYTES
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", WAV_HEADER_BYTES - 8 + data + tail, b"WAVE"),
        *(b"fmt ", 16, 1, channels, rate_hz, rate_hz * frame, frame, 8 * _SAMPLE_BYTES),
        *(b"data", data),
    )


def marks_chunks(marks: Sequence[Mark]) -> bytes:
    """Cue points, with lengths and labels as associated data (Multimedia Programming Interface 1.0, IBM, 1991)."""
    if not marks:
        return b""
    points = b"".join(
        struct.pack("<II4sIII", number, mark.first, b"data", 0, 0, mark.first) for number, mark in enumerate(marks, 1)
    )
    notes = b"".join(
        _chunk(b"ltxt", struct.pack("<II4sHHHH", number, mark.last - mark.first, _REGION, 0, 0, 0, 0))
        + _chunk(b"labl", struct.pack("<I", number) + mark.label.encode("ascii") + b"\0")
        for number, mark in enumerate(marks, 1)
    )
    return _chunk(b"cue ", struct.pack("<I", len(marks)) + points) + _chunk(b"LIST", b"adtl" + notes)


def interleave(tracks: Sequence[Samples]) -> bytes:
    """Samples of equal length, one array a channel, as WAV data."""
    return np.stack(tracks, axis=1).astype("<i2").tobytes()


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
