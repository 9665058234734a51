"""Frames to samples: the frames of a piece that follow each other without a gap, in one codec, decoded.

A codec with a state is decoded in blocks on a fixed grid of media time, each by a decoder of its own that has heard
what came shortly before: so any part of a track decodes to the same samples as the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from media.codecs import BY_NUMBER, Codec, Decoder, Plain, Stateful
from media.codecs.g711 import Samples
from media.framelog import REASON_MASK, Frames, Int64s, Reason
from media.timemap import Piece

BLOCK_S = 5  # decoded by one decoder: a seek decodes half as much, on average, for nothing
PREROLL_MS = (
    500  # that it hears before: RFC 7845 §4.6 wants 80 ms of Opus; G.722's slow predictor takes longer to agree
)


@dataclass(frozen=True, slots=True)
class Run:
    """The samples of the media time [start, end); `lost` where the network lost what would be before it."""

    start: int
    end: int
    sample_hz: int
    samples: Samples
    lost: bool


def needed_from(piece: Piece, timestamp: int) -> int:
    """The media timestamp from which frames with a state are needed to decode what is at this one."""
    return max(piece.start, _block_start(piece, timestamp) - PREROLL_MS * piece.clock_hz // 1000)


def decoded(frames: Frames, piece: Piece, start: int, end: int) -> list[Run]:
    """The runs among frames of one piece that overlap [start, end), from the frames of the piece in order."""
    ends = frames.timestamps + frames.durations
    wanted = np.flatnonzero((ends > start) & (frames.timestamps < end))
    if not len(wanted):
        return []
    low, high = int(wanted[0]), int(wanted[-1]) + 1
    broken = (frames.timestamps[low + 1 : high] != ends[low : high - 1]) | (
        frames.codecs[low + 1 : high] != frames.codecs[low : high - 1]
    )
    offsets = np.concatenate(([0], np.cumsum(frames.lengths)))
    apart = _decoded_apart(frames, offsets, piece, low, high)
    runs = []
    for first, last in pairwise([low, *(np.flatnonzero(broken) + low + 1).tolist(), high]):
        codec = BY_NUMBER[int(frames.codecs[first])]
        if isinstance(codec, Plain):
            samples = codec.decode(frames.payload[offsets[first] : offsets[last]])
        else:
            samples = np.concatenate([apart[index] for index in range(first, last)])
        lost = int(frames.flags[first]) & REASON_MASK == Reason.LOST
        runs.append(Run(int(frames.timestamps[first]), int(ends[last - 1]), codec.sample_hz, samples, lost))
    return runs


def _decoded_apart(frames: Frames, offsets: Int64s, piece: Piece, low: int, high: int) -> dict[int, Samples]:
    """The samples of the frames [low, high) that have a state, by index."""
    numbers = set(frames.codecs[low:high].tolist())
    if all(isinstance(BY_NUMBER[number], Plain) for number in numbers):
        return {}
    found: dict[int, Samples] = {}
    durations = frames.durations
    block = BLOCK_S * piece.clock_hz
    start = _block_start(piece, int(frames.timestamps[low]))
    while start <= int(frames.timestamps[high - 1]):
        before = start - PREROLL_MS * piece.clock_hz // 1000
        first, last = np.searchsorted(frames.timestamps, [before, start + block]).tolist()
        decoders: dict[int, Decoder] = {}
        for index in range(first, min(last, high)):
            codec = BY_NUMBER[int(frames.codecs[index])]
            if isinstance(codec, Stateful):
                decoder = decoders.setdefault(codec.number, codec.decoder())
                samples = decoder.decode(frames.payload[offsets[index] : offsets[index + 1]])
                if low <= index and frames.timestamps[index] >= start:
                    found[index] = _fitted(samples, codec, int(durations[index]))
        start += block
    return found


def _fitted(samples: Samples, codec: Codec, ticks: int) -> Samples:
    """As many samples as the frame lasts: silence for what could not be decoded."""
    count = ticks * codec.sample_hz // codec.clock_hz
    return np.pad(samples[:count], (0, max(0, count - len(samples))))


def _block_start(piece: Piece, timestamp: int) -> int:
    block = BLOCK_S * piece.clock_hz
    return piece.start + max(0, timestamp - piece.start) // block * block
