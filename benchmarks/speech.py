"""What the generated calls say: human speech from an installed package, cut into talk and pauses of known places.

Only the clip is used, not the package's code. A label is where a talk spurt begins: the first 5 ms that are louder
than the clip's own pauses, so a label comes before anything a listener would call speech.
"""

from __future__ import annotations

import importlib.util
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from media.codecs.g711 import encode_alaw

PACKAGE = "moonshine_voice"  # named in the extra `demo`
CLIP = "assets/two_cities.wav"  # 44 s, one reader, 48 kHz
RATE_HZ = 8000
PACKET_SAMPLES = 160
TALK_SHARE = 0.7  # two people who speak at once 40 % of the time: more work for speech detection than a polite call
SEED = 8  # pauses are the same in every run
WINDOW = 40  # 5 ms
LOUD = 0.04  # of the clip's peak; the noise of its own pauses has 0.03
JOIN_WINDOWS = 40  # the clip's own pauses up to 200 ms stay; longer ones are cut to that
BREATH = 1600  # 200 ms: too short for any detector to end speech, so that a spurt has one begin
SPURT_S_MIN = 3.0  # with a pause of 0.4 times that on average
PAUSE_S_MIN = 1.0  # longer than detectors hang on, so that every spurt starts anew
NOISE = 12.0  # of 32768, about -69 dBFS: a quiet line is not digital silence
TAPS = 30  # of the low-pass filter, on each side and for each octave of decimation


class NoSpeech(Exception):
    """The package that carries the clip is not installed."""


@dataclass(frozen=True, slots=True)
class Speech:
    """A circle of A-law octets, whole packets long, and where in it (in samples) speech begins and ends."""

    octets: bytes
    spurts: tuple[tuple[int, int], ...]

    @property
    def talk_share(self) -> float:
        """Share of the circle that is talk."""
        return sum(end - start for start, end in self.spurts) / len(self.octets)

    def pause(self, number: int) -> int:
        """An offset, whole packets, in the pause before a spurt: where a leg may begin so that its onsets are known."""
        start, _ = self.spurts[number % len(self.spurts)]
        return (start - RATE_HZ // 2) // PACKET_SAMPLES * PACKET_SAMPLES

    def onsets(self, offset: int, samples: int) -> list[int]:
        """Where speech begins for a leg that starts at `offset` and lasts `samples`, in its own samples."""
        size = len(self.octets)
        found: list[int] = []
        for lap in range(-1, (offset + samples) // size + 1):
            found += [lap * size + start - offset for start, _ in self.spurts]
        return [place for place in found if 0 <= place < samples]


def make() -> Speech:
    """The circle, about a minute long. Raises NoSpeech."""
    spurts = list(_spurts(_clip()))
    random = np.random.default_rng(SEED)
    pauses = random.uniform(0.5, 1.5, len(spurts))
    pauses *= sum(len(spurt) for spurt in spurts) * (1 - TALK_SHARE) / TALK_SHARE / pauses.sum()
    parts: list[NDArray[np.float64]] = []
    places: list[tuple[int, int]] = []
    position = 0
    for spurt, pause in zip(spurts, pauses, strict=True):
        start = position + max(int(PAUSE_S_MIN * RATE_HZ), int(pause))
        parts += [np.zeros(start - position), spurt]
        position = start + len(spurt)
        places.append((start, position))
    parts.append(np.zeros(-position % PACKET_SAMPLES))
    whole = np.concatenate(parts)
    whole += random.normal(0.0, NOISE, len(whole))
    return Speech(encode_alaw(np.clip(whole, -32768, 32767).astype(np.int16)), tuple(places))


def _clip() -> NDArray[np.float64]:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise NoSpeech("the benchmarks speak with a clip of moonshine-voice: install callvault[demo]")
    with wave.open(str(Path(spec.origin).parent / CLIP)) as clip:
        raw = np.frombuffer(clip.readframes(clip.getnframes()), "<i2").astype(np.float64)
        factor = clip.getframerate() // RATE_HZ
    sides = np.arange(-TAPS * factor, TAPS * factor + 1)
    low_pass = np.sinc(0.9 * sides / factor) * np.hamming(len(sides))
    filtered = np.convolve(raw, low_pass / low_pass.sum(), "same")[::factor]
    louder: NDArray[np.float64] = filtered * (0.5 * 32767 / np.abs(filtered).max())
    return louder


def _spurts(pcm: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Stretches of talk, each of some phrases with a breath between them."""
    windows = np.abs(pcm[: len(pcm) // WINDOW * WINDOW].reshape(-1, WINDOW)).max(axis=1)
    loud = np.flatnonzero(windows > LOUD * windows.max())
    breaks = np.flatnonzero(np.diff(loud) > JOIN_WINDOWS)
    starts = loud[np.concatenate(([0], breaks + 1))] * WINDOW
    ends = (loud[np.concatenate((breaks, [len(loud) - 1]))] + 1) * WINDOW
    spurt: list[NDArray[np.float64]] = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        spurt += [pcm[start:end], np.zeros(BREATH)]
        if sum(len(part) for part in spurt) >= SPURT_S_MIN * RATE_HZ:
            yield np.concatenate(spurt[:-1])
            spurt = []
