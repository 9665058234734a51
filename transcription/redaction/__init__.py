"""Redaction: a table of recognizers, and the only way to a redacted transcript.

Each recognizer reads the whole dialogue and names spans of tokens; a model (`rampart`) may add spans to theirs, and
takes none away. Spans that touch are joined; a span's category is that of the first family in the table that found
any of it. Rules: whatever is found is replaced as a whole word; in doubt it is replaced; a placeholder stands for one
value throughout a call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from storage.model import Kind
from transcription.errors import NotRedacted
from transcription.model import _SEAL, RedactedTranscript, Span, Track, Word, decode_redacted
from transcription.redaction import (
    accounts,
    addresses,
    cards,
    dates,
    digits,
    emails,
    ids,
    names,
    passwords,
    phones,
    spelling,
)
from transcription.redaction.dialogue import Dialogue
from transcription.redaction.gazetteer import PARTICLES
from transcription.redaction.tokens import Match

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from storage.model import ArtefactRef, ParticipantId
    from transcription.model import Transcript, Turn
    from transcription.redaction.rampart import NamesModel
    from transcription.redaction.tokens import Line

RECOGNIZERS: Final[tuple[tuple[str, Callable[[Dialogue], Iterable[Match]]], ...]] = (
    (emails.CATEGORY, emails.find),
    (accounts.CATEGORY, accounts.find),
    (cards.CATEGORY, cards.find),
    (ids.CATEGORY, ids.find),
    (phones.CATEGORY, phones.find),
    (dates.CATEGORY, dates.find),
    (addresses.CATEGORY, addresses.find),
    (spelling.CATEGORY, spelling.find),
    (names.CATEGORY, names.find),
    (passwords.CATEGORY, passwords.find),
    (digits.CATEGORY, digits.find),
)
"""The families, the most telling first. A new one is a module with CATEGORY and `find`, and a row here."""

_RANKS: Final = {category: rank for rank, (category, _find) in enumerate(RECOGNIZERS)}
"""The second layer's spans stand in the row of their category."""


@dataclass(frozen=True, slots=True)
class Found:
    """A joined span in a line: characters `start` to `end` of its text, tokens `first` to `last`, both included."""

    start: int
    end: int
    first: int
    last: int
    category: str


def find(language: str, said: Iterable[tuple[str, str]], names_model: NamesModel | None = None) -> list[list[Found]]:
    """For each (speaker, text) of a dialogue in order of time, the spans to be replaced, in order."""
    return _find(Dialogue.of(language, said), names_model)


def redact(
    transcript: Transcript, language: str | None = None, names_model: NamesModel | None = None
) -> tuple[RedactedTranscript, tuple[Span, ...]]:
    """The transcript with placeholders in place of personal data, and where they stand in time.

    `language` is the transcript's own unless given. With `names_model` the second layer looks too, and the redacted
    transcript names it beside the engine.
    """
    language = language or transcript.language
    turns = transcript.turns()
    dialogue = Dialogue.of(language, ((turn.participant, _line_text(turn)) for turn in turns))
    placeholders = _Placeholders()
    words: dict[ParticipantId, list[Word]] = {track.participant: [] for track in transcript.tracks}
    spans: list[Span] = []
    for turn, line, found in zip(turns, dialogue.lines, _find(dialogue, names_model), strict=True):
        place = 0
        for span in found:
            words[turn.participant] += turn.words[place : span.first]
            placeholder = placeholders.of(span.category, line, span)
            replaced = turn.words[span.first : span.last + 1]
            first, last = replaced[0], replaced[-1]
            tail = line.tokens[span.last].raw[-1:] if line.tokens[span.last].ends_phrase else ""
            probability = min(word.probability for word in replaced)
            words[turn.participant].append(Word(placeholder + tail, first.start_ms, last.end_ms, probability))
            spans.append(Span(turn.participant, first.start_ms, last.end_ms, span.category, placeholder))
            place = span.last + 1
        words[turn.participant] += turn.words[place:]
    tracks = tuple(Track(participant, tuple(said)) for participant, said in words.items())
    engine = f"{transcript.engine}, {names_model.name}" if names_model else transcript.engine
    return RedactedTranscript(_SEAL, transcript.language, engine, tracks), tuple(spans)


