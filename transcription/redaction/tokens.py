"""A dialogue as lines of tokens: what every recognizer reads.

Offsets count characters of a line's text. A token is what stands between two spaces; `bare` is it without the
punctuation around it, `word` is that in lower case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

LANGUAGES: Final = ("en", "nl", "de")
"""Languages whose words the recognizers know; any other is read with the words of all of them."""

_PUNCTUATION: Final = "\"'“”„‚‘’«»()[]{}<>.,;:!?¿¡…-–—"
_SENTENCE_END = re.compile(r"[.!?…][\"'“”’)\]]*$")


@dataclass(frozen=True, slots=True)
class Token:
    """One written word of a line; `start` and `end` are the bare word's offsets."""

    start: int
    end: int
    raw: str
    bare: str
    word: str
    ends_sentence: bool
    ends_phrase: bool  # comma, colon or sentence end


@dataclass(frozen=True, slots=True)
class Line:
    """What one speaker said in one turn."""

    speaker: str
    text: str
    tokens: tuple[Token, ...]

    def word(self, index: int) -> str:
        """The lower-case word at `index`, empty outside the line."""
        return self.tokens[index].word if 0 <= index < len(self.tokens) else ""

    def phrase_start(self, index: int) -> bool:
        """Whether a phrase begins at `index`: the line's beginning, or after punctuation."""
        return index == 0 or self.tokens[index - 1].ends_phrase

    def sentence_start(self, index: int) -> bool:
        """Whether a sentence begins at `index`."""
        return index == 0 or self.tokens[index - 1].ends_sentence


@dataclass(frozen=True, slots=True)
class Match:
    """Personal data in tokens `first` to `last` of a line, both included."""

    line: int
    first: int
    last: int
    category: str


def line_of(speaker: str, text: str) -> Line:
    """Splits a line's text into tokens."""
    tokens: list[Token] = []
    for found in re.finditer(r"\S+", text):
        raw = found.group()
        left = len(raw) - len(raw.lstrip(_PUNCTUATION))
        bare = raw.strip(_PUNCTUATION)
        start = found.start() + (left if bare else 0)
        ends_sentence = _SENTENCE_END.search(raw) is not None
        ends_phrase = ends_sentence or raw.rstrip("\"'“”’)]")[-1:] in ",;:"
        end = start + len(bare) if bare else found.end()
        tokens.append(Token(start, end, raw, bare, bare.casefold(), ends_sentence, ends_phrase))
    return Line(speaker, text, tuple(tokens))


def languages_of(language: str) -> Sequence[str]:
    """The languages whose words apply to a dialogue in `language`."""
    return (language,) if language in LANGUAGES else LANGUAGES
