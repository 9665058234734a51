"""G.711 is exact to the ITU's reference: known values, and inverses of each other."""

from __future__ import annotations

import numpy as np
import pytest

from media.codecs import PCMA, PCMU, Plain, find

ALL_CODES = bytes(range(256))


@pytest.mark.parametrize(
    ("codec", "code", "linear"),
    [
        # G.191's alaw_expand and ulaw_expand: the ends, the middle and both sides of zero.
        *((PCMA, 0xD5, 8), (PCMA, 0x55, -8), (PCMA, 0xAA, 32256), (PCMA, 0x2A, -32256), (PCMA, 0xC5, 264)),
        *((PCMU, 0xFF, 0), (PCMU, 0x7F, 0), (PCMU, 0x80, 32124), (PCMU, 0x00, -32124), (PCMU, 0xEF, 132)),
    ],
)
def test_known_codes_decode_to_known_samples(codec: Plain, code: int, linear: int) -> None:
    assert codec.decode(bytes([code])).tolist() == [linear]


@pytest.mark.parametrize("codec", [PCMA, PCMU], ids=lambda codec: codec.name)
def test_every_code_survives_decoding_and_encoding(codec: Plain) -> None:
    again = codec.encode(codec.decode(ALL_CODES))
    # µ-law has two zeros; the negative one is read as zero and written as the positive one.
    assert [code for code in range(256) if again[code] != code] == ([0x7F] if codec is PCMU else [])


@pytest.mark.parametrize(("codec", "bits"), [(PCMA, 4), (PCMU, 2)])
def test_every_sample_is_coded_as_the_nearest_code_of_its_interval(codec: Plain, bits: int) -> None:
    samples = np.arange(-32768, 32768).astype(np.int16)
    decoded = codec.decode(codec.encode(samples)).astype(np.int32)
    assert (np.diff(decoded) >= 0).all(), "coding keeps the order of samples"
    error = np.abs(decoded - samples)
    magnitude = np.abs(samples.astype(np.int32))
    within = magnitude < 32_000  # above, the code clips
    # A chord's 16 steps reach from a power of two to the next; half a step is at most 1/32 of what is coded.
    assert (error[within] <= (magnitude[within] + 4 * 33 >> 5) + (1 << bits)).all()


@pytest.mark.parametrize("codec", [PCMA, PCMU], ids=lambda codec: codec.name)
def test_batches_decode_by_pairs_to_the_same_samples(codec: Plain) -> None:
    octets = np.random.default_rng(1).integers(0, 256, (5, 160)).astype(np.uint8)
    assert codec.pairs.take(octets.view(np.uint16)).tobytes() == codec.decode(octets).tobytes()


def test_codecs_are_found_by_their_rtpmap() -> None:
    assert find("pcma", 8000) is PCMA
    assert find("PCMU", 16_000) is None
    assert find("PCMU", 8000, 2) is None
    assert find("speex", 8000) is None
