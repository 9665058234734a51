"""Turns what legs have gathered into chunks of their frame logs, and tells their timelines."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from media.framelog import TALLY, Frames, Tally, encode, encode_rows, joined, with_readings
from media.legs import REGION_BYTES, US_PER_TICK, Leg, Table
from media.readings import Reading

_FAR_US = np.iinfo(np.int64).max  # no transit is that long


def take_chunk(table: Table, leg: Leg, written_us: int) -> tuple[int, int, bytes]:
    """The frames of the leg since the last chunk as (start, end, chunk); its row is empty afterwards."""
    row, pending = leg.row, leg.pending
    frames = _gathered(table, row)
    if leg.late:
        frames = _merged(frames, leg)
        leg.late.clear()
    table.tally[row, TALLY["jitter_us"]] = int(table.jitter_us[row])
    tally = Tally(*table.tally[row].tolist())
    noise = leg.sequence.noise
    leg.timeline.extend(frames, written_us=written_us, pending=pending, tally=tally, noise=noise)
    told = take_readings(leg)
    table.settled[row] = leg.timeline.settled
    head = int(table.head[row])
    ends = frames.timestamps + frames.durations
    start, end = (int(frames.timestamps[0]), int(ends.max())) if len(ends) else (head, head)
    chunk = encode(frames, head=head, written_us=written_us, pending=pending, noise=noise, tally=tally, told=told)
    table.frames_flushed(row)
    return start, end, chunk


def take_chunks(table: Table, legs: list[Leg], now_ns: int) -> Iterator[tuple[int, int, bytes]]:
    """The same for legs whose frames are all in order, of clocks of 8 kHz, and whose timelines are settled."""
    rows = np.array([leg.row for leg in legs], np.int64)
    counts = table.count[rows]
    width = int(counts.max())
    columns = (
        *(table.timestamps[rows, :width], table.arrivals_us[rows, :width], table.lengths[rows, :width]),
        *(table.codecs[rows, :width], table.flags[rows, :width]),
    )
    pool, base = table.pool.data, rows * REGION_BYTES
    begins, ends = (base + table.begin[rows]).tolist(), (base + table.fill[rows]).tolist()
    payloads = [pool[begin:end] for begin, end in zip(begins, ends, strict=True)]
    table.tally[rows, TALLY["jitter_us"]] = table.jitter_us[rows].astype(np.int64)
    written_us = (now_ns - table.origin_ns[rows]) // 1000
    chunks = encode_rows(counts, columns, payloads, written_us, table.tally[rows])
    starts = columns[0][:, 0].tolist()
    heads = table.head[rows].tolist()
    transits_us = columns[1] - columns[0] * US_PER_TICK
    if int(counts.min()) < width:
        transits_us[np.arange(width) >= counts[:, None]] = _FAR_US
    least = transits_us.argmin(axis=1) + np.arange(len(rows)) * width
    told = (table.arrival_us[rows], transits_us.take(least), columns[0].take(least))
    for leg, end, *rest in zip(legs, heads, *(column.tolist() for column in told), strict=True):
        leg.timeline.extend_in_order(end, *rest)
    for i in [i for i, leg in enumerate(legs) if leg.readings]:
        chunks[i] = with_readings(chunks[i], take_readings(legs[i]))
    table.rows_flushed(rows)
    return zip(starts, heads, chunks, strict=True)


def take_readings(leg: Leg) -> list[Reading]:
    """What the leg's sender has told of its clock since the last chunk, for this one; its timeline is told."""
    told, leg.readings = leg.readings, []
    if told:
        leg.timeline.read(told)
    return told


def _gathered(table: Table, row: int) -> Frames:
    """The row's frames, in order of arrival and of timestamp."""
    count, base = int(table.count[row]), row * REGION_BYTES
    return Frames(
        *(table.timestamps[row, :count], table.arrivals_us[row, :count], table.lengths[row, :count]),
        *(table.codecs[row, :count], table.flags[row, :count]),
        table.pool[base + int(table.begin[row]) : base + int(table.fill[row])].tobytes(),
    )


def _merged(frames: Frames, leg: Leg) -> Frames:
    """The frames with the late ones in their places; of two with the same timestamp the first stays."""
    late = [placed.packet for placed in leg.late]
    return joined(
        [
            frames,
            Frames(
                np.array([placed.timestamp for placed in leg.late], np.int64),
                np.array([packet.arrival_us for packet in late], np.int64),
                np.array([len(packet.payload) for packet in late], np.int64),
                np.array([packet.codec for packet in late], np.uint8),
                np.array([placed.flags for placed in leg.late], np.uint8),
                b"".join(packet.payload for packet in late),
            ),
        ]
    )
