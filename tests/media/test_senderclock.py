"""Sender reports refine a clock where the stamps agree; a wall clock that lies or jumps bends nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from media.framelog import Tally
from media.messages import MESSAGE_BYTES_MAX, Ended, encode
from media.pieces import WALLS_MAX, Gathered, placed_in_turn
from media.readings import Reading
from media.senderclock import AGREE_US, WALL_US, SenderClock, WallClock
from media.timeline import GAPS_MAX, MASKS_MAX, PIECES_MAX, Gap, TrackFacts
from media.timemap import Envelope, Piece

from .test_timemap import APART_US_MAX, BAD, Leg, Wall, off_us, received

SHORT_S = 1500
MOVING = Leg(ppm=200, moving_us=60_000, until_s=SHORT_S)
JITTER = replace(BAD, ppm=100, until_s=SHORT_S)
TRUE = Leg(jitter_us=5_000, until_s=SHORT_S)


def test_a_clock_behind_a_network_that_moves_is_known_by_its_reports_alone() -> None:
    alone, spoken = received(MOVING, 1)
    low, high = off_us(alone, spoken)
    assert high - low > 10 * APART_US_MAX, "the stamps do not tell it"
    facts, spoken = received(replace(MOVING, wall=Wall()), 1)
    low, high = off_us(facts, spoken)
    assert low >= -AGREE_US and high <= AGREE_US
    assert (facts.reports.agreeing, facts.reports.followed, facts.reports.refused) == (1, 1, 0)


def test_reports_that_end_early_have_still_told_the_rate() -> None:
    facts, spoken = received(replace(MOVING, wall=Wall(until_s=500)), 1)
    low, high = off_us(facts, spoken)
    assert facts.reports.followed == 1
    assert low >= -AGREE_US and high <= AGREE_US


LIES = {
    "set by 90 s": Wall(jumps_s=(500, 1000)),
    "set by 30 ms and never back": Wall(jumps_s=(750,), set_us=30_000),
    "set by 15 ms and back": Wall(jumps_s=(500, 1000), set_us=15_000),
    "set again and again": Wall(jumps_s=tuple(range(150, SHORT_S, 150)), set_us=25_000),
    "a rate of its own": Wall(ppm=300),
    "nearly true": Wall(ppm=-4),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_wall_clock_that_lies_bends_nothing_where_the_stamps_are_clear(lie: str) -> None:
    low, high = off_us(*received(replace(JITTER, wall=LIES[lie]), 1))
    assert low >= -1000 and high <= 1000


@pytest.mark.parametrize("lie", LIES)
def test_and_by_no_more_than_the_bound_where_they_are_not_or_is_refused(lie: str) -> None:
    facts, spoken = received(replace(MOVING, wall=LIES[lie]), 1)
    low, high = off_us(facts, spoken)
    if facts.reports.refused:
        assert facts.map == received(MOVING, 1)[0].map
    else:
        assert low >= -AGREE_US and high <= AGREE_US
    assert (facts.reports.refused == 1) == (lie == "a rate of its own")


@pytest.mark.parametrize("lie", LIES)
def test_a_true_clock_stays_exact_whatever_reports_say(lie: str) -> None:
    facts, _ = received(replace(TRUE, wall=LIES[lie]), 1)
    assert [piece.knots for piece in facts.map] == [()]


def test_a_wall_clock_of_its_own_rate_still_tells_how_the_media_clock_runs() -> None:
    facts, spoken = received(replace(JITTER, wall=Wall(ppm=50)), 4)
    assert facts.reports.followed == 1
    low, high = off_us(facts, spoken)
    assert high - low <= APART_US_MAX / 10


def test_what_cannot_be_of_this_stream_is_stray() -> None:
    sender, arrivals = SenderClock(8000), Envelope(80_000)
    arrivals.learn(0, 30_000)
    sender.learn(Reading(1_000_000, 8000, 1 << 32, 0), arrivals.latest_us)
    sender.learn(Reading(1_000_000, 8000 + 8001, 1 << 32, 0), arrivals.latest_us)
    sender.learn(Reading(1_000_000, 1 << 62, 1 << 32, 0), arrivals.latest_us)
    sender.learn(Reading(-(1 << 63), 8000, 1 << 32, 0), arrivals.latest_us)
    sender.learn(Reading(1_000_000, 8000, 1 << 32, 0), None)
    assert (sender.taken, sender.stray) == (1, 4)
    assert sender.agreed(arrivals, 0, 16_000) is None, "one tells nothing"


def test_a_clock_of_two_names_is_nobodys() -> None:
    sender = SenderClock(8000)
    for number, endpoint in enumerate((0, 7, 0, 7)):
        sender.learn(Reading(number * 1_000_000, number * 8000, number << 32, endpoint), 0)
    assert sender.known == 7
    sender.learn(Reading(5_000_000, 40_000, 5 << 32, 8), 0)
    assert sender.known is None


def test_the_facts_of_the_worst_call_fit_into_a_message() -> None:
    """A day of a sender that begins anew all the time, with every list as long as it may be."""
    end_us, ticks = 86_400_000_000, 15 << 38
    gaps = tuple(Gap(end_us + i, end_us + i, "worker_lost", 30) for i in range(GAPS_MAX + MASKS_MAX))
    knots = tuple((ticks + 400_000 * i, end_us + 50_000_000 * i) for i in range(2))
    pieces = tuple(Piece(ticks, ticks + 400_000, end_us, 48_000, knots) for _ in range(PIECES_MAX))
    walls = tuple(WallClock(i, (1 << 64) - 1, -WALL_US, -WALL_US, AGREE_US) for i in range(WALLS_MAX))
    facts = TrackFacts(("PCMA", "opus"), 48_000, Tally(), 0, end_us, end_us, pieces, gaps, 10**6, walls=walls)
    data = encode(Ended(10**6, facts.to_json()))
    assert 100_000 < len(data) <= MESSAGE_BYTES_MAX


def test_no_more_pieces_of_a_track_can_be_tied_than_are_told() -> None:
    pieces = [Gathered(i * 80_000, 0, 0, i * 80_000 + 80_000, 8000, None) for i in range(WALLS_MAX + 5)]
    for number, piece in enumerate(pieces):
        piece.envelope.learn(piece.start, 0)
        for second in (1, 6):
            at = piece.start + 8000 * second
            piece.sender.learn(Reading(at * 125, at, (10 * number + second) << 32, 7), 0)
    _, facts, walls = placed_in_turn(pieces, 0, 0)
    assert facts.agreeing == WALLS_MAX + 5
    assert [wall.piece for wall in walls] == list(range(WALLS_MAX))
