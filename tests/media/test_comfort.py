"""A sender's silence keeps its level; for a listener it sounds like that, and what was received stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

from media import comfort
from media.codecs import PCMA
from media.framelog import NOISE_STEPS, noise_db, noise_step
from media.render import render_pcm, total_samples
from media.timeline import Gap, TrackFacts

from .bench import Bench, Sender, first_sample, noise


def rms_db(samples: np.ndarray[tuple[int], np.dtype[np.int16]]) -> float:
    """-dBov."""
    mean = float(np.mean(np.square(samples.astype(np.float64))))
    return -10 * float(np.log10(mean / 32_768**2))


def silence(bench: Bench, sender: Sender, *levels: int, ms: int = 2000) -> None:
    """A silence of so long for each level, each of which is told."""
    for level in levels:
        bench.send(sender, sender.packet(bytes((level, 7, 7)), 13, ticks=0))
        bench.wait(ms)
        sender.rest(ms)


@pytest.mark.parametrize("level", [30, 48, 55, 72])
def test_a_silence_has_the_level_that_its_sender_told(level: int) -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    audio = noise(400)
    bench.play(sender, audio)
    silence(bench, sender, level)
    bench.play(sender, audio)
    facts = bench.close()
    (gap,) = [gap for gap in facts.gaps if gap.reason == "dtx"]
    assert gap.noise_db is not None
    assert abs(gap.noise_db - level) <= 1
    assert gap.end_us - gap.start_us == 2_000_000
    plain = bench.audio(facts)
    rendered = render_pcm(bench.chunks(), facts, 0, total_samples(facts), comfort_noise=True)
    at = first_sample(facts)
    quiet = slice(at + 3200, at + 19_200)
    assert rms_db(rendered[quiet]) == pytest.approx(gap.noise_db, abs=0.5)
    rendered[quiet] = 0
    assert np.array_equal(rendered, plain)
    for start in (at, at + 19_200):
        assert np.array_equal(plain[start : start + 3200], PCMA.decode(audio))


def test_any_part_sounds_as_it_does_in_the_whole() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    bench.play(sender, noise(400))
    silence(bench, sender, 50)
    bench.play(sender, noise(400, 2))
    facts = bench.close()
    whole = render_pcm(bench.chunks(), facts, 0, total_samples(facts), comfort_noise=True)
    cut = np.random.default_rng(8)
    for _ in range(30):
        first, last = sorted(cut.integers(0, len(whole) + 1, 2).tolist())
        part = render_pcm(bench.chunks(), facts, first, last, comfort_noise=True)
        assert np.array_equal(part, whole[first:last])


def test_the_last_level_of_a_silence_counts() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    bench.play(sender, noise(400))
    silence(bench, sender, 33, 60)
    bench.play(sender, noise(400))
    facts = bench.close()
    (gap,) = [gap for gap in facts.gaps if gap.reason == "dtx"]
    assert (gap.noise_db, gap.end_us - gap.start_us) == (60, 4_000_000)


def test_a_call_that_ends_in_silence_keeps_its_level() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    bench.play(sender, noise(400))
    silence(bench, sender, 60)
    facts = bench.close()
    assert (facts.gaps[-1].reason, facts.gaps[-1].noise_db) == ("dtx", 60)


def test_a_hold_and_a_loss_have_no_level() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    bench.play(sender, noise(400))
    silence(bench, sender, 60)
    bench.engine.pause(1, bench.now_ns)
    bench.play(sender, noise(400))
    bench.engine.resume(1, bench.now_ns)
    bench.play(sender, noise(200))
    sender.packet(bytes(160))
    bench.wait()
    bench.play(sender, noise(200))
    facts = bench.close()
    assert {gap.reason for gap in facts.gaps} >= {"paused", "lost"}
    assert [gap.noise_db for gap in facts.gaps if gap.reason in {"paused", "lost"}] == [None, None]


def test_levels_are_kept_within_what_g711_can_carry() -> None:
    steps = [noise_step(level) for level in range(128)]
    assert steps == sorted(steps)
    assert (steps[0], steps[127]) == (1, NOISE_STEPS)
    for level in range(30, 73):
        kept = noise_db(noise_step(level))
        assert kept is not None
        assert abs(kept - level) <= 1
    assert noise_db(0) is None


def test_facts_with_a_level_survive_json() -> None:
    gaps = [Gap(0, 5, "no_media"), Gap(7, 9, "dtx", 60)]
    assert [Gap.from_json(gap.to_json()) for gap in gaps] == gaps
    bench = Bench()
    bench.open(1)
    told = {**bench.close().to_json(), "gaps": [[0, 5, "no_media"], [7, 9, "dtx", 60]]}
    assert list(TrackFacts.from_json(told).gaps) == gaps


def test_noise_is_white_without_offset_and_nowhere_repeats() -> None:
    samples = comfort.noise(40, 0, 80_000).astype(np.float64)
    assert abs(samples.mean()) < 0.02 * samples.std()
    spectrum = np.abs(np.fft.rfft(samples.reshape(-1, 1000), axis=1)) ** 2
    bands = spectrum.mean(axis=0)[1:-1]
    assert bands.max() / bands.mean() < 3
    first, later = samples[:8000], samples[8000:]
    assert np.abs(np.correlate(later, first, "valid")).max() < 0.1 * float(first @ first)
