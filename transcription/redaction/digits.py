"""Fail closed: any run of digits that is long enough, unless it is clearly a quantity, whatever it may be.

This family needs no idea of what a number is. The families that have one only give it a better name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from transcription.redaction.context import Topic
from transcription.redaction.quantities import is_quantity
from transcription.redaction.runs import FILLERS, Form
from transcription.redaction.tokens import Match
from transcription.redaction.vocabulary import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transcription.redaction.dialogue import Dialogue
    from transcription.redaction.runs import Run
    from transcription.redaction.tokens import Line

CATEGORY: Final = "NUMBER"

DIGITS_MIN = 4
"""Four digits are a PIN, a year of birth or the end of a card; three are hardly anything by themselves."""

ASKED_DIGITS_MIN = 3
"""In answer to a question for a number: a security code, a piece of a telephone number."""

BIRTH_DIGITS_MIN = 2
"""In answer to a question for a date of birth."""

CODE_MIN = 5
"""Letters and digits of a code such as a licence plate or a postcode."""

ASKED_CODE_MIN = 4

CHAIN_SHARE = 0.75
"""A line of which this share is digits, fillers and assent goes on with the dictation of the line before."""

CHAIN_GAP_LINES = 1
"""Lines of assent ("yes?") that may stand between two pieces of a dictation."""

ASSENT: Final = words(
    """
    yes yeah yep okay ok right so that's that is it's it got correct mhm sure go on no sorry again ja jawohl oké
    goed klopt dus dat dan nee genau gut richtig also das dann nein ist
    """
)

HOMOPHONES: Final = words(
    """
    for to too two oh ate won free tree sex
    """
)
"""English digits as an engine mishears them."""

COPULAS: Final = frozenset({"is", "it's", "its", "number", "are", "was"})


def find(dialogue: Dialogue) -> Iterator[Match]:
    """All runs that are too long or too coded to be harmless."""
    for index, run in dialogue.all_runs():
        line = dialogue.lines[index]
        topic = dialogue.topics.at(index, run.first)
        if (long_enough(run, topic) or _coded(run, topic)) and not is_quantity(line, run, topic):
            yield Match(index, _misheard_start(line, run), run.last, CATEGORY)
    yield from _chains(dialogue)


def long_enough(run: Run, topic: Topic | None) -> bool:
    """Whether a run has as many digits as its topic makes suspicious."""
    needed = BIRTH_DIGITS_MIN if topic is Topic.BIRTH else ASKED_DIGITS_MIN if topic is not None else DIGITS_MIN
    return len(run.digits) >= needed


def _coded(run: Run, topic: Topic | None) -> bool:
    """Letters and digits together, as in a plate, a postcode or a reference."""
    mixed = any(part.form is Form.CODE for part in run.parts) or run.letters >= 2
    size = len(run.text)
    if not mixed or len(run.digits) < 2:
        return False
    if topic is not None:
        return size >= ASKED_CODE_MIN
    in_one = any(part.form is Form.CODE for part in run.parts)
    return size >= CODE_MIN and not run.conjunctions and (in_one or len(run.digits) >= 3)


def _misheard_start(line: Line, run: Run) -> int:
    """Where the run begins if the word before it is a digit misheard: "my card is for 1111 …"."""
    before = run.first - 1
    if line.word(before) in HOMOPHONES and line.word(before - 1) in COPULAS:
        return before
    return run.first


def _chains(dialogue: Dialogue) -> Iterator[Match]:
    """Runs too short by themselves that together, over following lines, are one dictation."""
    chain: list[tuple[int, Run]] = []
    digits = gap = 0
    for index, line in enumerate(dialogue.lines):
        if _is_dictation(line, dialogue.runs[index]):
            chain += [(index, run) for run in dialogue.runs[index]]
            digits += sum(len(run.digits) for run in dialogue.runs[index])
            gap = 0
            continue
        gap += 1
        if gap > CHAIN_GAP_LINES or not _is_assent(line):
            yield from _chain(dialogue, chain, digits)
            chain, digits = [], 0
    yield from _chain(dialogue, chain, digits)


def _chain(dialogue: Dialogue, chain: list[tuple[int, Run]], digits: int) -> Iterator[Match]:
    if digits >= DIGITS_MIN:
        for index, run in chain:
            if not is_quantity(dialogue.lines[index], run, dialogue.topics.at(index, run.first)):
                yield Match(index, run.first, run.last, CATEGORY)


def _is_dictation(line: Line, runs: tuple[Run, ...]) -> bool:
    if not runs:
        return False
    inside = {index for run in runs for index in range(run.first, run.last + 1)}
    words = FILLERS | ASSENT
    share = sum(index in inside or token.word in words for index, token in enumerate(line.tokens))
    return share >= CHAIN_SHARE * len(line.tokens)


def _is_assent(line: Line) -> bool:
    return all(token.word in ASSENT | FILLERS or not token.word for token in line.tokens)
