"""Spoken numbers as digits, token by token; the home of text2num.

"zero two zero" gives the digits 0, 2, 0; "four hundred and fifty" gives 450 over four tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from text_to_num import find_numbers

from transcription.redaction.tokens import languages_of

if TYPE_CHECKING:
    from transcription.redaction.tokens import Line

SPOKEN_LANGUAGES: Final = frozenset({"en", "nl", "de", "fr", "es", "it", "pt"})
"""Languages of text2num that we use."""

ZEROS: Final = frozenset({"oh", "o", "nought", "ought"})
"""Zeros only beside other digits; alone they are exclamations."""

MULTIPLIERS: Final = {
    "double": 2,
    "triple": 3,
    "treble": 3,
    "quadruple": 4,
    "dubbel": 2,
    "dubbele": 2,
    "driedubbel": 3,
    "doppel": 2,
    "doppelt": 2,
    "dreifach": 3,
}
"""Words that repeat the next digit."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A number said in tokens `first` to `last`, both included, as digits."""

    first: int
    last: int
    digits: str
    ordinal: bool


class _Word:
    """A token in the shape that text2num takes."""

    __slots__ = ("_separated", "_text")

    def __init__(self, text: str, separated: bool) -> None:
        self._text = text
        self._separated = separated

    def text(self) -> str:
        return self._text

    def nt_separated(self, _previous: _Word) -> bool:
        return self._separated

    def not_a_number_part(self) -> bool:
        return False


def spoken(line: Line, language: str) -> list[Spoken]:
    """Every number that is said in words, in order and without overlap."""
    words: list[_Word] = []
    separated = False
    for token in line.tokens:
        said = token.word.replace("-", "").isalpha() and token.word not in ZEROS
        words.append(_Word(token.bare.lower() if said else ".", separated or not said))
        separated = token.ends_phrase or not said
    found: list[Spoken] = []
    taken: set[int] = set()
    for each in (language,) if language in SPOKEN_LANGUAGES else languages_of(language):
        for number in find_numbers(words, each, 0):
            digits = "".join(letter for letter in number.text if letter.isdecimal())
            tokens = range(number.start, number.end)
            if digits and taken.isdisjoint(tokens):
                taken.update(tokens)
                found.append(Spoken(number.start, number.end - 1, digits, number.is_ordinal))
    return sorted(found, key=lambda number: number.first)
