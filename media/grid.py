"""Where the samples of a rendering lie in a piece: from sample numbers on the call's clock to media time, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from media.resample import PHASES
from media.timemap import Piece


@dataclass(frozen=True, slots=True)
class Grid:
    """The samples of a piece at a rate that is a whole multiple of its clock, or equal to it."""

    piece: Piece
    rate_hz: int

    @property
    def first(self) -> int:
        """The sample at which the piece begins: its instant, rounded to the nearest."""
        return (self.piece.at_us * self.rate_hz + 500_000) // 1_000_000

    def sample_at(self, timestamp: int) -> int:
        """The first sample at or after a media timestamp."""
        if not self.piece.knots:
            return self.first - (self.piece.start - timestamp) * self.rate_hz // self.piece.clock_hz
        return -(-self.piece.call_us(timestamp) * self.rate_hz // 1_000_000)

    def timestamps(self, first: int, last: int) -> tuple[int, int]:
        """The media timestamps [start, end) that the samples [first, last) show; nothing unless start < end."""
        piece, clock_hz = self.piece, self.piece.clock_hz
        if not piece.knots:
            start = piece.start + (first - self.first) * clock_hz // self.rate_hz
            end = piece.start - (self.first - last) * clock_hz // self.rate_hz
            return max(piece.start, start), min(piece.end, end)
        parts = [
            (max(t0, int(low)), min(t1, int(high) + 2))
            for (t0, _), (t1, _), low, high in (
                (*stretch, *self._straight(stretch, np.array([first, last], np.float64)))
                for stretch in piece.stretches()
            )
            if max(t0, int(low)) < min(t1, int(high) + 2)
        ]
        return (parts[0][0], parts[-1][1]) if parts else (piece.start, piece.start)

    def positions(
        self, start: int, end: int, sample_hz: int, first: int, last: int
    ) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Where, in samples decoded from media time [start, end), the samples of [first, last) lie, in 96ths of one.

        As runs of (number of the first sample, positions).
        """
        clock_hz = self.piece.clock_hz
        if not self.piece.knots:
            at = self.sample_at(start)
            numbers = np.arange(max(first, at), min(last, self.sample_at(end)), dtype=np.int64)
            if len(numbers):
                yield int(numbers[0]), (numbers - at) * PHASES * sample_hz // self.rate_hz
            return
        for stretch in self.piece.stretches():
            low, high = max(first, self.sample_at(max(start, stretch[0][0]))), self.sample_at(min(end, stretch[1][0]))
            numbers = np.arange(low, min(last, high), dtype=np.int64)
            if len(numbers):
                ticks = self._straight(stretch, numbers.astype(np.float64)) - start
                yield low, np.floor(ticks * (PHASES * sample_hz / clock_hz) + 0.5).astype(np.int64)

    def _straight(
        self, stretch: tuple[tuple[int, int], tuple[int, int]], numbers: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The timestamps of samples by number; one rounding for each operation, so always the same for each number."""
        (t0, u0), (t1, u1) = stretch
        ticks_each = (t1 - t0) / (u1 - u0) * 1e6 / self.rate_hz
        return (numbers - u0 * self.rate_hz / 1e6) * ticks_each + t0
