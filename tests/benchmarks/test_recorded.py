"""What the benchmarks take for a lossless track."""

from __future__ import annotations

import pytest

from benchmarks.recorded import PROBE_OCTETS, is_part_of

CIRCLE = b"".join(number.to_bytes(2, "big") for number in range(1000))


@pytest.mark.parametrize("start", [0, 2, 1500, len(CIRCLE) - 2])
def test_audio_that_goes_round_the_circle_is_recognised(start: int) -> None:
    assert is_part_of(CIRCLE, (CIRCLE * 4)[start : start + 5000])


@pytest.mark.parametrize(
    "audio",
    [
        CIRCLE[:1000] + CIRCLE[1160:],  # a packet is missing
        CIRCLE[:1000] + CIRCLE[840:],  # one came twice
        CIRCLE[:1000] + b"\xd5" * 160 + CIRCLE[1160:],  # one is another's
        bytes(PROBE_OCTETS),
    ],
)
def test_anything_else_is_not(audio: bytes) -> None:
    assert not is_part_of(CIRCLE, audio)
