"""The frame log: a track as it was received, in chunks of a fraction of a second each.

A chunk is one columnar record, little-endian:

    header      version, state, count of frames, payload octets, base timestamp, base arrival, instant of writing, tally
    columns     timestamp offset u32, arrival offset i32 (µs), payload length u16, codec u8, flags u8, for every frame
    payloads    all payloads, one after the other
    readings    what the sender told of its clock (`readings`), in a chunk of version 2; one of version 1 ends before

A frame's flags hold why there is nothing before it, where there is nothing (or, where it continues the one before it,
that it is silenced in part), whether its timestamp continues the one before it, and the level of the comfort noise that
stood for the silence before it; the state holds the same for what follows the chunk. A timestamp counts in the clock of
its frame's codec, and the clock changes only where a new piece begins; a frame lasts as long as its octets tell, by
their number or, with Opus, by the first two. Frames are in order of their 64-bit media timestamp and none stands twice.
A chunk may reach back before its predecessor's end where packets came late. The tally counts from the start of the
track, so the last chunk's holds for all of it: what a crash leaves can still tell how the track was received.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from operator import attrgetter
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from media import readings
from media.codecs import BY_NUMBER, Stateful
from media.errors import Malformed
from media.readings import Reading

VERSION = 1
VERSION_WITH_READINGS = 2
FRAMES_MAX = 4096  # 40 s of 10 ms packets; the engine writes some 25
PAYLOAD_BYTES_MAX = 1 << 20  # as long at 64 kbit/s, with room
TICKS_MAX = 1 << 62  # either way, of a base timestamp: what is added to it still has room in 64 bits
CHUNK_BYTES_MAX = PAYLOAD_BYTES_MAX + 64 * 1024

Int64s: TypeAlias = NDArray[np.int64]
Uint8s: TypeAlias = NDArray[np.uint8]

REASON_MASK = 0x07  # of a frame's flags: why there is nothing before it, where there is nothing
NEW_PIECE = 0x08  # of a frame's flags: its timestamp does not continue the one before it
NOISE_SHIFT = 4  # of a frame's flags and of the state: the level of the sender's silence, see `noise_step`
SILENCE_MASK = REASON_MASK | 0xF << NOISE_SHIFT
NOISE_STEPS = 15
NOISE_DB_LOUDEST, NOISE_DB_STEP = 30, 3  # -30 to -72 dBov: louder is no silence, and G.711 has nothing softer

_TICKS_PER_OCTET = np.zeros(256, np.int64)
_TICKS_BY_HEAD: dict[int, Int64s] = {}  # of codecs whose packets say themselves how long they last
for _codec in BY_NUMBER.values():
    _TICKS_PER_OCTET[_codec.number] = _codec.ticks_per_octet
    if isinstance(_codec, Stateful) and _codec.ticks_by_head is not None:
        _TICKS_BY_HEAD[_codec.number] = _codec.ticks_by_head


class Reason(IntEnum):
    """Why nothing was received for a while; the names stand in gap maps."""

    LOST = 0
    DTX = 1  # the sender was silent
    HOLD = 2  # the sender was asked not to send
    PAUSED = 3  # we kept nothing
    NO_MEDIA = 4  # nobody sent
    ANNOUNCEMENT = 5  # nothing may be kept before the announcement's end
    WORKER_LOST = 6  # its media worker died with it, and another went on
    MASKED = 7  # of a frame that continues the one before it: what was said in it is silenced


@dataclass(frozen=True, slots=True)
class Tally:
    """What has become of everything that arrived for a track, since its start."""

    packets: int = 0  # speech frames kept
    octets: int = 0  # of their payload
    lost: int = 0
    duplicate: int = 0
    late: int = 0  # came after more than a second of media had passed it: not kept
    out_of_order: int = 0  # came late, but in time: kept
    foreign: int = 0  # from a source that is not the leg's
    events: int = 0  # RFC 4733: never part of the audio
    comfort: int = 0  # RFC 3389
    discarded: int = 0  # not RTP, a payload type we did not agree on, a stray of another stream
    withheld: int = 0  # arrived while paused or on hold
    jitter_us: int = 0  # RFC 3550 §6.4.1's estimate, in microseconds

    def plus(self, later: Tally) -> Tally:
        """Of both together; the jitter is the later one's."""
        sums = (a + b for a, b in zip(_COUNTERS(self), _COUNTERS(later), strict=True))
        return replace(Tally(*sums), jitter_us=later.jitter_us)


NOTHING = Tally()
TALLY = {entry.name: index for index, entry in enumerate(fields(Tally))}  # the order of the counters

