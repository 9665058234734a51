"""Where a piece of media time lies in call time: by its nominal clock, or by a line for every few minutes.

A receiver sees each packet's transit, the sender's clock against its own plus what the network added. The network only
ever adds, so the line below all transits that comes closest to them is the clock (the lower envelope; Moon, Skelly and
Towsley 1999), and jitter does not bend it. A piece whose clock drifts less than would be noticed keeps the nominal
rate: its samples come out as they were sent.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median_low
from typing import Any

import numpy as np

from media.codecs import CLOCK_HZ_PLAIN

WINDOW_S = 10  # of media, of which the least delayed packet is remembered: 500 chances to meet one without delay
WINDOWS_MAX = 1024  # of a piece: three hours; beyond, windows are twice as long
STRETCH_WINDOWS = 60  # that one line stands for: ten minutes, in which a crystal keeps its rate to some 1e-7
WINDOWS_MIN = 5  # below, 30 s at least, a drift cannot be told from jitter
NEAR_US = 3_000  # of the line: where half of the windows are not, it is the network that moves, not a clock
DRIFT_US_MIN = 8_000  # over a piece; less is left alone: two tracks then differ by 16 ms at most
DRIFT_PPM_MAX = 1000  # no sender's clock is that far off: what looks like it is something else, and not followed

Point = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """The media timestamps [start, end) of one clock begin at call time `at_us`.

    They run at the nominal rate, or, where there are `knots` (timestamp, call time in µs), straight from one to the
    next.
    """

    start: int
    end: int
    at_us: int
    clock_hz: int = CLOCK_HZ_PLAIN
    knots: tuple[Point, ...] = ()

    @property
    def end_us(self) -> int:
        """The call time at which it ends."""
        return self.call_us(self.end)

    def call_us(self, timestamp: int) -> int:
        """The call time in µs of a media timestamp of the piece."""
        if not self.knots:
            return self.at_us + (timestamp - self.start) * 1_000_000 // self.clock_hz
        index = max(0, min(bisect_right(self.knots, (timestamp, 1 << 63)), len(self.knots) - 1) - 1)
        (first, first_us), (last, last_us) = self.knots[index], self.knots[index + 1]
        return first_us + (timestamp - first) * (last_us - first_us) // (last - first)

    def stretches(self) -> Iterator[tuple[Point, Point]]:
        """The parts that run straight, as their two ends; none of a piece at the nominal rate."""
        return pairwise(self.knots)

    def moved(self, by_us: int) -> Piece:
        """The same, so much later."""
        knots = tuple((timestamp, at_us + by_us) for timestamp, at_us in self.knots)
        return replace(self, at_us=self.at_us + by_us, knots=knots)

    def to_json(self) -> list[Any]:
        """As a list, clock and knots only where they are not the usual ones."""
        fields: list[Any] = [self.start, self.end, self.at_us]
        if self.clock_hz != CLOCK_HZ_PLAIN or self.knots:
            fields += [self.clock_hz, [list(knot) for knot in self.knots]]
        return fields

    @classmethod
    def from_json(cls, data: list[Any]) -> Piece:
        """Read what `to_json` wrote; raises TypeError or ValueError where it is something else."""
        start, end, at_us, *rest = data
        clock_hz, knots = rest or (CLOCK_HZ_PLAIN, [])
        points = tuple((int(timestamp), int(instant_us)) for timestamp, instant_us in knots)
        rising = all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(points))
        if int(clock_hz) <= 0 or len(points) == 1 or not rising:
            raise ValueError("a piece's knots do not rise")
        return cls(int(start), int(end), int(at_us), int(clock_hz), points)


@dataclass(slots=True)
class Envelope:
    """The least transits of a piece, a point for each window of media time: (timestamp, transit in µs).

    A transit is an arrival minus the media time at the nominal rate, both counted from wherever they are.
    """

    window: int  # ticks
    points: list[Point] = field(default_factory=list)
    _best: Point | None = None
    _index: int = 0

    def learn(self, timestamp: int, transit_us: int) -> None:
        """The least delayed of some packets, none of which came late, had this transit."""
        index = timestamp // self.window
        if self._best is not None:
            if timestamp <= self._best[0]:
                return
            if index == self._index:
                self._best = min(self._best, (timestamp, transit_us), key=lambda point: point[1])
                return
            self.points.append(self._best)
        self._best, self._index = (timestamp, transit_us), index
        if len(self.points) >= WINDOWS_MAX:
            pairs = zip(self.points[::2], self.points[1::2], strict=True)
            self.points = [min(pair, key=lambda point: point[1]) for pair in pairs]
            self.window *= 2
            self._index //= 2

    @property
    def least_us(self) -> int | None:
        """The least transit, once there were windows enough to trust it."""
        points = self.all()
        return min(transit_us for _, transit_us in points) if len(points) >= WINDOWS_MIN else None

    @property
    def latest_us(self) -> int | None:
        """The least transit of the current window; None before the first packet."""
        return None if self._best is None else self._best[1]

    def all(self) -> list[Point]:
        """The points so far, that of the current window too."""
        return self.points if self._best is None else [*self.points, self._best]

    def course(self, start: int, end: int) -> Course | None:
        """The line below all points that comes closest to them, for [start, end); None of too few windows."""
        points = self.all()
        if len(points) < WINDOWS_MIN:
            return None
        count = max(1, round(len(points) / STRETCH_WINDOWS))
        bounds = [len(points) * i // count for i in range(count + 1)]
        lines = [support(points[a:b]) for a, b in pairwise(bounds)]
        places = [start, *(points[bound][0] for bound in bounds[1:-1]), end]
        between = [(_at(a, x) + _at(b, x)) / 2 for (a, b), x in zip(pairwise(lines), places[1:-1], strict=True)]
        return Course(tuple(places), (_at(lines[0], start), *between, _at(lines[-1], end)))


@dataclass(frozen=True, slots=True)
class Course:
    """How a transit goes over a piece: straight from each of the `places`, timestamps, to the next."""

    places: tuple[int, ...]
    transits_us: tuple[float, ...]

    @property
    def rise_us(self) -> float:
        """By how much it changes."""
        return max(self.transits_us) - min(self.transits_us)

    def at(self, timestamp: int) -> float:
        """The transit at a timestamp."""
        return float(np.interp(timestamp, self.places, self.transits_us))

    def above(self, points: Sequence[Point]) -> list[Point]:
        """The points by how far they are above it."""
        below_us = np.interp([x for x, _ in points], self.places, self.transits_us).tolist()
        return [(x, round(y - below)) for (x, y), below in zip(points, below_us, strict=True)]

    def is_a_clocks(self, clock_hz: int) -> bool:
        """Whether a clock can be as far off as it is steep."""
        return all(
            abs(y1 - y0) * clock_hz <= DRIFT_PPM_MAX * (x1 - x0)
            for (x0, x1), (y0, y1) in zip(pairwise(self.places), pairwise(self.transits_us), strict=True)
        )

    def spread_us(self, points: Sequence[Point]) -> int:
        """How far above it half of the points are at most."""
        return median_low(y for _, y in self.above(points))

    def knots(self, clock_hz: int) -> tuple[Point, ...]:
        """The map into call time that it makes, as (timestamp, µs)."""
        return tuple(
            (x, round(x * 1_000_000 / clock_hz + y)) for x, y in zip(self.places, self.transits_us, strict=True)
        )


def support(points: Sequence[Point]) -> tuple[Point, Point]:
    """The line below all points that is nearest to them: the edge of their lower hull under their mean."""
    hull: list[Point] = []
    for x, y in points:
        while len(hull) > 1 and _above(hull[-2], hull[-1], (x, y)):
            hull.pop()
        hull.append((x, y))
    mean = sum(x for x, _ in points) / len(points)
    for left, right in pairwise(hull):
        if right[0] >= mean:
            return left, right
    return hull[-1], (hull[-1][0] + 1, hull[-1][1])


def _above(left: Point, middle: Point, right: Point) -> bool:
    """Whether `middle` lies on or above the line between the others."""
    return (middle[1] - left[1]) * (right[0] - left[0]) >= (right[1] - left[1]) * (middle[0] - left[0])


def _at(line: tuple[Point, Point], x: int) -> float:
    (x0, y0), (x1, y1) = line
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
