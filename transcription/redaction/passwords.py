"""Passwords said as words; those of digits are caught as digits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from transcription.redaction.digits import ASSENT
from transcription.redaction.tokens import Match
from transcription.redaction.vocabulary import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transcription.redaction.dialogue import Dialogue
    from transcription.redaction.tokens import Line

CATEGORY: Final = "PASSWORD"

WORDS: Final = words(
    """
    password passphrase passcode wachtwoord wachtwoordzin passwort kennwort losungswort codewoord codewort
    """
)
COPULAS: Final = words(
    """
    is ist lautet lauten was war luidt would be
    """
)
TOKENS_MAX = 4
"""Longer than most passwords in words; a phrase's end ends it sooner."""

ANSWER_TOKENS_MAX = 6
"""An answer longer than this to "your password?" is a sentence about it."""


def find(dialogue: Dialogue) -> Iterator[Match]:
    """What follows "the password is", and short answers to a question for it."""
    for index, line in enumerate(dialogue.lines):
        for place, token in enumerate(line.tokens):
            if token.word in WORDS and line.word(place + 1) in COPULAS and place + 2 < len(line.tokens):
                yield Match(index, place + 2, _end(line, place + 2), CATEGORY)
        asked = index > 0 and any(token.word in WORDS for token in dialogue.lines[index - 1].tokens)
        if asked and len(line.tokens) <= ANSWER_TOKENS_MAX:
            said = [place for place, token in enumerate(line.tokens) if token.word and token.word not in ASSENT]
            if said:
                yield Match(index, said[0], said[-1], CATEGORY)


def _end(line: Line, first: int) -> int:
    last = first
    while not line.tokens[last].ends_phrase and last + 1 < len(line.tokens) and last + 1 - first < TOKENS_MAX:
        last += 1
    return last
