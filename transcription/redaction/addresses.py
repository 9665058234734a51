"""Streets with house numbers, and postcodes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from transcription.redaction.tokens import Match
from transcription.redaction.vocabulary import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transcription.redaction.dialogue import Dialogue
    from transcription.redaction.runs import Part
    from transcription.redaction.tokens import Line

CATEGORY: Final = "ADDRESS"

_SUFFIX = re.compile(
    r"(?:straat|laan|weg|plein|kade|gracht|singel|dijk|hof|pad|steeg|plantsoen|markt|wal"
    r"|straße|strasse|str|allee|platz|gasse|ring|damm|ufer|chaussee|stieg)\Z"
)
"""Dutch and German streets end in what they are, and the house number follows."""

_ENGLISH: Final = words(
    """
    street st road rd avenue ave lane drive grove close court way place crescent terrace gardens square hill mews
    boulevard row walk
    """
)
"""English streets have the house number before them."""

NAME_TOKENS_MAX = 3

NAME_LETTERS_MIN = 3
"""Letters before a street's ending: "Spring 20" is no street."""

_POSTCODES = re.compile(r"\d{4}[A-Z]{2}|[A-Z]{1,2}\d[A-Z\d]?\d[A-Z]{2}")
"""Dutch, British; other countries' are digits only, and caught as such."""


def find(dialogue: Dialogue) -> Iterator[Match]:
    """Streets with their numbers, and postcodes with letters."""
    for index, line in enumerate(dialogue.lines):
        numbers = {part.first: part for part in dialogue.parts[index] if part.digits}
        before = {part.last: part for part in dialogue.parts[index] if part.digits}
        for place, token in enumerate(line.tokens):
            if token.word in _ENGLISH:
                yield from _english(index, line, place, before)
            elif token.bare[:1].isupper() and _is_street(line, place):
                yield from _continental(index, line, place, numbers)
    for index, run in dialogue.all_runs():
        if _POSTCODES.fullmatch(run.text.upper()):
            yield Match(index, run.first, run.last, CATEGORY)


def _english(index: int, line: Line, street: int, numbers: dict[int, Part]) -> Iterator[Match]:
    for place in range(street - 1, max(street - 2 - NAME_TOKENS_MAX, -1), -1):
        part = numbers.get(place)
        if part is not None and place < street - 1:
            yield Match(index, part.first, street, CATEGORY)
            return
        if not line.tokens[place].bare[:1].isupper() and part is None:
            return


def _continental(index: int, line: Line, street: int, numbers: dict[int, Part]) -> Iterator[Match]:
    part = numbers.get(street + 1)
    if part is None or line.tokens[street].ends_sentence:
        return
    first = street
    while first > 0 and street - first < NAME_TOKENS_MAX and _is_name(line, first - 1):
        first -= 1
    yield Match(index, first, part.last, CATEGORY)


def _is_street(line: Line, place: int) -> bool:
    """A name that ends as streets do ("Kerkstraat"), or such an ending behind a name ("Berliner Straße")."""
    ending = _SUFFIX.search(line.word(place))
    return ending is not None and (ending.start() >= NAME_LETTERS_MIN or (place > 0 and _is_name(line, place - 1)))


def _is_name(line: Line, place: int) -> bool:
    token = line.tokens[place]
    return token.bare[:1].isupper() and not token.ends_phrase and not line.sentence_start(place)
