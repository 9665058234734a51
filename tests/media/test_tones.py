"""Keys' tones are found as Q.24 wants, wherever they begin, and voices are left alone."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.keytones import PEAK_0_DBM0, silence, tone
from gateway.commands.speech import human
from media.codecs import PCMA, PCMU, Plain
from media.codecs.g711 import Samples
from media.tones import CELL_SAMPLES, KEYS, find

ALL_KEYS = "".join(KEYS)
FALSE_MAX = 0  # cells of the clips, 8,000 of them at four offsets: what was measured
CLIPS = ("two_cities", "endgame_nagg_nell", "beckett")


def keys_in(samples: Samples, codec: Plain = PCMA) -> str:
    """The keys that are found, one for each run of cells."""
    decoded = codec.decode(codec.encode(samples))
    cells = decoded[: len(decoded) // CELL_SAMPLES * CELL_SAMPLES].reshape(-1, CELL_SAMPLES)
    found = find(cells)
    starts = np.flatnonzero(np.diff(found.cells, prepend=-2) > 1)
    return "".join(ALL_KEYS[found.keys[i]] for i in starts)


@pytest.mark.parametrize("level_dbm0", [0, -3, -10, -25, -36])
@pytest.mark.parametrize(("twist_db", "off"), [(0, 0), (4, 0.015), (-8, -0.015), (4, -0.018), (-8, 0.018)])
def test_every_key_of_40_ms_is_found_wherever_it_begins(level_dbm0: float, twist_db: float, off: float) -> None:
    for key in ALL_KEYS:
        for offset_ms in range(0, 20, 3):
            line = (silence(40 + offset_ms), tone(key, 40, level_dbm0, twist_db=twist_db, off=off), silence(60))
            assert keys_in(np.concatenate(line)) == key, (key, offset_ms)


@pytest.mark.parametrize("codec", [PCMA, PCMU])
@pytest.mark.parametrize("snr_db", [20, 12, 10])
def test_a_noisy_line_hides_no_key(codec: Plain, snr_db: int) -> None:
    chance = np.random.default_rng(snr_db)
    rms = PEAK_0_DBM0 * 10 ** (-15 / 20) / 10 ** (snr_db / 20)
    for key in ALL_KEYS:
        line = np.concatenate((silence(47), tone(key, 40, -15), silence(53)))
        noisy = (line + chance.normal(0, rms, len(line))).astype(np.int16)
        assert keys_in(noisy, codec) == key


@pytest.mark.parametrize(
    "samples",
    [
        silence(1000),
        np.random.default_rng(1).normal(0, 6000, 80_000).astype(np.int16),
        (9000 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)).astype(np.int16),  # a line's own tones
        (9000 * np.sin(2 * np.pi * 697 * np.arange(8000) / 8000)).astype(np.int16),  # half a key
        tone("5", 1000, -50),  # nobody's key: crosstalk
        tone("5", 1000, off=0.06),
    ],
)
def test_what_is_no_key_is_none(samples: Samples) -> None:
    assert keys_in(samples) == ""


@pytest.mark.parametrize("clip", CLIPS)
def test_voices_are_not_taken_for_keys(clip: str) -> None:
    pcm = human(clip, 60)
    false = sum(len(keys_in(pcm[offset:])) for offset in range(0, CELL_SAMPLES, 40))
    assert len(pcm) > 8 * 8000
    assert false <= FALSE_MAX
