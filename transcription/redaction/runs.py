"""Runs: stretches of digits, letters and the fillers between them, said or written in any grouping.

"0612 34, uh, double five" is one run of ten digits. Rules: commas, full stops and dashes never end a run, since engines
put them anywhere between dictated digits; up to two fillers are bridged; any other word ends it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from transcription.redaction.numerals import MULTIPLIERS, ZEROS, spoken
from transcription.redaction.vocabulary import words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transcription.redaction.tokens import Line, Token

FILLERS: Final = words(
    """
    a uh um er erm eh ehm hmm and then dash hyphen dot point slash space stroke comma plus minus en dan streepje
    punt schuine streep spatie min komma euh und dann strich bindestrich punkt schrägstrich leerzeichen äh ähm
    """
)
"""Words that may stand between two groups of one number."""

FILLERS_MAX = 2

DICTATED: Final = (ZEROS - {"o"}) | MULTIPLIERS.keys()
"""Words beside which an "oh" is a zero too."""

SEPARATORS: Final = words("or to till until of tot oder bis")
"""Conjunctions that part two numbers, unless both are small quantities."""

SMALL_DIGITS = 3

CONJUNCTIONS: Final = words(
    """
    and or to till until of tot en t/m und oder bis
    """
)
"""Words between two quantities ("between 10 and 12"): what they join is not dictation."""

WORD_LETTERS: Final = frozenset({"I", "A"})
"""Letters that are words: at a run's edge they belong to it only beside another letter."""

_CURRENCY = re.compile(r"[€$£%]|(?<=\d)(?:am|pm|km|kg|gb|mb|cm|mm|h|u)$", re.IGNORECASE)
_ORDINAL = re.compile(r"(\d{1,2})(?:st|nd|rd|th|e|ste|de)\Z", re.IGNORECASE)
_TIME = re.compile(r"([01]?\d|2[0-4])([:.])[0-5]\d\Z")
_GROUPED = re.compile(r"\d{1,3}(?:[.,]\d{3})+(?:[.,]\d{2})?\Z")
_DECIMAL = re.compile(r"\d{1,6}[.,]\d{1,2}\Z")
_RANGE = re.compile(r"[1-9]\d?[-–][1-9]\d?\Z")
_SPELLED = re.compile(r"[^\W\d_](?:[-.][^\W\d_])+\Z")
_CAPITALS = re.compile(r"[A-ZÄÖÜ]{1,4}(?:-[A-ZÄÖÜ]{1,4})*\Z")


class Form(Enum):
    """How a part of a run is written or said."""

    NATURAL = auto()  # a whole number without a leading zero
    ORDINAL = auto()
    TIME = auto()
    DECIMAL = auto()
    RANGE = auto()
    DIGITS = auto()  # any other digits: leading zero, odd separators, doubled
    CODE = auto()  # letters and digits in one token
    LETTERS = auto()


@dataclass(frozen=True, slots=True)
class Part:
    """One number, code or group of letters inside a run, in tokens `first` to `last`."""

    first: int
    last: int
    text: str
    form: Form
    quantity: bool = False  # carries a currency, a unit or a percent sign itself

    @property
    def digits(self) -> str:
        return "".join(letter for letter in self.text if letter.isdecimal())


@dataclass(frozen=True, slots=True)
class Run:
    """Parts that belong to one dictation, in tokens `first` to `last`."""

    first: int
    last: int
    parts: tuple[Part, ...]
    conjunctions: int

    @property
    def text(self) -> str:
        """Its digits and letters in order, nothing else."""
        return "".join(part.text for part in self.parts)

    @property
    def digits(self) -> str:
        return "".join(part.digits for part in self.parts)

    @property
    def letters(self) -> int:
        return sum(letter.isalpha() for letter in self.text)


def parts_of(line: Line, language: str) -> list[Part]:
    """Every part of the line, in order, whether or not it belongs to a dictation."""
    numbers = {number.first: number for number in spoken(line, language)}
    parts: list[Part] = []
    index = 0
    while index < len(line.tokens):
        number = numbers.get(index)
        if number is not None:
            form = Form.ORDINAL if number.ordinal else Form.DIGITS if number.digits.startswith("0") else Form.NATURAL
            parts.append(Part(number.first, number.last, number.digits, form))
            index = number.last + 1
            continue
        part = _written(line.tokens[index], index)
        if part is not None:
            parts.append(part)
        index += 1
    return _doubled(line, parts)


