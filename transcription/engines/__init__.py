"""The table of speech engines, and what each of them promises.

A model is named by one setting: `package:<name>` for a model that came as an installed package, an absolute path to
a model's folder, or `<owner>/<name>` on the model hub.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from transcription.engines import whisper

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from transcription.model import Word

DEFAULT_MODEL = whisper.DEFAULT_MODEL


class Engine(Protocol):
    """Turns speech into words. One engine serves one thread."""

    @property
    def name(self) -> str:
        """Engine, version and model, as it is written into the transcripts."""

    def transcribe(self, samples: NDArray[np.float32], language: str) -> Sequence[Word]:
        """The words in `samples` (16 kHz, [-1, 1)) in order; times count from the first sample, in milliseconds.

        `language` is an ISO 639-1 code and is forced. Silence gives no words.
        """


def open_engine(model: str = DEFAULT_MODEL, *, download: bool = False) -> Engine:
    """The engine for a model setting; only with `download` may a hub model be fetched from the network.

    Raises EngineUnavailable, whose message says how to mend it.
    """
    return whisper.open_model(model, download=download)
