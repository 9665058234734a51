"""Audio out of frame logs: linear samples on the call's clock, and the WAV that carries them.

Sample 0 is call time 0. The frames of one piece lie side by side by media timestamp, from the sample where the facts
place the piece, so decoded G.711 comes out sample for sample; where nothing was received there is silence, or the
comfort noise that its sender asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from media import comfort
from media.codecs import BY_NUMBER
from media.codecs.g711 import Samples
from media.framelog import Chunk, Frames
from media.timeline import Piece, TrackFacts

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


def total_samples(facts: TrackFacts) -> int:
    """Samples from the call's beginning to its end, or to the end of the last piece if that is later."""
    ends = [_first_sample(piece, facts) + piece.end - piece.start for piece in facts.map]
    return max([facts.ended_us * facts.clock_hz // 1_000_000, *ends])


def media_span(facts: TrackFacts, first_sample: int, last_sample: int) -> list[tuple[int, int]]:
    """The media timestamps [start, end), piece by piece, that the samples [first_sample, last_sample) show."""
    spans = []
    for piece in facts.map:
        offset = piece.start - _first_sample(piece, facts)
        start, end = max(piece.start, first_sample + offset), min(piece.end, last_sample + offset)
        if start < end:
            spans.append((start, end))
    return spans


def render_pcm(
    chunks: Iterable[Chunk], facts: TrackFacts, first_sample: int, last_sample: int, *, comfort_noise: bool = False
) -> Samples:
    """The samples [first_sample, last_sample) of a track, from the chunks that overlap them; others do no harm.

    With `comfort_noise`, silence whose level the sender told sounds like it; what was received stays as it is.
    """
    samples: Samples = np.zeros(max(0, last_sample - first_sample), np.int16)
    if comfort_noise:
        comfort.fill(samples, facts, first_sample)  # frames are laid over it
    starts = np.array([piece.start for piece in facts.map], np.int64)
    for chunk in chunks:
        frames = chunk.frames
        if not len(frames.timestamps) or not len(starts):
            continue
        # The piece of each frame: the last one that begins at or before it.
        pieces = np.searchsorted(starts, frames.timestamps, side="right") - 1
        for first, last in _runs(frames, pieces):
            if pieces[first] >= 0:
                piece = facts.map[pieces[first]]
                at = _first_sample(piece, facts) + int(frames.timestamps[first]) - piece.start - first_sample
                _lay(samples, at, _decoded(frames, first, last))
    return samples


def _runs(frames: Frames, pieces: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Iterable[tuple[int, int]]:
    """Index ranges of frames that follow each other without a gap, in one piece and one codec."""
    ends = frames.timestamps + frames.durations
    broken = (frames.timestamps[1:] != ends[:-1]) | (pieces[1:] != pieces[:-1])
    broken |= frames.codecs[1:] != frames.codecs[:-1]
    bounds = [0, *(np.flatnonzero(broken) + 1).tolist(), len(ends)]
    return pairwise(bounds)


def _decoded(frames: Frames, first: int, last: int) -> Samples:
    start = int(frames.lengths[:first].sum())
    end = start + int(frames.lengths[first:last].sum())
    return BY_NUMBER[int(frames.codecs[first])].decode(frames.payload[start:end])


def _lay(samples: Samples, at: int, decoded: Samples) -> None:
    """Put `decoded` at index `at`, as far as it lies within `samples`."""
    start, end = max(0, at), min(len(samples), at + len(decoded))
    if start < end:
        samples[start:end] = decoded[start - at : end - at]


def _first_sample(piece: Piece, facts: TrackFacts) -> int:
    """The sample at which a piece begins: its instant, rounded to the nearest."""
    return (piece.at_us * facts.clock_hz + 500_000) // 1_000_000
