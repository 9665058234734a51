"""Names of persons: after words that introduce one, after titles, in answers to a question for one, and given names.

A name once found is a name everywhere in the call, on every track.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from transcription.redaction.context import Topic
from transcription.redaction.gazetteer import GIVEN, PARTICLES
from transcription.redaction.introductions import TABLE, Words
from transcription.redaction.tokens import Match, languages_of
from transcription.redaction.vocabulary import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from transcription.redaction.dialogue import Dialogue
    from transcription.redaction.tokens import Line

CATEGORY: Final = "PERSON"

NAME_TOKENS_MAX = 5
"""Longest name with its particles: "Maria van den Berg Jansen"."""

LOWER_TOKENS_MAX = 2
"""Words in lower case taken as a name after a sure introduction: an engine without capitals must not leak."""

KNOWN_LETTERS_MIN = 3
"""Shorter parts of a name are not looked for elsewhere."""

ANSWER_TOKENS_MAX = 6
"""An answer to "your name?" of this length may begin with the name itself."""


LIKELY_WEAK: Final = words("with from met op van auf thanks hello hi hey hallo dag ist is")
"""Introductions that precede anything: after them only a name of two words counts, or "Met Jan" as a beginning."""


def find(dialogue: Dialogue) -> Iterator[Match]:
    """Every name, then every other mention of its parts."""
    found = [match for each in _tables(dialogue.language) for match in _introduced(dialogue, each)]
    yield from found
    yield from mentions(dialogue, found)
    never = never_names(dialogue.language)
    for index, line in enumerate(dialogue.lines):
        for place, token in enumerate(line.tokens):
            word = _stem(token.word)
            if token.bare[:1].isupper() and word in GIVEN and word not in never:
                yield Match(index, place, _name_end(line, place, never), CATEGORY)


def mentions(dialogue: Dialogue, found: Iterable[Match]) -> Iterator[Match]:
    """Every place in the call where a part of a name stands that was found in one place, by whomever."""
    known = {word: cased for match in found for word, cased in _parts(dialogue.lines[match.line], match)}
    never = never_names(dialogue.language)
    for index, line in enumerate(dialogue.lines):
        for place, token in enumerate(line.tokens):
            word, cased = _stem(token.word), token.bare[:1].isupper()
            if word not in never and word in known and cased >= known[word]:
                yield Match(index, place, _name_end(line, place, never), CATEGORY)


def never_names(language: str) -> frozenset[str]:
    """Words that are no names, though they may be written with a capital."""
    return frozenset().union(*(each.never for each in _tables(language)))


def _parts(line: Line, match: Match) -> Iterator[tuple[str, bool]]:
    """The parts of a name that are looked for elsewhere, and whether only with a capital."""
    for token in line.tokens[match.first : match.last + 1]:
        if len(token.word) >= KNOWN_LETTERS_MIN and token.word not in PARTICLES:
            yield _stem(token.word), token.bare[:1].isupper()


def _stem(word: str) -> str:
    return word.removesuffix("'s").removesuffix("’s")


def _tables(language: str) -> Sequence[Words]:
    return [TABLE[each] for each in languages_of(language)]


def _introduced(dialogue: Dialogue, words: Words) -> Iterator[Match]:
    name_topic = frozenset({Topic.NAME})
    for index, line in enumerate(dialogue.lines):
        for place in range(len(line.tokens)):
            yield from _after_introduction(index, line, place, words)
            yield from _before_introduction(index, line, place, words)
        if dialogue.topics.asked(index, name_topic) and not any(_says(line, 0, phrase) for phrase in words.sure):
            yield from _answer(index, line, words)


def _after_introduction(index: int, line: Line, place: int, words: Words) -> Iterator[Match]:
    """Names after a phrase, a title or a relation that begins at `place`."""
    for phrase in words.sure:
        after = _says(line, place, phrase)
        if after and after < len(line.tokens):
            yield from _sure_name(index, line, after, words)
    for phrase in words.likely:
        after = _says(line, place, phrase)
        if after and _begins_name(line, after, words.never):
            last = _name_end(line, after, words.never)
            if not _weak(line, place, phrase) or last > after:
                yield Match(index, after, last, CATEGORY)
    word = line.word(place).removesuffix(".")
    if word in words.titles and not (line.tokens[place].ends_phrase and not line.tokens[place].raw.endswith(".")):
        after = place + 1
        while line.word(after).removesuffix(".") in words.titles:
            after += 1
        if _begins_name(line, after, words.never):
            yield Match(index, place + 1, _name_end(line, after, words.never), CATEGORY)
    if word in words.relations and _capital(line, place + 1, words.never) and _is_relation(line, place):
        yield Match(index, place + 1, _name_end(line, place + 1, words.never), CATEGORY)


def _weak(line: Line, place: int, phrase: str) -> bool:
    return phrase in LIKELY_WEAK and not (phrase in ("met",) and line.sentence_start(place))


def _is_relation(line: Line, place: int) -> bool:
    """ "My wife Anna": a possessive stands before the relation."""
    return line.word(place - 1) in {"my", "her", "his", "our", "mijn", "haar", "zijn", "onze"} or line.word(
        place - 1
    ).startswith(("mein", "dein", "sein", "ihr", "unser"))


def _sure_name(index: int, line: Line, after: int, words: Words) -> Iterator[Match]:
    """What follows "my name is", in capitals or not."""
    if _capital(line, after, frozenset()):
        yield Match(index, after, _name_end(line, after, frozenset()), CATEGORY)
        return
    last = after
    while (
        last + 1 < len(line.tokens)
        and last + 1 - after < LOWER_TOKENS_MAX
        and not line.tokens[last].ends_phrase
        and line.word(last + 1) not in words.never
    ):
        last += 1
    if line.word(after) not in words.never:
        yield Match(index, after, last, CATEGORY)


def _before_introduction(index: int, line: Line, place: int, words: Words) -> Iterator[Match]:
    """Names before a phrase that begins at `place`: "Thompson here", "Weber mein Name"."""
    if place == 0 or not any(_says(line, place, phrase) for phrase in words.after):
        return
    first = place
    while first > 0 and place - first < NAME_TOKENS_MAX and _capital(line, first - 1, words.never):
        first -= 1
        if line.phrase_start(first):
            break
    if first < place and line.phrase_start(first):
        yield Match(index, first, place - 1, CATEGORY)


def _answer(index: int, line: Line, words: Words) -> Iterator[Match]:
    """The first capitalised words of an answer to a question for a name."""
    short = len(line.tokens) <= ANSWER_TOKENS_MAX
    for place in range(len(line.tokens)):
        if _capital(line, place, words.never) and (short or not line.sentence_start(place)):
            yield Match(index, place, _name_end(line, place, words.never), CATEGORY)
            return


def _says(line: Line, place: int, phrase: str) -> int:
    """The index after `phrase` if it stands at `place`, else 0."""
    said = phrase.split(" ")
    if any(line.word(place + offset) != word for offset, word in enumerate(said)):
        return 0
    return place + len(said)


def _capital(line: Line, place: int, never: frozenset[str]) -> bool:
    if not 0 <= place < len(line.tokens):
        return False
    token = line.tokens[place]
    letters = "".join(letter for letter in token.bare if letter not in "-'’.")
    contracted = token.word.replace("’", "'").split("'")[0]  # "you're" is as little a name as "you"
    if token.word in never or contracted in never:
        return False
    return token.bare[:1].isupper() and letters.isalpha() and len(letters) > 1


def _begins_name(line: Line, place: int, never: frozenset[str]) -> bool:
    """Whether a name begins at `place`: a capitalised word, or a capitalised particle before one ("De Vries")."""
    if _capital(line, place, never):
        return True
    particle = line.word(place) in PARTICLES and line.tokens[place].bare[:1].isupper()
    return particle and _capital(line, place + 1, never)


def _name_end(line: Line, first: int, never: frozenset[str]) -> int:
    """The last token of a name that begins at `first`: capitalised words, and particles between them."""
    last = place = first
    while place + 1 < len(line.tokens) and place + 1 - first < NAME_TOKENS_MAX:
        ended = line.tokens[place].ends_phrase and line.tokens[place].word not in PARTICLES
        place += 1
        if ended:
            break
        if _capital(line, place, never):
            last = place
        elif line.word(place) not in PARTICLES:
            break
    return last
