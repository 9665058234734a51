"""The fast way of intake in numpy: of a batch's packets, those of all legs whose packets are in order, at once.

The twin of `callvault_take` in media/native/core.c. Where there is a core it gets what that has left, which is mostly
of full rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from media.columns import Columns, Ordered
from media.legs import FRAMES, PAYLOAD_BYTES_MAX, REGION_BYTES, US_PER_TICK, Int64s, Table, Windows
from media.receive import SLOT_BYTES, Arena
from media.rtp import HEADER_BYTES
from media.sequence import JUMP_US

_PLAIN = 0x8000  # version 2; no padding, extension or contributing sources
_MARKER_LESS = 0xFF7F


class AtOnce:
    """Takes packets out of one arena into one table. `flush` empties a row that is full."""

    def __init__(self, table: Table, arena: Arena, flush: Callable[[int], None]) -> None:
        self._table = table
        self._arena = arena
        self._from = Windows(arena.octets)
        self._to = Windows(table.pool)
        self._flush = flush

    def take(self, columns: Columns) -> list[tuple[int, int]]:
        """Take the rows that are in order; the index ranges of the others."""
        table, rows = self._table, columns.rows
        first = np.concatenate(([True], rows[1:] != rows[:-1]))
        starts = np.flatnonzero(first)
        counts = np.diff(starts, append=len(rows))
        for row in rows[starts[table.count[rows[starts]] + counts > FRAMES]].tolist():
            self._flush(row)
        rank = np.arange(len(rows)) - np.repeat(starts, counts)
        words = self._arena.words[columns.slots, :3].astype(np.int64)
        payloads = columns.lengths - HEADER_BYTES
        before = np.cumsum(payloads) - payloads
        before -= np.repeat(before[starts], counts)
        timestamps = table.head[rows] + before
        transits = columns.arrivals_us - timestamps * US_PER_TICK
        previous = np.concatenate(([0], transits[:-1]))
        previous[starts] = table.transit_us[rows[starts]]
        order = Ordered(columns, rank, payloads, before, timestamps, transits, np.abs(transits - previous))
        expected = (table.next_sequence[rows] + rank) & 0xFFFF | (_PLAIN | table.payload_type[rows]) << 16
        fine = (
            (words[:, 0] & (_MARKER_LESS << 16 | 0xFFFF) == expected)
            & (words[:, 1] == (table.next_timestamp[rows] + before) & 0xFFFFFFFF)
            & (words[:, 2] == table.ssrc[rows])
            & (columns.sources == table.source[rows])
            & (payloads > 0)
            & (payloads <= PAYLOAD_BYTES_MAX)
            & (order.deviations < JUMP_US)
            & (table.count[rows] + rank < FRAMES)
            & (table.fill[rows] + before + payloads <= REGION_BYTES)
        )
        fine_rows = np.logical_and.reduceat(fine, starts)
        if fine_rows.all():
            self._store(order, starts, counts)
            return []
        if fine_rows.any():
            kept = counts[fine_rows]
            self._store(order.select(np.repeat(fine_rows, counts)), np.cumsum(kept) - kept, kept)
        slow = np.flatnonzero(~fine_rows)
        return list(zip(starts[slow].tolist(), (starts[slow] + counts[slow]).tolist(), strict=True))

    def _store(self, order: Ordered, starts: Int64s, counts: Int64s) -> None:
        """Keep packets that are all in order; `starts` and `counts` say which are of one row."""
        table, rows = self._table, order.columns.rows
        at = (rows, table.count[rows] + order.rank)
        table.timestamps[at] = order.timestamps
        table.arrivals_us[at] = order.columns.arrivals_us
        table.lengths[at] = order.payloads
        table.codecs[at] = table.codec[rows]
        table.flags[at] = 0
        self._copy(order)
        last = starts + counts - 1
        ended = rows[last]
        octets = order.before[last] + order.payloads[last]
        table.count[ended] += counts
        table.fill[ended] += octets
        table.head[ended] += octets
        table.next_sequence[ended] += counts
        table.next_timestamp[ended] = (table.next_timestamp[ended] + octets) & 0xFFFFFFFF
        table.packets[ended] += counts
        table.octets[ended] += octets
        table.transit_us[ended] = order.transits[last]
        table.arrival_us[ended] = order.columns.arrivals_us[last]
        table.stamp_ns[ended] = order.columns.stamps_ns[last]
        for rank in range(int(counts.max())):
            # RFC 3550 §6.4.1, one packet of each row at a time: the estimate builds on the one before.
            which = order.rank == rank
            jitter = table.jitter_us[rows[which]]
            table.jitter_us[rows[which]] = jitter + (order.deviations[which] - jitter) / 16

    def _copy(self, order: Ordered) -> None:
        """Move the payloads from the arena into the pool, all of one length at a time."""
        sources = order.columns.slots * SLOT_BYTES + HEADER_BYTES
        targets = order.columns.rows * REGION_BYTES + self._table.fill[order.columns.rows] + order.before
        lengths = order.payloads
        shortest = int(lengths.min())
        if shortest == int(lengths.max()):
            self._to.of(shortest)[targets] = self._from.of(shortest)[sources]
            return
        for length in np.unique(lengths).tolist():
            which = lengths == length
            self._to.of(length)[targets[which]] = self._from.of(length)[sources[which]]
