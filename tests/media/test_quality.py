"""The E-model, against G.107's own figures and its whole formula, and what it makes of a track's facts."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from media.codecs import CODECS
from media.framelog import NOTHING
from media.quality import (
    BUFFER_JITTERS,
    EQUIPMENT,
    R_DEFAULT,
    Equipment,
    burst_ratio,
    effective_impairment,
    mos,
    quality,
    quality_told,
    rating,
)
from media.timeline import GAPS_MAX, Gap, TrackFacts

from .bench import Bench, Sender, noise
from .emodel_reference import Connection

PACKET_US = 20_000


def track(
    packets: int = 1000, bursts: tuple[int, ...] = (), codecs: tuple[str, ...] = ("PCMA",), jitter_ms: float = 0
) -> TrackFacts:
    """A track with so many packets received, and as many lost in a row as each burst says."""
    gaps = tuple(Gap(at * 1_000_000, at * 1_000_000 + length * PACKET_US, "lost") for at, length in enumerate(bursts))
    tally = replace(NOTHING, packets=packets, lost=sum(bursts), jitter_us=round(1000 * jitter_ms))
    return TrackFacts(codecs, 8000, tally, 0, 0, 0, (), gaps)


def test_the_reference_has_the_rating_that_g_107_gives_for_its_defaults() -> None:
    assert Connection().r == pytest.approx(93.2, abs=0.05)
    assert Connection().ro == pytest.approx(94.77, abs=0.005)
    assert Connection().simultaneous == pytest.approx(1.41, abs=0.005)
    assert Connection().delay == pytest.approx(0.15, abs=0.005)


@pytest.mark.parametrize(
    ("ie", "bpl", "loss", "bursts", "delay_ms"),
    [*itertools.product((0, 11), (4.3, 25.1), (0, 0.5, 5), (1, 2), (0, 100, 150, 400))],
)
def test_our_short_form_is_the_whole_formula_without_echo(
    ie: float, bpl: float, loss: float, bursts: float, delay_ms: float
) -> None:
    whole = Connection(ie=ie, bpl=bpl, ppl=loss, burst_r=bursts, ta=delay_ms)
    ours = rating(effective_impairment(Equipment(ie, bpl), loss, bursts), delay_ms)
    assert ours == pytest.approx(max(0, whole.r), abs=0.05)


@pytest.mark.parametrize(
    ("r", "score"),
    # G.107 annex B, table B.1: the limits of what users are satisfied with. Then the default, and the formula's ends.
    [(90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58), (93.2, 4.41), (100, 4.5), (120, 4.5), (0, 1), (-9, 1)],
)
def test_the_score_is_that_of_g_107s_table(r: float, score: float) -> None:
    assert mos(r) == pytest.approx(score, abs=0.0065)  # the table has 4.03 where the formula has 4.024


def test_the_score_never_falls_with_the_rating() -> None:
    scores = [mos(r / 10) for r in range(-50, 1100)]
    assert scores == sorted(scores)
    assert (scores[0], scores[-1]) == (1.0, 4.5)


@pytest.mark.parametrize(
    ("bpl", "loss", "impairment"), [(4.3, 1, 17.92), (4.3, 5, 51.08), (25.1, 1, 3.64), (25.1, 5, 15.78), (4.3, 0, 0)]
)
def test_losses_cost_what_g_113s_robustness_says(bpl: float, loss: float, impairment: float) -> None:
    assert effective_impairment(Equipment(0, bpl), loss, 1) == pytest.approx(impairment, abs=0.005)


def test_more_loss_longer_bursts_and_more_jitter_are_never_better() -> None:
    by_loss = [quality(track(bursts=(1,) * count)) for count in range(0, 200, 5)]
    by_burst = [quality(track(packets=5000, bursts=(length,) * (120 // length))) for length in (1, 2, 3, 5, 10)]
    by_jitter = [quality(track(jitter_ms=jitter_ms)) for jitter_ms in range(0, 200, 5)]
    for row in (by_loss, by_burst, by_jitter):
        ratings = [found.r for found in row if found is not None]
        assert len(ratings) == len(row)
        assert ratings == sorted(ratings, reverse=True)
        assert ratings[0] > ratings[-1]


def test_a_clean_track_has_the_best_score_of_narrowband() -> None:
    found = quality(track(jitter_ms=1))
    assert found is not None
    assert found.to_json() == {
        "mos": 4.41,
        "r": 93.2,
        "loss_percent": 0.0,
        "jitter_ms": 1.0,
        "late": 0,
        "out_of_order": 0,
        "burst_ratio": 1.0,
    }


def test_of_nothing_there_is_no_quality() -> None:
    assert quality(track(packets=0)) is None
    assert quality(track(packets=0, bursts=(3,))) is None
    assert quality(track(codecs=())) is None  # all of its frames are damaged, and a later tally is not
    assert quality_told({}) is None


def test_jitter_costs_once_its_buffer_would_be_heard() -> None:
    free, late = quality(track(jitter_ms=100 / BUFFER_JITTERS)), quality(track(jitter_ms=400 / BUFFER_JITTERS))
    assert free is not None
    assert late is not None
    assert free.r == R_DEFAULT
    assert late.r == pytest.approx(Connection(ta=400).r, abs=0.05)


@pytest.mark.parametrize(("p", "q"), [(0.01, 0.99), (0.01, 0.5), (0.02, 0.25), (0.005, 0.2)])
def test_burstiness_is_that_of_the_gilbert_model_that_lost_the_packets(p: float, q: float) -> None:
    draws = np.random.default_rng(5).random(200_000).tolist()
    lost = bursts = 0
    gone = False
    for draw in draws:
        before, gone = gone, draw < (1 - q if gone else p)
        lost += gone
        bursts += gone and not before
    assert burst_ratio(len(draws) - lost, lost, bursts) == pytest.approx(1 / (p + q), rel=0.05)


@pytest.mark.parametrize(("packets", "lost", "bursts"), [(1000, 0, 0), (1000, 10, 0), (10, 10, 10), (0, 5, 1)])
def test_what_does_not_cluster_counts_as_random(packets: int, lost: int, bursts: int) -> None:
    assert burst_ratio(packets, lost, bursts) == 1.0


def test_gaps_of_other_reasons_are_no_bursts() -> None:
    facts = track(bursts=(4, 4))
    others = tuple(Gap(gap.end_us + 1, gap.end_us + 2, reason) for gap in facts.gaps for reason in ("dtx", "hold"))
    assert quality(replace(facts, gaps=facts.gaps + others)) == quality(facts)


def test_bursts_that_found_no_room_in_the_map_are_like_the_others() -> None:
    whole, named = track(100_000, (2,) * 2 * GAPS_MAX), track(100_000, (2,) * GAPS_MAX)
    cut = replace(named, tally=whole.tally, gaps_omitted=GAPS_MAX)
    assert quality(cut) == quality(whole)


def test_every_codec_is_rated_and_the_worst_of_a_track_counts() -> None:
    assert set(EQUIPMENT) == {codec.name for codec in CODECS}
    single = [quality(track(bursts=(2, 3), codecs=(codec.name,))) for codec in CODECS]
    both = quality(track(bursts=(2, 3), codecs=tuple(codec.name for codec in CODECS)))
    assert both is not None
    assert both.r == min(found.r for found in single if found is not None)


def test_the_quality_of_what_an_engine_received_is_told_alike_from_its_facts_and_its_chunks() -> None:
    """A bench's leg is replayed from its chunks as it closes, and must tell the same facts."""
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    for _ in range(10):
        bench.play(sender, noise(360))
        sender.packet(noise(20))
        sender.packet(noise(20))
    bench.play(sender, noise(20))
    facts = bench.close()
    found = quality_told(facts.to_json())
    assert found == quality(facts)
    assert found is not None
    assert found.loss_percent == pytest.approx(100 * 20 / 201)
    assert found.burst_ratio == pytest.approx(2 * 181 / 201)
