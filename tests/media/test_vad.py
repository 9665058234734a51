"""Speech starts on speech and ends after its hangover; a click, or cells that never came, do not count as speech."""

from __future__ import annotations

import numpy as np
import pytest

from media.codecs import PCMA, PCMU, Plain
from media.codecs.g711 import Samples
from media.vad import CELL_SAMPLES, HANGOVER, Decision, Detectors

from .bench import Bench, Sender, Twins


def voice(ms: int) -> Samples:
    """Something that webrtcvad takes for a voice: a buzz with formants, swelling four times a second."""
    t = np.arange(ms * 8) / 8000
    buzz = sum(np.sin(2 * np.pi * 120 * k * t) / (1 + ((120 * k - 700) / 300) ** 2) for k in range(1, 25))
    loudness = 6000 * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))
    return np.asarray(np.clip(loudness * np.asarray(buzz), -32_000, 32_000), np.int16)


def quiet(ms: int) -> Samples:
    return np.random.default_rng(5).normal(0, 3, ms * 8).astype(np.int16)


def heard(detectors: Detectors, samples: Samples, row: int = 0) -> list[tuple[int, Decision]]:
    """What is decided, with the cell that decided it."""
    cells = samples.reshape(-1, CELL_SAMPLES)
    return [(i, decision) for i, cell in enumerate(cells) for decision in detectors.hear([row], cell.tobytes())]


def opened(rows: int = 1) -> Detectors:
    detectors = Detectors(rows, Twins.core)
    for row in range(rows):
        detectors.open(row)
    return detectors


def test_speech_is_found_with_its_beginning_and_its_end() -> None:
    (start, started), (end, ended) = heard(opened(), np.concatenate((quiet(600), voice(1000), quiet(1200))))
    assert (started.started, ended.started) == (True, False)
    onset, offset = start + 1 - started.cells_ago, end + 1 - ended.cells_ago
    assert 29 <= onset <= 31
    assert start - 30 <= 4
    assert 78 <= offset <= 88
    assert ended.cells_ago == HANGOVER


def test_a_breath_does_not_end_speech() -> None:
    decisions = heard(opened(), np.concatenate((voice(1000), quiet(300), voice(1000))))
    assert [decision.started for _, decision in decisions] == [True]


@pytest.mark.parametrize("loudness", [0, 3, 10, 50, 200])
@pytest.mark.parametrize("codec", [PCMA, PCMU], ids=lambda codec: codec.name)
def test_a_lines_noise_never_starts_it(codec: Plain, loudness: int) -> None:
    noisy = np.random.default_rng(5).normal(0, loudness, 24_000).astype(np.int16)
    assert heard(opened(), codec.decode(codec.encode(noisy))) == []


def test_legs_are_heard_apart() -> None:
    detectors = opened(3)
    decisions = []
    for speech, silence in zip(voice(400).reshape(-1, 160), quiet(400).reshape(-1, 160), strict=True):
        decisions += detectors.hear([2, 0], speech.tobytes() + silence.tobytes())
    assert [(decision.row, decision.started) for decision in decisions] == [(2, True)]
    assert [detectors.speaking(row) for row in range(3)] == [False, False, True]


def test_cells_that_never_came_end_speech_where_it_was_last_heard() -> None:
    detectors = opened()
    heard(detectors, voice(400))
    assert detectors.miss(0, HANGOVER - 1) == []
    assert detectors.miss(0, 10) == [Decision(0, started=False, cells_ago=HANGOVER - 1)]
    assert detectors.miss(0, 10) == []


def test_speech_on_a_leg_is_told_with_its_call_time_and_the_deciding_stamp() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    bench.play(sender, PCMA.encode(np.concatenate((quiet(600), voice(1000), quiet(1000)))))
    started, ended = bench.speech
    assert (started.started, ended.started) == (True, False)
    at_us = bench.close().map[0].at_us
    assert abs(started.at_us - at_us - 600_000) <= 40_000
    assert -40_000 <= ended.at_us - at_us - 1_600_000 <= 200_000
    assert started.stamp_ns > 0


def test_speech_ends_when_its_leg_falls_silent_without_a_word() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    bench.play(sender, PCMA.encode(voice(600)), ptime_ms=30)
    assert [event.started for event in bench.speech] == [True]
    bench.wait(1000)
    assert [event.started for event in bench.speech] == [True, False]
    assert abs(bench.speech[1].at_us - bench.close().map[0].at_us - 600_000) <= 40_000
