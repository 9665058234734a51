"""Keys that are pressed in a stream (RFC 4733 events): one for each press, however many packets tell of it.

A press is the packets of one RTP timestamp: its beginning, its updates with a growing duration, and its end, which is
sent three times. Any of them may be lost or come twice, so a press counts from the first packet that is seen of it, and
is told when its end is, or the next one begins, or the stream ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SYMBOLS = "0123456789*#ABCD"  # by event number (RFC 4733 §3.2); other events are no keys
EVENT_BYTES = 4  # event, end bit and volume, duration
END = 0x80
DURATION_MS_MAX = 60_000  # of one press: a key that is stuck


Way = Literal["rtp", "info", "inband"]
"""How a key came: as an RFC 4733 event, in a SIP INFO, as a tone in the audio."""


@dataclass(frozen=True, slots=True, repr=False)
class Press:
    """One key, from when (call time) and how long it was held. It does not show in `repr`."""

    symbol: str
    at_us: int
    duration_ms: int
    way: Way = "rtp"


@dataclass(slots=True, repr=False)
class _Current:
    timestamp: int
    symbol: str
    at_us: int
    ticks: int
    told: bool = False


class Keys:
    """The keys of one stream, whose events run at `clock_hz`."""

    def __init__(self, clock_hz: int) -> None:
        self._clock_hz = clock_hz
        self._current: _Current | None = None

    def receive(self, payload: bytes, timestamp: int, arrival_us: int) -> list[Press]:
        """The presses that an event's packet completes. What is no event, or of no key, completes nothing."""
        if len(payload) < EVENT_BYTES or payload[0] >= len(SYMBOLS):
            return []
        ticks = int.from_bytes(payload[2:4], "big")
        done, current = [], self._current
        if current is None or current.timestamp != timestamp:
            if current is not None and _signed(timestamp - current.timestamp) < 0:
                return []  # a late packet of a press that was told
            done = self.finish()
            began_us = max(0, arrival_us - self._us(ticks))
            self._current = current = _Current(timestamp, SYMBOLS[payload[0]], began_us, ticks)
        current.ticks = max(current.ticks, ticks)
        return done + (self.finish() if payload[1] & END else [])

    def finish(self) -> list[Press]:
        """The press that is under way, if any: the stream ends, or goes on with something else."""
        current = self._current
        if current is None or current.told:
            return []
        current.told = True
        duration_ms = min(self._us(current.ticks) // 1000, DURATION_MS_MAX)
        return [Press(current.symbol, current.at_us, duration_ms)]

    def _us(self, ticks: int) -> int:
        return ticks * 1_000_000 // self._clock_hz


def _signed(difference: int) -> int:
    """How far ahead (or, negative, behind) on the circle of 32-bit timestamps."""
    return ((difference + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
