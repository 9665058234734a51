"""Turns what legs have gathered into chunks of their frame logs, and tells their timelines."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from media.framelog import TALLY, Frames, Tally, encode, encode_rows
from media.legs import REGION_BYTES, Int64s, Leg, Table


def take_chunk(table: Table, leg: Leg, written_us: int) -> tuple[int, int, bytes]:
    """The frames of the leg since the last chunk as (start, end, chunk); its row is empty afterwards."""
    row, pending = leg.row, leg.pending
    frames = _gathered(table, row)
    if leg.late:
        frames = _merged(frames, leg)
        leg.late.clear()
    table.tally[row, TALLY["jitter_us"]] = int(table.jitter_us[row])
    tally = Tally(*table.tally[row].tolist())
    if table.flushed_us[row]:
        leg.timeline.extend_in_order(int(table.flushed[row]), int(table.flushed_us[row]))
        table.flushed_us[row] = 0
    noise = leg.sequence.noise
    leg.timeline.extend(frames, written_us=written_us, pending=pending, tally=tally, noise=noise)
    table.settled[row] = leg.timeline.settled
    head = int(table.head[row])
    ends = frames.timestamps + frames.durations
    start, end = (int(frames.timestamps[0]), int(ends.max())) if len(ends) else (head, head)
    chunk = encode(frames, head=head, written_us=written_us, pending=pending, noise=noise, tally=tally)
    table.frames_flushed(row)
    return start, end, chunk


def take_chunks(table: Table, rows: Int64s, now_ns: int) -> Iterator[tuple[int, int, int, bytes]]:
    """The same for rows whose frames are all in order and whose timelines are settled, as (row, start, end, chunk).

    Their timelines are told later: the next `take_chunk` of the row sees to it.
    """
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
    table.flushed[rows] = table.head[rows]
    table.flushed_us[rows] = np.maximum(table.arrival_us[rows], 1)
    table.rows_flushed(rows)
    return zip(rows.tolist(), starts, table.head[rows].tolist(), chunks, strict=True)


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
    timestamps = np.concatenate((frames.timestamps, [placed.timestamp for placed in leg.late])).astype(np.int64)
    lengths = np.concatenate((frames.lengths, [len(packet.payload) for packet in late])).astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    payload = frames.payload + b"".join(packet.payload for packet in late)
    _, order = np.unique(timestamps, return_index=True)
    return Frames(
        timestamps[order],
        np.concatenate((frames.arrivals_us, [packet.arrival_us for packet in late])).astype(np.int64)[order],
        lengths[order],
        np.concatenate((frames.codecs, [packet.codec for packet in late])).astype(np.uint8)[order],
        np.concatenate((frames.flags, [placed.flags for placed in leg.late])).astype(np.uint8)[order],
        b"".join(payload[starts[i] : starts[i] + lengths[i]] for i in order.tolist()),
    )
