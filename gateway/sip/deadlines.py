"""Deadlines in a heap: setting one costs O(log n), and time that passes costs nothing for those not yet due.

A deadline is never taken back. Its owner is asked when it is due, and no longer cares if it has moved on; so the heap
holds what was set during the longest timer (64*T1), not what exists.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Deadlines(Generic[T]):
    """What is to be done, and when (seconds, any monotonic clock)."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, at: float, what: T) -> None:
        """Have `what` come out of `due` from `at` on; equal times keep their order."""
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, what))

    def next(self) -> float | None:
        """When something is due next."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[T]:
        """Takes out what is due, oldest first, also what is set meanwhile for a time not after `now`."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[2]