def restore(ref: ArtefactRef, document: bytes) -> RedactedTranscript:
    """A redacted transcript as it was stored; only a document stored as one is taken. Raises NotRedacted, Malformed."""
    if ref.kind is not Kind.REDACTED_TRANSCRIPT:
        raise NotRedacted(f"artefact {ref.artefact} is a {ref.kind}")
    return decode_redacted(document, _SEAL)


def merged(parts: Sequence[RedactedTranscript]) -> RedactedTranscript:
    """The parts of one call as one: its tracks side by side."""
    if not parts:
        raise NotRedacted("no part is given")
    tracks = tuple(track for part in parts for track in part.tracks)
    return RedactedTranscript(_SEAL, parts[0].language, parts[0].engine, tracks)


def _line_text(turn: Turn) -> str:
    """The turn's text with one token for each word, whatever the engine put into a word."""
    return " ".join("".join(word.text.split()) or "…" for word in turn.words)


def _find(dialogue: Dialogue, names_model: NamesModel | None) -> list[list[Found]]:
    matches: list[list[tuple[Match, int]]] = [[] for _line in dialogue.lines]
    for rank, (_category, recognize) in enumerate(RECOGNIZERS):
        for match in recognize(dialogue):
            matches[match.line].append((match, rank))
    if names_model is not None:
        judged = list(names_model.find(dialogue.lines, names.never_names(dialogue.language)))
        named = [match for match in judged if match.category == names.CATEGORY]
        for match in (*judged, *names.mentions(dialogue, named)):
            matches[match.line].append((match, _RANKS[match.category]))
    return [_joined(line, found) for line, found in zip(dialogue.lines, matches, strict=True)]


def _joined(line: Line, matches: list[tuple[Match, int]]) -> list[Found]:
    """Overlapping matches as one, named by the best of them; neighbours of one category too."""
    found: list[tuple[int, int, int]] = []
    for match, rank in sorted(matches, key=lambda each: (each[0].first, each[0].last)):
        if found:
            first, last, best = found[-1]
            if match.first <= last or (match.first == last + 1 and rank == best and not line.tokens[last].ends_phrase):
                found[-1] = (first, max(last, match.last), min(best, rank))
                continue
        found.append((match.first, match.last, rank))
    return [
        Found(line.tokens[first].start, line.tokens[last].end, first, last, RECOGNIZERS[rank][0])
        for first, last, rank in found
    ]


class _Placeholders:
    """Numbers the values of each category in order of appearance: the same value, the same placeholder."""

    def __init__(self) -> None:
        self._values: dict[str, list[frozenset[str]]] = {}

    def of(self, category: str, line: Line, found: Found) -> str:
        value = self._value(category, line, found)
        known = self._values.setdefault(category, [])
        for number, earlier in enumerate(known, start=1):
            if value == earlier or (category == names.CATEGORY and (value <= earlier or earlier <= value)):
                known[number - 1] = earlier | value if category == names.CATEGORY else earlier
                return f"[{category} {number}]"
        known.append(value)
        return f"[{category} {len(known)}]"

    @staticmethod
    def _value(category: str, line: Line, found: Found) -> frozenset[str]:
        """What the placeholder stands for: the parts of a name, else letters and digits without their grouping."""
        words = [token.word for token in line.tokens[found.first : found.last + 1]]
        if category == names.CATEGORY:
            return frozenset(word.removesuffix("'s") for word in words if word not in PARTICLES)
        return frozenset({"".join(letter for word in words for letter in word if letter.isalnum())})
