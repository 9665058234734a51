"""Audio out of frame logs: linear samples on the call's clock, at the highest rate of the codecs, or a higher one.

Sample 0 is call time 0. The frames of a piece lie side by side by media timestamp, from the sample where the facts
place it, so G.711 at 8 kHz comes out sample for sample; other rates, and clocks that drift, are interpolated. Where
nothing was received there is silence, or the comfort noise that its sender asked for, or what concealment makes of what
came before. Any part comes out the same as in the whole.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from media import comfort, concealment, runs
from media.codecs import BY_NAME, Plain
from media.codecs.g711 import Samples
from media.framelog import Chunk, Frames, joined
from media.grid import Grid
from media.resample import interpolated
from media.runs import Run
from media.timeline import TrackFacts

_MARGIN_MS = 120  # around a part: what concealment looks back to and waits for, and the reach of interpolation


def total_samples(facts: TrackFacts, rate_hz: int | None = None) -> int:
    """Samples from the call's beginning to its end, or to the end of the last piece if that is later."""
    rate_hz = rate_hz or facts.sample_hz
    ends = [Grid(piece, rate_hz).sample_at(piece.end) for piece in facts.map]
    return max([facts.ended_us * rate_hz // 1_000_000, *ends])


def media_span(
    facts: TrackFacts, first_sample: int, last_sample: int, *, rate_hz: int | None = None, conceal: bool = False
) -> list[tuple[int, int]]:
    """The media timestamps [start, end), piece by piece, that the samples [first_sample, last_sample) depend on."""
    rate_hz = rate_hz or facts.sample_hz
    plain = all(isinstance(BY_NAME[name.upper()], Plain) for name in facts.codecs)
    spans = []
    for piece in facts.map:
        start, end = Grid(piece, rate_hz).timestamps(first_sample, last_sample)
        if start >= end:
            continue
        if conceal or piece.knots or not plain or rate_hz != facts.sample_hz:
            margin = _MARGIN_MS * piece.clock_hz // 1000
            start, end = max(piece.start, start - margin), min(piece.end, end + margin)
        spans.append((start if plain else runs.needed_from(piece, start), end))
    return spans


def render_pcm(
    chunks: Iterable[Chunk],
    facts: TrackFacts,
    first_sample: int,
    last_sample: int,
    *,
    rate_hz: int | None = None,
    comfort_noise: bool = False,
    conceal: bool = False,
) -> Samples:
    """The samples [first_sample, last_sample) of a track, from the chunks that `media_span` names; others do no harm.

    With `comfort_noise`, silence whose level the sender told sounds like it; with `conceal`, what the network lost for
    a moment is made up. What was received stays as it is.
    """
    rate_hz = rate_hz or facts.sample_hz
    samples: Samples = np.zeros(max(0, last_sample - first_sample), np.int16)
    if comfort_noise:
        comfort.fill(samples, facts, first_sample, rate_hz)  # frames are laid over it
    parts = [chunk.frames for chunk in chunks if len(chunk.frames.timestamps)]
    if not parts:
        return samples
    frames = joined(parts)
    starts = [*(piece.start for piece in facts.map), 1 << 63]
    for piece, next_start in zip(facts.map, starts[1:], strict=True):
        grid, margin = Grid(piece, rate_hz), _MARGIN_MS * piece.clock_hz // 1000
        start, end = grid.timestamps(first_sample, last_sample)
        if start >= end:
            continue
        # Each frame belongs to the last piece that begins at or before it.
        found = runs.decoded(_within(frames, piece.start, next_start), piece, start - margin, end + margin)
        for run in concealment.filled(found, piece.clock_hz) if conceal else found:
            _lay(samples, first_sample, grid, run)
    return samples


def _within(frames: Frames, start: int, end: int) -> Frames:
    """The frames that begin in [start, end)."""
    first, last = (int(np.searchsorted(frames.timestamps, min(at, (1 << 63) - 1))) for at in (start, end))
    offset, stop = int(frames.lengths[:first].sum()), int(frames.lengths[:last].sum())
    return Frames(
        *(frames.timestamps[first:last], frames.arrivals_us[first:last], frames.lengths[first:last]),
        *(frames.codecs[first:last], frames.flags[first:last], frames.payload[offset:stop]),
    )


def _lay(samples: Samples, first_sample: int, grid: Grid, run: Run) -> None:
    """Put a run's samples where they belong, as far as that lies within `samples`."""
    if run.sample_hz == grid.rate_hz and not grid.piece.knots:
        at = grid.sample_at(run.start) - first_sample
        start, end = max(0, at), min(len(samples), at + len(run.samples))
        if start < end:
            samples[start:end] = run.samples[start - at : end - at]
        return
    last_sample = first_sample + len(samples)
    for number, positions in grid.positions(run.start, run.end, run.sample_hz, first_sample, last_sample):
        at = number - first_sample
        samples[at : at + len(positions)] = interpolated(run.samples, positions)
