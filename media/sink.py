"""Where the engine puts what it has received: the seam to whoever keeps it.

Nothing here may wait: every call comes from inside the tick.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SinkHealth:
    """How far the sink is behind, for admission."""

    lag_ms: float = 0.0  # age of the oldest chunk that is not yet durable
    fsync_ms: float = 0.0  # how long the last commit took
    full: bool = False  # chunks are being refused
    exposure_ms: float = 0.0  # age of the oldest chunk that a power cut would cost
    exposure_ms_max: float = 0.0  # the most it ever was
    dropped: int = 0  # chunks that found no room, since the start
    held_streams: int = 0  # that wait for keys that are away, in memory
    held_bytes: int = 0
    held_refused: int = 0  # chunks among the dropped that found no room there


class Sink(Protocol):
    """Keeps the chunks of many legs. Nothing raises for lack of space or waits for a disk: `health` and `poll` tell."""

    def open(self, leg: int, description: dict[str, str]) -> None:
        """Expect chunks of `leg`; the description came with its Open and is the sink's own affair."""
        ...

    def release(self, leg: int) -> None:
        """From now on what was appended for `leg` may become durable."""
        ...

    def hold(self, leg: int) -> None:
        """It may take long until `release`: what is appended for `leg` waits."""
        ...

    def discard(self, leg: int) -> None:
        """`release` is not going to come: forget `leg`, whether it is closed or not, and what is appended for it."""
        ...

    def append(self, leg: int, start: int, end: int, chunk: bytes) -> None:
        """Take an encoded chunk that covers the media timestamps [start, end)."""
        ...

    def close(self, leg: int) -> None:
        """No chunk of `leg` follows."""
        ...

    def poll(self) -> Iterable[int]:
        """The closed legs of which everything has become durable since the last call."""
        ...

    def health(self) -> SinkHealth:
        """How the sink fares right now."""
        ...
