"""What is marked as made up is what concealment has changed, and nothing else."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from media.codecs import PCMA
from media.concealment import LOST_MS_MAX, concealed
from media.framelog import Chunk, Frames, Reason, Tally, decode, encode
from media.render import render_pcm, total_samples
from media.timeline import Gap, TrackFacts, facts_from_chunks
from media.timemap import Piece

FRAMES, A_CHUNK, BASE = 600, 20, 5000
AUDIO = PCMA.encode(np.random.default_rng(4).normal(0, 6000, FRAMES * 160).astype(np.int16))


def lossy(seed: int, reasons: tuple[Reason, ...] = (Reason.LOST,)) -> tuple[list[Chunk], TrackFacts]:
    """A track with gaps of one to six frames, for any of these reasons."""
    chance = random.Random(seed)
    kept: list[tuple[int, int]] = []
    index = flags = 0
    while index < FRAMES:
        kept.append((index, flags))
        index, flags = index + 1, 0
        if chance.random() < 0.1 and index < FRAMES - 8:
            index += chance.randrange(1, 7)
            flags = int(chance.choice(reasons))
    chunks = []
    for first in range(0, len(kept), A_CHUNK):
        part = kept[first : first + A_CHUNK]
        numbers = np.array([number for number, _ in part], np.int64)
        frames = Frames(
            BASE + 160 * numbers,
            100_000 + 20_000 * numbers,
            np.full(len(part), 160, np.int64),
            np.full(len(part), 8, np.uint8),
            np.array([flag for _, flag in part], np.uint8),
            b"".join(AUDIO[number * 160 : (number + 1) * 160] for number in numbers.tolist()),
        )
        chunks.append(decode(encode(frames, head=0, written_us=100_000 + 20_000 * FRAMES, tally=Tally())))
    return chunks, facts_from_chunks(chunks)


def check(chunks: list[Chunk], facts: TrackFacts, off: int = 0) -> list[tuple[int, int]]:
    """Compare the marks with the rendering; `off` is by how many samples interpolation reaches beyond."""
    total = total_samples(facts)
    plain, made = (render_pcm(chunks, facts, 0, total, conceal=conceal) for conceal in (False, True))
    changed = plain != made
    spans = [tuple((at_us * 8 + 500) // 1000 for at_us in span) for span in concealed(facts)]
    for first, last in spans:
        assert changed[first:last].any(), "marked, and nothing is made up"
        changed[max(0, first - off) : last + off] = False
    assert not changed.any(), "made up, and not marked"
    return concealed(facts)


@pytest.mark.parametrize("seed", range(8))
def test_marks_are_where_something_is_made_up(seed: int) -> None:
    chunks, facts = lossy(seed)
    spans = check(chunks, facts)
    lost = [gap for gap in facts.gaps if gap.reason == "lost"]
    assert 0 < len(spans) < len(lost)
    assert all(end_us - start_us <= LOST_MS_MAX * 1000 for start_us, end_us in spans)


@pytest.mark.parametrize("seed", range(4))
def test_what_was_not_lost_is_not_made_up(seed: int) -> None:
    every = (Reason.LOST, Reason.DTX, Reason.HOLD, Reason.PAUSED)
    chunks, facts = lossy(seed, every)
    spans = check(chunks, facts)
    by_reason = {gap.start_us: gap.reason for gap in facts.gaps}
    assert spans and {by_reason[start_us] for start_us, _ in spans} == {"lost"}


@pytest.mark.parametrize("ppm", [-900, 900])
def test_marks_of_a_drifting_clock_lie_in_its_call_time(ppm: int) -> None:
    chunks, facts = lossy(9)
    (piece,) = facts.map
    end_us = piece.at_us + round((piece.end_us - piece.at_us) * (1 + ppm / 1e6))
    bent = replace(piece, knots=((piece.start, piece.at_us), (piece.end, end_us)))
    gaps = tuple(
        replace(gap, start_us=bent.call_us(ticks(piece, gap.start_us)), end_us=bent.call_us(ticks(piece, gap.end_us)))
        for gap in facts.gaps
        if piece.at_us <= gap.start_us < piece.end_us
    )
    spans = check(chunks, replace(facts, map=(bent,), gaps=gaps), off=24)
    assert len(spans) == len(concealed(facts))


def ticks(piece: Piece, at_us: int) -> int:
    return piece.start + (at_us - piece.at_us) * 8 // 1000


def test_a_short_hole_whose_record_is_damaged_is_marked_too() -> None:
    """Rendering sees that frames are missing, and not why."""
    chunks, facts = lossy(3)
    frames = chunks[4].frames
    few = Frames(
        *(frames.timestamps[2:], frames.arrivals_us[2:], frames.lengths[2:]),
        *(frames.codecs[2:], frames.flags[2:], frames.payload[320:]),
    )
    stored = [*chunks[:4], replace(chunks[4], frames=few), *chunks[5:]]
    (piece,) = facts.map
    start, end = int(frames.timestamps[0]), int(frames.timestamps[1]) + 160
    gaps = [gap for gap in facts.gaps if not piece.call_us(start) <= gap.start_us < piece.call_us(end)]
    gaps.append(Gap(piece.call_us(start), piece.call_us(end), "corrupted"))
    told = replace(facts, gaps=tuple(sorted(gaps, key=lambda gap: gap.start_us)))
    check(stored, told)


def test_nothing_is_made_up_before_a_key_that_was_silenced() -> None:
    lost, masked = Gap(40_000, 60_000, "lost"), Gap(60_000, 80_000, "masked")
    piece = Piece(0, 1600, 0)
    facts = TrackFacts(("PCMA",), 8000, Tally(), 0, 0, 200_000, (piece,), (lost, masked))
    assert concealed(facts) == []
    assert concealed(replace(facts, gaps=(lost,))) == [(40_000, 60_000)]
