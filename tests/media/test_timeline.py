"""A track's facts: the same live and from its chunks, a place in call time for every frame, a reason for every gap."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from media.errors import Malformed
from media.framelog import NEW_PIECE, Frames, Reason, Tally
from media.messages import Update
from media.timeline import GAPS_MAX, Gap, Timeline, TrackFacts
from media.timemap import Piece

from .bench import Bench, Sender, noise


def told(*rows: tuple[int, int, int], written_us: int = 10_000_000, pending: Reason = Reason.LOST) -> TrackFacts:
    """The facts of 20 ms frames given as (timestamp, arrival in µs, flags), a chunk for each."""
    timeline = Timeline()
    for timestamp, arrival_us, flags in rows:
        frame = Frames(
            *(np.array([timestamp]), np.array([arrival_us]), np.array([160])),
            *(np.array([8], np.uint8), np.array([flags], np.uint8), bytes(160)),
        )
        timeline.extend(frame, written_us=written_us, pending=pending, tally=Tally())
    return timeline.facts()


def test_a_piece_is_placed_by_its_least_delayed_packet_of_the_first_second() -> None:
    facts = told((0, 50_000, 0), (160, 61_000, 0), (320, 95_000, 0))
    assert facts.map == (Piece(0, 480, 41_000),)
    late = told((0, 50_000, 0), *((160 * i, 50_000 + 20_000 * i, 0) for i in range(1, 100)), (16_000, 2_000_000, 0))
    assert late.map[0].at_us == 50_000


def test_pieces_do_not_overlap_in_call_time() -> None:
    facts = told((0, 0, NEW_PIECE), (160, 20_000, 0), (320, 30_000, NEW_PIECE | Reason.NO_MEDIA))
    assert facts.map == (Piece(0, 320, 0), Piece(320, 480, 40_000))


def test_a_packet_that_overtook_the_first_ones_begins_no_piece_of_its_own() -> None:
    facts = told((0, 50_000, 0), (160, 40_000, NEW_PIECE | Reason.NO_MEDIA), (320, 60_000, 0))
    assert facts.map == (Piece(0, 480, 20_000),)


def test_gaps_cover_all_that_no_frame_covers() -> None:
    facts = told(
        (0, 100_000, NEW_PIECE | Reason.NO_MEDIA),
        (320, 140_000, Reason.LOST),
        (800, 200_000, Reason.DTX),
        (9000, 400_000, NEW_PIECE | Reason.HOLD),
        pending=Reason.PAUSED,
        written_us=500_000,
    )
    assert facts.gaps == (
        Gap(0, 100_000, "no_media"),
        Gap(120_000, 140_000, "lost"),
        Gap(160_000, 200_000, "dtx"),
        Gap(220_000, 400_000, "hold"),
        Gap(420_000, 500_000, "paused"),
    )


def test_an_announcement_is_a_gap_of_its_own_and_nothing_stands_before_its_end() -> None:
    timeline = Timeline()
    nothing = Frames(*(np.zeros(0, np.int64),) * 3, *(np.zeros(0, np.uint8),) * 2, b"")
    for written_us in (400_000, 900_000):
        timeline.extend(nothing, written_us=written_us, pending=Reason.ANNOUNCEMENT, tally=Tally())
    assert timeline.facts().gaps == (Gap(0, 900_000, "announcement"),)
    frame = replace(nothing, timestamps=np.array([0]), arrivals_us=np.array([905_000]), lengths=np.array([160]))
    frame = replace(frame, codecs=np.array([8], np.uint8), payload=bytes(160))
    frame = replace(frame, flags=np.array([NEW_PIECE | Reason.ANNOUNCEMENT], np.uint8))
    timeline.extend(frame, written_us=1_000_000, pending=Reason.LOST, tally=Tally())
    early = replace(frame, timestamps=np.array([160]), arrivals_us=np.array([906_000]), flags=np.array([0], np.uint8))
    timeline.extend(early, written_us=1_000_000, pending=Reason.LOST, tally=Tally())
    facts = timeline.facts()
    assert facts.map == (Piece(0, 320, 900_000),)
    assert facts.gaps == (Gap(0, 900_000, "announcement"), Gap(940_000, 1_000_000, "no_media"))


def test_a_late_frame_takes_its_part_out_of_a_gap() -> None:
    facts = told((0, 0, 0), (800, 100_000, 0), (320, 110_000, 0), (160, 115_000, 0), written_us=120_000)
    assert facts.gaps == (Gap(60_000, 100_000, "lost"),)


def test_frames_before_the_first_move_the_beginning() -> None:
    facts = told((800, 100_000, 0), (320, 105_000, 0), (960, 120_000, 0), written_us=140_000)
    assert facts.map == (Piece(320, 1120, 40_000),)
    assert facts.gaps == (Gap(0, 40_000, "no_media"), Gap(60_000, 100_000, "lost"))


def test_gaps_beyond_the_limit_are_counted() -> None:
    facts = told(*((320 * i, 40_000 * i, 0) for i in range(GAPS_MAX + 6)))
    assert facts.gaps_omitted == 5


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_a_replay_of_the_chunks_tells_the_same(seed: int) -> None:
    chance, bench, sender = random.Random(seed), Bench(), Sender()
    bench.engine.load("greeting", np.full(8000, 1000, np.int16))
    bench.open(1, sender, announce=seed % 2 == 1)
    bench.engine.play(1, "greeting", bench.now_ns)
    held: list[bytes] = []
    for step in range(400):
        data = sender.packet(noise(chance.choice((10, 20, 20, 20, 30)), step), chance.choice((8,) * 30 + (0, 13, 101)))
        fate = chance.random()
        if fate < 0.05:
            held.append(data)
        elif fate > 0.03:
            bench.send(sender, data)
        if held and chance.random() < 0.2:
            bench.send(sender, held.pop())
        match chance.randrange(150):
            case 0:
                sender.ssrc += 1
            case 1:
                sender.timestamp = chance.getrandbits(32)
            case 2:
                bench.engine.pause(1, bench.now_ns)
            case 3 | 4:
                bench.engine.resume(1, bench.now_ns)
            case 5:
                bench.engine.update(Update(1, {8: "PCMA", 0: "PCMU"}, sender.address, event_pt=101), bench.now_ns)
            case 6:
                bench.wait(chance.randrange(3000))
        bench.wait(chance.choice((0, 20, 20, 20, 20, 40)))
    facts = bench.close()  # compares
    spans = [(gap.start_us, gap.end_us) for gap in facts.gaps]
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert all(left.end <= right.start for left, right in pairwise(facts.map))
    frames = sum(len(chunk.frames.timestamps) for chunk in bench.chunks())
    assert facts.tally.packets - frames in range(3), "frames of equal timestamp are kept once"
    bench.audio(facts)


def test_facts_survive_json_and_nothing_else_passes_for_them() -> None:
    facts = told((0, 100_000, 0), (800, 200_000, 0))
    assert TrackFacts.from_json(facts.to_json()) == facts
    first_version = {name: value for name, value in facts.to_json().items() if name != "version"}
    assert TrackFacts.from_json(first_version) == facts, "before there were clocks of pieces"
    later = {**facts.to_json(), "version": 3}
    knots = {**facts.to_json(), "map": [[0, 960, 0, 8000, [[0, 5], [0, 6]]]]}
    for wrong in ({}, later, knots, {**facts.to_json(), "map": [[1]]}, {**facts.to_json(), "gaps": 3}):
        with pytest.raises(Malformed):
            TrackFacts.from_json(wrong)
