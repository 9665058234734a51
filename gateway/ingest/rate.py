"""How often something may happen: a bucket that fills at a rate and holds a burst. Time is an argument."""

from __future__ import annotations


class Rate:
    """Allows `burst` at once and `per_s` in the long run."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._held = float(burst)
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Whether it may happen now, in seconds of any clock that does not go back; if so, it counts."""
        self._held = min(self._burst, self._held + (now - self._at) * self._per_s)
        self._at = now
        if self._held < 1:
            return False
        self._held -= 1
        return True
