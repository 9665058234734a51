"""In which cell of each table a call is counted: by how it ended, how long it was, and the worst of its tracks.

The tables hold no times, no names, no numbers and nothing that is one call's alone. All of them count the same calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from media.codecs import CODECS
from media.quality import quality
from media.timeline import TrackFacts
from storage.model import CallState

NONE = "none"
"""Of a call that has no such thing: nothing was received, or it was not measured."""
SEVERAL = "several"

_S = (10, 30, 60, 180, 600, 1800)
MOS = (2.6, 3.1, 3.6, 4.0, 4.3)  # G.107 table B.1: nearly all, many, some users dissatisfied; satisfied; very
LOSS_PERCENT = (0.1, 0.5, 1.0, 2.0, 5.0)
JITTER_MS = (5.0, 10.0, 20.0, 50.0)


def _bins(bounds: Sequence[float]) -> tuple[str, ...]:
    edges = [f"{bound:g}" for bound in bounds]
    return (f"<{edges[0]}", *(f"{a}-{b}" for a, b in pairwise(edges)), f">={edges[-1]}")


TABLES: Mapping[str, tuple[str, ...]] = {
    "outcome": tuple(
        state.value for state in (CallState.STORED, CallState.INTERRUPTED, CallState.NOT_RECORDED, CallState.NO_MEDIA)
    ),
    "duration_s": (NONE, *_bins(_S)),
    "talk_s": (NONE, *_bins(_S)),
    "codec": (NONE, *(codec.name.upper() for codec in CODECS), SEVERAL),
    "mos": (NONE, *_bins(MOS)),
    "loss_percent": (NONE, *_bins(LOSS_PERCENT)),
    "jitter_ms": (NONE, *_bins(JITTER_MS)),
}
"""Table → its cells. `duration_s` is from answer to hang-up; `talk_s` what was received of the longest track, without
hold, pause, silence that was not sent, and losses; `mos`, `loss_percent`, `jitter_ms` are those of the worst track."""


def empty() -> dict[str, dict[str, int]]:
    """Every cell, with nothing in it."""
    return {name: dict.fromkeys(cells, 0) for name, cells in TABLES.items()}


def cells_of(state: CallState, detail: Mapping[str, Any], tracks: Sequence[TrackFacts]) -> dict[str, str]:
    """The cell of a call in each table, from its state, its call detail, and what is known of its tracks."""
    heard = [track for track in tracks if track.tally.packets]
    rated = [found for found in map(quality, heard) if found is not None]
    names = {name.upper() for track in heard for name in track.codecs}
    duration_ms = detail.get("duration_ms")
    ended = CallState.STORED if state is CallState.ENDED else state  # its manifest is all that is missing
    return {
        "outcome": ended.value,
        "duration_s": NONE if duration_ms is None else within(_S, duration_ms / 1000),
        "talk_s": NONE if not heard else within(_S, max(map(_talk_s, heard))),
        "codec": NONE if not names else SEVERAL if len(names) > 1 else next(iter(names)),
        "mos": NONE if not rated else within(MOS, min(found.mos for found in rated)),
        "loss_percent": NONE if not rated else within(LOSS_PERCENT, max(found.loss_percent for found in rated)),
        "jitter_ms": NONE if not rated else within(JITTER_MS, max(found.jitter_ms for found in rated)),
    }


def within(bounds: Sequence[float], value: float) -> str:
    return _bins(bounds)[sum(value >= bound for bound in bounds)]


def _talk_s(facts: TrackFacts) -> float:
    """Gaps that found no room in the track's map are not taken off."""
    received = sum(piece.end_us - piece.at_us for piece in facts.map)
    return max(0, received - sum(gap.end_us - gap.start_us for gap in facts.gaps)) / 1e6
