"""Tracks of one endpoint keep the offset that their wall clock tells; others stay where the stamps put them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.framelog import Frames, Reason, Tally
from media.readings import Reading
from media.senderclock import WALL_US, ReportFacts, WallClock
from media.ties import TIE_US_MAX, moved, tied
from media.timeline import Gap, Timeline, TrackFacts
from media.timemap import Piece

from .test_timemap import DELAY_US, Leg, Wall, off_us, received

PROMPT = Leg(jitter_us=10_000, until_s=240, wall=Wall())
BUFFERED = replace(PROMPT, held_up_us=80_000)
SEEDS = (1, 2)


def apart_us(one: Leg, other: Leg, endpoints: tuple[int, int] = (7, 7)) -> tuple[list[TrackFacts], int]:
    """The facts of both after tying, and how far the tracks are from each other at worst, as they were spoken."""
    (first, said), (second, told) = (
        received(leg, seed, endpoint) for leg, seed, endpoint in zip((one, other), SEEDS, endpoints, strict=True)
    )
    tracks = tied([first, second])
    extremes = [off_us(facts, spoken) for facts, spoken in zip(tracks, (said, told), strict=True)]
    return tracks, max(abs(extremes[0][0] - extremes[1][1]), abs(extremes[0][1] - extremes[1][0]))


@pytest.mark.parametrize("ppm", [0, 50], ids=["true", "a rate of its own"])
def test_what_a_sender_held_up_is_put_where_its_reports_have_it(ppm: int) -> None:
    legs = [replace(leg, wall=Wall(ppm=ppm)) for leg in (PROMPT, BUFFERED)]
    tracks, worst_us = apart_us(legs[0], legs[1])
    assert worst_us < 2_000
    assert [track.reports.tied for track in tracks] == [1, 1]
    assert [piece.knots for track in tracks for piece in track.map] == [(), ()], "samples stay as they were sent"
    assert all(not track.walls for track in tracks)


def test_the_earlier_one_stays_and_order_does_not_matter() -> None:
    for legs in ((PROMPT, BUFFERED), (BUFFERED, PROMPT)):
        tracks, worst_us = apart_us(*legs)
        assert worst_us < 2_000
        alone, _ = received(PROMPT, SEEDS[legs.index(PROMPT)])
        assert tracks[legs.index(PROMPT)].map == alone.map


@pytest.mark.parametrize("case", ["another endpoint", "no name", "beyond what a buffer is", "no reports", "a lie"])
def test_what_is_not_of_one_clock_stays_where_the_stamps_put_it(case: str) -> None:
    other, endpoints = BUFFERED, (7, 7)
    if case == "another endpoint":
        endpoints = (7, 8)
    elif case == "no name":
        endpoints = (0, 0)
    elif case == "beyond what a buffer is":
        other = replace(BUFFERED, held_up_us=TIE_US_MAX + 20_000)
    elif case == "no reports":
        other = replace(BUFFERED, wall=None)
    else:
        other = replace(BUFFERED, wall=Wall(jumps_s=(100,), set_us=30_000))
    tracks, _ = apart_us(PROMPT, other, endpoints)
    assert [track.reports.tied for track in tracks] == [None, None]
    for track, leg, seed, endpoint in zip(tracks, (PROMPT, other), SEEDS, endpoints, strict=True):
        assert track == replace(received(leg, seed, endpoint)[0], walls=())


def test_short_calls_of_a_few_reports_are_tied_as_well() -> None:
    legs = [replace(leg, until_s=25, wall=Wall(stale=True)) for leg in (PROMPT, BUFFERED)]
    _, worst_us = apart_us(legs[0], legs[1])
    assert worst_us < 20_000


def test_stale_reports_move_nothing_that_is_in_its_place() -> None:
    legs = [replace(PROMPT, until_s=25, wall=Wall(stale=True))] * 2
    tracks, _ = apart_us(legs[0], legs[1])
    assert [track.reports.tied for track in tracks] == [1, 1]
    assert [track.map for track in tracks] == [received(legs[0], seed)[0].map for seed in SEEDS]


def test_every_piece_of_a_sender_that_begins_anew_is_tied() -> None:
    anew = replace(BUFFERED, restarts_s=(60, 130))
    tracks, worst_us = apart_us(PROMPT, anew)
    assert len(tracks[1].map) == 3
    assert worst_us < 2_000


def test_facts_of_tied_tracks_survive_json_and_tell_no_endpoint() -> None:
    for facts in apart_us(PROMPT, BUFFERED)[0]:
        told = facts.to_json()
        assert TrackFacts.from_json(told) == facts
        assert told["sender_reports"]["tied"] == 1
        assert "walls" not in told
    facts, _ = received(PROMPT, 1)
    assert facts.walls and TrackFacts.from_json(facts.to_json()) == facts


def facts_with(pieces: list[tuple[int, int]], gaps: list[Gap], ended_us: int) -> TrackFacts:
    """A track of pieces from and to these call times in ms, at 8 kHz."""
    placed = tuple(Piece(at * 8, end * 8, at * 1000) for at, end in pieces)
    return TrackFacts(("PCMA",), 8000, Tally(), 0, 0, ended_us, placed, tuple(gaps))


def covered_us(facts: TrackFacts) -> int:
    """From where to where pieces and the gaps beside them follow each other; raises where one is missing or twice."""
    spans = [(piece.at_us, piece.end_us) for piece in facts.map]
    inner = [gap for gap in facts.gaps if any(at <= gap.start_us and gap.end_us <= end for at, end in spans)]
    spans += [(gap.start_us, gap.end_us) for gap in facts.gaps if gap not in inner]
    at_us = 0
    for start_us, end_us in sorted(spans):
        assert start_us == at_us, spans
        at_us = end_us
    return at_us


def test_gaps_go_with_their_pieces_and_holes_stay_filled() -> None:
    chance = np.random.default_rng(1)
    for _ in range(200):
        edges = np.cumsum(chance.integers(1, 400, 6)).tolist()
        pieces = [(edges[0], edges[1]), (edges[2] if chance.random() < 0.7 else edges[1], edges[3])]
        gaps = [Gap(0, edges[0] * 1000, "no_media")]
        if pieces[1][0] > edges[1]:
            gaps.append(Gap(edges[1] * 1000, pieces[1][0] * 1000, "hold"))
        lost = Gap(pieces[1][0] * 1000 + 100, pieces[1][0] * 1000 + 200, "lost")
        gaps += [lost, Gap(edges[3] * 1000, edges[4] * 1000, "paused")]
        facts = facts_with(pieces, gaps, edges[4] * 1000)
        earlier = [int(us) for us in chance.integers(0, 300_000, 2) * (chance.random(2) < 0.7)]
        after = moved(facts, earlier)
        assert covered_us(after) == covered_us(facts)
        by_us = [now.at_us - piece.at_us for now, piece in zip(after.map, facts.map, strict=True)]
        assert all(-early <= by <= 0 for by, early in zip(by_us, earlier, strict=True))
        assert after.map[1].at_us >= after.map[0].end_us
        assert replace(lost, start_us=lost.start_us + by_us[1], end_us=lost.end_us + by_us[1]) in after.gaps


def test_nothing_is_moved_into_an_announcement() -> None:
    gaps = [Gap(0, 90_000, "announcement"), Gap(90_000, 100_000, "no_media"), Gap(500_000, 600_000, "no_media")]
    after = moved(facts_with([(100, 500)], gaps, 600_000), [50_000])
    assert after.map[0].at_us == 90_000
    assert after.gaps == (gaps[0], Gap(490_000, 600_000, "no_media"))


def test_wall_clocks_are_compared_across_the_end_of_their_era() -> None:
    track = facts_with([(0, 1000)], [], 1_000_000)
    before = replace(track, walls=(WallClock(0, 7, -WALL_US + 5, 5, 0),))
    after = replace(track, walls=(WallClock(0, 7, 100_000, 100_000, 0),))
    found = tied([before, after])
    assert [facts.reports for facts in found] == [ReportFacts(tied=1)] * 2
    assert found[1].map[0].at_us == 0, "there is no room before the call"
    assert tied([]) == [] and DELAY_US < TIE_US_MAX


NEAR = st.integers(0, 600).map(lambda second: (second * 1_000_000 + 30_000, second * 8000))
ANYWHERE = st.tuples(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(-(1 << 62), 1 << 62))
READINGS = st.lists(
    st.tuples(st.one_of(NEAR, ANYWHERE), st.integers(0, (1 << 64) - 1), st.integers(0, 2)).map(
        lambda told: Reading(*told[0], told[1], told[2])
    ),
    max_size=40,
)


@given(READINGS, READINGS)
def test_whatever_is_read_the_clock_of_a_clear_track_stays(one: list[Reading], other: list[Reading]) -> None:
    tracks = []
    for readings in ([], one, other):
        timeline = Timeline()
        for second in range(0, 601, 20):
            timeline.extend(frame_at(second), written_us=second * 1_000_000, pending=Reason.LOST, tally=Tally())
            timeline.read([told for told in readings if told.timestamp // 8000 in range(second - 20, second)])
        timeline.read(readings[:5])
        tracks.append(timeline.facts())
    alone, *told = tracks
    for facts in tied(told):
        assert [piece.knots for piece in facts.map] == [()]
        assert 0 <= alone.map[0].at_us - facts.map[0].at_us <= TIE_US_MAX
        assert TrackFacts.from_json(facts.to_json()) == facts


def frame_at(second: int) -> Frames:
    """One frame, as late as every other."""
    one = np.ones(1, np.int64)
    at = (one * second * 8000, one * (second * 1_000_000 + 30_000), one * 160)
    return Frames(*at, one.astype(np.uint8) * 8, np.zeros(1, np.uint8), bytes(160))
