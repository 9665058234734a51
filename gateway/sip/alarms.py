"""Alarms by key, for what may be minutes away and is mostly moved before it rings: at most one for each key.

Unlike `Deadlines`, whose entries stay until they are due, an alarm can be cleared. What stale entries a heap keeps
for that is bounded by the number of live ones: a day of finished calls leaves nothing behind.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

STALE_MAX = 64
"""Stale entries that are kept besides as many as there are live ones; then the heap is built anew, so that setting an
alarm stays O(log n) over time."""


class Alarms(Generic[K]):
    """When each key is to be woken (seconds, any monotonic clock)."""

    def __init__(self) -> None:
        self._live: dict[K, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._live)

    @property
    def kept(self) -> int:
        """Entries in memory, stale ones included."""
        return len(self._heap)

    def set(self, key: K, at: float) -> None:
        """Wake `key` at that time, and no longer at the one set before."""
        self._count += 1
        self._live[key] = (at, self._count)
        heapq.heappush(self._heap, (at, self._count, key))
        self._sweep()

    def clear(self, key: K) -> None:
        """Do not wake `key`."""
        if self._live.pop(key, None) is not None:
            self._sweep()

    def next(self) -> float | None:
        """When `due` has something next."""
        while self._heap and not self._stands(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[K]:
        """Takes out the keys whose time has come, oldest first; equal times keep their order."""
        while (at := self.next()) is not None and at <= now:
            key = heapq.heappop(self._heap)[2]
            del self._live[key]
            yield key

    def _stands(self, entry: tuple[float, int, K]) -> bool:
        return self._live.get(entry[2]) == entry[:2]

    def _sweep(self) -> None:
        if len(self._heap) > 2 * len(self._live) + STALE_MAX:
            self._heap = [entry for entry in self._heap if self._stands(entry)]
            heapq.heapify(self._heap)
