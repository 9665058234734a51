"""Byte ranges as RFC 9110 §14 has them."""

from __future__ import annotations

import pytest

from gateway.api.audio import byte_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 100)),
        ("bytes=10-19", (10, 20)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        ("bytes=100-", ()),
        ("bytes=-0", ()),
        ("", None),
        ("bytes=-", None),
        ("bytes=5-4", None),
        ("bytes=0-1,5-6", None),
        ("items=0-1", None),
        ("bytes=1" + "0" * 30 + "-", None),
    ],
)
def test_a_range_is_satisfied_refused_or_ignored(header: str, expected: tuple[int, ...] | None) -> None:
    assert byte_range(header, 100) == expected
