"""Starts of speech that a subscriber was told, against the labels of what was sent.

A start tells its participant, not which of the call's tracks that is: of the ways to pair them, the one that explains
most starts is taken, and of those the one with the shortest delays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

EARLY_NS = 100_000_000  # a detector that looks back may place the begin of speech before the label
LATE_NS = 500_000_000  # a start this long after a label is no answer to it


@dataclass(frozen=True, slots=True)
class Spoken:
    """What one track said: where speech begins, and from when on a start may come too late to be heard (ns)."""

    onsets_ns: tuple[int, ...]
    until_ns: int

    @property
    def due(self) -> tuple[int, ...]:
        """The onsets that must be heard."""
        return tuple(at for at in self.onsets_ns if at < self.until_ns - LATE_NS)


@dataclass(frozen=True, slots=True)
class Matched:
    """Delays of the starts that a label explains, the number of those that none does, and of due onsets not heard."""

    delays_ns: tuple[int, ...]
    false: int
    missed: int


def match(tracks: Sequence[Spoken], heard: Mapping[str, Sequence[int]]) -> Matched:
    """One call's tracks and its starts by participant."""
    times = [tuple(starts) for starts in heard.values()]
    times += [()] * (len(tracks) - len(times))
    ways = (_all(tracks, [times[place] for place in way]) for way in permutations(range(len(times)), len(tracks)))
    best = min(ways, key=lambda found: (-len(found.delays_ns), sum(found.delays_ns)))
    return Matched(best.delays_ns, sum(map(len, times)) - len(best.delays_ns), best.missed)


def _all(tracks: Sequence[Spoken], times: Sequence[Sequence[int]]) -> Matched:
    delays: list[int] = []
    missed = 0
    for track, starts in zip(tracks, times, strict=True):
        left = list(track.onsets_ns)
        for at in starts:
            near = [onset for onset in left if -EARLY_NS < at - onset < LATE_NS]
            if near:
                left.remove(near[-1])
                delays.append(at - near[-1])
        missed += len(set(left) & set(track.due))
    return Matched(tuple(delays), 0, missed)
