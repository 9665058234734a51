"""The step between receive and intake for legs whose media is SRTP: packets are opened where they lie in the arena.

A packet that is not authentic, or comes a second time, is counted and changes nothing: to the rest of the engine it
never came. So it is not latched on, not placed, and no sign of life.
"""

from __future__ import annotations

import ctypes

import numpy as np

from media.legs import Leg, Table
from media.receive import SLOT_BYTES, Arena, Batch
from media.srtp import AUTHENTIC, REPLAYED, TOO_OLD


class SecureLegs:
    """The protected legs of a table."""

    def __init__(self, table: Table, legs: list[Leg | None], arena: Arena) -> None:
        self._table = table
        self._legs = legs
        self._arena = arena
        slots = len(arena.words)
        self._lengths = np.zeros(slots, np.int32)
        octets, lengths = arena.octets.ctypes.data, self._lengths.ctypes.data
        self._slots = [ctypes.c_void_p(octets + i * SLOT_BYTES) for i in range(slots)]
        self._lengths_at = [ctypes.c_void_p(lengths + i * 4) for i in range(slots)]

    def open(self, batch: Batch) -> Batch:
        """The batch with its protected packets opened, and without those that are not authentic.

        What comes from a source that is not the leg's is left as it is: intake will not take it.
        """
        table, keys = self._table, batch.keys
        secured = table.secured[keys]
        if not secured.any():
            return batch
        tried = np.flatnonzero(secured & ((batch.sources == table.source[keys]) | table.latching[keys]))
        if not len(tried):
            return batch
        places = batch.slots[tried]
        self._lengths[places] = batch.lengths[tried]
        legs, slots, lengths = self._legs, self._slots, self._lengths_at
        failed: list[int] = []
        ssrcs = self._arena.words[places, 2].tolist()
        for i, slot, row, ssrc in zip(tried.tolist(), places.tolist(), keys[tried].tolist(), ssrcs, strict=True):
            leg = legs[row]
            if leg is None or leg.protection is None:
                continue
            verdict = leg.protection.open(slots[slot], lengths[slot], ssrc)
            if verdict != AUTHENTIC:
                failed.append(i)
                (table.replayed if verdict in (REPLAYED, TOO_OLD) else table.unauthentic)[row] += 1
        batch.lengths[tried] = self._lengths[places]
        if not failed:
            return batch
        kept = np.ones(len(keys), np.bool_)
        kept[failed] = False
        return batch.select(kept)
