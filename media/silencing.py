"""Payloads and chunks with silence in the place of what must not be kept; the rest as it was received, in its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from media import framelog
from media.codecs import BY_NUMBER, CODECS
from media.framelog import REASON_MASK, Frames, Reason
from media.legs import Leg

SILENCE = {codec.number: codec.silent(b"\0")[0] for codec in CODECS if codec.in_octets}
"""The octet that is silence, of each codec that can be silenced octet by octet."""


def quiet(codec: int, payload: bytes, first: int, last: int) -> bytes:
    """A payload with its octets [first, last) silenced; the whole of it, where that is not to be had."""
    silent = BY_NUMBER[codec].silent(payload)
    return payload[:first] + silent[first:last] + payload[last:] if codec in SILENCE else silent


def rewritten(raw: bytes, change: Callable[[Frames], Frames]) -> bytes:
    """A chunk with other payloads."""
    chunk = framelog.decode(raw)
    return framelog.encode(
        change(chunk.frames),
        head=chunk.start,
        written_us=chunk.written_us,
        pending=chunk.pending,
        noise=chunk.noise,
        tally=chunk.tally,
        told=chunk.readings,
    )


def silenced(frames: Frames, start: int, end: int, leg: Leg) -> Frames:
    """The frames with the payload octets [start, end) silenced; the leg's timeline is told."""
    ends = np.cumsum(frames.lengths)
    begins = ends - frames.lengths
    touched = np.flatnonzero((ends > start) & (begins < end))
    return _changed(frames, {i: (max(0, start - int(begins[i])), end - int(begins[i])) for i in touched.tolist()}, leg)


def silenced_span(frames: Frames, start: int, end: int, leg: Leg) -> Frames:
    """The frames with those that overlap the media time [start, end) silenced."""
    touched = np.flatnonzero((frames.timestamps < end) & (frames.timestamps + frames.durations > start))
    return _changed(frames, {i: (0, int(frames.lengths[i])) for i in touched.tolist()}, leg)


def _changed(frames: Frames, touched: dict[int, tuple[int, int]], leg: Leg) -> Frames:
    payload, flags = bytearray(frames.payload), frames.flags.copy()
    ends, durations = np.cumsum(frames.lengths), frames.durations
    for i, (first, last) in touched.items():
        end, began = int(ends[i]), int(frames.timestamps[i])
        begin = end - int(frames.lengths[i])
        payload[begin:end] = quiet(int(frames.codecs[i]), bytes(payload[begin:end]), first, last)
        continues = i > 0 and began == int(frames.timestamps[i - 1] + durations[i - 1])
        if continues and not flags[i] & REASON_MASK:  # the gap before any other has its reason there
            flags[i] |= Reason.MASKED
            leg.timeline.mask(began, began + int(durations[i]))
    return replace(frames, payload=bytes(payload), flags=flags)
