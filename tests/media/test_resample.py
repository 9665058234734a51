"""Samples between samples: other rates keep the sound, and any part is exactly that part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.resample import PHASES, REACH, interpolated, upsampled

NOISE = np.random.default_rng(3).normal(0, 6000, 2000).astype(np.int16)


@pytest.mark.parametrize("factor", [2, 3, 6])
@pytest.mark.parametrize("hz", [300.0, 1000.0, 3400.0])
def test_a_tone_stays_that_tone_at_a_higher_rate(factor: int, hz: float) -> None:
    tone = 10_000 * np.sin(2 * np.pi * hz * np.arange(1600) / 8000)
    higher = upsampled(tone.astype(np.int16), factor)
    expected = 10_000 * np.sin(2 * np.pi * hz * np.arange(1600 * factor) / 8000 / factor)
    assert np.array_equal(higher[::factor], tone.astype(np.int16)), "what was there stays"
    inner = slice(100 * factor, -100 * factor)
    assert np.abs(higher[inner] - expected[inner]).max() < 10_000 * 0.03


def test_the_same_rate_is_the_same_samples() -> None:
    assert upsampled(NOISE, 1) is NOISE


@given(st.integers(0, 1900 * PHASES), st.integers(1, 90 * PHASES))
def test_any_part_is_that_part_of_the_whole(first: int, length: int) -> None:
    positions = np.arange(first, first + length, 31, dtype=np.int64)
    start, end = max(0, first // PHASES - REACH), first // PHASES + length // PHASES + REACH + 2
    part = interpolated(NOISE[start:end], positions - start * PHASES)
    assert np.array_equal(part, interpolated(NOISE, positions))


def test_beyond_the_samples_there_is_silence() -> None:
    assert not interpolated(NOISE, np.array([-5 * PHASES, 2005 * PHASES], np.int64)).any()
    assert interpolated(np.zeros(0, np.int16), np.array([0], np.int64)).tolist() == [0]
