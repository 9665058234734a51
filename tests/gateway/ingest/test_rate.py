"""A rate lets a burst through, then as many as come due."""

from __future__ import annotations

from gateway.ingest.rate import Rate


def test_a_burst_passes_and_then_the_rate() -> None:
    rate = Rate(10.0, 3)
    assert [rate.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert not rate.take(100.05)
    assert rate.take(100.15)
    assert not rate.take(100.16)


def test_no_more_than_a_burst_is_saved_up() -> None:
    rate = Rate(10.0, 2)
    assert rate.take(1.0)
    assert [rate.take(1_000_000.0) for _ in range(3)] == [True, True, False]
