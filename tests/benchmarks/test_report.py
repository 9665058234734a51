"""Percentiles, and the labels of the speech that the generator sends."""

from __future__ import annotations

import pytest

from benchmarks.report import percentiles
from benchmarks.speech import Speech


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentiles(range(1, 201)) == {"p50": 100, "p95": 190, "p99": 198, "count": 200}
    assert percentiles([7.0]) == {"p50": 7.0, "p95": 7.0, "p99": 7.0, "count": 1}
    assert percentiles([]) == {"count": 0}


@pytest.mark.parametrize(
    ("offset", "samples", "onsets"),
    [
        (0, 1000, [200, 700]),
        (300, 1000, [400, 900]),
        (300, 400, []),
        (800, 2000, [400, 900, 1400, 1900]),
        (200, 1, [0]),
    ],
)
def test_onsets_are_found_in_every_lap_of_the_circle(offset: int, samples: int, onsets: list[int]) -> None:
    circle = Speech(bytes(1000), ((200, 500), (700, 1000)))
    assert circle.onsets(offset, samples) == onsets
