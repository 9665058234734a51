"""What a sender report says of its sender's clocks, as a frame log keeps it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from media.errors import Malformed

READINGS_MAX = 8  # of one chunk: a peer that reports while nothing of its audio is kept. The newest replaces the last
READING_NS_MIN = 4_000_000_000  # between two of a leg that are kept: RFC 3550's interval is 5 s on average
TIMESTAMP_MAX = 1 << 62  # either way, as of frames

_READING = struct.Struct("<qqQQ")


@dataclass(frozen=True, slots=True)
class Reading:
    """At this media timestamp, the sender's wall clock showed `ntp` (64 bits, 32.32), or so it says.

    `arrival_us` is the call time at which that was told. `endpoint` stands for the sender's CNAME and host, so that
    streams of one clock are known: 0 where it gave no name. Nobody but the worker that made it can tell more from it.
    """

    arrival_us: int
    timestamp: int
    ntp: int
    endpoint: int


def to_bytes(readings: Sequence[Reading]) -> bytes:
    """As a chunk's end; `from_bytes` is its inverse."""
    return b"".join(_READING.pack(told.arrival_us, told.timestamp, told.ntp, told.endpoint) for told in readings)


def from_bytes(data: bytes) -> tuple[Reading, ...]:
    """Read what `to_bytes` wrote, one at least; raises Malformed where it is something else."""
    count, rest = divmod(len(data), _READING.size)
    if rest or not 0 < count <= READINGS_MAX:
        raise Malformed("a chunk ends in no readings, or too many")
    found = tuple(Reading(*fields) for fields in _READING.iter_unpack(data))
    if any(abs(told.timestamp) > TIMESTAMP_MAX for told in found):
        raise Malformed("a reading is beyond its limits")
    return found
