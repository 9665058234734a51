"""The fast way of intake in the native core: the columns of a batch and of a table as C sees them.

`callvault_take` keeps the packets of every row whose packets are all in order, as `Intake` does with numpy where there
is no core, and names the datagrams of the other rows.
"""

from __future__ import annotations

import ctypes

import numpy as np

from media.framelog import TALLY
from media.legs import FRAMES, PAYLOAD_BYTES_MAX, REGION_BYTES, US_PER_TICK, Int64s, Table
from media.native import Core
from media.receive import SLOT_BYTES, Arena, Batch
from media.sequence import JUMP_US

_BATCH = ("rows", "slots", "lengths", "sources", "stamps_ns", "octets")
_CONSTANTS = {
    "frames": FRAMES,
    "region_bytes": REGION_BYTES,
    "payload_bytes_max": PAYLOAD_BYTES_MAX,
    "jump_us": JUMP_US,
    "us_per_tick": US_PER_TICK,
}
_BEFORE_TALLY = (
    *("origin_ns", "from_us", "receiving", "codec", "source", "ssrc", "payload_type"),
    *("next_sequence", "next_timestamp", "head", "transit_us", "arrival_us", "stamp_ns", "jitter_us", "tally"),
)
_COUNTERS = {"tally_width": len(TALLY), "tally_packets": TALLY["packets"], "tally_octets": TALLY["octets"]}
_AFTER_TALLY = ("count", "fill", "timestamps", "arrivals_us", "lengths", "codecs", "flags", "pool")


class _Batch(ctypes.Structure):
    """`struct batch` of core.c."""

    _fields_ = (
        ("count", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in _BATCH),
        ("slot_bytes", ctypes.c_int64),
    )


class _Table(ctypes.Structure):
    """`struct table` of core.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _CONSTANTS),
        *((name, ctypes.c_void_p) for name in _BEFORE_TALLY),
        *((name, ctypes.c_int64) for name in _COUNTERS),
        *((name, ctypes.c_void_p) for name in _AFTER_TALLY),
    )


class InOrder:
    """The fast way into one table, out of one arena. Both must outlive it: it holds their addresses."""

    def __init__(self, core: Core, table: Table, arena: Arena) -> None:
        self._take = core.take
        self._batch = _Batch(octets=arena.octets.ctypes.data, slot_bytes=SLOT_BYTES)
        self._table = _Table(**_CONSTANTS, **_COUNTERS)
        for name in (*_BEFORE_TALLY, *_AFTER_TALLY):
            column = getattr(table, name)
            assert column.flags.c_contiguous, "as core.c reads it"
            setattr(self._table, name, column.ctypes.data)

    def take(self, batch: Batch, now_ns: int, wall_offset_ns: int) -> Int64s:
        """Keep what is in order; the indices of the datagrams that are left."""
        left = np.empty(len(batch.keys), np.int64)
        found, columns = self._batch, (batch.lengths, batch.sources, batch.stamps_ns)
        found.count = len(batch.keys)
        found.rows, found.slots = batch.keys.ctypes.data, batch.slots.ctypes.data
        found.lengths, found.sources, found.stamps_ns = (column.ctypes.data for column in columns)
        leaving = self._take(ctypes.byref(found), ctypes.byref(self._table), now_ns, wall_offset_ns, left.ctypes.data)
        return left[:leaving]
