"""A chunk of the frame log is read as it was written, and a damaged one is told from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.errors import Malformed
from media.framelog import Chunk, Frames, Reason, Tally, decode, encode, encode_rows, silence_flags, with_readings
from media.readings import READINGS_MAX, Reading, to_bytes

TALLY = Tally(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)


def frames_of(lengths: list[int], base: int = 1 << 40, gap: int = 0, codec: int = 8) -> Frames:
    """Frames of these payload lengths, `gap` ticks between them."""
    starts = base + np.cumsum([0, *(length + gap for length in lengths)])[:-1]
    count = len(lengths)
    return Frames(
        np.array(starts, np.int64),
        np.arange(count, dtype=np.int64) * 20_000 + 5_000_000_000,
        np.array(lengths, np.int64),
        np.full(count, codec, np.uint8),
        np.zeros(count, np.uint8),
        bytes(i % 256 for i in range(sum(lengths))),
    )


def same(left: Frames, right: Frames) -> bool:
    columns = ("timestamps", "arrivals_us", "lengths", "codecs", "flags")
    return left.payload == right.payload and all(
        np.array_equal(getattr(left, name), getattr(right, name)) for name in columns
    )


@given(st.lists(st.integers(1, 500), max_size=80), st.integers(-(1 << 40), 1 << 60), st.integers(0, 2000))
def test_what_is_encoded_is_decoded_again(lengths: list[int], base: int, gap: int) -> None:
    frames = frames_of(lengths, base, gap)
    chunk = decode(encode(frames, head=base, written_us=77, pending=Reason.HOLD, noise=3, tally=TALLY))
    assert same(chunk.frames, frames)
    assert (chunk.written_us, chunk.pending, chunk.noise, chunk.tally) == (77, Reason.HOLD, 0, TALLY)
    assert chunk.start == base
    assert chunk.end == (base + sum(lengths) + gap * (len(lengths) - 1) if lengths else base)


TOLD = [Reading(-5, 1 << 41, (1 << 64) - 1, 77), Reading(1 << 40, -3, 0, 0)]


@pytest.mark.parametrize("lengths", [[], [160, 160]])
def test_what_a_sender_told_of_its_clock_stands_at_the_end(lengths: list[int]) -> None:
    plain = encode(frames_of(lengths), head=5, written_us=77, tally=TALLY)
    chunk, before = decode(encode(frames_of(lengths), head=5, written_us=77, tally=TALLY, told=TOLD)), decode(plain)
    assert chunk.readings == tuple(TOLD)
    assert same(chunk.frames, before.frames)
    assert replace(chunk, readings=(), frames=before.frames) == before
    assert with_readings(plain, TOLD) == encode(frames_of(lengths), head=5, written_us=77, tally=TALLY, told=TOLD)
    assert with_readings(plain, []) == plain


@pytest.mark.parametrize("octets", [-1, 1, -len(to_bytes(TOLD)), 31])
def test_readings_that_are_cut_or_none_are_malformed(octets: int) -> None:
    data = encode(frames_of([160]), head=5, written_us=77, told=TOLD)
    with pytest.raises(Malformed):
        decode(data + bytes(octets) if octets > 0 else data[:octets])


def test_too_many_readings_or_one_beyond_its_limits_are_malformed() -> None:
    plain = encode(frames_of([160]), head=5, written_us=77)
    assert len(decode(with_readings(plain, TOLD[:1] * READINGS_MAX)).readings) == READINGS_MAX
    for told in (TOLD[:1] * (READINGS_MAX + 1), [Reading(0, (1 << 62) + 1, 0, 0)]):
        with pytest.raises(Malformed):
            decode(with_readings(plain, told))


def test_many_at_once_are_encoded_as_each_alone() -> None:
    tracks = [frames_of([160] * 12), frames_of([80, 240, 160], 5), frames_of([480])]
    width = max(len(frames.timestamps) for frames in tracks)

    def column(name: str) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        rows = [np.pad(getattr(frames, name), (0, width - len(frames.timestamps))) for frames in tracks]
        return np.stack(rows)

    chunks = encode_rows(
        np.array([len(frames.timestamps) for frames in tracks]),
        (
            *(column("timestamps"), column("arrivals_us"), column("lengths")),
            *(column("codecs").astype(np.uint8), column("flags").astype(np.uint8)),
        ),
        [memoryview(frames.payload) for frames in tracks],
        np.array([9, 9, 9]),
        np.array([list(range(1, 13))] * 3),
    )
    assert chunks == [encode(frames, head=0, written_us=9, tally=TALLY) for frames in tracks]


def test_only_a_senders_silence_has_a_level() -> None:
    chunk = decode(encode(frames_of([160]), head=0, written_us=0, pending=Reason.DTX, noise=15))
    assert (chunk.pending, chunk.noise) == (Reason.DTX, 15)
    assert silence_flags(Reason.LOST, 15) == Reason.LOST


@pytest.mark.parametrize("pending", [Reason.MASKED, 8, 15])
def test_a_state_of_no_meaning_is_malformed(pending: int) -> None:
    good = encode(frames_of([160]), head=0, written_us=0)
    with pytest.raises(Malformed):
        decode(good[:1] + bytes([pending]) + good[2:])


def test_counters_stay_at_their_largest_value() -> None:
    chunk = decode(encode(frames_of([160]), head=0, written_us=0, tally=Tally(octets=1 << 40)))
    assert chunk.tally.octets == 0xFFFFFFFF


GOOD = encode(frames_of([160, 160, 160]), head=0, written_us=1, tally=TALLY)


def damaged(position: int, value: int) -> bytes:
    data = bytearray(GOOD)
    data[position] = value
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[:50],
        GOOD[:-1],
        GOOD + b"x",
        damaged(0, 2),  # another version
        damaged(1, 9),  # a reason that does not exist
        damaged(2, 4),  # a frame more
        damaged(3, 0xFF),  # 65 thousand more
        damaged(4, 1),  # other payload
        damaged(15, 0x7F),  # so late that the end would not fit 64 bits
        damaged(len(GOOD) - 480 - 36, 1),  # the first frame elsewhere than at the base
        damaged(len(GOOD) - 480 - 36 + 4, 0),  # the second frame at the first one's time
        damaged(len(GOOD) - 480 - 6, 3),  # an unknown codec
        damaged(len(GOOD) - 480 - 12, 161),  # a length that the payload does not have
        bytes(3_000_000),
    ],
)
def test_damage_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode(data)


def test_a_chunk_without_frames_stands_at_its_head() -> None:
    chunk: Chunk = decode(encode(frames_of([]), head=99, written_us=5, pending=Reason.PAUSED))
    assert (chunk.start, chunk.end, len(chunk.frames.timestamps)) == (99, 99, 0)