_HEADER = struct.Struct("<BBHIqqq12I")
_HEADER_FIELDS = np.dtype(
    {
        "names": ["version", "pending", "count", "octets", "base", "base_us", "written_us", "tally"],
        "formats": ["u1", "u1", "<u2", "<u4", "<i8", "<i8", "<i8", ("<u4", len(TALLY))],
    }
)
assert _HEADER_FIELDS.itemsize == _HEADER.size, "the same header twice"
_COUNTERS = attrgetter(*(entry.name for entry in fields(Tally)))
_FRAME_BYTES = 12
_COUNTER_MAX = 0xFFFFFFFF  # where a counter stays: 149 hours of 64 kbit/s


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames in columns, one entry each: timestamps in 64-bit RTP ticks, arrivals in call time."""

    timestamps: Int64s
    arrivals_us: Int64s
    lengths: Int64s
    codecs: Uint8s
    flags: Uint8s
    payload: bytes

    @property
    def durations(self) -> Int64s:
        """RTP ticks that each frame lasts, by its length or by its first octets; 0 of what is no frame."""
        durations: Int64s = self.lengths * _TICKS_PER_OCTET[self.codecs]
        if not durations.all():
            for number, ticks_by_head in _TICKS_BY_HEAD.items():
                which = np.flatnonzero(self.codecs == number)
                durations[which] = ticks_by_head[self._heads(which)]
        return durations

    def _heads(self, which: Int64s) -> Int64s:
        """The first two octets of these frames as numbers; a missing one is 0."""
        octets = np.frombuffer(self.payload + b"\0\0", np.uint8)
        starts = (np.cumsum(self.lengths) - self.lengths)[which]
        first = np.where(self.lengths[which] > 0, octets[starts], 0).astype(np.int64)
        second = np.where(self.lengths[which] > 1, octets[starts + 1], 0).astype(np.int64)
        return first << 8 | second


@dataclass(frozen=True, slots=True)
class Chunk:
    """One decoded chunk, covering the timestamps [start, end)."""

    frames: Frames
    written_us: int
    pending: Reason  # why nothing would be received just now
    noise: int  # the level of the silence that has begun, see `noise_step`
    tally: Tally
    start: int
    end: int
    readings: tuple[Reading, ...] = ()


def joined(parts: Sequence[Frames]) -> Frames:
    """The frames of many chunks in order of their timestamps; of two with the same one the first stays."""
    timestamps = np.concatenate([frames.timestamps for frames in parts])
    lengths = np.concatenate([frames.lengths for frames in parts])
    payload = b"".join(frames.payload for frames in parts)
    order: Int64s | slice = slice(None)
    if (np.diff(timestamps) <= 0).any():
        starts = np.cumsum(lengths) - lengths
        _, order = np.unique(timestamps, return_index=True)
        payload = b"".join(payload[starts[i] : starts[i] + lengths[i]] for i in order.tolist())
    return Frames(
        timestamps[order],
        np.concatenate([frames.arrivals_us for frames in parts])[order],
        lengths[order],
        np.concatenate([frames.codecs for frames in parts])[order],
        np.concatenate([frames.flags for frames in parts])[order],
        payload,
    )


def noise_step(level_db: int) -> int:
    """The level of comfort noise (RFC 3389: -dBov) as a chunk keeps it, 1 to 15; 0 would be none."""
    return min(NOISE_STEPS, max(1, 1 + round((level_db - NOISE_DB_LOUDEST) / NOISE_DB_STEP)))


def noise_db(step: int) -> int | None:
    """The level in -dBov of what `noise_step` made, None of 0."""
    return NOISE_DB_LOUDEST + (step - 1) * NOISE_DB_STEP if step else None


def silence_flags(reason: Reason, noise: int) -> int:
    """The flags of a frame, or the state of a chunk, that follows such a silence."""
    return int(reason) | (noise << NOISE_SHIFT if reason is Reason.DTX else 0)


def encode(
    frames: Frames,
    *,
    head: int,
    written_us: int,
    pending: Reason = Reason.LOST,
    noise: int = 0,
    tally: Tally = NOTHING,
    told: Sequence[Reading] = (),
) -> bytes:
    """A chunk of frames that are sorted by timestamp; `decode` is its inverse.

    `head` is the timestamp at which a chunk without frames stands, `told` are its readings.
    """
    count = len(frames.timestamps)
    base, base_us = (int(frames.timestamps[0]), int(frames.arrivals_us[0])) if count else (head, written_us)
    counters = [min(counter, _COUNTER_MAX) for counter in _COUNTERS(tally)]
    state = silence_flags(pending, noise)
    header = _HEADER.pack(VERSION, state, count, len(frames.payload), base, base_us, written_us, *counters)
    chunk = b"".join(
        (
            header,
            (frames.timestamps - base).astype("<u4").tobytes(),
            (frames.arrivals_us - base_us).astype("<i4").tobytes(),
            frames.lengths.astype("<u2").tobytes(),
            frames.codecs.tobytes(),
            frames.flags.tobytes(),
            frames.payload,
        )
    )
    return with_readings(chunk, told)


def with_readings(chunk: bytes, told: Sequence[Reading]) -> bytes:
    """A chunk without readings, with these."""
    return bytes((VERSION_WITH_READINGS,)) + chunk[1:] + readings.to_bytes(told) if told else chunk


def encode_rows(
    counts: Int64s,
    columns: tuple[Int64s, Int64s, Int64s, Uint8s, Uint8s],
    payloads: Sequence[memoryview],
    written_us: Int64s,
    tallies: Int64s,
) -> list[bytes]:
    """Many chunks at once, as `encode` makes each, for a tenth of its time.

    `columns` are those of `Frames` with a row for each chunk, of which the first `counts` entries, one at least, are
    its own; `tallies` has the counters of `Tally` in their order.
    """
    timestamps, arrivals_us, lengths, codecs, flags = columns
    headers = np.zeros(len(counts), _HEADER_FIELDS)
    headers["version"] = VERSION
    headers["count"] = counts
    headers["octets"] = [len(payload) for payload in payloads]
    headers["base"] = timestamps[:, 0]
    headers["base_us"] = arrivals_us[:, 0]
    headers["written_us"] = written_us
    headers["tally"] = np.minimum(tallies, _COUNTER_MAX)
    head, size, width = headers.tobytes(), _HEADER.size, timestamps.shape[1]
    offsets = (timestamps - timestamps[:, :1]).astype("<u4").tobytes()
    arrivals = (arrivals_us - arrivals_us[:, :1]).astype("<i4").tobytes()
    sizes, numbers, marks = lengths.astype("<u2").tobytes(), codecs.tobytes(), flags.tobytes()
    chunks = []
    for i, (count, payload) in enumerate(zip(counts.tolist(), payloads, strict=True)):
        at, end = i * width, i * width + count
        parts = (
            *(head[i * size : (i + 1) * size], offsets[4 * at : 4 * end], arrivals[4 * at : 4 * end]),
            *(sizes[2 * at : 2 * end], numbers[at:end], marks[at:end], payload),
        )
        chunks.append(b"".join(parts))
    return chunks


def decode(data: bytes) -> Chunk:
    """Read one chunk; raises Malformed where it is none."""
    if not _HEADER.size <= len(data) <= CHUNK_BYTES_MAX:
        raise Malformed("frame log chunk of impossible size")
    version, state, count, octets, base, base_us, written_us, *counters = _HEADER.unpack_from(data)
    pending, noise = state & ~(0xF << NOISE_SHIFT), state >> NOISE_SHIFT
    known = version in {VERSION, VERSION_WITH_READINGS} and pending < Reason.MASKED
    if not known or count > FRAMES_MAX or octets > PAYLOAD_BYTES_MAX or abs(base) > TICKS_MAX:
        raise Malformed("frame log chunk of an unknown version, or beyond its limits")
    ends = _HEADER.size + _FRAME_BYTES * count + octets
    if len(data) != ends if version == VERSION else len(data) < ends:
        raise Malformed("frame log chunk is not as long as it says")
    told = readings.from_bytes(data[ends:]) if version == VERSION_WITH_READINGS else ()
    frames = _read_frames(data[:ends], count, base, base_us)
    if int(frames.lengths.sum()) != octets or not (durations := frames.durations).all():
        raise Malformed("frame log chunk's columns do not fit its payload")
    if (np.diff(frames.timestamps) <= 0).any() or (count and frames.timestamps[0] != base):
        raise Malformed("frame log chunk is not in order")
    end = int((frames.timestamps + durations).max()) if count else base
    return Chunk(frames, written_us, Reason(pending), noise, Tally(*counters), base, end, told)


def _read_frames(data: bytes, count: int, base: int, base_us: int) -> Frames:
    position = _HEADER.size
    return Frames(
        base + np.frombuffer(data, "<u4", count, position).astype(np.int64),
        base_us + np.frombuffer(data, "<i4", count, position + 4 * count).astype(np.int64),
        np.frombuffer(data, "<u2", count, position + 8 * count).astype(np.int64),
        np.frombuffer(data, np.uint8, count, position + 10 * count),
        np.frombuffer(data, np.uint8, count, position + 11 * count),
        data[position + _FRAME_BYTES * count :],
    )
