"""Hands what legs have gathered to the sink, as chunks, in turns, so that no tick feels it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from media.chunks import take_chunk, take_chunks
from media.legs import NEVER, Int64s, Leg, Table
from media.masking import Masks

FLUSH_TICKS = 20  # a leg is flushed every 400 ms, so that with the spool's 250 ms commit less than 1 s is at stake


class Flusher:
    """Empties the rows of a table; what is cut goes out by way of the masks."""

    def __init__(self, table: Table, legs: list[Leg | None], masks: Masks, tick_ns: int) -> None:
        self._table = table
        self._legs = legs
        self._masks = masks
        self._tick_ns = tick_ns
        self._phase = self._rounded_ns = 0
        self.now_ns = 0
        """The instant of what is done now (CLOCK_MONOTONIC): when chunks are written, where nothing else is said."""

    def flush(self, row: int, *, closing: bool = False, written_us: int | None = None) -> None:
        """Hand the row's frames to the sink as a chunk; on closing even without any, for the tally."""
        leg = self._legs[row]
        if leg is None or not (closing or self._table.count[row] or leg.late):
            return
        if written_us is None:
            written_us = self._table.call_us(row, self.now_ns)
        self._masks.hear_rest(row)
        self._masks.hear_late(leg)
        self._masks.append(leg, *take_chunk(self._table, leg, written_us))

    def tick(self) -> None:
        """Flush the rows whose turn it is."""
        for phase in self._phases():
            self._flush_rows(np.flatnonzero(self._table.count[phase::FLUSH_TICKS]) * FLUSH_TICKS + phase)

    def _phases(self) -> Iterator[int]:
        """Whose turn it is: in the time of one round that of every row, however long the ticks take."""
        passed = (self.now_ns - (self._rounded_ns or self.now_ns)) // self._tick_ns
        self._rounded_ns = self.now_ns
        for _ in range(min(FLUSH_TICKS, max(1, passed))):
            yield self._phase
            self._phase = (self._phase + 1) % FLUSH_TICKS

    def _flush_rows(self, rows: Int64s) -> None:
        """Many rows, at once where they are in order."""
        table = self._table
        in_order = table.in_order[rows] & table.settled[rows] & (table.payload_type[rows] != NEVER)
        for row in rows[~in_order].tolist():
            self.flush(row)
        if in_order.any():
            # A closed leg has no frames.
            legs = [leg for row in rows[in_order].tolist() if (leg := self._legs[row]) is not None]
            for leg, (start, end, chunk) in zip(legs, take_chunks(table, legs, self.now_ns), strict=True):
                self._masks.append(leg, start, end, chunk)
