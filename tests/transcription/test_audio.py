"""Audio on its way to the engine: the rate, the scale, and where long tracks are cut."""

from __future__ import annotations

import numpy as np

from transcription.audio import ENGINE_RATE_HZ, quiet_cut, resample, to_engine


def tone(seconds: float, rate_hz: int, amplitude: float = 8000.0) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    return (np.sin(2 * np.pi * 440 * time_s) * amplitude).astype(np.int16)


def test_telephone_audio_doubles_its_samples_and_keeps_its_loudness() -> None:
    samples = to_engine(tone(1.0, 8000), 8000)
    assert samples.dtype == np.float32
    assert len(samples) == ENGINE_RATE_HZ
    assert abs(float(np.abs(samples[4000:12000]).max()) - 8000 / 32768) < 0.005


def test_audio_at_the_engines_rate_is_only_scaled() -> None:
    pcm = np.array([-32768, 0, 16384], np.int16)
    assert to_engine(pcm, ENGINE_RATE_HZ).tolist() == [-1.0, 0.0, 0.5]


def test_resampling_there_and_back_keeps_a_tone() -> None:
    pcm = tone(1.0, 8000)
    back = resample(resample(pcm, 8000, 16000), 16000, 8000)
    assert np.abs(back[500:-500].astype(int) - pcm[500:-500]).max() < 100
    assert resample(pcm, 8000, 8000) is pcm


def test_a_long_track_is_cut_in_its_pause() -> None:
    pcm = tone(60.0, 8000)
    pcm[45 * 8000 : 46 * 8000] = 0
    assert 45 * 8000 <= quiet_cut(pcm, 8000, 30) <= 46 * 8000


def test_a_track_is_cut_within_its_last_part_only() -> None:
    pcm = tone(60.0, 8000)
    pcm[: 10 * 8000] = 0
    assert quiet_cut(pcm, 8000, 30) > 30 * 8000


def test_what_is_too_short_to_cut_stays_whole() -> None:
    assert quiet_cut(np.ones(100, np.int16), 8000, 30) == 100
