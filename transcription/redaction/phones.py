"""Telephone numbers: runs that phonenumbers calls possible in the dialogue's countries, or that were asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import phonenumbers

from transcription.redaction.context import Topic
from transcription.redaction.digits import long_enough
from transcription.redaction.quantities import is_quantity
from transcription.redaction.tokens import Match

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transcription.redaction.dialogue import Dialogue

CATEGORY: Final = "PHONE"

REGIONS: Final = ("GB", "US", "IE", "NL", "BE", "DE", "AT", "CH")
"""Countries whose national format is tried: who speaks one language may live where another is spoken."""

DIGITS: Final = range(8, 16)
"""Shorter ones are possible in some village, and caught as digits anyway; E.164 ends at fifteen."""


AMERICAN_DIGITS = 10
"""National numbers begin with a zero in all of REGIONS but the American, which have this length."""


def find(dialogue: Dialogue) -> Iterator[Match]:
    """Telephone numbers said or written in any grouping."""
    for index, run in dialogue.all_runs():
        topic = dialogue.topics.at(index, run.first)
        asked = topic is Topic.PHONE and long_enough(run, topic)
        line = dialogue.lines[index]
        plus = line.word(run.first - 1) == "plus" or line.tokens[run.first].raw.startswith("+")
        if (asked or is_valid(run.digits, plus=plus)) and not is_quantity(line, run, topic):
            first = run.first - (line.word(run.first - 1) == "plus")
            yield Match(index, first, run.last, CATEGORY)


def is_valid(digits: str, *, plus: bool = False) -> bool:
    """Whether the digits are a valid number of one of REGIONS, or of any country with its code."""
    if len(digits) not in DIGITS:
        return False
    national = digits.startswith("0") or len(digits) == AMERICAN_DIGITS
    candidates = [(digits, region) for region in REGIONS if national]
    if plus or digits.startswith("00"):
        candidates.append((f"+{digits.removeprefix('00')}", "ZZ"))
    return any(_valid(text, region) for text, region in candidates)


def _valid(text: str, region: str) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text, region))
    except phonenumbers.NumberParseException:
        return False
