"""Records of spool streams whose key rows are not durable yet: in memory, sealed, and in no file.

Usually that takes a tenth of a second. A stream that is held (its tenant's key provider is away) waits until its keys
come, through the hours that its bound is good for; then its records go to the disk a portion at a time, so that other
streams' commits do not wait behind them. Bounds count records as they are written. Whatever a stream has no room for is
refused, and so is all that follows, until its own records go out: what it lacks is one span.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

UNRELEASED_BYTES_MAX = 1 << 20
"""Of one stream that is not held: a minute at 128 kbit/s, twice G.711 with its headers."""
HELD_STREAM_BYTES_MAX = 32 << 20
"""Of one that is held: an hour of G.711, which has some 8.6 kB a second with headers; a call of three hours in Opus."""
HELD_TOTAL_BYTES_MAX = 1 << 30
"""Of all that are held by this process: 32 hours of one G.711 stream, ten minutes of two hundred."""


@dataclass(frozen=True, slots=True)
class HeldLimits:
    """What may be held in memory, in bytes, of one stream and of all of one process."""

    stream_bytes: int = HELD_STREAM_BYTES_MAX
    total_bytes: int = HELD_TOTAL_BYTES_MAX


HELD = HeldLimits()


class _Held:
    __slots__ = ("full", "keyless", "records", "since", "size")

    def __init__(self, since: float) -> None:
        self.records: deque[bytes] = deque()
        self.size = 0
        self.since = since
        self.keyless = False
        self.full = False


class HeldRecords:
    """Of all streams of one writer. For one thread, the producer's, but for what `SpoolWriter.health` reads."""

    def __init__(self, limits: HeldLimits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._waiting: dict[int, _Held] = {}  # for their key rows, in the order of their first records
        self._keyless: dict[int, _Held] = {}  # the same of those that are held
        self._going: dict[int, _Held] = {}  # out, the first one first
        self._waited_ms_max = 0.0
        self.size = 0
        """Bytes of those that are held, going out or not."""
        self.refused = 0
        """How many records found no room among what is held."""

    @property
    def count(self) -> int:
        """How many streams are held."""
        return len(self._keyless)

    @property
    def going(self) -> bool:
        """Whether records of held streams are on their way out."""
        return bool(self._going)

    def waited_ms(self, now: float) -> tuple[float, float]:
        """For how long the oldest record of a stream that is not held waits, and the most that one ever has."""
        oldest = max((1000 * (now - held.since) for held in list(self._waiting.values())[:1]), default=0.0)
        return oldest, max(oldest, self._waited_ms_max)

    def hold(self, stream: int) -> None:
        """The stream waits for keys that may be away for long: from here on its bound is the other one."""
        held = self._waiting.pop(stream, None) or self._keyless.get(stream) or _Held(self._clock())
        if not held.keyless:
            held.keyless, held.full = True, False
            self._keyless[stream] = held
            self.size += held.size

    def is_held(self, stream: int) -> bool:
        """Whether it is, and its keys have not come."""
        return stream in self._keyless

    def takes(self, stream: int, size: int) -> bool:
        """Whether so many bytes more of an unreleased stream find room."""
        held = self._keyless.get(stream) or self._going.get(stream) or self._waiting.get(stream)
        if held is None:
            return True
        if not held.keyless:
            held.full = held.full or held.size + size > UNRELEASED_BYTES_MAX
            return not held.full
        full = held.size + size > self._limits.stream_bytes or self.size + size > self._limits.total_bytes
        held.full = held.full or full
        self.refused += held.full
        return not held.full

    def add(self, stream: int, record: bytes) -> None:
        """One that `takes` had room for."""
        held = self._keyless.get(stream) or self._going.get(stream) or self._waiting.get(stream)
        if held is None:
            held = self._waiting[stream] = _Held(self._clock())
        held.records.append(record)
        held.size += len(record)
        self.size += len(record) * held.keyless

    def release(self, stream: int) -> deque[bytes] | None:
        """Its key row is durable: its records, to be written now; None where they go out with `take`."""
        if (held := self._keyless.pop(stream, None)) is not None:
            held.full = False
            self._going[stream] = held
            return None
        return self.forget(stream)

    def take(self, room: int) -> list[tuple[int, list[bytes], bool]]:
        """Records of held streams that have their keys, up to `room` bytes of them: whose, which, and if it was all."""
        taken = []
        for stream, held in list(self._going.items()):
            records = []
            while held.records and room > 0:
                records.append(held.records.popleft())
                room -= len(records[-1])
            size = sum(map(len, records))
            held.size -= size
            self.size -= size
            if not held.records:
                del self._going[stream]
            taken.append((stream, records, not held.records))
            if room <= 0:
                break
        return taken

    def forget(self, stream: int) -> deque[bytes]:
        """The stream waits no more, whatever becomes of its records."""
        if (held := self._keyless.pop(stream, None)) is not None:
            self.size -= held.size
            return held.records
        if (held := self._waiting.pop(stream, None)) is None:
            return deque()
        self._waited_ms_max = max(self._waited_ms_max, 1000 * (self._clock() - held.since))
        return held.records