def runs_of(line: Line, parts: Iterable[Part]) -> list[Run]:
    """The runs among a line's parts, in order; a run of letters only is left out."""
    runs: list[Run] = []
    held: list[Part] = []
    conjunctions = 0
    for part in parts:
        if held and not _joined(line, held[-1], part):
            runs += _run(held, conjunctions)
            held, conjunctions = [], 0
        if held:
            between = range(held[-1].last + 1, part.first)
            conjunctions += any(line.word(index) in CONJUNCTIONS for index in between)
        held.append(part)
    return runs + _run(held, conjunctions)


def _run(parts: list[Part], conjunctions: int) -> list[Run]:
    """At most one run: letters that are far from any digit do not belong to it."""
    while parts and parts[0].text in WORD_LETTERS and (len(parts) == 1 or parts[1].form is not Form.LETTERS):
        parts = parts[1:]
    while parts and parts[-1].text in WORD_LETTERS and (len(parts) == 1 or parts[-2].form is not Form.LETTERS):
        parts = parts[:-1]
    if not any(part.digits for part in parts):
        return []
    return [Run(parts[0].first, parts[-1].last, tuple(parts), conjunctions)]


def _joined(line: Line, before: Part, after: Part) -> bool:
    """Whether only fillers and punctuation stand between two parts."""
    between = [word for word in (line.word(index) for index in range(before.last + 1, after.first)) if word]
    if not SEPARATORS.isdisjoint(between) and max(len(before.digits), len(after.digits)) > SMALL_DIGITS:
        return False
    return len(between) <= FILLERS_MAX and all(word in FILLERS or word in CONJUNCTIONS for word in between)


def _written(token: Token, index: int) -> Part | None:
    """The part that a token is by itself, if it is one."""
    bare, quantity = token.bare, False
    mark = _CURRENCY.search(bare)
    if mark is not None and any(letter.isdecimal() for letter in bare):
        bare, quantity = bare[: mark.start()] + bare[mark.end() :], True
    text = "".join(letter for letter in bare if letter.isalnum())
    digits = sum(letter.isdecimal() for letter in text)
    if not digits:
        if _SPELLED.match(bare) or _CAPITALS.match(bare) or (len(bare) == 1 and bare.isalpha() and bare not in "aiu"):
            return Part(index, index, text, Form.LETTERS)
        return None
    if _ORDINAL.match(bare):
        return Part(index, index, text[:2].rstrip("stndrhe"), Form.ORDINAL)
    if digits < len(text):
        return Part(index, index, text, Form.CODE, quantity)
    return Part(index, index, text, _form(bare), quantity)


def _form(bare: str) -> Form:
    if bare.isdecimal():
        return Form.DIGITS if bare.startswith("0") and len(bare) > 1 else Form.NATURAL
    if _TIME.match(bare):
        return Form.TIME
    if _GROUPED.match(bare):
        return Form.NATURAL
    if _DECIMAL.match(bare):
        return Form.DECIMAL
    return Form.RANGE if _RANGE.match(bare) else Form.DIGITS


def _doubled(line: Line, parts: list[Part]) -> list[Part]:
    """The same with "double four" as 44, and with the words that are zeros only beside digits."""
    by_first = {part.first: part for part in parts}
    ends = {part.last for part in parts if part.digits}
    for index, token in enumerate(line.tokens):
        following = by_first.get(index + 1)
        beside = index - 1 in ends or (following is not None and following.digits)
        if token.word in ZEROS and (beside or not {line.word(index - 1), line.word(index + 1)}.isdisjoint(DICTATED)):
            by_first[index] = Part(index, index, "0", Form.DIGITS)
            ends.add(index)
    for index, token in enumerate(line.tokens):
        following = by_first.get(index + 1)
        if token.word in MULTIPLIERS and following is not None and following.digits:
            del by_first[index + 1]
            text = following.text[0] * MULTIPLIERS[token.word] + following.text[1:]
            by_first[index] = Part(index, following.last, text, Form.DIGITS)
    return [by_first[first] for first in sorted(by_first)]
