"""Voice activity: webrtcvad on 20 ms cells of many legs at once, with a threshold to start and a hangover to stop.

A leg's last 32 cells are the bits of one number. Speech starts when three of the last four are voiced, so a click does
not start it, and ends when none of the last 25 is, so a breath does not end it. Cells that never came count as silence.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import webrtcvad
from numpy.typing import NDArray

from media.native import CORE, Core

_native = webrtcvad._webrtcvad  # the wrapper around it costs 0.4 µs a cell
# For the native core: the same function, and what a capsule of the extension holds, by address.
PROCESS = ctypes.cast(ctypes.PyDLL(_native.__file__).WebRtcVad_Process, ctypes.c_void_p)
_CAPSULE = b"WebRtcVadPtr"
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.argtypes, _pointer.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p

Voices: TypeAlias = NDArray[np.int64]  # 1 for a cell with a voice in it, else 0

RATE_HZ = 8000
CELL_SAMPLES = 160  # 20 ms; webrtcvad takes 10, 20 or 30 ms
CELLS_A_SECOND = RATE_HZ // CELL_SAMPLES
AGGRESSIVENESS = 2  # of 0 to 3
START_WINDOW = 4  # cells
START_VOICED = 3  # of them: 60 ms of speech
HANGOVER = 25  # cells: 500 ms
SETTLING = 5  # cells that a new detector needs to know a line's noise; until then it takes any for speech

START_MASK = (1 << START_WINDOW) - 1
HANGOVER_MASK = (1 << HANGOVER) - 1
_HISTORY_MASK = (1 << 32) - 1
_STARTS = np.array([bits.bit_count() >= START_VOICED for bits in range(1 << START_WINDOW)])


@dataclass(frozen=True, slots=True)
class Decision:
    """Speech of `row` began or ended. `cells_ago` counts from the end of the last cell heard back to then."""

    row: int
    started: bool
    cells_ago: int


class Detectors:
    """The detectors of `rows` legs, by row."""

    def __init__(self, rows: int, core: Core | None = CORE) -> None:
        self._core = core
        self._handles: list[Any] = [None] * rows
        # Columns that the native core reads and writes, too (media/cells.py).
        self.pointers: NDArray[np.uintp] = np.zeros(rows, np.uintp)  # what the handles hold
        self.history: NDArray[np.int64] = np.zeros(rows, np.int64)
        self.hearings: NDArray[np.int64] = np.zeros(rows, np.int64)  # cells heard since the detector is new
        self.talking: NDArray[np.bool_] = np.zeros(rows, np.bool_)

    def open(self, row: int) -> None:
        """Begin anew at `row`."""
        handle = _native.create()
        _native.init(handle)
        _native.set_mode(handle, AGGRESSIVENESS)
        self._handles[row] = handle
        self.pointers[row] = _pointer(handle, _CAPSULE)
        self.history[row] = self.hearings[row] = 0
        self.talking[row] = False

    def close(self, row: int) -> None:
        """Let the detector of `row` go."""
        self._handles[row] = None
        self.pointers[row] = 0
        self.talking[row] = False

    def speaking(self, row: int) -> bool:
        """Whether speech has started at `row` and not ended."""
        return bool(self.talking[row])

    def hear(self, rows: list[int], pcm: bytes) -> list[Decision]:
        """One cell of 160 samples, 16-bit native, for each of `rows`, which are distinct; what it decides."""
        return self.learn(rows, self.voiced(rows, pcm))

    def voiced(self, rows: list[int], pcm: bytes, rate_hz: int = RATE_HZ) -> Voices:
        """Whether a cell of 20 ms, 16-bit native, has a voice in it, for each of `rows`: 1 where it has."""
        if self._core is None:
            return self._voiced_by_python(rows, pcm, rate_hz)
        return self._voiced_by_core(np.array(rows, np.int64), pcm, rate_hz)

    def learn(self, rows: list[int], voiced: Voices) -> list[Decision]:
        """One cell for each of `rows`, which are distinct, has a voice in it or not; what that decides."""
        index = np.array(rows, np.int64)
        settled = self.hearings[index] >= SETTLING
        history = (self.history[index] << 1 | voiced & settled) & _HISTORY_MASK
        self.hearings[index] += 1
        self.history[index] = history
        return self._decide(index, history)

    def miss(self, row: int, cells: int) -> list[Decision]:
        """So many cells of `row` never came."""
        before = int(self.history[row])
        history = before << min(cells, 32) & _HISTORY_MASK
        self.history[row] = history
        if not self.talking[row] or history & HANGOVER_MASK:
            return []
        self.talking[row] = False
        quiet = (before & -before).bit_length() - 1 if before else HANGOVER
        return [Decision(row, started=False, cells_ago=quiet)]

    def quiet_for_long(self, silent: NDArray[np.bool_]) -> list[int]:
        """The rows that are speaking although `silent` says that nothing comes from them any more."""
        rows: list[int] = np.flatnonzero(self.talking & silent).tolist()
        return rows

    def _voiced_by_core(self, rows: NDArray[np.int64], pcm: bytes, rate_hz: int) -> Voices:
        samples = rate_hz // CELLS_A_SECOND
        assert self._core is not None and len(pcm) == 2 * samples * len(rows)
        handles, voiced = self.pointers[rows], np.empty(len(rows), np.uint8)
        assert handles.all(), "every row has a detector"
        self._core.hear(PROCESS, handles.ctypes.data, pcm, len(rows), samples, rate_hz, voiced.ctypes.data)
        return voiced.astype(np.int64)

    def _voiced_by_python(self, rows: list[int], pcm: bytes, rate_hz: int) -> Voices:
        """The twin of `callvault_hear` in media/native/core.c."""
        process, handles, samples = _native.process, self._handles, rate_hz // CELLS_A_SECOND
        size = 2 * samples
        voiced = [
            process(handles[row], rate_hz, pcm[at : at + size], samples)
            for row, at in zip(rows, range(0, len(pcm), size), strict=True)
        ]
        return np.array(voiced, np.int64)

    def _decide(self, index: NDArray[np.int64], history: NDArray[np.int64]) -> list[Decision]:
        speaking = self.talking[index]
        starts = ~speaking & _STARTS[history & START_MASK]
        ends = speaking & ((history & HANGOVER_MASK) == 0)
        decisions = []
        for i in np.flatnonzero(starts | ends).tolist():
            row, started = int(index[i]), bool(starts[i])
            self.talking[row] = started
            decisions.append(self.decided(row, started=started))
        return decisions

    def decided(self, row: int, *, started: bool) -> Decision:
        """That speech began or ended with the row's last cell."""
        # The oldest voiced cell of the window began it; what ended lies before the hangover.
        ago = (int(self.history[row]) & START_MASK).bit_length() if started else HANGOVER
        return Decision(row, started, ago)
