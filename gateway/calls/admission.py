"""Whether a new call can be taken: measured by what a media worker tells each second, not counted.

The measure of load is the share of time that the worker spends in ticks: at 15 ms of each 20 it has nothing to spare.
One slow tick says nothing (a p99 over the 50 ticks of a second is the slowest of them), and where a host withholds the
processor now and then, ticks are slow without any load, while the sockets keep what has come.
"""

from __future__ import annotations

from collections import deque

from gateway.policy import Tenant
from media.messages import Stats

SILENCE_S = 3.0  # statistics older than this mean that the worker hangs
BUSY_MAX = 0.75  # of the time; what is left is for commands and the machine's own business
BUSY_SECONDS = 5  # that the share is taken over: no longer than a port's start of a busy minute
SPOOL_MS_MAX = 2000.0  # of data not yet durable, or of one fsync: twice the second of audio that may be lost


class Busy(Exception):
    """No new call can be taken now; `reason` says why, without personal data."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Closed(Busy):
    """No new call of this tenant is taken any more: it has left."""


class Admission:
    """The newest statistics of one media worker, and what they mean for a new call."""

    def __init__(self) -> None:
        self.stats: Stats | None = None
        self._at = 0.0
        self._busy: deque[float] = deque(maxlen=BUSY_SECONDS)

    def hear(self, stats: Stats, now: float) -> None:
        """Each second's statistics, at monotonic time `now`."""
        self.stats, self._at = stats, now
        self._busy.append(stats.busy)

    @property
    def busy(self) -> float:
        """The share of the last seconds that it spent in ticks; 0 of one that has told nothing yet."""
        return sum(self._busy) / max(1, len(self._busy))

    def check(self, policy: Tenant, now: float) -> str:
        """Why a new call of this tenant would go unrecorded ("" if it would be recorded). Raises Busy."""
        if self.stats is None:
            return ""
        if now - self._at > SILENCE_S:
            raise Busy("media worker does not answer")
        if len(self._busy) == BUSY_SECONDS and sum(self._busy) > BUSY_MAX * BUSY_SECONDS:
            raise Busy("media worker at its limit")
        if max(self.stats.spool_lag_ms, self.stats.fsync_ms) > SPOOL_MS_MAX:
            raise Busy("spool behind")
        if self.stats.full:
            if policy.when_full == "refuse":
                raise Busy("spool full")
            return "spool full"
        return ""
