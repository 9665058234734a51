"""The ordering of one leg: what is kept, what is counted, and when a new piece of the timeline begins."""

from __future__ import annotations

import random

import pytest

from media.framelog import NEW_PIECE, REASON_MASK, Reason
from media.sequence import Arrived, Placed, Sequence

BASE = 0xFFFFF000


def packet(index: int, *, at_us: int | None = None, ssrc: int = 1, skew: int = 0) -> Arrived:
    """The packet `index` of a 20 ms stream that wraps soon, arriving in pace unless said otherwise."""
    arrival_us = 20_000 * index if at_us is None else at_us
    return Arrived(ssrc, (65_500 + index) & 0xFFFF, (BASE + 160 * index + skew) & 0xFFFFFFFF, 160, arrival_us, 8, b"x")


def fed(*packets: Arrived) -> tuple[Sequence, list[Placed]]:
    sequence = Sequence(8000)
    return sequence, [placed for entry in packets for placed in sequence.receive(entry)]


def test_timestamps_go_on_beyond_32_bits() -> None:
    sequence, placed = fed(*(packet(i) for i in range(100)))
    assert [entry.timestamp for entry in placed] == [BASE + 160 * i for i in range(100)]
    assert sequence.head == BASE + 16_000
    assert sequence.next_sequence == 65_600


@pytest.mark.parametrize("seed", range(8))
def test_disorder_within_a_second_loses_nothing(seed: int) -> None:
    chance, order = random.Random(seed), list(range(200))
    for at in range(0, 200, 10):
        group = order[at : at + 10]
        chance.shuffle(group)
        order[at : at + 10] = group
    # A packet that overtakes more than the eight before the first would be taken for lost: start in order.
    order.sort(key=lambda index: index if index < 10 else 10)
    sequence, placed = fed(*(packet(index, at_us=20_000 * i) for i, index in enumerate(order)))
    assert sorted(entry.timestamp for entry in placed) == [BASE + 160 * i for i in range(200)]
    assert (sequence.lost, sequence.duplicate, sequence.discarded) == (0, 0, 0)


def test_packets_before_the_first_are_kept_and_were_never_lost() -> None:
    sequence, placed = fed(packet(5), packet(3), packet(4), packet(6))
    assert [entry.timestamp - BASE for entry in placed] == [800, 480, 640, 960]
    assert (sequence.lost, sequence.out_of_order) == (0, 2)


def test_a_gap_with_missing_numbers_is_loss_and_one_without_is_silence() -> None:
    sequence = Sequence(8000)
    sequence.receive(packet(0))
    (lost,) = sequence.receive(packet(4))
    assert (lost.flags & REASON_MASK, sequence.lost) == (Reason.LOST, 3)
    quiet = Arrived(1, (65_500 + 5) & 0xFFFF, (BASE + 160 * 55) & 0xFFFFFFFF, 160, 20_000 * 55, 8, b"x")
    (silence,) = sequence.receive(quiet)
    assert (silence.flags & REASON_MASK, sequence.lost) == (Reason.DTX, 3)


def test_a_network_that_catches_up_after_a_standstill_loses_nothing() -> None:
    """The first packet comes a little over a second late, the ones behind it a little less each."""
    before = [packet(i) for i in range(50)]
    burst = [packet(50 + i, at_us=20_000 * 50 + 1_005_000 + 2_000 * i) for i in range(60)]
    sequence, placed = fed(*before, *burst, *(packet(i) for i in range(110, 130)))
    assert [entry.timestamp for entry in placed] == [BASE + 160 * i for i in range(130)]
    assert (sequence.lost, sequence.discarded) == (0, 0)
    assert not any(entry.flags & NEW_PIECE for entry in placed[1:])


def test_a_last_packet_that_came_very_late_is_kept_at_the_end_and_a_strays_is_not() -> None:
    sequence, placed = fed(packet(0), packet(1), packet(2, at_us=3_000_000))
    assert len(placed) == 2
    (last,) = sequence.settle()
    assert last.timestamp == BASE + 320
    sequence, _ = fed(packet(0), packet(1), packet(70, ssrc=2))
    assert sequence.settle() == ()
    assert sequence.discarded == 1


def test_an_outage_of_many_minutes_is_told_by_the_timestamps() -> None:
    sequence, _ = fed(packet(0))
    (placed,) = sequence.receive(packet(50_000))
    assert (placed.timestamp, sequence.lost) == (BASE + 160 * 50_000, 49_999)


def test_another_stream_needs_two_packets_in_a_row() -> None:
    sequence, _ = fed(packet(0), packet(1))
    assert sequence.receive(packet(70, at_us=40_000, ssrc=2)) == ()
    assert not sequence.expecting
    first, second = sequence.receive(packet(71, at_us=60_000, ssrc=2))
    assert first.flags == NEW_PIECE | Reason.NO_MEDIA
    assert first.timestamp == BASE + 320
    assert second.timestamp == first.timestamp + 160
    assert sequence.expecting


def test_two_streams_that_alternate_do_not_tear_the_timeline() -> None:
    sequence, placed = fed(*(packet(i // 2, at_us=10_000 * i, ssrc=1 + i % 2, skew=i % 2 * 999_999) for i in range(40)))
    assert [entry.packet.ssrc for entry in placed] == [1] * 20
    assert sequence.discarded == 19  # and one still in doubt


def test_events_take_numbers_but_are_not_lost() -> None:
    sequence, _ = fed(packet(0))
    sequence.skip(1, 65_501)
    sequence.skip(1, 65_503)
    assert (sequence.lost, sequence.next_sequence) == (1, 65_504)
    sequence.skip(1, 65_502)
    sequence.skip(2, 7)
    assert (sequence.lost, sequence.next_sequence) == (0, 65_504)


def test_what_was_withheld_is_neither_lost_nor_a_new_piece() -> None:
    sequence, _ = fed(packet(0), packet(1))
    sequence.interrupt(Reason.PAUSED)
    (placed,) = sequence.receive(packet(3000))
    assert (placed.flags, placed.timestamp, sequence.lost) == (Reason.PAUSED, BASE + 160 * 3000, 0)


def test_a_stream_that_restarts_after_a_pause_is_a_new_piece_with_the_pause_as_its_reason() -> None:
    sequence, _ = fed(packet(0), packet(1))
    sequence.interrupt(Reason.HOLD)
    sequence.receive(packet(9, at_us=5_000_000, ssrc=2))
    first, _ = sequence.receive(packet(10, at_us=5_020_000, ssrc=2))
    assert first.flags == NEW_PIECE | Reason.HOLD
    assert first.timestamp == BASE + 40_000
