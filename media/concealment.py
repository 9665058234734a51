"""Packet loss made inaudible for a listener: the last pitch period goes on and fades (after G.711 Appendix I).

Only what the network lost for a moment between two runs is made up; `concealed` tells from the gap map where that is.
Everything is computed in whole numbers from the samples just before, so that it comes out the same in any part of a
recording.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from media.codecs.g711 import Samples
from media.framelog import Reason
from media.runs import Run
from media.timeline import Gap, TrackFacts
from media.timemap import DRIFT_PPM_MAX, Piece

LOST_MS_MAX = 60  # what is lost for longer stays silent: Appendix I, too, has faded to nothing by then
HISTORY_MS = 50  # of the samples before that are looked at
_PITCH_MS = (5, 15)  # of voices: 66 to 200 Hz
_WINDOW_MS = 20  # that is compared with itself
_FULL_MS = 10  # before the fade begins
_UNITY = 1 << 12
_LOST_US_MAX = LOST_MS_MAX * (1000 + DRIFT_PPM_MAX // 1000) + 1  # by the slowest clock
_SOUND_US_MIN = (_WINDOW_MS + _PITCH_MS[1]) * (1000 - DRIFT_PPM_MAX // 1000) - 1  # before it, or there is no period
_MASKED = Reason.MASKED.name.lower()
_MEANT = frozenset(
    reason.name.lower() for reason in Reason if reason not in {Reason.LOST, Reason.MASKED}
)  # nobody spoke, or was to be heard


def concealed(facts: TrackFacts) -> list[tuple[int, int]]:
    """What of the track is made up where concealment is asked for, as spans of call time in µs, in order.

    Of a track of which the gap map leaves gaps out, some may be missing. What goes on from silence is silence.
    """
    silenced = {gap.start_us for gap in facts.gaps if gap.reason == _MASKED}
    found = []
    at = 0
    for piece in facts.map:
        while at < len(facts.gaps) and facts.gaps[at].start_us < piece.at_us:
            at += 1
        first = at
        while at < len(facts.gaps) and facts.gaps[at].start_us < piece.end_us:
            at += 1
        found += [span for span in _holes(facts.gaps[first:at], piece) if span[1] not in silenced]
    return found


def _holes(gaps: Sequence[Gap], piece: Piece) -> Iterator[tuple[int, int]]:
    """Where a piece has nothing for so short that it is made up. Gaps that touch are one hole, to what comes after."""
    inner = [gap for gap in gaps if gap.reason != _MASKED and gap.end_us <= piece.end_us]
    start_us = end_us = piece.at_us
    sound_us = 0  # how long it sounded before
    for number, gap in enumerate(inner):
        if gap.start_us != end_us:
            start_us, sound_us = gap.start_us, gap.start_us - end_us
        end_us = gap.end_us
        last = number + 1 == len(inner) or inner[number + 1].start_us != end_us
        short = end_us - start_us <= _LOST_US_MAX and sound_us >= _SOUND_US_MIN
        if last and short and gap.reason not in _MEANT:
            yield start_us, end_us


def filled(runs: Sequence[Run], clock_hz: int) -> Iterator[Run]:
    """The runs of a piece, in order, and between them what is made up for those that were lost."""
    yield from runs[:1]
    for before, run in pairwise(runs):
        ticks = run.start - before.end
        if run.lost and 0 < ticks <= LOST_MS_MAX * clock_hz // 1000:
            made = continued(before.samples, before.sample_hz, ticks * before.sample_hz // clock_hz)
            yield Run(before.end, run.start, before.sample_hz, made, lost=False)
        yield run


def continued(samples: Samples, rate_hz: int, count: int) -> Samples:
    """`count` samples that go on as these did, ever softer."""
    history = samples[-HISTORY_MS * rate_hz // 1000 :].astype(np.int64)
    period = _period(history, rate_hz)
    if period == 0:
        return np.zeros(count, np.int16)
    cycle = _joined(history, period)
    repeated = np.resize(cycle, count)
    full, gone = _FULL_MS * rate_hz // 1000, LOST_MS_MAX * rate_hz // 1000
    gain = np.clip((gone - np.arange(count)) * _UNITY // (gone - full), 0, _UNITY)
    return (repeated * gain // _UNITY).astype(np.int16)


def _period(history: np.ndarray[tuple[int], np.dtype[np.int64]], rate_hz: int) -> int:
    """The lag at which the last samples are most like those before them; 0 where there are too few, or only silence."""
    least, most = (ms * rate_hz // 1000 for ms in _PITCH_MS)
    window = _WINDOW_MS * rate_hz // 1000
    if len(history) < window + most or not history[-window:].any():
        return 0
    tail = history[-window:]
    # Products of 16-bit samples over 20 ms stay below 2^53, so their sums are exact.
    past = np.lib.stride_tricks.sliding_window_view(history[-window - most : -least], window)[::-1]
    likeness = (past.astype(np.float64) @ tail.astype(np.float64)).clip(0)
    energy = np.square(past.astype(np.float64)).sum(axis=1)
    return least + int(np.argmax(likeness**2 / np.maximum(energy, 1)))


def _joined(
    history: np.ndarray[tuple[int], np.dtype[np.int64]], period: int
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The last period, its end faded into what came before its beginning, so that it repeats without a click."""
    cycle = history[-period:].copy()
    overlap = period // 4
    if len(history) >= period + overlap:
        fade = np.arange(1, overlap + 1) * _UNITY // (overlap + 1)
        lead = history[-period - overlap : -period]
        cycle[-overlap:] = (cycle[-overlap:] * (_UNITY - fade) + lead * fade) // _UNITY
    return cycle
