"""Listening in the native core: the columns of a table and of the detectors as C sees them.

`callvault_listen` decodes the next cell of every row, asks the speech detector and looks whether it may be a key's
tone,
as `Listener` does with numpy where there is no core; it tells which rows have something to be looked at.
"""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from media import tones, vad
from media.codecs import BY_NUMBER, Plain
from media.legs import REGION_BYTES, Int64s, Table
from media.masking import SEARCHED
from media.native import Core

STARTED, ENDED, TONE = 1, 2, 4
"""What is told of a row, as core.c has it."""

_DETECTORS = ("process", "handles", "history", "hearings", "speaking")
_RULES = {
    "settling": vad.SETTLING,
    "start_mask": vad.START_MASK,
    "start_voiced": vad.START_VOICED,
    "hangover_mask": vad.HANGOVER_MASK,
}
_COLUMNS = ("heard", "codec", "masking", "pool", "masked")
_TABLES = ("expansions", "searched", "coarse")
_BOUNDS = {"level_min": tones.LEVEL_MIN, "coarse_min": tones.COARSE_MIN, "weaker_min": tones.WEAKER_MIN}


class _Listening(ctypes.Structure):
    """`struct listening` of core.c."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _DETECTORS),
        *((name, ctypes.c_int64) for name in _RULES),
        *((name, ctypes.c_void_p) for name in _COLUMNS),
        ("region_bytes", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in _TABLES),
        *((name, ctypes.c_double) for name in _BOUNDS),
    )


class Cells:
    """Hears the cells of one table with its detectors. Both must outlive it: it holds their addresses."""

    def __init__(self, core: Core, table: Table, detectors: vad.Detectors) -> None:
        self._listen = core.listen
        octets = np.arange(256, dtype=np.uint8)
        kept = [codec.decode(octets) for codec in BY_NUMBER.values() if isinstance(codec, Plain)]
        numbers = [codec.number for codec in BY_NUMBER.values() if isinstance(codec, Plain)]
        expansions: NDArray[np.uintp] = np.zeros(256, np.uintp)
        expansions[numbers] = [expansion.ctypes.data for expansion in kept]
        # A row for each sample, the frequencies beside each other.
        self._kept = (*kept, expansions, np.ascontiguousarray(tones.COARSE.T))
        self._with = _Listening(**_RULES, **_BOUNDS, process=vad.PROCESS.value, region_bytes=REGION_BYTES)
        columns = {name: getattr(table, name) for name in _COLUMNS}
        columns |= {"handles": detectors.pointers, "history": detectors.history, "hearings": detectors.hearings}
        columns |= {"speaking": detectors.talking, "searched": SEARCHED}
        columns |= {"expansions": expansions, "coarse": self._kept[-1]}
        for name, column in columns.items():
            assert column.flags.c_contiguous, "as core.c reads it"
            setattr(self._with, name, column.ctypes.data)

    def hear(self, rows: Int64s, *, voices: bool = True) -> tuple[Int64s, NDArray[np.uint8]]:
        """The next cell of each of these rows, which are distinct, have one, and are of plain codecs; it is passed.

        Of which of them, by index, something is told, and what. Without `voices` that is of tones alone.
        """
        told = np.empty(len(rows), np.uint8)
        if not self._listen(ctypes.byref(self._with), rows.ctypes.data, len(rows), voices, told.ctypes.data):
            return rows[:0], told[:0]
        telling = np.flatnonzero(told)
        return telling, told[telling]
