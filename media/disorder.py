"""Frames that came in disorder are heard again in order: where a key's tone sounds near them.

Their codec's decoder had gone on without them. So a new one hears what lies around each, from what is kept.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from media import tones
from media.codecs import BY_NUMBER, Codec, Plain, Stateful
from media.codecs.g711 import Samples
from media.ears import halved, narrowed
from media.edges import EDGE_SAMPLES, sounding
from media.framelog import Frames
from media.tones import CELL_SAMPLES, RATE_HZ

PREROLL = 4  # frames that a new decoder hears before: 80 ms (RFC 7845 §4.6)
BEHIND = 2  # frames behind: a tone that began in a late one
BEFORE_S, AFTER_S = 0.04, 0.1  # around the frames that a tone sounds in, whatever their codec


def spans(frames: Frames, late: Iterable[int]) -> list[tuple[int, int]]:
    """Media time [start, end) to be silenced, since a tone sounds there, in or near frames of these timestamps.

    A frame with a state that nothing kept comes before cannot be judged, and is silenced.
    """
    found: list[tuple[int, int]] = []
    ends = frames.timestamps + frames.durations
    offsets = np.concatenate(([0], np.cumsum(frames.lengths))).tolist()
    for i in np.searchsorted(frames.timestamps, list(late)).tolist():
        codec = BY_NUMBER[int(frames.codecs[i])]
        first, last = _around(frames, i)
        if isinstance(codec, Stateful) and first == i:
            found.append((int(frames.timestamps[i]), int(ends[i])))
            continue
        payloads = [frames.payload[offsets[k] : offsets[k + 1]] for k in range(first, last)]
        gaps = [k - first for k in range(first + 1, last) if frames.timestamps[k] != ends[k - 1]]
        before, behind = round(BEFORE_S * codec.clock_hz), round(AFTER_S * codec.clock_hz)
        found += [
            (int(frames.timestamps[first + low]) - before, int(ends[first + high]) + behind)
            for low, high in _sounding(codec, payloads, gaps)
        ]
    return found


def _around(frames: Frames, i: int) -> tuple[int, int]:
    """The indices [first, last) of what is heard with a frame: all in its codec."""
    first, last = i, i + 1
    while first > max(0, i - PREROLL) and frames.codecs[first - 1] == frames.codecs[i]:
        first -= 1
    while last < min(len(frames.codecs), i + 1 + BEHIND) and frames.codecs[last] == frames.codecs[i]:
        last += 1
    return first, last


def _sounding(codec: Codec, payloads: list[bytes], gaps: list[int]) -> list[tuple[int, int]]:
    """The first and the last of the payloads that each cell with a tone lies in; or those beside a gap."""
    parts = decoded(codec, payloads)
    ends = np.cumsum([len(part) for part in parts])
    samples = np.concatenate(parts)
    cells = samples[: len(samples) // CELL_SAMPLES * CELL_SAMPLES].reshape(-1, CELL_SAMPLES)
    if not len(cells):
        return []
    disturbed = np.full(len(cells), isinstance(codec, Stateful))
    at = tones.find(cells, disturbed).cells * CELL_SAMPLES
    low = np.searchsorted(ends, at, side="right").tolist()
    found = list(zip(low, np.searchsorted(ends, at + CELL_SAMPLES - 1, side="right").tolist(), strict=True))
    edges = [(k - 1, parts[k - 1][-EDGE_SAMPLES:]) for k in gaps] + [(k, parts[k][:EDGE_SAMPLES]) for k in gaps]
    edges = [(k, edge) for k, edge in edges if len(edge) == EDGE_SAMPLES]
    if edges:
        told = sounding(np.array([edge for _, edge in edges]))
        found += [(k, k) for (k, _), sounds in zip(edges, told, strict=True) if sounds]
    return found


def decoded(codec: Codec, payloads: list[bytes]) -> list[Samples]:
    """Each of payloads in order at 8 kHz, by a new decoder."""
    if isinstance(codec, Plain):
        return [codec.decode(payload) for payload in payloads]
    assert isinstance(codec, Stateful), "there is no third kind"
    decoder = codec.decoder()
    return [_at_8_khz(decoder.decode(payload), codec.sample_hz) for payload in payloads]


def _at_8_khz(samples: Samples, rate_hz: int) -> Samples:
    assert RATE_HZ * 2 == 16_000, "as `narrowed` leaves it"
    return halved(narrowed(samples, rate_hz))
