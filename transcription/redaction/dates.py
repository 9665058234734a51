"""Dates of birth, and any full date: a day and a month with a year, in words or figures."""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from transcription.redaction.context import Topic
from transcription.redaction.digits import long_enough
from transcription.redaction.runs import Form
from transcription.redaction.tokens import Match
from transcription.redaction.vocabulary import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transcription.redaction.dialogue import Dialogue
    from transcription.redaction.runs import Part
    from transcription.redaction.tokens import Line

CATEGORY: Final = "DATE"

MONTHS: Final = words(
    """
    january february march april may june july august september october november december jan feb mar apr jun jul
    aug sep sept oct nov dec januari februari maart mei juni juli augustus oktober januar februar märz mai jänner
    feber dezember
    """
)

LINKS: Final = words(
    """
    of the in van de den der des im
    """
)
"""Words that may stand between day, month and year."""

LINKS_MAX = 2

PARTS_MAX = 3
"""Parts that a date has behind its month: day, century and year."""


def find(dialogue: Dialogue) -> Iterator[Match]:
    """Full dates anywhere; parts of one, and any run of digits, where a birth is spoken of."""
    for index, line in enumerate(dialogue.lines):
        for place, token in enumerate(line.tokens):
            if token.word in MONTHS:
                born = dialogue.topics.at(index, place) is Topic.BIRTH
                yield from _around(index, line, place, dialogue.parts[index], born)
    for index, run in dialogue.all_runs():
        topic = dialogue.topics.at(index, run.first)
        if topic is Topic.BIRTH and long_enough(run, topic):
            yield Match(index, run.first, run.last, CATEGORY)


def _around(index: int, line: Line, month: int, parts: tuple[Part, ...], born: bool) -> Iterator[Match]:
    """The date around a month's name, if there is enough of one."""
    first = last = month
    day = year = False
    after = bisect_right(parts, month, key=attrgetter("first"))
    before = parts[after - 1] if after else None
    if before is not None and before.last < month and _is_day(before) and _linked(line, before.last, month):
        day, first = True, before.first
    for part in parts[after : after + PARTS_MAX]:
        if year or not _linked(line, last, part.first):
            break
        if not day and _is_day(part):
            day, last = True, part.last
        elif _is_year(part) or len(part.digits) >= 4:  # "14,1975" in one token has six
            year = len(part.digits) != 2 or part.digits not in ("19", "20")
            day, last = day or len(part.digits) > 4, part.last
        else:
            break
    if (day and year) or (born and (day or year)):
        yield Match(index, first, last, CATEGORY)


def _linked(line: Line, before: int, after: int) -> bool:
    """Whether nothing but links and punctuation stands between two tokens."""
    between = [line.word(place) for place in range(before + 1, after)]
    return len(between) <= LINKS_MAX and all(word in LINKS or not word for word in between)


def _is_day(part: Part) -> bool:
    return (
        part.form in (Form.NATURAL, Form.ORDINAL, Form.DIGITS)
        and len(part.digits) <= 2
        and 1 <= int(part.digits or 0) <= 31
    )


def _is_year(part: Part) -> bool:
    return part.form in (Form.NATURAL, Form.DIGITS) and len(part.digits) in (2, 4)
