"""The clock that reads are refused by: the latest of those that were looked at, carried on by the host's own.

Whoever sweeps keeps a heartbeat, which says what the latest of all clocks was (`storage.clocks`). So long as the host's
is the latest, nothing is added to it. Where another was ahead, or the host's has gone back since, what is due by that
one is refused too: whichever clock is right, nothing is read after its time. In the process that sweeps that holds
from the look on, in others from their next reading of the row, at most `AGAIN_S` later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from storage.catalogue import Catalogue
from storage.clocks import Heartbeat
from storage.errors import Unavailable
from storage.heartbeat import last

AGAIN_S = 60.0
"""How old, by the process's own steady clock, what is known of the heartbeat may be: reading it is one small query."""


class LatestClock:
    """Unix time, never earlier than the last heartbeat's latest clock; thread-safe."""

    def __init__(
        self, catalogue: Catalogue, clock: Callable[[], float], steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._catalogue = catalogue
        self._clock = clock
        self._steady = steady
        self._beat: Heartbeat | None = None
        self._read_at: float | None = None
        self._reading = threading.Lock()

    def __call__(self) -> float:
        if self._read_at is None or self._steady() - self._read_at >= AGAIN_S:
            self._read()
        return latest(self._clock(), self._beat)

    def hear(self, beat: Heartbeat | None) -> None:
        """What the row says now: somebody has read or written it. None: nobody has looked at the clocks yet."""
        self._beat, self._read_at = beat, self._steady()

    def _read(self) -> None:
        """By one thread, while the others go on with what is known; they wait only while nothing is known at all."""
        if not self._reading.acquire(blocking=self._read_at is None):
            return
        try:
            with self._catalogue.reading() as connection:
                self.hear(last(connection))
        except Unavailable:
            if self._read_at is None:
                raise
        finally:
            self._reading.release()


def latest(now_s: float, beat: Heartbeat | None) -> float:
    """The latest of the host's clock now and what the heartbeat's latest clock should say by now."""
    if beat is None:
        return now_s
    return max(now_s, beat.latest_s + max(0.0, now_s - beat.host_s))
