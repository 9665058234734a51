"""The search finds what it looks for, however it is cut and written; and not what is not there."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from media.codecs import g711
from tests.canary import CHUNK_BYTES, Canaries

CHANCE = np.random.default_rng(20)
CODED = CHANCE.integers(0, 256, 16_000, np.uint8).tobytes()
SAMPLES = g711.decode_alaw(CODED)


@pytest.fixture(scope="module")
def canaries() -> Canaries:
    made = Canaries()
    made.add_sound("noise", CODED, SAMPLES)
    made.add_words("number", "+31201234567")
    return made


@pytest.mark.parametrize(
    "written",
    [
        lambda at: CODED[at : at + 60],
        lambda at: SAMPLES[at : at + 60].astype("<i2").tobytes(),
        lambda at: SAMPLES[at : at + 60].astype(">i2").tobytes(),
        lambda at: (SAMPLES[at : at + 60] / 32768).astype("<f4").tobytes(),
        lambda at: CODED[at : at + 80].hex().encode(),
        lambda at: base64.b64encode(CODED[at : at + 80]),
    ],
)
@pytest.mark.parametrize("before", [0, 1, 2, 3, CHUNK_BYTES - 70])
def test_any_piece_of_a_sound_is_found_wherever_it_is(
    canaries: Canaries, written: Callable[[int], bytes], before: int
) -> None:
    for at in (0, 1, 37, 5_003, 15_000):
        data = CHANCE.integers(0, 256, before, np.uint8).tobytes() + written(at) + bytes(100)
        assert {name.partition(",")[0] for name in canaries.found_in(data)} == {"noise"}


@pytest.mark.parametrize("encoding", ["ascii", "utf-16-le", "utf-16-be"])
def test_words_are_found_in_every_encoding(canaries: Canaries, encoding: str) -> None:
    assert canaries.found_in(b"x" + "sip:+31201234567@x".encode(encoding)) == {"number"}


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"abc"])
def test_words_within_base64_are_found(canaries: Canaries, before: bytes) -> None:
    assert canaries.found_in(base64.b64encode(before + b"+31201234567" + b"after")) == {"number"}


def test_what_is_not_there_is_not_found(canaries: Canaries, tmp_path: Path) -> None:
    other = CHANCE.integers(0, 256, 20_000_000, np.uint8).tobytes()
    assert canaries.found_in(other) == set()
    assert canaries.found_in(b"+3120123456 7") == set()
    (tmp_path / "clean").write_bytes(other[:1000])
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "dirty").write_bytes(bytes(77) + CODED[333:400])
    (tmp_path / "+31201234567.wav").touch()
    assert canaries.below([tmp_path]) == {
        str(tmp_path / "a" / "dirty"): {"noise, coded"},
        str(tmp_path / "+31201234567.wav"): {"number"},
    }
