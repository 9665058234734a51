"""The nouns of transcription: words with times, transcripts, and the redacted transcripts that alone may leave.

All times are milliseconds on the call's clock. A stored document holds one call's tracks, or some of them, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from storage.model import ParticipantId, is_id
from transcription.errors import Malformed, NotRedacted

FORMAT: Final = "callvault transcript 1"
REDACTED_FORMAT: Final = "callvault redacted transcript 1"
SPANS_FORMAT: Final = "callvault spans 1"

DOCUMENT_BYTES_MAX = 64 << 20
"""Far above a day of speech (about 100 bytes a word, 200 words a minute); what is larger is refused unread."""

TURN_GAP_MS = 1500
"""A pause of this length inside a track ends a turn: longer than the pauses between groups of a dictated number."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word as written by the engine, with its punctuation; `probability` is the engine's own, 0 to 1."""

    text: str
    start_ms: int
    end_ms: int
    probability: float


@dataclass(frozen=True, slots=True)
class Turn:
    """Words of one participant without a long pause between them."""

    participant: ParticipantId
    words: tuple[Word, ...]

    @property
    def start_ms(self) -> int:
        return self.words[0].start_ms

    @property
    def end_ms(self) -> int:
        return self.words[-1].end_ms

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


@dataclass(frozen=True, slots=True)
class Track:
    """Everything that one participant said, in order of time."""

    participant: ParticipantId
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said, word for word. It holds personal data: sealed at rest, and never handed out by default."""

    language: str
    engine: str
    tracks: tuple[Track, ...]

    def turns(self) -> list[Turn]:
        """The dialogue in order of its turns' beginnings; overlapping turns stay whole."""
        return turns_of(self.tracks)

    def parts(self) -> list[Transcript]:
        """The same, a transcript for each track."""
        return [Transcript(self.language, self.engine, (track,)) for track in self.tracks]

    def to_json(self) -> bytes:
        return _encode(FORMAT, self.language, self.engine, self.tracks)

    @classmethod
    def from_json(cls, document: bytes) -> Transcript:
        """The inverse of `to_json`; raises Malformed."""
        return cls(*_decode(document, FORMAT))

    def __repr__(self) -> str:
        return f"Transcript({len(self.tracks)} tracks)"


class _Seal:
    """Whoever holds the one instance may make redacted transcripts: `transcription.redaction` alone."""

    __slots__ = ()


_SEAL: Final = _Seal()


class RedactedTranscript:
    """A transcript whose personal data was replaced by placeholders; made by `redaction.redact()` only.

    `redaction.restore()` gives back what was stored. Everything that shows text takes this type and no other.
    """

    __slots__ = ("engine", "language", "tracks")

    language: str
    engine: str
    tracks: tuple[Track, ...]

    def __init__(self, seal: _Seal, language: str, engine: str, tracks: tuple[Track, ...]) -> None:
        if seal is not _SEAL:
            raise NotRedacted("a redacted transcript is made by redact() only")
        self.language = language
        self.engine = engine
        self.tracks = tracks

    def turns(self) -> list[Turn]:
        """The dialogue in order of its turns' beginnings; overlapping turns stay whole."""
        return turns_of(self.tracks)

    def parts(self) -> list[RedactedTranscript]:
        """The same, a transcript for each track."""
        return [RedactedTranscript(_SEAL, self.language, self.engine, (track,)) for track in self.tracks]

    def to_json(self) -> bytes:
        return _encode(REDACTED_FORMAT, self.language, self.engine, self.tracks)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RedactedTranscript):
            return NotImplemented
        return (self.language, self.engine, self.tracks) == (other.language, other.engine, other.tracks)

    def __hash__(self) -> int:
        return hash((self.language, self.engine, self.tracks))

    def __repr__(self) -> str:
        return f"RedactedTranscript({len(self.tracks)} tracks)"


