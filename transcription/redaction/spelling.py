"""What is spelled out letter by letter, or by an alphabet ("M as in Martha"): names, addresses, codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from transcription.redaction.runs import Form
from transcription.redaction.tokens import Match
from transcription.redaction.vocabulary import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transcription.redaction.dialogue import Dialogue
    from transcription.redaction.runs import Part
    from transcription.redaction.tokens import Line

CATEGORY: Final = "SPELLED"

LETTERS_MIN = 4
"""Three letters are as likely a company or a tax."""

ALPHABET_MIN = 2
""""M as in Martha" once may explain anything; twice is spelling."""

LINKS: Final = words(
    """
    as in for like van von wie zoals
    """
)


def find(dialogue: Dialogue) -> Iterator[Match]:
    """Rows of single letters, and rows of letters each with its word."""
    for index, line in enumerate(dialogue.lines):
        yield from _rows(index, line, dialogue.parts[index])
        yield from _alphabets(index, line)


def _rows(index: int, line: Line, parts: tuple[Part, ...]) -> Iterator[Match]:
    row: list[Part] = []
    for part in parts:
        if part.form is not Form.LETTERS or not _spelled(line, part):
            continue
        if row and part.first != row[-1].last + 1:
            yield from _row(index, row)
            row = []
        row.append(part)
    yield from _row(index, row)


def _row(index: int, row: list[Part]) -> Iterator[Match]:
    if sum(len(part.text) for part in row) >= LETTERS_MIN:
        yield Match(index, row[0].first, row[-1].last, CATEGORY)


def _spelled(line: Line, part: Part) -> bool:
    """Single letters, not the capitals of an acronym."""
    bare = line.tokens[part.first].bare
    return len(part.text) == 1 or len(bare) >= 2 * len(part.text) - 1


def _alphabets(index: int, line: Line) -> Iterator[Match]:
    first = None
    count = place = end = 0
    while place < len(line.tokens):
        after = _letter_with_word(line, place)
        if after is None:
            if first is not None and count >= ALPHABET_MIN:
                yield Match(index, first, end, CATEGORY)
            first, count, place = None, 0, place + 1
            continue
        first = place if first is None else first
        count, end, place = count + 1, after, after + 1
    if first is not None and count >= ALPHABET_MIN:
        yield Match(index, first, end, CATEGORY)


def _letter_with_word(line: Line, place: int) -> int | None:
    """The index of the word in "M as in Martha", if that is what stands at `place`."""
    letter = line.word(place)
    if len(letter) != 1 or not letter.isalpha():
        return None
    after = place + 1
    while line.word(after) in LINKS and after - place <= 2:
        after += 1
    named = line.word(after)
    return after if after > place + 1 and len(named) > 1 else None
