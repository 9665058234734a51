"""The packets of a batch in columns, an entry for each, from which whole legs are selected at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from media.legs import Int64s


@dataclass(frozen=True, slots=True)
class Columns:
    """The packets of a batch that may be taken, those of a row together and in order of arrival."""

    rows: Int64s
    slots: Int64s
    lengths: Int64s  # of the datagrams
    sources: Int64s
    stamps_ns: Int64s
    arrivals_us: Int64s

    def select(self, which: NDArray[np.bool_]) -> Columns:
        return Columns(
            *(self.rows[which], self.slots[which], self.lengths[which]),
            *(self.sources[which], self.stamps_ns[which], self.arrivals_us[which]),
        )


@dataclass(frozen=True, slots=True)
class Ordered:
    """The same, with what they would be if they are in order."""

    columns: Columns
    rank: Int64s  # how many packets of the same row precede it
    payloads: Int64s  # octets
    before: Int64s  # payload octets of the same row that precede it
    timestamps: Int64s  # 64-bit
    transits: Int64s  # arrival minus media time, µs
    deviations: Int64s  # of the transit from that of the packet before

    def select(self, which: NDArray[np.bool_]) -> Ordered:
        return Ordered(
            *(self.columns.select(which), self.rank[which], self.payloads[which], self.before[which]),
            *(self.timestamps[which], self.transits[which], self.deviations[which]),
        )
