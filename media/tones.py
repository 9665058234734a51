"""Finds keys' tones (DTMF, ITU-T Q.23) in 20 ms cells of many legs at once.

Goertzel's measure, as a matrix product: how much of a cell's energy lies at the eight frequencies. First at the nominal
ones, for all cells; where much of it does, closer, on a grid that bears what Q.24 lets a sender be off. A cell is a
tone's if almost all of its energy is one tone of each group, neither much weaker than the other. Voices have
overtones and noise between them; hardly any 20 ms of them are two pure tones at such places.

A tone lasts 40 ms at least (Q.24), so wherever it begins it fills one cell, which is enough to find it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from media.codecs.g711 import Samples

Floats: TypeAlias = NDArray[np.float32]

RATE_HZ = 8000
CELL_SAMPLES = 160
LOW_HZ = (697, 770, 852, 941)
HIGH_HZ = (1209, 1336, 1477, 1633)
KEYS = ("123A", "456B", "789C", "*0#D")  # a row for each low frequency

DETUNED = (-0.02, -0.01, 0.0, 0.01, 0.02)  # Q.24: up to 1.5 % off must be taken, 3.5 % must not
LEVEL_MIN = 16_000.0  # mean square of a cell; two tones of -45 dBm0: 20 dB below the softest that Q.24 wants found
COARSE_MIN = 0.30  # of the energy at the nominal frequencies; the worst of the grid between them keeps so much
WEAKER_MIN = 0.02  # of it in the weaker group, at the worst of twist and grid
FINE_MIN = 0.84  # of the energy in the two tones: noise 12 dB below them hides none; voices were measured up to 0.82
TWIST_DB_MAX = 10.0  # between the two; Q.24: 8 and 4
THIN = 2  # samples to one of the first look: 4 kHz has all eight tones, and what folds into it only speaks against them
FINE_BATCH = 32  # cells looked at closely at once: a larger product would be spread over threads, which costs more


@dataclass(frozen=True, slots=True)
class Found:
    """Which cells of a batch are a tone's, and of which key (an index into KEYS, row by row)."""

    cells: NDArray[np.int64]
    keys: NDArray[np.int64]


def _matrix(frequencies: list[float], step: int) -> Floats:
    """Rows of cosines, then of sines, scaled so that a pure tone's squares add up to its energy."""
    phases = 2 * np.pi * np.outer(frequencies, np.arange(0, CELL_SAMPLES, step)) / RATE_HZ
    both = np.concatenate((np.cos(phases), np.sin(phases)))
    return np.ascontiguousarray(both * np.sqrt(2 * step / CELL_SAMPLES), np.float32)


COARSE = _matrix([float(hz) for hz in (*LOW_HZ, *HIGH_HZ)], THIN)
_FINE = _matrix([hz * (1 + off) for hz in (*LOW_HZ, *HIGH_HZ) for off in DETUNED], 1)
_TWIST_MAX = np.float32(10 ** (TWIST_DB_MAX / 10))


def find(cells: Samples) -> Found:
    """The cells, rows of 160 samples at 8 kHz, that are a tone's."""
    thin = cells[:, ::THIN].astype(np.float32)
    energies = np.einsum("ij,ij->i", thin, thin)
    powers = _powers(thin, COARSE)
    low, high = powers[: len(LOW_HZ)].max(axis=0), powers[len(LOW_HZ) :].max(axis=0)
    loud = energies > LEVEL_MIN * CELL_SAMPLES / THIN
    both = (low + high > COARSE_MIN * energies) & (np.minimum(low, high) > WEAKER_MIN * energies)
    likely = np.flatnonzero(loud & both)
    if not len(likely):
        return Found(likely, likely)
    closely = [_closely(cells[likely[at : at + FINE_BATCH]]) for at in range(0, len(likely), FINE_BATCH)]
    sure, keys = np.concatenate([each[0] for each in closely]), np.concatenate([each[1] for each in closely])
    return Found(likely[sure], keys[sure])


def _closely(cells: Samples) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Whether each cell is a tone's, and of which key."""
    whole = cells.astype(np.float32)
    powers = _powers(whole, _FINE).reshape(2, len(LOW_HZ), len(DETUNED), len(cells)).max(axis=2)
    best, which = powers.max(axis=1), powers.argmax(axis=1)
    pure = best.sum(axis=0) > FINE_MIN * np.einsum("ij,ij->i", whole, whole)
    even = best.max(axis=0) < _TWIST_MAX * best.min(axis=0)
    return pure & even, len(HIGH_HZ) * which[0] + which[1]


def _powers(cells: Floats, matrix: Floats) -> Floats:
    """Energy at each of the matrix's frequencies (rows) of each cell (columns)."""
    parts = matrix @ cells.T
    half = len(parts) // 2
    squares: Floats = parts[:half] ** 2 + parts[half:] ** 2
    return squares