@dataclass(frozen=True, slots=True)
class Span:
    """Where personal data was spoken, and what stands there now; it holds nothing of the data itself.

    The times are the engine's own word times, which begin early and end early (see README): who mutes sound by them
    pads the end.
    """

    participant: ParticipantId
    start_ms: int
    end_ms: int
    category: str
    placeholder: str


def turns_of(tracks: Iterable[Track]) -> list[Turn]:
    """Cuts tracks at their pauses and orders the pieces by their beginning."""
    turns: list[Turn] = []
    for track in tracks:
        begun = 0
        for index in range(1, len(track.words) + 1):
            last = index == len(track.words)
            if last or track.words[index].start_ms - track.words[index - 1].end_ms >= TURN_GAP_MS:
                turns.append(Turn(track.participant, track.words[begun:index]))
                begun = index
    return sorted(turns, key=lambda turn: (turn.start_ms, turn.end_ms))


def spans_to_json(spans: Iterable[Span]) -> bytes:
    """A document of spans, the inverse of `spans_from_json`."""
    rows = [[span.participant, span.start_ms, span.end_ms, span.category, span.placeholder] for span in spans]
    return json.dumps({"format": SPANS_FORMAT, "spans": rows}, ensure_ascii=False, separators=(",", ":")).encode()


def spans_from_json(document: bytes) -> tuple[Span, ...]:
    """The spans of a document; raises Malformed."""
    return tuple(_span(row) for row in _list(_load(document, SPANS_FORMAT), "spans"))


def decode_redacted(document: bytes, seal: _Seal) -> RedactedTranscript:
    """For `redaction.restore()` only: a stored redacted transcript again; raises Malformed."""
    return RedactedTranscript(seal, *_decode(document, REDACTED_FORMAT))


def _encode(form: str, language: str, engine: str, tracks: tuple[Track, ...]) -> bytes:
    value = {
        "format": form,
        "language": language,
        "engine": engine,
        "tracks": [
            {
                "participant": track.participant,
                "words": [[word.text, word.start_ms, word.end_ms, round(word.probability, 3)] for word in track.words],
            }
            for track in tracks
        ],
    }
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _decode(document: bytes, form: str) -> tuple[str, str, tuple[Track, ...]]:
    value = _load(document, form)
    tracks = tuple(
        Track(_participant(track.get("participant")), tuple(_word(row) for row in _list(track, "words")))
        for track in _mappings(_list(value, "tracks"))
    )
    return _text(value.get("language")), _text(value.get("engine")), tracks


def _load(document: bytes, form: str) -> Mapping[str, Any]:
    if len(document) > DOCUMENT_BYTES_MAX:
        raise Malformed(f"document of {len(document)} bytes")
    try:
        value = json.loads(document)
    except ValueError:
        raise Malformed("document is not JSON") from None
    if not isinstance(value, dict) or value.get("format") != form:
        raise Malformed(f"document is not a {form!r}")
    return value


def _list(value: Mapping[str, Any], key: str) -> list[Any]:
    rows = value.get(key)
    if not isinstance(rows, list):
        raise Malformed(f"{key} is not a list")
    return rows


def _mappings(rows: list[Any]) -> Iterator[Mapping[str, Any]]:
    for row in rows:
        if not isinstance(row, dict):
            raise Malformed("a track is not an object")
        yield row


def _word(row: object) -> Word:
    match row:
        case [str(text), int(start_ms), int(end_ms), int() | float() as probability]:
            return Word(text, start_ms, end_ms, float(probability))
        case _:
            raise Malformed("a word is not [text, start, end, probability]")


def _span(row: object) -> Span:
    match row:
        case [participant, int(start_ms), int(end_ms), str(category), str(placeholder)]:
            return Span(_participant(participant), start_ms, end_ms, category, placeholder)
        case _:
            raise Malformed("a span is not [participant, start, end, category, placeholder]")


def _participant(value: object) -> ParticipantId:
    if not isinstance(value, str) or not is_id(value):
        raise Malformed("a participant is not an id")
    return ParticipantId(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Malformed("a text field is missing")
    return value
