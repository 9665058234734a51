"""E-mail addresses as written, as spoken ("anna dot smith at …"), and as engines write them: often without the @.

An address is found from its end: a domain, said or written. From there it is followed to the left, over the word
for "at", to the beginning of the local part; where that is not clear, too much is taken rather than too little.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from transcription.redaction.context import Topic
from transcription.redaction.tokens import Match
from transcription.redaction.vocabulary import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transcription.redaction.dialogue import Dialogue
    from transcription.redaction.tokens import Line

CATEGORY: Final = "EMAIL"

TOP_LEVEL: Final = words(
    """
    com net org nl de be at ch uk eu info io fr co biz edu gov ie online
    """
)
DOTS: Final = frozenset({"dot", "punt", "punkt", "point", "."})
AT: Final = frozenset({"at", "@", "apenstaart", "apenstaartje", "apestaart", "apestaartje", "klammeraffe", "ät", "et"})
PROVIDERS: Final = words(
    """
    gmail hotmail outlook yahoo icloud ziggo kpnmail xs4all planet gmx web t-online posteo live proton protonmail
    googlemail aol me msn
    """
)
BEFORE: Final = words(
    """
    is it's its it to on address adres adresse e-mail email mail e-mailadres mailadres e-mail-adresse that's that so
    yes yeah sure okay ok uh um me naar op het dat dus ja unter an ist lautet die das also per via schreiben use
    maar was are with stuur
    """
)
"""Words before an address that do not belong to it."""

HOST_TOKENS_MAX = 8
LOCAL_TOKENS_MAX = 10

_HOST = re.compile(rf"[\w-]+(?:\.[\w-]+)*\.(?:{'|'.join(sorted(TOP_LEVEL))})\Z", re.IGNORECASE)
_DOTTED = re.compile(r"[^\W\d_]{2,}(?:[._-][\w-]+)*\.[\w-]{2,}\Z")


def find(dialogue: Dialogue) -> Iterator[Match]:
    """Every address, and every domain, since nobody's own is harmless."""
    asked = frozenset({Topic.EMAIL})
    for index, line in enumerate(dialogue.lines):
        for place, token in enumerate(line.tokens):
            topical = dialogue.topics.at(index, place, asked) is not None
            if "@" in token.raw or _HOST.match(token.bare) or (topical and _DOTTED.match(token.bare)):
                yield Match(index, _beginning(line, place, topical), _end(line, place), CATEGORY)
            elif token.word in DOTS and line.word(place + 1) in TOP_LEVEL:
                yield Match(index, _beginning(line, place - 1, topical), _end(line, place + 1), CATEGORY)
            elif token.word in PROVIDERS and line.word(place - 1) in AT:
                yield Match(index, _beginning(line, place, topical), _end(line, place), CATEGORY)


def _end(line: Line, place: int) -> int:
    """The last token of a domain whose end was seen at `place`: "co dot uk" goes on."""
    while line.word(place + 1) in DOTS and line.word(place + 2) in TOP_LEVEL:
        place += 2
    return place


def _beginning(line: Line, host: int, topical: bool) -> int:
    """The first token of the address whose domain, or a part of it, stands at `host`."""
    host = max(host, 0)
    for place in range(host, max(host - HOST_TOKENS_MAX, -1), -1):
        token = line.tokens[place]
        if token.word in AT or token.raw.startswith("@"):
            return _local(line, place)
        if place < host and (token.word in BEFORE or token.ends_sentence):
            break
    if topical:
        return _local(line, host)
    while line.word(host - 1) in DOTS and host >= 2:
        host -= 2
    return host


def _local(line: Line, at: int) -> int:
    """The first token of the local part before `at`."""
    first = at
    while first > 0 and at - first < LOCAL_TOKENS_MAX:
        before = line.tokens[first - 1]
        # "is anna. smith@…": an engine's full stop inside the address, if an introduction stands right before it.
        spoken_dot = before.raw.endswith(".") and line.word(first - 2) in BEFORE
        if before.word in BEFORE or (before.ends_sentence and not spoken_dot) or before.raw.endswith(":"):
            break
        first -= 1
    return first
